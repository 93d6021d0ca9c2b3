"""What a new link is made of: the fields of its RTM_NEWLINK, kind by kind."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from snnet.contract import (
    Bridge,
    Geneve,
    Gre,
    Gretap,
    Link,
    Macvtap,
    Tap,
    Unsupported,
    Veth,
    Vxlan,
)

from .encoder import BE16, BE32, IP4, IP6, MAC, NAME, U8, U32, Field
from .found import IFF_UP

Values = dict[Field, Any]
IndexOf = Callable[[str], int]
"""Index of the link of this name; raises OSError where there is none."""

INDEX = Field("index", U32)
FLAGS = Field("flags", U32)
CHANGE = Field("change", value=IFF_UP)
IFNAME = Field("IFLA_IFNAME", NAME)
ADDRESS = Field("IFLA_ADDRESS", MAC)
MTU = Field("IFLA_MTU", U32)
LOWER = Field("IFLA_LINK", U32)
MASTER = Field("IFLA_MASTER", U32)
GROUP = Field("IFLA_GROUP", U32)
NO_LINK_LOCAL = Field("IFLA_AF_SPEC AF_INET6 IFLA_INET6_ADDR_GEN_MODE", value=1)

_GRE_KEY = 0x2000  # linux/if_tunnel.h
_IGNORE_ENCAP_LIMIT = 0x1  # IP6_TNL_F_IGN_ENCAP_LIMIT, linux/ip6_tunnel.h
_MTU_MAX = 65535
_MACVTAP_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}


def _data(kind: str, **slots: Any) -> dict[str, Field]:
    """The fields of a kind: its name, and what goes into IFLA_INFO_DATA."""
    fields = {"kind": Field("IFLA_LINKINFO IFLA_INFO_KIND", value=kind)}
    for name, slot in slots.items():
        path = f"IFLA_LINKINFO IFLA_INFO_DATA {name}"
        is_constant = isinstance(slot, int)
        fields[name] = Field(path, value=slot) if is_constant else Field(path, slot)
    return fields


_BRIDGE = _data("bridge", IFLA_BR_FORWARD_DELAY=0, IFLA_BR_STP_STATE=0)
_MACVTAP = _data("macvtap", IFLA_MACVTAP_MODE=U32)
_VETH = _data("veth")
_PEER = "IFLA_LINKINFO IFLA_INFO_DATA VETH_INFO_PEER"
_PEER_NAME = Field(f"{_PEER} IFLA_IFNAME", NAME)
_PEER_MAC = Field(f"{_PEER} IFLA_ADDRESS", MAC)
_PEER_MTU = Field(f"{_PEER} IFLA_MTU", U32)
_GRE_FIELDS = {
    "IFLA_GRE_LOCAL": IP4,
    "IFLA_GRE_IKEY": BE32,
    "IFLA_GRE_OKEY": BE32,
    "IFLA_GRE_TTL": U8,
    "IFLA_GRE_IFLAGS": _GRE_KEY,
    "IFLA_GRE_OFLAGS": _GRE_KEY,
    "IFLA_GRE_PMTUDISC": 1,
}
_GRE = _data("gre", **_GRE_FIELDS)
_GRETAP = _data("gretap", IFLA_GRE_REMOTE=IP4, **_GRE_FIELDS)
_IP6GRETAP = _data(
    "ip6gretap",
    IFLA_IP6GRE_LOCAL=IP6,
    IFLA_IP6GRE_REMOTE=IP6,
    IFLA_IP6GRE_IKEY=BE32,
    IFLA_IP6GRE_OKEY=BE32,
    IFLA_IP6GRE_TTL=U8,
    # Big-endian on the wire like the others, which pyroute2 leaves to us here.
    IFLA_IP6GRE_IFLAGS=socket.htons(_GRE_KEY),
    IFLA_IP6GRE_OFLAGS=socket.htons(_GRE_KEY),
    IFLA_IP6GRE_FLAGS=_IGNORE_ENCAP_LIMIT,
)
_VXLAN = _data(
    "vxlan",
    IFLA_VXLAN_ID=U32,
    IFLA_VXLAN_LOCAL=IP4,
    IFLA_VXLAN_LOCAL6=IP6,
    IFLA_VXLAN_GROUP=IP4,
    IFLA_VXLAN_GROUP6=IP6,
    IFLA_VXLAN_PORT=BE16,
    IFLA_VXLAN_TTL=U8,
    IFLA_VXLAN_LEARNING=0,
)
_GENEVE = _data(
    "geneve",
    IFLA_GENEVE_ID=U32,
    IFLA_GENEVE_REMOTE=IP4,
    IFLA_GENEVE_REMOTE6=IP6,
    IFLA_GENEVE_PORT=BE16,
    IFLA_GENEVE_TTL=U8,
)


def creation(link: Link, index_of: IndexOf) -> Values:
    """The fields of the RTM_NEWLINK that makes this link.

    A bridge, a port of one and a link without a link-local address are made down: what
    keeps their IPv6 quiet takes steps of its own before they come up.
    """
    make = _KINDS.get(type(link))
    if make is None:
        raise Unsupported(f"links of kind {link.kind} are read, never made")
    values: Values = {INDEX: link.index}
    if link.up and not comes_up_later(link):
        values |= {FLAGS: IFF_UP, CHANGE: None}
    values |= {IFNAME: link.name, GROUP: link.group}
    if link.mac is not None:
        values[ADDRESS] = link.mac
    if link.mtu is not None:
        values[MTU] = _first_mtu(link, link.mtu)
    if link.master is not None:
        values[MASTER] = index_of(link.master)
    return values | make(link, index_of)


def comes_up_later(link: Link) -> bool:
    return isinstance(link, Bridge) or link.master is not None or without_link_local(link)


def without_link_local(link: Link) -> bool:
    """Whether the link is to have no IPv6 link-local address: that is said before it comes up."""
    if isinstance(link, (Bridge, Macvtap)):
        return not link.link_local
    return is_routed(link)


def is_routed(link: Link) -> bool:
    return isinstance(link, (Tap, Veth)) and link.proxy_arp


def quiet_sysctls(link: Link) -> dict[str, str]:
    """What keeps the host's IPv6 from taking or saying anything on the link.

    A port's frames go to its bridge, so that it needs no IPv6 at all.  A bridge and the
    host's end of a routed guest take neither routes nor addresses from router
    advertisements, which ``addr_gen_mode`` none does not prevent (addrconf_prefix_rcv).
    """
    name = link.name.replace(".", "/")
    if link.master is not None:
        return {f"net.ipv6.conf.{name}.disable_ipv6": "1"}
    if (isinstance(link, Bridge) and not link.link_local) or is_routed(link):
        return dict.fromkeys(
            (f"net.ipv6.conf.{name}.accept_ra", f"net.ipv6.conf.{name}.accept_redirects"), "0"
        )
    return {}


def routed_sysctls(link: Link) -> dict[str, str]:
    """What makes the host answer for others on the link, and not up to 0.8 s later."""
    # As sysctl(8) has it: a slash stands for a dot in the name of a link.
    name = link.name.replace(".", "/")
    return {
        f"net.ipv4.conf.{name}.proxy_arp": "1",
        f"net.ipv4.neigh.{name}.proxy_delay": "0",
    }


def _first_mtu(link: Link, mtu: int) -> int:
    # A bridge's MTU follows its smallest port until it is *changed* once
    # (br_change_mtu, net/bridge/br_device.c): made with another one, it can be.
    if not isinstance(link, Bridge):
        return mtu
    return mtu + 1 if mtu < _MTU_MAX else mtu - 1


def _bridge(link: Any, index_of: IndexOf) -> Values:
    return dict.fromkeys(_BRIDGE.values())


def _macvtap(link: Macvtap, index_of: IndexOf) -> Values:
    mode = _MACVTAP_MODES.get(link.mode)
    if mode is None:
        raise Unsupported(f"macvtap mode {link.mode!r}; there are {', '.join(_MACVTAP_MODES)}")
    return {
        LOWER: index_of(link.lower),
        _MACVTAP["kind"]: None,
        _MACVTAP["IFLA_MACVTAP_MODE"]: mode,
    }


def _veth(link: Veth, index_of: IndexOf) -> Values:
    values: Values = {_VETH["kind"]: None}
    if link.peer is not None:
        values[_PEER_NAME] = link.peer
    if link.peer_mac is not None:
        values[_PEER_MAC] = link.peer_mac
    if link.peer_mtu is not None:
        values[_PEER_MTU] = link.peer_mtu
    return values


def _gretap(link: Gretap, index_of: IndexOf) -> Values:
    if link.local.version != link.remote.version:
        raise _mixed(link)
    fields, prefix = (_GRETAP, "IFLA_GRE") if link.kind == "gretap" else (_IP6GRETAP, "IFLA_IP6GRE")
    return _gre_values(fields, prefix, link) | {fields[f"{prefix}_REMOTE"]: link.remote}


def _gre(link: Gre, index_of: IndexOf) -> Values:
    if link.local.version != 4:
        raise Unsupported("the kernel has no multipoint gre over IPv6; set tunnel 'vxlan'")
    return _gre_values(_GRE, "IFLA_GRE", link)


def _gre_values(fields: dict[str, Field], prefix: str, link: Gretap | Gre) -> Values:
    return dict.fromkeys(fields.values()) | {
        fields[f"{prefix}_LOCAL"]: link.local,
        fields[f"{prefix}_IKEY"]: link.tunnel_key,
        fields[f"{prefix}_OKEY"]: link.tunnel_key,
        fields[f"{prefix}_TTL"]: link.ttl,
    }


def _vxlan(link: Vxlan, index_of: IndexOf) -> Values:
    if link.remote is not None and link.local.version != link.remote.version:
        raise _mixed(link)
    suffix = "" if link.local.version == 4 else "6"
    values = {
        _VXLAN["kind"]: None,
        _VXLAN["IFLA_VXLAN_ID"]: link.vni,
        _VXLAN[f"IFLA_VXLAN_LOCAL{suffix}"]: link.local,
        _VXLAN["IFLA_VXLAN_PORT"]: link.port,
        _VXLAN["IFLA_VXLAN_TTL"]: link.ttl,
        _VXLAN["IFLA_VXLAN_LEARNING"]: None,
    }
    if link.remote is not None:
        values[_VXLAN[f"IFLA_VXLAN_GROUP{suffix}"]] = link.remote
    return values


def _geneve(link: Geneve, index_of: IndexOf) -> Values:
    suffix = "" if link.remote.version == 4 else "6"
    return {
        _GENEVE["kind"]: None,
        _GENEVE["IFLA_GENEVE_ID"]: link.vni,
        _GENEVE[f"IFLA_GENEVE_REMOTE{suffix}"]: link.remote,
        _GENEVE["IFLA_GENEVE_PORT"]: link.port,
        _GENEVE["IFLA_GENEVE_TTL"]: link.ttl,
    }


def _mixed(link: Gretap | Vxlan) -> Unsupported:
    return Unsupported(
        f"{link.name}: the ends {link.local} and {link.remote} are of different families"
    )


_KINDS: dict[type[Link], Callable[[Any, IndexOf], Values]] = {
    Bridge: _bridge,
    Macvtap: _macvtap,
    Veth: _veth,
    Gretap: _gretap,
    Gre: _gre,
    Vxlan: _vxlan,
    Geneve: _geneve,
}
