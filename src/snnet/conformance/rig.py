"""What the firewall suite needs to know about the host it runs on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from ipaddress import IPv4Address
from types import TracebackType
from typing import Self

from snnet.contract import Driver, IPAddress, IPInterface

from .endpoints import Endpoint

HOSTILE = ("vlan 0", "two tags", "snap", "fragment", "options", "other port", "other arp")
"""Kinds of frames: wrapped answers of DHCP servers, and ARP for another address."""

HONEST = ("rarp", "igmp", "igmp without address", "gratuitous arp", "gratuitous arp reply")
"""Kinds of frames that honest guests send outside connections."""

CRAFTED = (*HOSTILE, *HONEST)


@dataclass(frozen=True, slots=True)
class Answer:
    """The endpoint that answered, and the source address that it saw."""

    by: Endpoint
    source: IPAddress


class Conversation(ABC):
    """One UDP socket with one target: all its questions are one flow."""

    @abstractmethod
    def ask(self) -> Answer | None:
        """Send one more question.  Return the answer, or None if none arrived."""


class Rig(ABC):
    """The network of :mod:`snnet.conformance.endpoints`, with a driver open on its hub.

    A probe tries once and returns within a fraction of a second.  The suite repeats
    probes that must succeed.  A rig is a context manager; closing it removes everything
    that it made.
    """

    owner: str
    driver: Driver
    """Open on the hub, for ``owner``."""
    strange_frames: bool = True
    """Whether the wires carry frames that are neither ARP nor IP."""
    not_said: tuple[str, ...] = ()
    """IPv6 messages that the wires do not carry."""
    fragments: bool = True
    """Whether packets that are longer than the MTU travel in fragments."""
    reflects: bool = True
    """Whether a guest can reach itself through its own bridge.

    False where br_netfilter translates bridged packets: the frame would have to leave by
    the port it arrived on, and only a port in hairpin mode allows that (bridge(8)).
    """

    shows_bridged: bool = False
    """Whether br_netfilter passes bridged IPv4 packets to the IP hooks."""

    @abstractmethod
    def another(self, owner: str | None = None) -> Driver:
        """Open one more driver on the hub, for ``owner`` (by default the owner of the rig)."""

    # -- probes ------------------------------------------------------------------------

    @abstractmethod
    def ping(self, source: Endpoint, address: IPAddress, *, size: int = 16) -> bool:
        """Whether an echo request to the address is answered (RFC 792, RFC 4443).

        ``size`` is that of its data, at least 16 bytes.
        """

    @abstractmethod
    def connect(
        self, source: Endpoint, address: IPAddress, protocol: str, port: int
    ) -> Answer | None:
        """Open a connection (UDP: send a question) from a source port that is new each time.

        Return the answer, or None.
        """

    @abstractmethod
    def converse(self, source: Endpoint, address: IPAddress, port: int) -> Conversation:
        """Start a UDP flow.  It ends with ``reset()``."""

    @abstractmethod
    def forge(
        self,
        source: Endpoint,
        target: Endpoint,
        *,
        address: IPAddress | None = None,
        mac: str | None = None,
        to: str | None = None,
        reply: bool = False,
    ) -> bool:
        """Whether an echo request with this source address and source MAC arrives.

        With ``reply`` it is an echo reply that nobody asked for.  By default both addresses
        are the real ones, of IPv4; with an IPv6 ``address`` it is an IPv6 packet.  No ARP
        request is sent first.  A frame to the hub goes to the gateway of the sender, with its
        MAC or with ``to``.
        """

    @abstractmethod
    def arp(
        self,
        source: Endpoint,
        hearer: Endpoint,
        *,
        address: IPv4Address | None = None,
        mac: str | None = None,
    ) -> bool:
        """Whether another endpoint on the bridge receives an ARP request of ``source``.

        The request is a broadcast.  ``address`` and ``mac`` are the sender's values in its
        body (RFC 826); the frame itself has the real MAC.
        """

    @abstractmethod
    def dhcp(
        self, source: Endpoint, hearer: Endpoint, *, server: bool, mac: str | None = None
    ) -> bool:
        """Whether another endpoint on the bridge receives a DHCP broadcast of ``source``.

        A server's answer has the sender's own address and port 67; a client's request has
        0.0.0.0 and port 68 (RFC 2131, 4.1).  The message is about ``mac``, by default the
        sender's own.
        """

    @abstractmethod
    def crafted(self, source: Endpoint, hearer: Endpoint, kind: str) -> bool:
        """Whether a frame of one of the kinds ``CRAFTED`` reaches ``hearer`` on the bridge."""

    @abstractmethod
    def says(self, source: Endpoint, hearer: Endpoint, kind: str) -> bool:
        """Whether an IPv6 message of one of the kinds ``MESSAGES`` reaches ``hearer``.

        Both endpoints are on one bridge.
        """

    @abstractmethod
    def learns(self, source: Endpoint, address: IPAddress, mac: str | None = None) -> bool:
        """Whether the hub learns ``address`` from a request that claims to be from it.

        ``source`` sends the ARP request or neighbour solicitation, with ``mac`` or its own MAC
        as the sender's.
        """

    @abstractmethod
    def strange(self, source: Endpoint, hearer: Endpoint) -> bool:
        """Whether a broadcast that is neither ARP nor IP reaches ``hearer`` on the bridge."""

    @abstractmethod
    def tracks(self, source: Endpoint, target: Endpoint) -> bool:
        """Whether the hub tracks a connection for an echo request sent as by ``forge``."""

    @abstractmethod
    def delivers(self, source: Endpoint, target: Endpoint, port: int, *, version: int = 4) -> bool:
        """Whether a UDP datagram to a port without a listener reaches ``target``.

        ``version`` is that of IP.
        """

    @abstractmethod
    def gre(self, source: Endpoint, key: int) -> bool:
        """Whether a GRE packet with this key to the gateway of ``source`` reaches the hub."""

    @abstractmethod
    def resolve(self, source: Endpoint, address: IPAddress) -> bool:
        """Whether an ARP request, or a neighbour solicitation, for the address is answered."""

    # -- the hub -----------------------------------------------------------------------

    @abstractmethod
    def add_address(self, link: str, address: IPInterface) -> None:
        """Give the hub one more address, until ``reset()``."""

    @abstractmethod
    def ruleset(self) -> str:
        """Return all rules on the hub, ours and foreign ones, as text for comparison."""

    @abstractmethod
    def foreign_rules(self) -> AbstractContextManager[Callable[[], str]]:
        """Install foreign rules on the hub for the context; yield a function that reads them."""

    @abstractmethod
    def reset(self) -> None:
        """End conversations and remove added addresses.  Rules stay: the driver removes them."""

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
