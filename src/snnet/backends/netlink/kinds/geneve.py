"""Geneve, point to point."""

from __future__ import annotations

from snnet.contract import Geneve

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

_ID, _REMOTE, _TTL, _PORT, _REMOTE6 = 1, 2, 3, 5, 7  # IFLA_GENEVE_

_FIELDS = info(
    "geneve",
    IFLA_GENEVE_ID=(_ID, U32),
    IFLA_GENEVE_REMOTE=(_REMOTE, IP4),
    IFLA_GENEVE_REMOTE6=(_REMOTE6, IP6),
    IFLA_GENEVE_PORT=(_PORT, BE16),
    IFLA_GENEVE_TTL=(_TTL, U8),
)


def _encode(link: Geneve, index_of: IndexOf) -> Values:
    suffix = "" if link.remote.version == 4 else "6"
    return {
        _FIELDS["kind"]: None,
        _FIELDS["IFLA_GENEVE_ID"]: link.vni,
        _FIELDS[f"IFLA_GENEVE_REMOTE{suffix}"]: link.remote,
        _FIELDS["IFLA_GENEVE_PORT"]: link.port,
        _FIELDS["IFLA_GENEVE_TTL"]: link.ttl,
    }


def _decode(link: LinkMessage, common: Common, data: Data, name_of: NameOf) -> Geneve | None:
    remote = address(data, _REMOTE, _REMOTE6)
    if remote is None:
        return None
    return Geneve(
        remote=remote,
        vni=small(data, _ID),
        port=big_endian(data, _PORT),
        ttl=small(data, _TTL),
        **common,
    )


KINDS = (Codec(Geneve, _encode, _decode),)
