"""Zones, and what may cross their borders; :mod:`snnet.contract.rules` says what the rules mean."""

from __future__ import annotations

from typing import ClassVar

from .frozen import frozen
from .noun import IPAddress, IPNetwork, Key, Owned, in_order

TUNNEL_PORTS = ((4789, 4789), (6081, 6081), (16384, 32767))
"""Ranges of UDP ports, first and last, that tunnels of snnet use: vxlan of the mesh (RFC 7348),
geneve (RFC 8926), and vxlan between two nodes."""


@frozen()
class Zone(Owned):
    """Links that reach each other, and nothing else unless a rule allows it.

    ``networks`` are the networks of members behind other nodes: they may open
    connections into the zone from any link.  With ``outbound``, members may open
    connections to everything that is not in a zone.
    """

    rank: ClassVar[int] = 12
    changeable: ClassVar[frozenset[str]] = frozenset({"networks"})

    zone: str
    networks: tuple[IPNetwork, ...] = ()
    """Given in any order, kept sorted."""
    outbound: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "networks", in_order(self.networks))

    def make_key(self) -> Key:
        return ("zone", self.owner, self.zone)

    def __str__(self) -> str:
        networks = "".join(f" {network}" for network in self.networks)
        outbound = " outbound" if self.outbound else ""
        return f"zone {self.zone}{outbound}{' of' if networks else ''}{networks}"


@frozen()
class ProtectedNetwork(Owned):
    """Members of zones cannot open connections out of their zone to tunnels in ``network``.

    Tunnels are the UDP ports ``TUNNEL_PORTS`` and ``port``, and GRE.  ``closed``: members can open
    no connection to the network at all.  Networks of one owner must not overlap.
    """

    rank: ClassVar[int] = 13

    network: IPNetwork
    closed: bool = True
    port: int | None = None

    def make_key(self) -> Key:
        return ("protected-network", self.owner, str(self.network))

    def __str__(self) -> str:
        what = f" tunnels{f' and udp/{self.port}' if self.port else ''} in"
        return f"zones keep away from{'' if self.closed else what} {self.network}"


@frozen()
class ZoneLink(Owned):
    """``link`` is in the zone, which must exist.  A link is in at most one zone.

    ``networks`` are those behind the link.
    """

    rank: ClassVar[int] = 14

    link: str
    zone: str
    networks: tuple[IPNetwork, ...] = ()

    def make_key(self) -> Key:
        return ("zone-link", self.owner, self.link)

    def __str__(self) -> str:
        networks = f" with {' '.join(map(str, self.networks))}" if self.networks else ""
        return f"zone {self.zone} link {self.link}{networks}"


@frozen()
class BridgeAccept(Owned):
    """Frames between the ports of ``bridge`` pass; nothing is routed from or to it."""

    rank: ClassVar[int] = 15

    bridge: str

    def make_key(self) -> Key:
        return ("bridge-accept", self.owner, self.bridge)

    def __str__(self) -> str:
        return f"accept through bridge {self.bridge}"


@frozen()
class OpenAddress(Owned):
    """``address`` is behind a link of a zone, and everybody may open connections to it."""

    rank: ClassVar[int] = 19

    address: IPAddress

    def make_key(self) -> Key:
        return ("open-address", self.owner, str(self.address))

    def __str__(self) -> str:
        return f"let everybody reach {self.address}"


@frozen()
class ExternalForward(Owned):
    """Guests on ``bridge`` may open connections by ``device``, which has a ``Masquerade``."""

    rank: ClassVar[int] = 61

    device: str
    bridge: str

    def make_key(self) -> Key:
        return ("external-forward", self.owner, self.device, self.bridge)

    def __str__(self) -> str:
        return f"forward {self.bridge} to {self.device}"
