"""GRE with a key (net/ipv4/ip_tunnel.c, ip_gre.c and net/ipv6/ip6_gre.c).

An MTU above the maximum is lowered over IPv4 (ip_tunnel_newlink) and ignored by
ip6gretap (ip6gre_newlink_common); neither is an error.  A link that is given an
MTU takes none from the route (ip6gre_tnl_link_config, set_mtu).
"""

from __future__ import annotations

from snnet.contract import Gre, Gretap, IPAddress
from snnet.contract.addresses import IPV6_MTU_MIN, MTU_MAX, MTU_MIN

from ..kind import ETH_DATA_LEN, ETH_HEADER, TunnelKind, underlay_mtu
from ..state import State


class GretapKind(TunnelKind[Gretap]):
    noun = Gretap

    def mtu_max(self, state: State, link: Gretap) -> int:
        if link.local.version == 4:
            return MTU_MAX - link.overhead(4)  # __ip_tunnel_change_mtu
        return MTU_MAX - ETH_HEADER - link.header  # ip6_tnl_change_mtu

    def fit_mtu(self, state: State, link: Gretap) -> int | None:
        highest = self.mtu_max(state, link)
        if link.mtu is None or link.mtu <= highest:
            return link.mtu
        return highest if link.remote.version == 4 else _fitting(ETH_DATA_LEN, link.remote)

    def default_mtu(self, state: State, link: Gretap) -> int:
        # No way is looked for from an address the host does not have
        # (ip_route_output_key_hash_rcu, __ip_dev_find); IPv6 looks for one.
        found = link.local.version == 6 or link.local in state.local
        return _fitting(underlay_mtu(state, link.remote) if found else ETH_DATA_LEN, link.remote)


class GreKind(TunnelKind[Gre]):
    noun = Gre

    def mtu_max(self, state: State, link: Gre) -> int:
        return MTU_MAX - link.overhead(4)

    def fit_mtu(self, state: State, link: Gre) -> int | None:
        if link.mtu is None:
            return None
        return min(max(link.mtu, MTU_MIN), self.mtu_max(state, link))

    def default_mtu(self, state: State, link: Gre) -> int:
        return ETH_DATA_LEN - link.overhead(4)


def _fitting(underlay: int, remote: IPAddress) -> int:
    """What is left for a gretap's frames; over IPv6 never less than its minimum."""
    left = underlay - Gretap.overhead(remote.version)
    return left if remote.version == 4 else max(left, IPV6_MTU_MIN)


KINDS = (GretapKind(), GreKind())
