"""GRE with a key: point to point with Ethernet frames, and multipoint with IP."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from snnet.contract import Gre, Gretap

from ..codec import (
    Attribute,
    Codec,
    Common,
    Data,
    IndexOf,
    LinkMessage,
    NameOf,
    Values,
    address,
    big_endian,
    info,
    small,
)
from ..encoder import BE16, BE32, IP4, IP6, U8, U16, U32, Field

_KEY_FLAG = 0x2000  # GRE_KEY, linux/if_tunnel.h
_IGNORE_ENCAP_LIMIT = 0x1  # IP6_TNL_F_IGN_ENCAP_LIMIT, linux/ip6_tunnel.h
_IKEY, _LOCAL, _REMOTE, _TTL = 4, 6, 7, 8  # IFLA_GRE_

_OVER_IPV4: dict[str, Attribute] = {
    "IFLA_GRE_LOCAL": (_LOCAL, IP4),
    "IFLA_GRE_IKEY": (_IKEY, BE32),
    "IFLA_GRE_OKEY": (5, BE32),
    "IFLA_GRE_TTL": (_TTL, U8),
    "IFLA_GRE_IFLAGS": (2, BE16, _KEY_FLAG),
    "IFLA_GRE_OFLAGS": (3, BE16, _KEY_FLAG),
    "IFLA_GRE_PMTUDISC": (10, U8, 1),
}
_GRE = info("gre", **_OVER_IPV4)
_GRETAP = info("gretap", IFLA_GRE_REMOTE=(_REMOTE, IP4), **_OVER_IPV4)
_IP6GRETAP = info(
    "ip6gretap",
    IFLA_IP6GRE_LOCAL=(_LOCAL, IP6),
    IFLA_IP6GRE_REMOTE=(_REMOTE, IP6),
    IFLA_IP6GRE_IKEY=(_IKEY, BE32),
    IFLA_IP6GRE_OKEY=(5, BE32),
    IFLA_IP6GRE_TTL=(_TTL, U8),
    # Big-endian on the wire like the others, but pyroute2 does not convert this one.
    IFLA_IP6GRE_IFLAGS=(2, U16, socket.htons(_KEY_FLAG)),
    IFLA_IP6GRE_OFLAGS=(3, U16, socket.htons(_KEY_FLAG)),
    IFLA_IP6GRE_FLAGS=(13, U32, _IGNORE_ENCAP_LIMIT),
)


def _encode_gretap(link: Gretap, index_of: IndexOf) -> Values:
    fields, prefix = (_GRETAP, "IFLA_GRE") if link.kind == "gretap" else (_IP6GRETAP, "IFLA_IP6GRE")
    return _values(fields, prefix, link) | {fields[f"{prefix}_REMOTE"]: link.remote}


def _encode_gre(link: Gre, index_of: IndexOf) -> Values:
    return _values(_GRE, "IFLA_GRE", link)


def _values(fields: Mapping[str, Field], prefix: str, link: Gretap | Gre) -> Values:
    return dict.fromkeys(fields.values()) | {
        fields[f"{prefix}_LOCAL"]: link.local,
        fields[f"{prefix}_IKEY"]: link.tunnel_key,
        fields[f"{prefix}_OKEY"]: link.tunnel_key,
        fields[f"{prefix}_TTL"]: link.ttl,
    }


def _decode_gretap(link: LinkMessage, common: Common, data: Data, name_of: NameOf) -> Gretap | None:
    local, remote = address(data, _LOCAL), address(data, _REMOTE)
    if local is None or remote is None:
        return None
    key = big_endian(data, _IKEY)
    return Gretap(local=local, remote=remote, tunnel_key=key, ttl=small(data, _TTL), **common)


def _decode_gre(link: LinkMessage, common: Common, data: Data, name_of: NameOf) -> Gre | None:
    local, remote = address(data, _LOCAL), address(data, _REMOTE)
    if local is None or remote is not None:
        return None
    return Gre(local=local, tunnel_key=big_endian(data, _IKEY), ttl=small(data, _TTL), **common)


KINDS = (Codec(Gretap, _encode_gretap, _decode_gretap), Codec(Gre, _encode_gre, _decode_gre))
