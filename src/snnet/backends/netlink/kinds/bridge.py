"""Bridges."""

from __future__ import annotations

from snnet.contract import Bridge

from ..codec import Codec, Common, Data, IndexOf, LinkMessage, NameOf, Values, info
from ..encoder import U32

_FIELDS = info("bridge", IFLA_BR_FORWARD_DELAY=(1, U32, 0), IFLA_BR_STP_STATE=(5, U32, 0))


def _encode(link: Bridge, index_of: IndexOf) -> Values:
    return dict.fromkeys(_FIELDS.values())


def _decode(link: LinkMessage, common: Common, data: Data, name_of: NameOf) -> Bridge:
    return Bridge(link_local=link.link_local(), **common)


KINDS = (Codec(Bridge, _encode, _decode),)
