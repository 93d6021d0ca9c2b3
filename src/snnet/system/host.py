"""The real host: a network namespace, a runtime directory, locks and records."""

from __future__ import annotations

import contextlib
import copy
import errno
import functools
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from snnet.contract import (
    Host,
    InvalidRequest,
    IPNetwork,
    Journal,
    LinkAccepts,
    Listener,
    Netns,
    SnnetError,
    error_for,
)
from snnet.contract.errors import shown

from .docker_user import DockerUser
from .files import glance, locked, private_directory, put_aside, read_document, write_document
from .journal import FileJournal
from .listeners import listeners
from .netns import netns_cookie, netns_id, open_netns
from .sweep import sweep
from .users import CAP_NET_ADMIN, has_capability

_RECORD_PATIENCE = 30.0
"""Seconds to wait for a record.  A node that holds it writes only a few sysctls."""

_STATE = Path("/var/lib/snnet-host")
"""Not the folder of the registry, in which the members of a group may write."""


class RealHost(Host):
    """A network namespace of the running kernel; see :class:`snnet.contract.Host`.

    ``netns`` is the name of a namespace under /run/netns, a path, a descriptor (which
    the caller keeps), or None for the namespace of the calling thread.  ``owner`` is the
    role and id of the node ("cn:cn-1").  ``runtime`` is for tests; the default is
    /run/snnet if the process may write to /run, else $XDG_RUNTIME_DIR/snnet.  ``state`` has what
    outlives a reboot: by default /var/lib/snnet-host for the namespace of process 1, that of the
    machine; nothing for another one, if ``runtime`` is given, or if the process may not write
    there.  Opening a host changes nothing: directories are created on first use.

    Raises ``InvalidRequest`` if ``netns`` is not a network namespace, or ``owner`` cannot
    be part of a file name.
    """

    def __init__(
        self,
        netns: str | os.PathLike[str] | int | None = None,
        *,
        owner: str = "cn:test",
        networks: Iterable[IPNetwork] = (),
        runtime: Path | None = None,
        state: Path | None = None,
    ) -> None:
        self.owner = _file_name(owner, "owner")
        self.networks = tuple(networks)
        self._runtime = runtime
        self._state = state
        fd = open_netns(netns)
        number = netns_id(fd)
        self.netns = Netns(number, f"network namespace {number.partition(':')[2]}", fd)
        self._file_id = number.replace(":", ".")
        self._docker_user: DockerUser | None = None

    @property
    def runtime(self) -> Path:
        """The runtime directory, ours alone; made again where it was removed."""
        if self._runtime is not None:
            return private_directory(self._runtime, 0o700)
        if os.geteuid() == 0 and os.access("/run", os.W_OK):
            # Others may enter: dnsmasq reads files below after it has given up root.
            return private_directory(Path("/run/snnet"), 0o711)
        # In a user namespace, root may not write to /run.
        if base := os.environ.get("XDG_RUNTIME_DIR"):
            return private_directory(Path(base, "snnet"), 0o700)
        raise SnnetError(
            "there is no runtime directory: run as root, or set XDG_RUNTIME_DIR (mode 0700)"
        )

    @contextlib.contextmanager
    def record(self, name: str) -> Iterator[dict[str, Any]]:
        """See :meth:`snnet.contract.Host.record`.

        Kept across processes, for as long as the namespace lives.  A damaged file is put
        aside as ``NAME.damaged``, and the record is empty.  Raises ``Conflict`` if others
        keep it for 30 s.
        """
        path = self._record(name)
        with locked(path.with_suffix(".lock"), _RECORD_PATIENCE, f"the record {name!r}"):
            stored = read_document(path)
            current = self._is_current(stored)
            before = stored.get("record", {}) if current else {}
            if not isinstance(before, dict):
                put_aside(path)
                before = {}
            document = copy.deepcopy(before)
            yield document
            if document != before or (stored and not current):
                whose = {"netns": self._cookie, "boot": boot_id()}
                write_document(path, {**whose, "record": document} if document else {})

    def recorded(self, name: str) -> dict[str, Any]:
        """See :meth:`snnet.contract.Host.recorded`: files are replaced whole, so without a lock."""
        stored: object = None
        try:
            stored = glance(self._record(name))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError):
            pass
        document = stored.get("record") if isinstance(stored, dict) else None
        if isinstance(stored, dict) and isinstance(document, dict) and self._is_current(stored):
            return document
        return super().recorded(name)

    @contextlib.contextmanager
    def lasting(self, name: str) -> Iterator[dict[str, Any]]:
        """See :meth:`snnet.contract.Host.lasting`.  A damaged file is put aside."""
        folder = self._state or (_STATE if self._runtime is None and self._is_first else None)
        if folder is None or os.geteuid() != 0 or not os.access(folder.parent, os.W_OK):
            yield {}
            return
        path = private_directory(folder, 0o755) / f"{_file_name(name, 'name')}.json"
        with locked(path.with_suffix(".lock"), _RECORD_PATIENCE, f"the record {name!r}"):
            before = read_document(path)
            document = copy.deepcopy(before)
            yield document
            if document != before:
                write_document(path, document)

    @property
    def _is_first(self) -> bool:
        """Whether it is the namespace of the first process: others are gone after a reboot."""
        try:
            with open("/proc/1/ns/net", "rb") as first:
                return netns_id(first.fileno()) == self.netns.id
        except OSError:
            return False

    def _record(self, name: str) -> Path:
        return self.runtime / f"record-{_file_name(name, 'name')}-{self._file_id}.json"

    def _is_current(self, stored: Mapping[str, Any]) -> bool:
        """Whether it is of this namespace; a cookie says so within one run of the kernel alone."""
        return stored.get("netns") == self._cookie and stored.get("boot") in (None, boot_id())

    def journal(self, name: str) -> Journal:
        """See :meth:`snnet.contract.Host.journal`."""
        file = f"journal-{_file_name(name, 'name')}-{self._file_id}.jsonl"
        return FileJournal(
            lambda: self.runtime / file, json.dumps({"netns": self._cookie, "boot": boot_id()})
        )

    def listeners(self) -> Sequence[Listener]:
        """See :meth:`snnet.contract.Host.listeners`."""
        return listeners(self.netns.fd)

    def docker_user(self, targets: Mapping[str, str]) -> LinkAccepts:
        """See :meth:`snnet.contract.Host.docker_user`."""
        if self._docker_user is None or self._docker_user.targets != targets:
            self._docker_user = DockerUser(self.netns.fd, targets)
        return self._docker_user

    @contextlib.contextmanager
    def claim(self, timeout: float, owner: str | None = None) -> Iterator[None]:
        """See :meth:`snnet.contract.Host.claim`; another node in this process conflicts too."""
        owner = self.owner if owner is None else _file_name(owner, "owner")
        path = self.runtime / f"claim-{owner}-{self._file_id}.lock"
        with locked(path, timeout, f"{owner} in this network namespace"):
            with contextlib.suppress(OSError):
                sweep(self.runtime)
            yield

    def check_allowed(self) -> None:
        """See :meth:`snnet.contract.Host.check_allowed`: it takes CAP_NET_ADMIN."""
        if not has_capability(CAP_NET_ADMIN):
            raise error_for(errno.EPERM, f"change {self.netns}")

    def close(self) -> None:
        """See :meth:`snnet.contract.Host.close`."""
        fd, self.netns = self.netns.fd, replace(self.netns, fd=-1)
        if fd >= 0:
            os.close(fd)

    @functools.cached_property
    def _cookie(self) -> int:
        return netns_cookie(self.netns.fd)


@functools.cache
def boot_id() -> str:
    """What tells this run of the kernel from those before; "" where it cannot be read."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _file_name(text: str, field: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}", text):
        raise InvalidRequest(
            f"{shown(text)} has characters that cannot be in a file name", field=field
        )
    return text
