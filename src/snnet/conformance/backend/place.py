"""What the backend suite needs to know about the host it works on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from ipaddress import IPv4Interface, IPv6Interface
from types import TracebackType
from typing import Self

from snnet.contract import Driver

UPLINK = "eth0"
ADDRESS = IPv4Interface("192.0.2.11/24")
ADDRESS6 = IPv6Interface("2001:db8::11/64")


class Place(ABC):
    """A host with a driver open on it, which other programs change too.

    It has a loopback and ``UPLINK``: a foreign veth that is up, has a carrier, and has
    ``ADDRESS`` and ``ADDRESS6``.  The methods act and look without the driver's
    knowledge.  A place is a context manager; closing it removes everything.
    """

    owner: str
    driver: Driver
    """Open on the host, for ``owner``."""
    link_locals: bool = True
    """Whether links get IPv6 link-local addresses by themselves (RFC 4862, 5.3)."""
    survives_forks: bool = True
    """Whether a forked child works on this host, not on a copy of it."""

    @abstractmethod
    def another(self) -> AbstractContextManager[Driver]:
        """Open one more driver for the same owner; it is closed at the end of the context."""

    # -- from outside ------------------------------------------------------------------

    @abstractmethod
    def make_bridge(self, name: str, *, alias: str = "", group: int = 0) -> None:
        """Make a bridge."""

    @abstractmethod
    def make_other(self, name: str, kind: str) -> None:
        """Make a link of a kind that snnet only reads.

        The kinds are "ifb", "tun", "macvlan" (on ``UPLINK``) and "vxlan" (with ``external``).
        """

    def ip(self, command: str) -> bool:
        """Run ``ip`` with these words on the host, or return False (the default).

        Tests that need it end as expected failures where there is no ``ip``.
        """
        return False

    @abstractmethod
    def delete_link(self, name: str) -> None:
        """Delete a link, ours or foreign."""

    @abstractmethod
    def mark_link(self, name: str, *, alias: str, group: int) -> None:
        """Give a link this alias and this link group, ours or foreign."""

    @abstractmethod
    def move_veth(self, name: str) -> None:
        """Move this end of a veth to another host; the other end stays."""

    # -- the witness -------------------------------------------------------------------

    @abstractmethod
    def names(self) -> set[str]:
        """Return the names of all links."""

    @abstractmethod
    def link_local_addresses(self, name: str) -> list[str]:
        """Return the IPv6 link-local addresses of the link."""

    @abstractmethod
    def setting(self, name: str) -> str:
        """Return a kernel parameter, named as in sysctl(8): a slash is a dot in a link's name."""

    def description(self, name: str) -> str | None:
        """Return what ``ip -details link show`` prints; None where there is no ``ip``."""
        return None

    def open_tap(self, name: str, *, vnet_header: bool) -> bool:
        """Open the tap's only queue as a VM does, and close it; False where this cannot be done."""
        return False

    def tap_of(self, fd: int) -> str | None:
        """Return the tap that the descriptor is a queue of; None where that is unknown."""
        return None

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
