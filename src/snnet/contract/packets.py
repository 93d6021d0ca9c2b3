"""Packets between a host and others that a node cannot do without."""

from __future__ import annotations

from dataclasses import dataclass

from .noun import IPAddress


@dataclass(frozen=True, slots=True, kw_only=True)
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

    def __str__(self) -> str:
        port = self.target_port if self.incoming else self.source_port or self.target_port
        of = self.protocol if port is None else f"{self.protocol}/{port}"
        way, other = ("from", self.source) if self.incoming else ("to", self.target)
        if other is None or self.bridged:
            return f"{self.what} ({of}) {way} {self.link}"
        return f"{self.what} ({of}) {way} {other} by {self.link}"
