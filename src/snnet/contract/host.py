"""What a driver works on: one network namespace and the records kept for it."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from .errors import InvalidRequest
from .noun import IPAddress, IPNetwork


@dataclass(frozen=True, slots=True)
class Netns:
    """A network namespace, real or fake.  Equal objects are the same namespace.

    ``id`` is unique among the namespaces that exist at the same time.  ``name`` is for
    people.  ``fd`` is a descriptor of a real namespace (namespaces(7)), open until the
    host is closed; it is -1 for a fake one.
    """

    id: str
    name: str = field(compare=False)
    fd: int = field(default=-1, compare=False)

    def descriptor_for(self, driver: str, field: str) -> int:
        """Return ``fd``, for a driver that works on real namespaces only.

        Raises ``InvalidRequest`` for the field ("backend", "firewall" or "dhcp") if the
        namespace is fake.
        """
        if self.fd < 0:
            raise InvalidRequest(
                f"{driver} needs a network namespace of the running kernel, not {self}: "
                f"use {field}='fake'",
                field=field,
            )
        return self.fd

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket of the namespace that takes packets to a port.

    ``address`` is None for every address of the host.  ``what`` names the program and the
    socket, for people.
    """

    protocol: str
    port: int
    address: IPAddress | None
    what: str


class LinkAccepts:
    """A chain that is not there; hosts with Docker return another one."""

    def accepted(self) -> list[tuple[str, bool]] | None:
        """Return the links that are let through, and whether as bridges; None without a chain."""
        return None

    def add(self, link: str, *, bridged: bool) -> None:
        """Accept what comes by the link and what goes to it; between ports if bridged."""

    def remove(self, link: str, *, bridged: bool) -> None:
        """Undo ``add``; what is gone is not an error."""


class Journal(ABC):
    """A list of lines that lives as long as its namespace, and grows cheaply.

    One node has it to itself, so it takes no lock.  Lines have no line breaks.
    """

    @abstractmethod
    def read(self) -> list[str]:
        """All lines, oldest first; empty where there is no journal of this namespace."""

    @abstractmethod
    def append(self, lines: Sequence[str]) -> bool:
        """Add lines in one step; False, and nothing is done, where the journal is lost.

        The cost does not depend on how many lines there are.
        """

    @abstractmethod
    def replace(self, lines: Sequence[str]) -> None:
        """Replace all lines by these; after a crash the old lines are there, or the new ones."""


class Host(ABC):
    """One network namespace and its small records.

    ``snnet.system.host.RealHost`` is a namespace of the running kernel;
    ``snnet.FakeKernel`` is one in memory, and a backend as well.  The code that creates
    a host closes it, after its drivers.
    """

    netns: Netns
    """The namespace.  A driver changes nothing outside it."""

    owner: str
    """Role and id of the node ("cn:cn-1").  The engine puts this owner into everything
    that a driver creates: into the alias of a link, or the ``owner`` of a noun."""

    networks: tuple[IPNetwork, ...]
    """The data-centre networks of the node's configuration."""

    @abstractmethod
    def record(self, name: str) -> AbstractContextManager[dict[str, Any]]:
        """Return a small JSON document of the namespace, locked and written back on exit.

        All nodes in one namespace share it.  If the block raises, nothing is written.
        """

    def recorded(self, name: str) -> dict[str, Any]:
        """Return what such a document has, as it was written last; the caller may change it."""
        with self.record(name) as document:
            return copy.deepcopy(document)

    def lasting(self, name: str) -> AbstractContextManager[dict[str, Any]]:
        """Return such a document of the machine, for all its namespaces, which outlives a reboot.

        It is empty each time where the host has no place for it, as by default.
        """
        return nullcontext({})

    @abstractmethod
    def journal(self, name: str) -> Journal:
        """The lines kept under this name for the namespace; nothing is made before a write."""

    def listeners(self) -> Sequence[Listener]:
        """Return the sockets that listen in the namespace; a host that cannot tell has none."""
        return ()

    def docker_user(self, targets: Mapping[str, str]) -> LinkAccepts:
        """Return Docker's chain for the rules of others.

        ``targets`` has, for iptables "nft" or "legacy", the chain to enter in place of ACCEPT.
        """
        return LinkAccepts()

    @abstractmethod
    def claim(self, timeout: float, owner: str | None = None) -> AbstractContextManager[None]:
        """Keep other processes from running the same owner in the namespace.

        ``owner`` is the host's own by default.

        Waits up to ``timeout`` seconds, then raises ``Conflict`` with the pid of the
        other process.  The claim lasts until the context ends.
        """

    def check_allowed(self) -> None:
        """Raise ``Denied`` if this process may not change the namespace.  By default it may."""
        return

    @abstractmethod
    def close(self) -> None:
        """Close descriptors.  May be called again."""
