"""Firewall rules as intents.  A driver decides how they are written."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import ClassVar

from .noun import Key, Owned


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeAccept(Owned):
    """Frames between the ports of ``bridge`` pass the host's firewall."""

    rank: ClassVar[int] = 15

    bridge: str

    @property
    def key(self) -> Key:
        return ("bridge-accept", self.bridge)

    def __str__(self) -> str:
        return f"accept through bridge {self.bridge}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Masquerade(Owned):
    """What leaves by ``device`` takes its address (source NAT)."""

    rank: ClassVar[int] = 60

    device: str

    @property
    def key(self) -> Key:
        return ("masquerade", self.owner, self.device)

    def __str__(self) -> str:
        return f"masquerade on {self.device}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalForward(Owned):
    """From ``bridge`` out of ``device``; back only established and related."""

    rank: ClassVar[int] = 61

    device: str
    bridge: str

    @property
    def key(self) -> Key:
        return ("external-forward", self.device, self.bridge)

    def __str__(self) -> str:
        return f"forward {self.bridge} to {self.device}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PortForward(Owned):
    """``protocol`` ``port`` on ``device`` goes to ``target``:``target_port``."""

    rank: ClassVar[int] = 62

    protocol: str
    device: str
    port: int
    target: IPv4Address
    target_port: int

    @property
    def key(self) -> Key:
        return ("port-forward", self.protocol, self.device, str(self.port))

    def __str__(self) -> str:
        return (
            f"port {self.protocol}/{self.port} on {self.device} to {self.target}:{self.target_port}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicIp(Owned):
    """``public`` on ``device`` is ``internal``, one to one, both ways."""

    # Before its address: a process killed in between leaves the rule, which tells of both.
    rank: ClassVar[int] = 25

    public: IPv4Address
    internal: IPv4Address
    device: str

    @property
    def key(self) -> Key:
        return ("public-ip", str(self.public))

    def __str__(self) -> str:
        return f"public address {self.public} on {self.device} for {self.internal}"
