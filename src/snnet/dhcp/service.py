"""The service of one scope: its folder in the runtime directory, and its dnsmasq."""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import signal
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from snnet.contract import (
    ApiError,
    Busy,
    Denied,
    DhcpLease,
    DhcpScope,
    Exists,
    FatalError,
    InvalidRequest,
    Missing,
    SnnetError,
    Unsupported,
)
from snnet.contract.addresses import of_family
from snnet.contract.dhcp import GENERATED_PREFIX_MIN
from snnet.contract.errors import shown
from snnet.system.host import RealHost
from snnet.system.netns import in_netns
from snnet.system.process import errno_in, failure

from . import settings
from .account import Account, serving_account
from .bridge import bridge_index, index_of, may_be_served
from .folder import FileState, Folder
from .record import SCOPE_FILE, ScopeRecord, more
from .resolvers import name_servers
from .server import Server, is_stopped, launch, stop_all

_log = logging.getLogger("snnet.dhcp")


class Memory:
    """What one process read and wrote of each scope's files, so that it need not again.

    It holds while the files are as they were.
    """

    def __init__(self) -> None:
        self.records: dict[str, tuple[FileState, ScopeRecord]] = {}
        """The records read, by link."""
        self.written: dict[str, dict[str, FileState | None]] = {}
        """The files with the record's entries as they were written last, by link."""


class Service:
    """The folder and the dnsmasq of the scope on ``link``, if there are any.

    The caller must keep other threads away.  The folder is
    <runtime>/dhcp@<namespace>@<owner>@<link>.  The object has no state: every answer is read
    from the folder and the process, or is in ``memory`` if the folder has not changed.
    Refusals of the system are raised as ``OSError``.
    """

    def __init__(self, host: RealHost, link: str, memory: Memory | None = None) -> None:
        if not link or "/" in link:
            raise InvalidRequest(f"{shown(link)} is not a link name", field="link")
        self._host = host
        self._memory = Memory() if memory is None else memory
        self.path = host.runtime / f"{_prefix(host)}{link}"
        self._server = Server(self.path / settings.PID, host.netns.fd)

    def record(self) -> ScopeRecord | None:
        """Return the record in the folder; None if it is missing or cannot be read."""
        try:
            with Folder(self.path) as folder:
                state = folder.state(SCOPE_FILE)
                known = self._memory.records.get(self.link)
                if known is not None and known[0] == state:
                    return known[1]
                text = folder.read(SCOPE_FILE)
            if text is None or state is None:
                return None
            record = ScopeRecord.from_json(text)
            self._memory.records[self.link] = state, record
            return record
        except FileNotFoundError:
            return None
        except (ApiError, ValueError) as error:
            _log.warning("ignored %s: %s", self.path, error)
            return None

    def pid(self) -> int | None:
        """Return the pid of the running dnsmasq, or None."""
        pid = self._noted_pid()
        return pid if pid is not None and self._server.is_running(pid) else None

    def served(self, index: int | None) -> ScopeRecord | None:
        """Return the record if dnsmasq runs on the bridge that has this ifindex now."""
        record = self.record()
        alive = record is not None and record.index == index and self.pid() is not None
        return record if alive else None

    def scope(self, index: int | None) -> DhcpScope | None:
        """Return the recorded scope, running or not; None without a folder."""
        record = self.record()
        if record is None:
            return None
        return replace(record.scope, running=self.served(index) is not None)

    def inspected(self, index: int | None) -> DhcpScope | None:
        """As ``scope()``, with what somebody changed of a server that runs."""
        scope = self.scope(index)
        if scope is None or not scope.running:
            return scope
        return replace(scope, faults=tuple(self._faults(scope)))

    def _faults(self, scope: DhcpScope) -> Iterator[str]:
        pid = self.pid()
        if pid is not None and is_stopped(pid):
            yield f"process {pid} stopped by a signal"
        try:
            with Folder(self.path) as folder:
                if not folder.is_readable(serving_account().gid):
                    yield "folder"
                for name, text in self._files(scope).items():
                    if folder.read(name) != text or not folder.is_readable_file(name):
                        yield f"file {name}"
        except (ApiError, OSError) as error:
            yield f"folder ({error})"

    def leases(self) -> list[DhcpLease]:
        """Return the leases that guests hold, also while dnsmasq is not running."""
        record = self.record()
        if record is None:
            return []
        with Folder(self.path) as folder:
            text = folder.read(settings.LEASES) or ""
        return list(settings.held_leases(text, record.scope))

    def found(self) -> ScopeRecord | None:
        """As ``served()``, for the current ifindex of the bridge."""
        return self.served(in_netns(self._host.netns.fd, lambda: index_of(self.link)))

    def running(self) -> ScopeRecord:
        """As ``found()``; raise ``Missing`` if the scope is not served."""
        if (record := self.found()) is None:
            raise Missing(f"no dnsmasq of ours is running on {self.link}")
        return record

    def add(self, scope: DhcpScope) -> None:
        """Start serving; raise ``Exists`` for a scope that is known, running or not.

        A server of ours whose folder was lost serves until another can take its place.  It is
        looked for among all processes where a port of the new one is taken, or cannot tell: one
        that is bound to a bridge that was deleted has none but that of DNS.
        """
        if (record := self.record()) is not None:
            raise Exists(f"{record.scope} exists already: change it, or remove it first")
        left_over = self.path.exists()
        if left_over:
            _log.warning("reusing what an unfinished start left in %s", self.path)
        try:
            account = self._prepare(scope)
        except BaseException:
            if not left_over:
                self.delete()
            raise
        try:
            if left_over or not scope.dns or self._may_be_served():
                self.stop()
            if scope.running:
                try:
                    self._launch(scope, account)
                except Busy:  # children of one that has ended may have that of DNS
                    self.stop()
                    self._launch(scope, account)
        except BaseException:
            if not left_over:
                self.clear()
            raise

    def change(self, scope: DhcpScope) -> None:
        """Serve the scope with these values, by a reload if that suffices.

        On failure it is served as before.  The scope says whether it runs afterwards.  Raise
        ``Missing`` if there is no folder.
        """
        if (known := self.record()) is None:
            raise Missing(f"there is no scope of ours on {self.link}")
        if wrong := scope.differences(known.scope) - scope.changeable:
            raise Unsupported(f"{', '.join(sorted(wrong))} cannot be changed in place")
        old = self.found()
        if old is None or not scope.running:
            self.restart(scope)
            return
        if self._extend(old, scope):
            return
        if needs_no_restart(old.scope, scope) and not self._is_contradicted(scope, old.scope):
            self.reload(scope)
            return
        try:
            self.restart(scope)
        except (SnnetError, OSError) as error:
            try:
                self.restart(old.scope)
            except (SnnetError, OSError) as second:
                raise FatalError(
                    f"cannot serve {scope}: {error}; nor {old.scope} again: {second}",
                    leftovers=(old.scope,),
                ) from error
            raise

    def reload(self, scope: DhcpScope) -> None:
        """Write the files again and make the running dnsmasq read them."""
        record = ScopeRecord(self.running().index, scope)
        with Folder.make(self.path, serving_account().gid) as folder:
            self._write_files(folder, scope)
            self._read_again()
            # Last: if we are killed before this, the next Change sees the difference.
            folder.write(SCOPE_FILE, record.to_json())
            self._remember(folder, record)
        _log.info("reloaded %s", scope)

    def _extend(self, old: ScopeRecord, scope: DhcpScope) -> bool:
        """Add entries to the files, at a cost that does not grow with those that are there.

        False, and nothing is done, where the change is another one, or the files are not as
        this process wrote them.
        """
        before, after = old.scope.entries, scope.entries
        added = after[len(before) :]
        subnet = of_family(scope.subnets, 4)  # smaller ones have an entry for every address
        larger = subnet is None or subnet.prefixlen < GENERATED_PREFIX_MIN
        rest = replace(scope, entries=()) == replace(old.scope, entries=())
        if not (larger and rest and added and after[: len(before)] == before):
            return False
        only = replace(scope, entries=added)
        if self._is_contradicted(only, only):
            return False
        with Folder(self.path) as folder:
            if self._memory.written.get(self.link) != _states(folder):
                return False
            self._memory.written.pop(self.link)  # as long as they are not all written
            folder.append(settings.HOSTS, settings.hosts(only))
            folder.append(settings.NAMES, settings.names(only))
            self._read_again()
            folder.append(SCOPE_FILE, more(added))
            self._remember(folder, ScopeRecord(old.index, scope))
        return True

    def _read_again(self) -> None:
        """Have the running dnsmasq read its files."""
        pid = self.pid()
        if pid is not None and is_stopped(pid):
            self._server.signal(pid, signal.SIGCONT)
        if pid is None or not self._server.signal(pid, signal.SIGHUP):
            raise Missing(f"the dnsmasq on {self.link} has just ended")

    def _remember(self, folder: Folder, record: ScopeRecord) -> None:
        states = _states(folder)
        if (state := states[SCOPE_FILE]) is not None:
            self._memory.records[self.link] = state, record
            self._memory.written[self.link] = states

    def restart(self, scope: DhcpScope) -> None:
        """Stop dnsmasq, and start it if the scope is to run; leases that still fit stay."""
        self.stop()
        self._start(scope)

    def stop(self) -> None:
        """Stop all processes of the scope; their sockets are closed afterwards."""
        stop_all([self.process])

    @property
    def process(self) -> tuple[Server, int | None]:
        """The server, and the pid in its pid file."""
        return self._server, self._noted_pid()

    def clear(self) -> None:
        """Remove everything about the scope: processes and files."""
        self.stop()
        self.delete()

    def delete(self) -> None:
        """Remove the folder with its files."""
        self._memory.records.pop(self.link, None)
        self._memory.written.pop(self.link, None)
        with contextlib.suppress(FileNotFoundError), Folder(self.path) as folder:
            folder.delete()

    def _may_be_served(self) -> bool:
        return in_netns(self._host.netns.fd, lambda: may_be_served(self.link))

    def _start(self, scope: DhcpScope) -> None:
        account = self._prepare(scope)
        if scope.running:
            self._launch(scope, account)

    def _prepare(self, scope: DhcpScope) -> Account:
        """Write the files; a running dnsmasq does not read them before it is told to."""
        account = serving_account()
        self._check_passage(account)
        index = in_netns(self._host.netns.fd, functools.partial(bridge_index, scope))
        known = self.record()
        old = known.scope if known else scope
        with Folder.make(self.path, account.gid) as folder:
            folder.remove(settings.PID)
            leases = folder.read(settings.LEASES) or ""
            folder.write(settings.LEASES, settings.kept_leases(leases, scope, old))
            self._write_files(folder, scope)
            # Before the start: if we are killed in between, the record says what runs.
            record = ScopeRecord(index, scope)
            folder.write(SCOPE_FILE, record.to_json())
            self._remember(folder, record)
        return account

    def _launch(self, scope: DhcpScope, account: Account) -> None:
        argv = settings.command_line(scope, self.path, account)
        done = launch(argv, self._host.netns.fd)
        if done.returncode != 0:
            if errno_in(done.stderr) == errno.EADDRINUSE:
                where = " or ".join(map(str, scope.gateways))
                raise Busy(f"another DNS server has {where}: {done.stderr.strip()}")
            raise failure(argv[:1], done)
        if (pid := self.pid()) is None:
            raise ApiError(f"dnsmasq for {scope} ended right after its start: see syslog")
        _log.info("started %s (pid %d)", scope, pid)

    def _check_passage(self, account: Account) -> None:
        """Raise ``Denied`` if dnsmasq, after it dropped root, cannot reach its files."""
        directory = self._host.runtime.resolve()
        for step in (directory, *directory.parents) if account.user else ():
            if not step.stat().st_mode & stat.S_IXOTH:
                raise Denied(
                    f"dnsmasq runs as user {account.user} and cannot pass through {step}: "
                    "chmod o+x it, or choose another runtime directory"
                )

    def _write_files(self, folder: Folder, scope: DhcpScope) -> None:
        for name, text in self._files(scope).items():
            folder.write(name, text)

    def _files(self, scope: DhcpScope) -> dict[str, str]:
        """The files that dnsmasq reads on SIGHUP, and their content."""
        found = name_servers(self._host.netns.fd)
        return {
            settings.HOSTS: settings.hosts(scope),
            settings.NAMES: settings.names(scope),
            settings.SERVERS: settings.servers(found.asked),
        }

    def _is_contradicted(self, scope: DhcpScope, old: DhcpScope) -> bool:
        with Folder(self.path) as folder:
            return settings.is_contradicted(folder.read(settings.LEASES) or "", scope, old)

    def _noted_pid(self) -> int | None:
        try:
            with Folder(self.path) as folder:
                return int(folder.read(settings.PID) or "")
        except (FileNotFoundError, ApiError, ValueError):
            return None

    @property
    def link(self) -> str:
        """The link whose bridge it serves."""
        return self.path.name.removeprefix(_prefix(self._host))


def links_of(host: RealHost) -> Iterator[str]:
    """Yield the links for which this owner has a folder in this namespace."""
    prefix = _prefix(host)
    for name in sorted(os.listdir(host.runtime)):
        if name.startswith(prefix):
            yield name.removeprefix(prefix)


def _prefix(host: RealHost) -> str:
    # No owner and no namespace has an "@" in its name.
    return f"dhcp@{host.netns.id.replace(':', '.')}@{host.owner}@"


def needs_no_restart(old: DhcpScope, new: DhcpScope) -> bool:
    """Whether a reload suffices: SIGHUP reads the files again, not the command line."""
    nobody = Account("", "", 0)
    before, after = (settings.command_line(scope, Path(), nobody) for scope in (old, new))
    return before == after


def _states(folder: Folder) -> dict[str, FileState | None]:
    return {name: folder.state(name) for name in (settings.HOSTS, settings.NAMES, SCOPE_FILE)}
