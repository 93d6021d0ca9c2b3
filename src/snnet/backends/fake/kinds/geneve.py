"""Geneve (drivers/net/geneve.c)."""

from __future__ import annotations

from snnet.contract import Geneve
from snnet.contract.addresses import MTU_MAX

from ..kind import ETH_DATA_LEN, TunnelKind, underlay_mtu
from ..state import State


class GeneveKind(TunnelKind[Geneve]):
    noun = Geneve

    def mtu_max(self, state: State, link: Geneve) -> int:
        return MTU_MAX - link.overhead(link.remote.version)

    def default_mtu(self, state: State, link: Geneve) -> int:
        remote = link.remote
        if remote not in state.local and state.fib.find(remote) is None:
            return ETH_DATA_LEN
        return underlay_mtu(state, remote) - link.overhead(remote.version)


KINDS = (GeneveKind(),)
