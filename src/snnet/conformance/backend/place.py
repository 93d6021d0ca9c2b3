"""What the backend suite needs to know of the host it works on."""

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
    """A host with a driver open on it, and a stranger who works there as well.

    Besides its loopback it has ``UPLINK``: a veth that is the stranger's, up and with
    a carrier, with ``ADDRESS`` and ``ADDRESS6``.  What the methods do or tell, they do
    behind the driver's back.  A context manager: closing it takes down all there is.
    """

    owner: str
    driver: Driver
    """Open on the host, for ``owner``."""
    link_locals: bool = True
    """Whether links get IPv6 link-local addresses by themselves here (RFC 4862, 5.3)."""
    survives_forks: bool = True
    """Whether what a forked child does is done to this host, not to a copy of it."""

    @abstractmethod
    def another(self) -> AbstractContextManager[Driver]:
        """One more driver on the host, for the same owner; closed at the end of the context."""

    # -- the stranger ------------------------------------------------------------------

    @abstractmethod
    def make_bridge(self, name: str, *, alias: str = "", group: int = 0) -> None:
        """Make a bridge."""

    @abstractmethod
    def make_other(self, name: str, kind: str) -> None:
        """Make a link of a kind that snnet only reads: "ifb", "tun", "macvlan" on ``UPLINK``,
        or "vxlan" with ``external``."""

    def ip(self, command: str) -> bool:
        """Run ``ip`` with these words on the host; False where there is no ``ip`` (the default).

        Tests that need it end as expected failures there.
        """
        return False

    @abstractmethod
    def delete_link(self, name: str) -> None:
        """Delete a link, whosever it is."""

    @abstractmethod
    def mark_link(self, name: str, *, alias: str, group: int) -> None:
        """Give a link this alias and this link group, whosever it is."""

    @abstractmethod
    def move_veth(self, name: str) -> None:
        """Take this end of a veth to another host; the other one stays."""

    # -- the witness -------------------------------------------------------------------

    @abstractmethod
    def names(self) -> set[str]:
        """The names of all links there are."""

    @abstractmethod
    def link_local_addresses(self, name: str) -> list[str]:
        """The IPv6 link-local addresses of the link."""

    @abstractmethod
    def setting(self, name: str) -> str:
        """A kernel parameter, named as in sysctl(8): a slash is a dot in a link's name."""

    def description(self, name: str) -> str | None:
        """All that ``ip -details link show`` says of the link; None where there is no ``ip``."""
        return None

    def open_tap(self, name: str, *, vnet_header: bool) -> bool:
        """Open the tap's only queue as a VM does, and close it; False: cannot be done here."""
        return False

    def tap_of(self, fd: int) -> str | None:
        """The tap that the descriptor is a queue of, with a vnet header; None: cannot be told."""
        return None

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
