"""The site of a node: its owner, uplink, mode and tunnels."""

from __future__ import annotations

from dataclasses import dataclass, field

from snnet.contract import IPAddress, IPNetwork

from .events import Sequence
from .identity import Owner
from .tunnels import overhead
from .uplinks import Uplink


@dataclass(frozen=True, slots=True)
class Site:
    """What all records of a node depend on: its owner, uplink, mode and tunnel."""

    owner: Owner
    uplink: Uplink
    tunnel: str
    mtu_cap: int | None
    macvtap_mode: str
    routed: bool = False
    local: bool = False
    """Whether one host has everything, without tunnels (topology "local")."""
    mesh: bool = False
    """Whether each subnet has one vxlan to all nodes that have a part of it (topology "mesh")."""
    hosting: bool = False
    """Whether the host may have concentrators in namespaces."""
    anti_spoofing: bool = True
    infrastructure: tuple[IPNetwork, ...] = ()
    """The compute and management networks of the data centre."""
    allowed: tuple[IPNetwork, ...] = ()
    """What of them tenants may open connections to."""
    public_gateway: IPAddress | None = None
    """The router for packets with public addresses; None: that of the host's routes."""
    port: int | None = None
    """The UDP port of the node's own tunnels, where it has a number, or is in a mesh."""
    mesh_port: int | None = None
    """The UDP port of all vxlans of the mesh that the data centre has; None: it has none."""
    foreign: tuple[str, ...] = ()
    """Links of the host that are not snnet's, and may take router advertisements."""
    sequence: Sequence | None = field(default=None, compare=False)
    """What numbers the node's events; None: they have no numbers."""
    ip: IPAddress = field(init=False)
    """The node's address on the compute network: its end of every tunnel."""
    mtu: int = field(init=False)
    """Default and upper limit of tenant MTUs, in bytes."""

    @property
    def translates(self) -> bool:
        """Whether concentrators on this host have addresses that it translates, and plugs."""
        return self.local or self.mesh

    def __post_init__(self) -> None:
        outer = 0 if self.routed or self.local else overhead(self.tunnel, self.uplink.ip.version)
        limit = self.uplink.mtu - outer
        object.__setattr__(self, "ip", self.uplink.ip)
        object.__setattr__(self, "mtu", min(limit, self.mtu_cap or limit))
