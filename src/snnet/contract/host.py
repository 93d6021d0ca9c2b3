"""What a driver works on: one network namespace, and what is kept for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from .errors import InvalidRequest
from .noun import IPNetwork


@dataclass(frozen=True, slots=True)
class Netns:
    """A network namespace, real or fake.  Equal ones are the same namespace.

    ``id`` tells namespaces that exist at the same time apart.  ``name`` is for people.
    ``fd`` is a descriptor of a real namespace (namespaces(7)), open until the host is
    closed; it is -1 where there is none.
    """

    id: str
    name: str = field(compare=False)
    fd: int = field(default=-1, compare=False)

    def descriptor_for(self, driver: str, field: str) -> int:
        """``fd``, for a driver that works on real namespaces only.

        Raises ``InvalidRequest`` for the field ("backend", "firewall" or "dhcp") where
        there is none.
        """
        if self.fd < 0:
            raise InvalidRequest(
                f"{driver} needs a network namespace of the running kernel, and this is {self}: "
                f"use {field}='fake'",
                field=field,
            )
        return self.fd

    def __str__(self) -> str:
        return self.name


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
        """Have exactly these lines: after a crash it has the old ones or the new ones."""


class Host(ABC):
    """Where a driver works: one network namespace and its small records.

    ``snnet.system.host.RealHost`` is a namespace of the running kernel;
    ``snnet.FakeKernel`` is one in memory, and a backend as well.  The creator of a host
    closes it, after its drivers.
    """

    netns: Netns
    """The namespace.  A driver changes nothing outside it."""

    owner: str
    """Role and id of the node ("cn:cn-1").  What a driver makes bears this owner, in
    the link's alias or the noun's ``owner``; the engine sees to that."""

    networks: tuple[IPNetwork, ...]
    """The data-centre networks that the node was configured with."""

    @abstractmethod
    def record(self, name: str) -> AbstractContextManager[dict[str, Any]]:
        """A small JSON document of the namespace, locked and written back on exit.

        All nodes in one namespace share it.  When the block raises, nothing
        is written.
        """

    @abstractmethod
    def journal(self, name: str) -> Journal:
        """The lines kept under this name for the namespace; nothing is made before a write."""

    @abstractmethod
    def claim(self, timeout: float) -> AbstractContextManager[None]:
        """Keep other processes from running the same owner in the namespace.

        Waits up to ``timeout`` seconds, then raises ``Conflict`` naming the pid.
        Held until the context ends.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of descriptors; may be repeated."""
