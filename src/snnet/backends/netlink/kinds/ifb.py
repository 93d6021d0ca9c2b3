"""Intermediate functional blocks."""

from __future__ import annotations

from snnet.contract import Ifb

from ..codec import Codec, Common, Data, IndexOf, LinkMessage, NameOf, Values, info

_KIND = info("ifb")["kind"]


def _encode(link: Ifb, index_of: IndexOf) -> Values:
    return {_KIND: None}


def _decode(link: LinkMessage, common: Common, data: Data, name_of: NameOf) -> Ifb:
    return Ifb(**common)


KINDS = (Codec(Ifb, _encode, _decode),)
