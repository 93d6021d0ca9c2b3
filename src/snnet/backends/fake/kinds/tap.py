"""Taps (drivers/net/tun.c)."""

from __future__ import annotations

from snnet.contract import Tap
from snnet.contract.addresses import MTU_MAX

from ..kind import ETH_HEADER, LinkKind
from ..state import State


class TapKind(LinkKind[Tap]):
    noun = Tap

    def mtu_max(self, state: State, link: Tap) -> int:
        return MTU_MAX - ETH_HEADER  # tun_net_initialize


KINDS = (TapKind(),)
