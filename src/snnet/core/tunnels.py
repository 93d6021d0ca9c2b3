"""How snnet uses each kind of tunnel: one descriptor for each.

Here are the values that snnet chooses.  What is true of a kind in general (header,
key, identity) is in its noun in ``snnet.contract.tunnels``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from snnet.checks import check_int, shown
from snnet.contract import Conflict, Geneve, Gre, Gretap, InvalidRequest, IPAddress, Tunnel, Vxlan
from snnet.contract.tunnels import GENEVE_PORT

VXLAN_PORTS, VXLAN_PORT_MASK = 16384, 0x3FFF

Wire = tuple[object, ...]
"""What identifies a tunnel to the kernel; two tunnels of a host never share it."""


@dataclass(frozen=True, slots=True)
class TunnelKind:
    """One value of ``NetworkConfig.tunnel``."""

    noun: type[Tunnel]
    """The point-to-point tunnel that joins the bridges of a subnet on two nodes."""
    port: Callable[[IPAddress, IPAddress], int] | None = None
    """The UDP port for the addresses of the two nodes, where it is carried in UDP."""
    chosen_port: bool = False
    """Whether the two nodes may agree on another port."""
    mesh: type[Gre] | type[Vxlan] = Vxlan
    """The noun that joins the concentrators of a tenant over IPv4."""

    @property
    def name(self) -> str:
        return self.noun.protocol


def vxlan_port(local: IPAddress, remote: IPAddress) -> int:
    """Return the UDP port for a pair of nodes, the same at both ends.

    The kernel refuses two devices with the same VNI and port, whatever their remotes
    (vxlan_vni_in_use, drivers/net/vxlan/vxlan_core.c), so the port depends on the pair.
    """
    return VXLAN_PORTS + ((int(local) ^ int(remote)) & VXLAN_PORT_MASK)


KINDS: dict[str, TunnelKind] = {
    kind.name: kind
    for kind in (
        TunnelKind(Gretap, mesh=Gre),
        TunnelKind(Vxlan, port=vxlan_port, chosen_port=True),
        TunnelKind(Geneve, port=lambda local, remote: GENEVE_PORT),
    )
}
"""The descriptors by the value of ``NetworkConfig.tunnel``."""


def numbered_port(tunnel: str, node_number: int | None) -> int | None:
    """The UDP port of all tunnels of a compute node with a number; None: one for each pair."""
    if node_number is None or not KINDS[tunnel].chosen_port:
        return None
    return VXLAN_PORTS + node_number


def tunnel_port(tunnel: str, local: IPAddress, remote: IPAddress, port: int | None) -> int:
    """The UDP port between two nodes: the one they agreed on, else by their addresses.

    0 for a protocol without ports.
    """
    kind = KINDS[tunnel]
    if kind.port is None:
        return 0
    return port if port is not None and kind.chosen_port else kind.port(local, remote)


def event_port(tunnel: Tunnel) -> int | None:
    """What the far end of a tunnel must be told of its port; None where there is no choice."""
    return tunnel.wire_port if KINDS[tunnel.protocol].chosen_port else None


def overhead(tunnel: str, version: int) -> int:
    """Return the bytes that a tunnel over IPv4 or IPv6 takes from the uplink's MTU."""
    return KINDS[tunnel].noun.overhead(version)


def check_key(tunnel: str, key: int, field: str = "subnet_key") -> int:
    """Check a key that the tunnel's header can carry; 0 means "no key" and is refused."""
    bits = KINDS[tunnel].noun.key_bits
    if not 1 <= key < 2**bits:
        raise InvalidRequest(
            f"{shown(key)} does not fit a {tunnel} key: give 1 to {2**bits - 1}", field=field
        )
    return key


def check_port(tunnel: str, port: int | None, field: str = "port") -> int | None:
    """The UDP port of a compute node's tunnels; None for tunnels whose port is no choice."""
    if port is None:
        return None
    check_int(port, field, 1, 65535)
    return port if KINDS[tunnel].chosen_port else None


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
    port: int | None = None,
) -> Tunnel:
    """Return the point-to-point tunnel between two nodes for one subnet."""
    kind = KINDS[tunnel]
    own: dict[str, Any] = {kind.noun.key_field: key}
    if kind.noun.has_local:
        own["local"] = local
    if kind.port is not None:
        own["port"] = tunnel_port(tunnel, local, remote, port)
    return kind.noun(
        name=name, alias=alias, remote=remote, master=master, mac=mac, mtu=mtu, **own
    )  # fmt: skip


def mesh_noun(tunnel: str, version: int) -> type[Gre] | type[Vxlan]:
    """Return the noun that joins concentrators; Linux has no multipoint gre over IPv6."""
    return KINDS[tunnel].mesh if version == 4 else Vxlan


def wire(
    tunnel: str, key: int, local: IPAddress, remote: IPAddress, port: int | None = None
) -> Wire:
    """The ``wire_identity`` that the tunnel between two nodes will have."""
    noun = KINDS[tunnel].noun
    number = tunnel_port(tunnel, local, remote, port)
    return noun.identity(key, local if noun.has_local else None, remote, number)


def collision(remote: IPAddress | None, key: int, old: Tunnel, owner_of_old: str) -> Conflict:
    """Return the error for a new tunnel with the wire identity of an existing one."""
    return Conflict(
        f"tunnel {old.kind}{_to(remote)} with key {key} collides with "
        f"{old.name}{_to(old.remote)} with key {old.wire_key} ({owner_of_old}): "
        "choose another subnet key"
    )


def _to(remote: IPAddress | None) -> str:
    return "" if remote is None else f" to {remote}"
