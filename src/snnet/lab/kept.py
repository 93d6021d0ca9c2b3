"""A data centre that stays up: its network namespaces have names, and a process holds it.

The names, for ``ip netns``, are ``snnet-demo-`` and the name of the machine or guest.
The process that built the data centre holds a lock and the descriptors of the VMs' NICs.
``remove_kept()`` needs only the names and the lock, so it also removes what a killed
process left.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from snnet.contract import Conflict, Denied, InvalidRequest, SnnetError, Timeout
from snnet.system.files import locked
from snnet.system.host import RealHost
from snnet.system.namespaces import Namespace, end_processes, processes_in
from snnet.system.netns import NAMED, netns_id, open_netns
from snnet.system.process import run

from .leftovers import files_about, remove_files, runtime_files

PREFIX = "snnet-demo-"

_END_TIMEOUT = 30.0
"""Seconds for the process that holds the data centre to end."""


class NamedNamespace(Namespace):
    """A network namespace that ``ip netns`` knows as ``snnet-demo-NAME``.

    Unlike a nameless one it stays when this process ends.  ``close()`` removes the name.
    """

    def __init__(self, name: str, *, create: bool = True) -> None:
        self.name = name
        self.netns = PREFIX + name
        if create:
            run(["ip", "netns", "add", self.netns])
        try:
            self.fd = open_netns(self.netns)
        except BaseException:
            if create:
                run(["ip", "netns", "delete", self.netns])
            raise
        self.id = netns_id(self.fd)

    def close(self) -> None:
        """Remove the name, and with it the namespace once no process is in it."""
        if self.fd >= 0:
            super().close()
            run(["ip", "netns", "delete", self.netns])


@dataclass(frozen=True, slots=True)
class Removed:
    """What ``remove_kept()`` removed, and a text for each leftover that it could not remove."""

    namespaces: tuple[str, ...]
    processes: int
    left: tuple[str, ...]


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Hold the only data centre that may be kept on this machine.

    Raises ``Conflict`` if another one is up, or if one was left by a killed process.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_locked(0))
        except Conflict:
            raise Conflict(
                f"a kept data centre is already up, held by process {_holder() or 'unknown'}: "
                'remove it first with "snnet demo --remove"'
            ) from None
        if names := kept_names():
            raise Conflict(
                f"{len(names)} network namespaces of an earlier demo are left ({names[0]} ...): "
                'remove them first with "snnet demo --remove"'
            )
        yield


def kept_names() -> list[str]:
    """The names of the kept data centre's network namespaces, for ``ip netns``."""
    return sorted(path.name for path in Path(NAMED).glob(f"{PREFIX}*"))


def remove_kept() -> Removed:
    """Remove the kept data centre, or what is left of one; may be repeated.

    Ends the process that holds it and every process inside its namespaces, shells of
    users included.  Raises ``Denied`` without root and ``Timeout`` where the holding
    process does not end.
    """
    if os.geteuid() != 0:
        raise Denied("a kept data centre belongs to root: run as root")
    _end_holder()
    with _locked(_END_TIMEOUT):
        return _sweep()


def _end_holder() -> None:
    if not _is_held() or (pid := _holder()) is None:
        return
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        # Only a process that still holds the lock has this pid for certain.
        if not _is_held():
            return
        signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        if not select.select([pidfd], [], [], _END_TIMEOUT)[0]:
            raise Timeout(
                f"process {pid}, which holds the kept data centre, has not ended after "
                f'{_END_TIMEOUT:.0f} s: end it with "kill -9 {pid}", then repeat'
            )
    except ProcessLookupError:
        return
    finally:
        os.close(pidfd)


def _sweep() -> Removed:
    names = kept_names()
    left: list[str] = []
    spaces: list[NamedNamespace] = []
    for name in names:
        try:
            spaces.append(NamedNamespace(name.removeprefix(PREFIX), create=False))
        except InvalidRequest:  # only the file of a namespace that is gone
            left += _try(partial(run, ["ip", "netns", "delete", name]))
    processes = list(processes_in(spaces))
    end_processes(spaces)
    files = files_about(spaces, runtime_files())
    remove_files(files)
    left += [str(file) for file in files if file.exists()]
    for space in spaces:
        left += _try(space.close)
    return Removed(tuple(names), len(processes), tuple(left))


def _try(remove: Callable[[], object]) -> list[str]:
    """Call it; return its error as a text, if any."""
    try:
        remove()
    except SnnetError as error:
        return [str(error)]
    return []


def _lock_file() -> Path:
    host = RealHost(owner="demo")
    try:
        return host.runtime / "demo.lock"
    finally:
        host.close()


def _locked(timeout: float) -> contextlib.AbstractContextManager[None]:
    return locked(_lock_file(), timeout, "the kept data centre")


def _is_held() -> bool:
    try:
        with _locked(0):
            return False
    except Conflict:
        return True


def _holder() -> int | None:
    """The pid that the lock's holder has written into it."""
    try:
        return int(_lock_file().read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None
