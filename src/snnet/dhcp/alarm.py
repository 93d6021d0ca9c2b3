"""Reports when a dnsmasq ends, or somebody changes the files that it serves from."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection
from pathlib import Path

from snnet.contract import Alarm, ApiError
from snnet.system.green import is_readable
from snnet.system.inotify import FolderEvents

from . import settings

_ITS_OWN = frozenset({settings.LEASES, f"{settings.LEASES}.new"})
"""Files that dnsmasq itself writes, with every lease."""


Served = tuple[Collection[int], Collection[Path]]
"""The processes that serve, and the folders that they serve from."""


class ServerAlarm(Alarm):
    """Watches what ``served`` returns: processes by pidfd_open(2), folders by inotify(7)."""

    def __init__(self, served: Callable[[], Served]) -> None:
        self._served = served
        self._processes: dict[int, int] = {}
        self._folders: dict[Path, FolderEvents] = {}
        self._pending = False
        try:
            self.extend()
        except BaseException:
            self.close()
            raise

    def extend(self) -> bool:
        """See :meth:`snnet.contract.Alarm.extend`.  Raises OSError."""
        self._pending = self.noticed()
        pids, folders = self._served()
        for pid in self._processes.keys() - set(pids):
            os.close(self._processes.pop(pid))
            # Also of one that has ended since it was asked above.
            self._pending = True
        for path in self._folders.keys() - set(folders):
            self._folders.pop(path).close()
        for pid in set(pids) - self._processes.keys():
            with contextlib.suppress(ProcessLookupError):  # the next look finds that
                self._processes[pid] = os.pidfd_open(pid)
        for path in set(folders) - self._folders.keys():
            # Without inotify only processes are watched.
            with contextlib.suppress(ApiError):
                self._folders[path] = FolderEvents(path)
        return True

    def descriptors(self) -> list[int]:
        """See :meth:`snnet.contract.Alarm.descriptors`."""
        folders = (events.fileno() for events in self._folders.values())
        return [*self._processes.values(), *folders]

    def noticed(self) -> bool:
        """See :meth:`snnet.contract.Alarm.noticed`.  The end of a process is reported once."""
        found, self._pending = self._pending, False
        for pid in self._ended():
            os.close(self._processes.pop(pid))
            found = True
        for path, events in list(self._folders.items()):
            names = events.read()
            if events.gone:  # the next extension watches the one that has its name then
                self._folders.pop(path).close()
            found = found or names is None or bool(names - _ITS_OWN)
        return found

    def _ended(self) -> list[int]:
        return [pid for pid, pidfd in self._processes.items() if is_readable(pidfd, 0)]

    def close(self) -> None:
        """See :meth:`snnet.contract.Alarm.close`."""
        while self._processes:
            os.close(self._processes.popitem()[1])
        while self._folders:
            self._folders.popitem()[1].close()
