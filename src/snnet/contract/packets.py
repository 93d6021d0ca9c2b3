"""Packets between a host and others that a node cannot do without."""

from __future__ import annotations

from .frozen import frozen
from .noun import IPAddress


@frozen()
class HostPacket:
    """A kind of packet for the host itself, or from it; None stands for any value."""

    what: str
    """What it is to people: "DHCP requests"."""
    incoming: bool
    link: str
    """By which it comes or leaves."""
    protocol: str
    """"udp" or "gre"."""
    source: IPAddress | None = None
    target: IPAddress | None = None
    source_port: int | None = None
    target_port: int | None = None
    broadcast: bool = False
    """Whether its target is a broadcast address."""
    bridged: bool = False
    """Whether ``link`` is a bridge."""
    version: int = 4
    untracked: bool = False
    """Whether rules of snnet keep conntrack from it: its state is ``untracked``, not ``new``."""

    def __str__(self) -> str:
        port = self.target_port if self.incoming else self.source_port or self.target_port
        of = self.protocol if port is None else f"{self.protocol}/{port}"
        way, other = ("from", self.source) if self.incoming else ("to", self.target)
        if other is None or self.bridged:
            return f"{self.what} ({of}) {way} {self.link}"
        return f"{self.what} ({of}) {way} {other} by {self.link}"


@frozen()
class Announcement:
    """An address is reached by ``link`` from now on, and has this MAC (None: the link's own)."""

    link: str
    address: IPAddress
    mac: str | None = None
    elsewhere: str | None = None
    """A port of the bridge ``link`` behind which the MAC may have been, and no longer is."""
    renew: bool = False
    """Whether the bridge ``link`` must learn again where all MACs and addresses are."""

    def __str__(self) -> str:
        mac = f" with {self.mac}" if self.mac else ""
        return f"{self.address}{mac} by {self.link}"


@frozen()
class Dropped:
    """Packets that rules of a node dropped: how many, why, and by which link they came.

    Packets on their way to guests count for the link by which they would have left.
    ``since`` is when the first of them was dropped (Unix time, seconds), None if nobody knows.
    """

    link: str
    why: str
    packets: int
    since: float | None = None
