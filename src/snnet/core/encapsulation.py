"""Tunnels: what they cost, how they are told apart, and the link that makes one."""

from __future__ import annotations

from snnet.config import shown
from snnet.contract import (
    Conflict,
    Geneve,
    Gretap,
    InvalidRequest,
    IPAddress,
    Tunnel,
    Vxlan,
)

_OVERHEAD = {
    # Outer IP header (20, 40 over IPv6), the encapsulation, the inner Ethernet
    # header (14).  GRE with a key is 8 bytes (RFC 2890); VXLAN and Geneve are
    # UDP (8) and a header of 8 (RFC 7348, RFC 8926).
    "gre": 8 + 14,
    "vxlan": 16 + 14,
    "geneve": 16 + 14,
}
_KEY_BITS = {"gre": 32, "vxlan": 24, "geneve": 24}

GRE_MESH_OVERHEAD = 20 + 8
"""The multipoint ``gre`` of the mesh carries IP, not Ethernet, over IPv4."""

VXLAN_PORTS, VXLAN_PORT_MASK = 16384, 0x3FFF

Wire = tuple[object, ...]
"""What the kernel tells a tunnel apart by; two tunnels of a host never share it."""


def overhead(tunnel: str, version: int) -> int:
    """Bytes that a tunnel over IPv4 or IPv6 takes from the uplink's MTU."""
    return (20 if version == 4 else 40) + _OVERHEAD[tunnel]


def check_key(tunnel: str, key: int, field: str = "subnet_key") -> int:
    """A key that the tunnel's header can carry; 0 means "no key" and is refused."""
    bits = _KEY_BITS[tunnel]
    if not 1 <= key < 2**bits:
        raise InvalidRequest(
            f"{shown(key)} does not fit a {tunnel} key: give 1 to {2**bits - 1}", field=field
        )
    return key


def vxlan_port(local: IPAddress, remote: IPAddress) -> int:
    """The UDP port of the pair of nodes, the same at both ends.

    The kernel refuses two devices with one VNI and port whatever the remote
    (vxlan_vni_in_use, drivers/net/vxlan/vxlan_core.c), so each pair has its own.
    """
    return VXLAN_PORTS + ((int(local) ^ int(remote)) & VXLAN_PORT_MASK)


def tunnel_link(
    tunnel: str,
    *,
    name: str,
    alias: str,
    key: int,
    local: IPAddress,
    remote: IPAddress,
    master: str,
    mac: str,
    mtu: int,
) -> Tunnel:
    """The point-to-point tunnel between two nodes for one subnet."""
    if tunnel == "gre":
        return Gretap(
            name=name, alias=alias, tunnel_key=key, local=local, remote=remote,
            master=master, mac=mac, mtu=mtu,
        )  # fmt: skip
    if tunnel == "vxlan":
        return Vxlan(
            name=name, alias=alias, vni=key, local=local, remote=remote,
            port=vxlan_port(local, remote), master=master, mac=mac, mtu=mtu,
        )  # fmt: skip
    return Geneve(name=name, alias=alias, vni=key, remote=remote, master=master, mac=mac, mtu=mtu)


def wire(tunnel: str, key: int, local: IPAddress, remote: IPAddress) -> Wire:
    """What the kernel will tell the tunnel between two nodes apart by."""
    if tunnel == "vxlan":
        return ("vxlan", key, vxlan_port(local, remote))
    if tunnel == "geneve":
        return ("geneve", key, remote)
    return ("gre", key, local, remote)


def wire_identity(link: Tunnel) -> Wire:
    """What the kernel tells this tunnel apart by."""
    if isinstance(link, Vxlan):
        return ("vxlan", link.vni, link.port)
    if isinstance(link, Geneve):
        return ("geneve", link.vni, link.remote)
    assert isinstance(link, Gretap)
    return ("gre", link.tunnel_key, link.local, link.remote)


def tunnel_key(link: Tunnel) -> int:
    """The subnet key a tunnel carries, whatever its protocol calls it."""
    if isinstance(link, (Vxlan, Geneve)):
        return link.vni
    assert isinstance(link, Gretap)
    return link.tunnel_key


def collision(remote: IPAddress, key: int, old: Tunnel, owner_of_old: str) -> Conflict:
    """The error for a new tunnel that has the wire of an old one."""
    return Conflict(
        f"tunnel {old.kind} to {remote} with key {key} collides with "
        f"{old.name} to {old.remote} with key {tunnel_key(old)} ({owner_of_old}): "
        "choose another subnet key"
    )
