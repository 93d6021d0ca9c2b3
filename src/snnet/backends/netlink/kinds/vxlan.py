"""VXLAN without learning."""

from __future__ import annotations

from snnet.contract import Vxlan

from ..codec import (
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
from ..encoder import BE16, IP4, IP6, U8, U32

_ID, _GROUP, _LOCAL, _TTL, _PORT, _GROUP6, _LOCAL6 = 1, 2, 4, 5, 15, 16, 17  # IFLA_VXLAN_

_FIELDS = info(
    "vxlan",
    IFLA_VXLAN_ID=(_ID, U32),
    IFLA_VXLAN_LOCAL=(_LOCAL, IP4),
    IFLA_VXLAN_LOCAL6=(_LOCAL6, IP6),
    IFLA_VXLAN_GROUP=(_GROUP, IP4),
    IFLA_VXLAN_GROUP6=(_GROUP6, IP6),
    IFLA_VXLAN_PORT=(_PORT, BE16),
    IFLA_VXLAN_TTL=(_TTL, U8),
    IFLA_VXLAN_LEARNING=(7, U8, 0),
)


def _encode(link: Vxlan, index_of: IndexOf) -> Values:
    suffix = "" if link.local.version == 4 else "6"
    values = {
        _FIELDS["kind"]: None,
        _FIELDS["IFLA_VXLAN_ID"]: link.vni,
        _FIELDS[f"IFLA_VXLAN_LOCAL{suffix}"]: link.local,
        _FIELDS["IFLA_VXLAN_PORT"]: link.port,
        _FIELDS["IFLA_VXLAN_TTL"]: link.ttl,
        _FIELDS["IFLA_VXLAN_LEARNING"]: None,
    }
    if link.remote is not None:
        values[_FIELDS[f"IFLA_VXLAN_GROUP{suffix}"]] = link.remote
    return values


def _decode(link: LinkMessage, common: Common, data: Data, name_of: NameOf) -> Vxlan | None:
    local = address(data, _LOCAL, _LOCAL6)
    if local is None:
        return None
    return Vxlan(
        local=local,
        remote=address(data, _GROUP, _GROUP6),
        vni=small(data, _ID),
        port=big_endian(data, _PORT),
        ttl=small(data, _TTL),
        **common,
    )


KINDS = (Codec(Vxlan, _encode, _decode),)
