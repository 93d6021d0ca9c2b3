"""What the DHCP suite needs to know about the network it runs on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from types import TracebackType
from typing import Self

from snnet.contract import Driver, addresses

PATIENT = 5
"""How often a guest asks when it must get a lease."""


@dataclass(frozen=True, slots=True)
class Lease:
    """What a guest was given; ``mtu`` in bytes (option 26 of RFC 2132)."""

    address: IPv4Interface
    router: IPv4Address
    mtu: int


class Lan(ABC):
    """A host with bridges, guests on their ports, and a DHCP driver open on the host.

    A context manager; closing it removes everything, DHCP servers included.
    """

    owner: str
    driver: Driver
    """Open on the host, for ``owner``."""

    @abstractmethod
    def another(self) -> AbstractContextManager[Driver]:
        """Open one more driver for the same owner; it is closed at the end of the context."""

    @abstractmethod
    def add_bridge(self, name: str, *gateways: IPv4Interface) -> None:
        """Add a bridge with these addresses to the host, and set it up."""

    @abstractmethod
    def remove_bridge(self, name: str) -> None:
        """Delete the bridge; its guests stay disconnected."""

    @abstractmethod
    def lease(self, bridge: str, mac: str, tries: int = PATIENT) -> Lease | None:
        """Return the lease that the guest with this MAC gets on the bridge, or None.

        The same bridge and MAC are the same guest.  It asks ``tries`` times, a second apart.
        """

    @abstractmethod
    def residue(self) -> list[str]:
        """List the processes, files and objects of the driver that are on the host now."""

    @abstractmethod
    def close(self) -> None:
        """Remove everything; may be repeated."""

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
    """Return the address that the bridge of a scope must have: the first host address."""
    return IPv4Interface((addresses.gateway_of(subnet), subnet.prefixlen))
