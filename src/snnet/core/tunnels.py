"""How snnet uses each kind of tunnel: one descriptor a kind.

Here: the values that snnet chooses.  Not here: what is true of a kind in general
(header, key, identity); its noun in ``snnet.contract.tunnels`` has that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from snnet.config import shown
from snnet.contract import (
    Conflict,
    Geneve,
    Gre,
    Gretap,
    InvalidRequest,
    IPAddress,
    Tunnel,
    Vxlan,
)
from snnet.contract.tunnels import GENEVE_PORT

VXLAN_PORTS, VXLAN_PORT_MASK = 16384, 0x3FFF

Wire = tuple[object, ...]
"""What the kernel identifies a tunnel by; two tunnels of a host never share it."""


@dataclass(frozen=True, slots=True)
class TunnelKind:
    """One value of ``NetworkConfig.tunnel``."""

    noun: type[Tunnel]
    """The point-to-point tunnel that joins the bridges of a subnet on two nodes."""
    port: Callable[[IPAddress, IPAddress], int] | None = None
    """The UDP port for the addresses of the two nodes, where it is carried in UDP."""
    mesh: type[Gre] | type[Vxlan] = Vxlan
    """What the concentrators of a tenant are joined by, over IPv4."""

    @property
    def name(self) -> str:
        return self.noun.protocol


def vxlan_port(local: IPAddress, remote: IPAddress) -> int:
    """The UDP port of the pair of nodes, the same at both ends.

    The kernel refuses two devices with one VNI and port whatever the remote
    (vxlan_vni_in_use, drivers/net/vxlan/vxlan_core.c), so each pair has its own.
    """
    return VXLAN_PORTS + ((int(local) ^ int(remote)) & VXLAN_PORT_MASK)


KINDS: dict[str, TunnelKind] = {
    kind.name: kind
    for kind in (
        TunnelKind(Gretap, mesh=Gre),
        TunnelKind(Vxlan, port=vxlan_port),
        TunnelKind(Geneve, port=lambda local, remote: GENEVE_PORT),
    )
}
"""The descriptors by what ``NetworkConfig.tunnel`` calls them."""


def overhead(tunnel: str, version: int) -> int:
    """Bytes that a tunnel over IPv4 or IPv6 takes from the uplink's MTU."""
    return KINDS[tunnel].noun.overhead(version)


def check_key(tunnel: str, key: int, field: str = "subnet_key") -> int:
    """A key that the tunnel's header can carry; 0 means "no key" and is refused."""
    bits = KINDS[tunnel].noun.key_bits
    if not 1 <= key < 2**bits:
        raise InvalidRequest(
            f"{shown(key)} does not fit a {tunnel} key: give 1 to {2**bits - 1}", field=field
        )
    return key


def tunnel_link(
    tunnel: str,
    *,
    name: str,
    key: int,
    local: IPAddress,
    remote: IPAddress,
    alias: str = "",
    master: str | None = None,
    mac: str | None = None,
    mtu: int | None = None,
) -> Tunnel:
    """The point-to-point tunnel between two nodes for one subnet."""
    kind = KINDS[tunnel]
    own: dict[str, Any] = {kind.noun.key_field: key}
    if kind.noun.has_local:
        own["local"] = local
    if kind.port is not None:
        own["port"] = kind.port(local, remote)
    return kind.noun(
        name=name, alias=alias, remote=remote, master=master, mac=mac, mtu=mtu, **own
    )  # fmt: skip


def mesh_noun(tunnel: str, version: int) -> type[Gre] | type[Vxlan]:
    """What joins concentrators over IPv4 or IPv6 (no kernel has multipoint gre over IPv6)."""
    return KINDS[tunnel].mesh if version == 4 else Vxlan


def wire(tunnel: str, key: int, local: IPAddress, remote: IPAddress) -> Wire:
    """The ``wire_identity`` that the tunnel between two nodes will have."""
    kind = KINDS[tunnel]
    port = kind.port(local, remote) if kind.port else 0
    return kind.noun.identity(key, local if kind.noun.has_local else None, remote, port)


def collision(remote: IPAddress, key: int, old: Tunnel, owner_of_old: str) -> Conflict:
    """The error for a new tunnel that has the wire of an old one."""
    return Conflict(
        f"tunnel {old.kind} to {remote} with key {key} collides with "
        f"{old.name} to {old.remote} with key {old.wire_key} ({owner_of_old}): "
        "choose another subnet key"
    )
