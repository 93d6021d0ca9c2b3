"""Macvtaps (drivers/net/macvlan.c): never larger than the link below."""

from __future__ import annotations

from snnet.contract import Macvtap
from snnet.contract.addresses import MTU_MAX

from ..kind import ETH_DATA_LEN, LinkKind
from ..refusal import Refusal
from ..state import State


class MacvtapKind(LinkKind[Macvtap]):
    noun = Macvtap

    def check(self, link: Macvtap) -> None:
        # This kernel knows no "passthru", which takes the whole lower link.
        if link.unmakeable or link.mode == "passthru":
            raise Refusal("EOPNOTSUPP", f"mode {link.mode} is not supported")

    def mtu_max(self, state: State, link: Macvtap) -> int:
        return _lower_mtu(state, link) or MTU_MAX  # macvlan_change_mtu

    def default_mtu(self, state: State, link: Macvtap) -> int:
        return _lower_mtu(state, link) or ETH_DATA_LEN


def _lower_mtu(state: State, link: Macvtap) -> int | None:
    lower = state.link(link.lower)
    return lower.mtu if lower else None


KINDS = (MacvtapKind(),)
