"""Address translation: masquerading, port forwards and public addresses.

:mod:`snnet.contract.rules` says what the rules mean.
"""

from __future__ import annotations

from typing import ClassVar

from .frozen import frozen
from .noun import IPAddress, IPNetwork, Key, Owned, in_order

PROTOCOLS = ("tcp", "udp", "sctp")
"""The protocols with ports."""


@frozen()
class Masquerade(Owned):
    """Packets that leave by ``device`` get an address of the device (source NAT).

    IPv6 packets get one only with ``nat66``; without it they keep their source.
    """

    rank: ClassVar[int] = 60

    device: str
    nat66: bool = False

    def make_key(self) -> Key:
        return ("masquerade", self.owner, self.device)

    def __str__(self) -> str:
        return f"masquerade{' of IPv6 too' if self.nat66 else ''} on {self.device}"


@frozen()
class TranslatedSource(Owned):
    """Packets from ``source`` that leave by a link of no zone get an address of that link."""

    rank: ClassVar[int] = 18

    source: IPAddress

    def make_key(self) -> Key:
        return ("translated-source", self.owner, str(self.source))

    def __str__(self) -> str:
        return f"translate the source {self.source}"


@frozen()
class PortForward(Owned):
    """``protocol`` ``port`` on ``device`` goes to ``target``:``target_port``.

    ``address`` is the address of the host that packets have to be for; None stands for
    any of the target's family.  Forwards of one port to different addresses, and of both
    families, exist side by side.  ``addresses`` are the device's, by which guests reach a
    forward without an ``address``.
    """

    rank: ClassVar[int] = 62

    protocol: str
    device: str
    port: int
    target: IPAddress
    target_port: int
    addresses: tuple[IPAddress, ...] = ()
    address: IPAddress | None = None
    sources: tuple[IPNetwork, ...] = ()
    """Networks whose hosts may use it, sorted; none: everybody may."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", in_order(self.sources))

    def make_key(self) -> Key:
        return forward_key(
            self.owner,
            self.protocol,
            self.device,
            self.port,
            self.address,
            version=self.target.version,
        )

    @property
    def guest_addresses(self) -> tuple[IPAddress, ...]:
        """The addresses by which guests reach it, each once."""
        if self.address:
            return (self.address,)
        version = self.target.version
        return tuple(dict.fromkeys(ip for ip in self.addresses if ip.version == version))

    def admits(self, source: IPAddress) -> bool:
        """Whether a host with this address may use it."""
        return not self.sources or any(source in network for network in self.sources)

    def fault(self) -> str | None:
        """Why no driver can carry it: a reason for EINVAL; None if one can."""
        if self.protocol not in PROTOCOLS:
            return f"protocol {self.protocol!r} has no ports"
        for port in (self.port, self.target_port):
            if not 0 < port < 2**16:
                return f"{port} is not a port from 1 to 65535"
        if self.address is not None:
            if self.address.is_unspecified:
                return f"{self.address} is not the address of a host"
            if self.address.version != self.target.version:
                return f"packets to {self.address} cannot go to {self.target}"
        for network in self.sources:
            if network.version != self.target.version:
                return f"hosts of {network} cannot reach {self.target}"
        return None

    def __str__(self) -> str:
        at = f" at {self.address}" if self.address else ""
        only = f" for {' '.join(map(str, self.sources))}" if self.sources else ""
        to = with_port(self.target, self.target_port)
        return f"port {self.protocol}/{self.port} on {self.device}{at} to {to}{only}"


@frozen()
class PublicIp(Owned):
    """``public`` on ``device`` stands for ``internal``, one to one, in both directions."""

    # Added before its address: if the process is killed in between, the rule names both.
    rank: ClassVar[int] = 25

    public: IPAddress
    internal: IPAddress
    device: str
    gateway: IPAddress | None = None
    """The router by which its packets leave; None: that of the host's routes."""

    def make_key(self) -> Key:
        return ("public-ip", self.owner, str(self.public))

    def fault(self) -> str | None:
        """Why no driver can carry it: a reason for EINVAL; None if one can."""
        if self.public.version != self.internal.version:
            return f"{self.public} cannot stand for {self.internal}"
        return None

    def __str__(self) -> str:
        by = f" by {self.gateway}" if self.gateway else ""
        return f"public address {self.public} on {self.device} for {self.internal}{by}"


def forward_key(
    owner: str,
    protocol: str,
    device: str,
    port: int,
    address: IPAddress | None = None,
    *,
    version: int = 4,
) -> Key:
    """Return the key of a ``PortForward`` of this port, for one address or for any.

    ``version`` is the family of a forward for any address.
    """
    any_address = () if version == 4 else ("::",)
    at = (str(address),) if address else any_address
    return ("port-forward", owner, protocol, device, str(port), *at)


def with_port(address: IPAddress, port: int) -> str:
    """Return address and port as text: an IPv6 address is in brackets (RFC 3986)."""
    return f"{address}:{port}" if address.version == 4 else f"[{address}]:{port}"
