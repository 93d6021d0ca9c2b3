"""What a suite needs to know of the place it runs in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from types import TracebackType
from typing import Self

from snnet.contract import Driver, IPAddress

from .places import Place

HOSTILE = ("vlan 0", "two tags", "snap", "fragment", "options", "other arp")
"""Answers of DHCP servers in wrappings, and ARP that speaks for another address."""

HONEST = ("rarp", "igmp", "igmp without address", "gratuitous arp", "gratuitous arp reply")
"""What guests send that is no packet of a connection."""

CRAFTED = (*HOSTILE, *HONEST)


@dataclass(frozen=True, slots=True)
class Answer:
    """Who answered, and the address that the question seemed to him to come from."""

    by: Place
    source: IPAddress


class Conversation(ABC):
    """One UDP socket and whom it talks to: all its questions are one flow."""

    @abstractmethod
    def ask(self) -> Answer | None:
        """Send one more question; what came back, or None."""


class Rig(ABC):
    """The world of :mod:`snnet.conformance.places`, with a driver open on its hub.

    Probes try once and tell what happened within a fraction of a second; the
    suites repeat those that must succeed.  A context manager: closing it takes
    down all it made.
    """

    owner: str
    driver: Driver
    """Open on the hub, for ``owner``."""
    strange_frames: bool = True
    """Whether its wires carry frames that are neither ARP nor IP."""
    reflects: bool = True
    """Whether a guest can reach itself by way of its bridge.

    Not where br_netfilter translates what is bridged: the frame would have to leave
    by the port it came in by, which only a port in hairpin mode does (bridge(8)).
    """

    shows_bridged: bool = False
    """Whether bridged IPv4 packets are shown to IP's hooks (br_netfilter)."""

    @abstractmethod
    def another(self, owner: str | None = None) -> Driver:
        """One more driver on the hub, for this owner (by default the rig's own)."""

    # -- probes ------------------------------------------------------------------------

    @abstractmethod
    def ping(self, source: Place, address: IPAddress) -> bool:
        """Whether an echo request to the address was answered (RFC 792, RFC 4443)."""

    @abstractmethod
    def connect(self, source: Place, address: IPAddress, protocol: str, port: int) -> Answer | None:
        """Ask for a connection (UDP: send a question), always from a port not used before.

        Over IPv6, UDP alone.
        """

    @abstractmethod
    def converse(self, source: Place, address: IPv4Address, port: int) -> Conversation:
        """Begin a UDP flow; it ends with ``reset()``."""

    @abstractmethod
    def forge(
        self,
        source: Place,
        target: Place,
        *,
        address: IPv4Address | None = None,
        mac: str | None = None,
    ) -> bool:
        """Whether an echo request got there that says it comes from ``address`` and ``mac``.

        By default it says the truth.  Nobody is asked for a MAC first.  To the
        hub it goes to the sender's gateway.
        """

    @abstractmethod
    def arp(
        self,
        source: Place,
        hearer: Place,
        *,
        address: IPv4Address | None = None,
        mac: str | None = None,
    ) -> bool:
        """Whether an ARP request of ``source`` was heard by somebody on its bridge.

        It is a broadcast; ``address`` and ``mac`` are what its body gives as
        the sender's (RFC 826), the frame itself tells the truth.
        """

    @abstractmethod
    def dhcp(self, source: Place, hearer: Place, *, server: bool, mac: str | None = None) -> bool:
        """Whether a broadcast DHCP message of ``source`` was heard by somebody on its bridge.

        A server's answer comes from its own address and port 67, a client's
        request from 0.0.0.0 and port 68 (RFC 2131, 4.1).  It is about ``mac``, by
        default the source's own.
        """

    @abstractmethod
    def crafted(self, source: Place, hearer: Place, kind: str) -> bool:
        """Whether a frame of a kind of ``CRAFTED`` was heard by somebody on the bridge."""

    @abstractmethod
    def learns(self, source: Place, address: IPv4Address, mac: str | None = None) -> bool:
        """Whether the hub believes an ARP request for its address that says it is from there."""

    @abstractmethod
    def strange(self, source: Place, hearer: Place) -> bool:
        """Whether a broadcast frame that is neither ARP nor IP was heard on the bridge."""

    @abstractmethod
    def tracks(self, source: Place, target: Place) -> bool:
        """Whether an echo request, sent as by ``forge``, makes the hub track a connection."""

    @abstractmethod
    def delivers(self, source: Place, target: Place, port: int) -> bool:
        """Whether a UDP datagram to this port, where nobody listens, arrived at the target."""

    @abstractmethod
    def gre(self, source: Place, key: int) -> bool:
        """Whether a GRE packet with this key, sent to the source's gateway, got to the hub."""

    @abstractmethod
    def resolve(self, source: Place, address: IPv4Address) -> bool:
        """Whether anybody answered an ARP request for the address."""

    # -- the hub -----------------------------------------------------------------------

    @abstractmethod
    def add_address(self, link: str, address: IPv4Interface) -> None:
        """Give the hub one more address, until ``reset()``."""

    @abstractmethod
    def ruleset(self) -> str:
        """All rules on the hub, whoever made them, as text that compares."""

    @abstractmethod
    def stranger(self) -> AbstractContextManager[Callable[[], str]]:
        """Have somebody else's rules on the hub; what is yielded reads them, as text."""

    @abstractmethod
    def reset(self) -> None:
        """End conversations and take back addresses; rules are the driver's to remove."""

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
