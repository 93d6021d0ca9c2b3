"""Tells when a dnsmasq ends, or somebody changes the files that it serves from."""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Iterable
from pathlib import Path

from snnet.contract import Alarm, ApiError
from snnet.system.inotify import FolderEvents

from . import settings

_ITS_OWN = frozenset({settings.LEASES, f"{settings.LEASES}.new"})
"""Files that dnsmasq itself writes, with every lease."""


class ServerAlarm(Alarm):
    """Watches the processes ``pids`` by pidfd_open(2), and ``folders`` by inotify(7)."""

    def __init__(self, pids: Iterable[int], folders: Iterable[Path]) -> None:
        self._processes: list[int] = []
        self._folders: list[FolderEvents] = []
        try:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):  # the next look finds that
                    self._processes.append(os.pidfd_open(pid))
            for folder in folders:
                # Without inotify only processes are watched.
                with contextlib.suppress(ApiError):
                    self._folders.append(FolderEvents(folder))
        except BaseException:
            self.close()
            raise

    def noticed(self) -> bool:
        """See :meth:`snnet.contract.Alarm.noticed`.  The end of a process is told once."""
        ended = self._ended()
        for pidfd in ended:
            self._processes.remove(pidfd)
            os.close(pidfd)
        changed = [events.read() for events in self._folders]
        return bool(ended) or any(names is None or names - _ITS_OWN for names in changed)

    def _ended(self) -> list[int]:
        poll = select.poll()
        for pidfd in self._processes:
            poll.register(pidfd, select.POLLIN)
        return [pidfd for pidfd, _ in poll.poll(0)]

    def close(self) -> None:
        """See :meth:`snnet.contract.Alarm.close`."""
        while self._processes:
            os.close(self._processes.pop())
        while self._folders:
            self._folders.pop().close()
