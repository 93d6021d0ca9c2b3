"""Macvtaps."""

from __future__ import annotations

from snnet.contract import Macvtap
from snnet.contract.links import MACVTAP_MODES

from ..codec import (
    Codec,
    Common,
    Data,
    IndexOf,
    LinkMessage,
    NameOf,
    Values,
    info,
    name_or_none,
    small,
)
from ..encoder import U32, Field

_MODE = 1  # IFLA_MACVLAN_MODE

_FIELDS = info("macvtap", IFLA_MACVTAP_MODE=(_MODE, U32))
_LOWER = Field("IFLA_LINK", U32)

_MODES = {mode: 1 << bit for bit, mode in enumerate(MACVTAP_MODES)}  # MACVLAN_MODE_
_FOUND_MODES = {bits: mode for mode, bits in _MODES.items()} | {16: "source"}


def _encode(link: Macvtap, index_of: IndexOf) -> Values:
    return {
        _LOWER: index_of(link.lower),
        _FIELDS["kind"]: None,
        _FIELDS["IFLA_MACVTAP_MODE"]: _MODES[link.mode],
    }


def _decode(link: LinkMessage, common: Common, data: Data, name_of: NameOf) -> Macvtap:
    mode = small(data, _MODE)
    return Macvtap(
        # A link in another namespace is written as ip-link(8) does it.
        lower=name_or_none(name_of, link.lower) or f"if{link.lower_index}",
        mode=_FOUND_MODES.get(mode, str(mode)),
        all_multicast=link.all_multicast(),
        link_local=link.link_local(),
        **common,
    )


KINDS = (Codec(Macvtap, _encode, _decode),)
