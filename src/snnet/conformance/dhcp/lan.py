"""What the DHCP suite needs to know of the network it works on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from types import TracebackType
from typing import Self

from snnet.contract import Driver

PATIENT = 5
"""Times that a guest asks who must get a lease."""


@dataclass(frozen=True, slots=True)
class Lease:
    """What a guest was given; ``mtu`` in bytes (option 26 of RFC 2132)."""

    address: IPv4Interface
    router: IPv4Address
    mtu: int


class Lan(ABC):
    """A host with bridges, guests on their ports, and a DHCP driver open on the host.

    A context manager: closing it takes down all there is, servers too.
    """

    owner: str
    driver: Driver
    """Open on the host, for ``owner``."""

    @abstractmethod
    def another(self) -> AbstractContextManager[Driver]:
        """One more driver on the host, for the same owner; closed at the end of the context."""

    @abstractmethod
    def add_bridge(self, name: str, *gateways: IPv4Interface) -> None:
        """A bridge of the host, up, with these addresses."""

    @abstractmethod
    def remove_bridge(self, name: str) -> None:
        """Delete it; its guests are cut off for good."""

    @abstractmethod
    def lease(self, bridge: str, mac: str, tries: int = PATIENT) -> Lease | None:
        """What the guest with this MAC gets on the bridge, or None where nobody answers.

        The same guest each time.  It asks so many times, a second apart.
        """

    @abstractmethod
    def residue(self) -> list[str]:
        """Processes, files and objects of the driver's that are on the host now."""

    @abstractmethod
    def close(self) -> None:
        """Take everything down; may be repeated."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def gateway_of(subnet: IPv4Network) -> IPv4Interface:
    """The address that the bridge of a scope must have: the first host's."""
    return IPv4Interface((subnet.network_address + 1, subnet.prefixlen))
