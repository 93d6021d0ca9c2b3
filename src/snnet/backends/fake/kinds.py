"""Limits of each kind of link: its MTUs, and when two tunnels collide.

Measured on Linux 6.1 and 6.18.  The comment at each limit names its source.
"""

from __future__ import annotations

from typing import NamedTuple

from snnet.contract import (
    Bridge,
    Geneve,
    Gre,
    Gretap,
    IPAddress,
    Link,
    Macvtap,
    Other,
    Tap,
    Tunnel,
    Vxlan,
)

from .addresses import IPV6_MTU_MIN
from .refusal import Refusal
from .state import State

ETH_DATA_LEN = 1500
MTU_MIN = 68  # ETH_MIN_MTU, linux/if_ether.h
MTU_MAX = 65535

MODULES = {
    "bridge": "bridge",
    "tap": "tun",
    "veth": "veth",
    "macvtap": "macvtap",
    "gretap": "ip_gre",
    "gre": "ip_gre",
    "ip6gretap": "ip6_gre",
    "vxlan": "vxlan",
    "geneve": "geneve",
}
"""The kernel module of each kind of link."""

_GRE_HEADER = 8  # including the key
_GRE = 20 + _GRE_HEADER  # behind an IPv4 header (t_hlen, net/ipv4/ip_tunnel.c)
_ETHERNET = 14
_UDP_TUNNEL = 50  # IPv4, UDP, VXLAN or Geneve and inner Ethernet headers
_IPV6_MORE = 20  # difference between an IPv6 and an IPv4 header


def mtu_max(state: State, link: Link) -> int:
    """Return the largest MTU in bytes that the link may get."""
    match link:
        case Tap():
            return MTU_MAX - _ETHERNET  # tun_net_initialize, drivers/net/tun.c
        case Macvtap():
            lower = state.link(link.lower)
            return (lower.mtu if lower else None) or MTU_MAX  # macvlan_change_mtu
        case Gretap(local=local) if local.version == 4:
            return MTU_MAX - _GRE - _ETHERNET  # __ip_tunnel_change_mtu
        case Gretap():
            return MTU_MAX - _ETHERNET - _GRE_HEADER  # ip6_tnl_change_mtu
        case Gre():
            return MTU_MAX - _GRE
        case Geneve(remote=remote):
            return MTU_MAX - _UDP_TUNNEL - (_IPV6_MORE if remote.version == 6 else 0)
        case Other(other_kind="loopback"):
            return 2**31 - 1
        case _:
            return MTU_MAX


def check_mtu(state: State, link: Link) -> None:
    """Refuse an MTU outside the limits of the kind of link."""
    mtu = link.mtu
    if mtu is None:
        return
    if mtu < MTU_MIN and link.kind != "loopback":
        raise Refusal("EINVAL", f"mtu less than device minimum {MTU_MIN}")
    if mtu > (maximum := mtu_max(state, link)):
        raise Refusal("EINVAL", f"mtu greater than device maximum {maximum}")


def fit_mtu(state: State, link: Link) -> int | None:
    """Return the MTU that a new link gets for the requested one; ``None`` stays ``None``.

    An MTU that is too large is not an error: tunnels over IPv4 use their maximum
    (ip_tunnel_newlink), and ip6gretap ignores it (ip6gre_newlink_common).  An ip6gretap
    with a requested MTU does not use that of the route (ip6gre_tnl_link_config, set_mtu).
    """
    if link.mtu is None or not isinstance(link, (Gre, Gretap)):
        return link.mtu
    highest = mtu_max(state, link)
    if isinstance(link, Gretap) and link.remote.version == 6:
        return link.mtu if link.mtu <= highest else _fitting(ETH_DATA_LEN, link.remote)
    return min(max(link.mtu, MTU_MIN) if isinstance(link, Gre) else link.mtu, highest)


def default_mtu(state: State, link: Link) -> int:
    """Return the MTU of a new link that is created without one."""
    match link:
        case Macvtap():
            lower = state.link(link.lower)
            return (lower.mtu if lower else None) or ETH_DATA_LEN
        case Gretap(local=local, remote=remote):
            # IPv4 looks up no route from an address that the host does not have
            # (ip_route_output_key_hash_rcu, __ip_dev_find); IPv6 does.
            found = local.version == 6 or local in state.local
            return _fitting(_underlay_mtu(state, remote) if found else ETH_DATA_LEN, remote)
        case Gre():
            return ETH_DATA_LEN - _GRE
        case Geneve(remote=remote):
            if remote not in state.local and state.fib.find(remote) is None:
                return ETH_DATA_LEN
            more = _IPV6_MORE if remote.version == 6 else 0
            return _underlay_mtu(state, remote) - _UDP_TUNNEL - more
        case _:
            return ETH_DATA_LEN


def _fitting(underlay: int, remote: IPAddress) -> int:
    """Return the MTU of a gretap over this underlay; over IPv6 at least the minimum of IPv6."""
    left = underlay - _GRE - _ETHERNET
    return left if remote.version == 4 else max(left - _IPV6_MORE, IPV6_MTU_MIN)


def _underlay_mtu(state: State, remote: IPAddress) -> int:
    hop = state.fib.find(remote)
    name = "lo" if remote in state.local else hop.link if hop else None
    lower = state.link(name) if name else None
    return min((lower.mtu if lower else None) or ETH_DATA_LEN, MTU_MAX)


class Wire(NamedTuple):
    """What identifies a tunnel, and the errno for a second one."""

    identity: tuple[object, ...]
    errno: str


def wire_of(link: Link) -> Wire | None:
    """Return the tunnel's identity, None for other links."""
    if not isinstance(link, Tunnel):
        return None
    match link:
        case Gretap(local=local, remote=remote, tunnel_key=key):
            return Wire((link.kind, local, remote, key), "EEXIST")  # ip_tunnel_find
        case Gre(local=local, tunnel_key=key):
            return Wire(("gre", local, None, key), "EEXIST")
        case Vxlan(vni=vni, port=port, local=local):
            return Wire(("vxlan", vni, port, local.version), "EEXIST")  # vxlan_vni_in_use
        case Geneve(vni=vni, remote=remote, port=port):
            return Wire(("geneve", vni, remote, port), "EBUSY")  # geneve_configure
        case _:
            return None


def check_tunnel(link: Link) -> None:
    """Refuse keys, ports and addresses that this kind of tunnel cannot have."""
    if not isinstance(link, Tunnel):
        return
    _check(0 <= link.ttl < 2**8, "a TTL has 8 bits")
    match link:
        case Gretap(local=local, remote=remote, tunnel_key=key):
            _check(0 <= key < 2**32, "a key has 32 bits")
            _check_families(local, remote)
        case Gre(local=local, tunnel_key=key):
            _check(0 <= key < 2**32, "a key has 32 bits")
            if local.version == 6:
                raise Refusal("EOPNOTSUPP", "ip6gre cannot do multipoint")
        case Vxlan(vni=vni, local=local, remote=far, port=port):
            _check(0 <= vni < 2**24, "a VNI has 24 bits")
            _check(0 < port < 2**16, "a UDP port has 16 bits")
            _check_families(local, far)
            # vxlan_nl2conf; snnet names no link that frames to a group would leave by.
            _check(far is None or not far.is_multicast, "local interface required for multicast")
        case Geneve(vni=vni, port=port):
            _check(0 <= vni < 2**24, "a VNI has 24 bits")
            _check(0 < port < 2**16, "a UDP port has 16 bits")


def can_be_port(link: Link) -> bool:
    """Return whether the link can be a bridge port (br_add_if, net/bridge/br_if.c)."""
    return not isinstance(link, (Gre, Bridge)) and link.kind != "loopback"


def _check(holds: bool, why: str) -> None:
    if not holds:
        raise Refusal("EINVAL", why)


def _check_families(local: IPAddress, remote: IPAddress | None) -> None:
    if remote is not None and remote.version != local.version:
        raise Refusal("EOPNOTSUPP", "local and remote differ in address family")
