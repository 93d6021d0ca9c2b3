"""Anti-spoofing of IPv6: neighbour discovery, and what only routers and servers say."""

from __future__ import annotations

import pytest

from snnet.conformance.endpoints import A1, A2, Endpoint
from snnet.conformance.messages import HONEST6, HOSTILE6
from snnet.conformance.rig import Rig
from snnet.contract import AntiSpoof, DhcpGuard

from .base import FirewallTests, add, passes, remove


def _only(rig: Rig, endpoint: Endpoint) -> AntiSpoof:
    return AntiSpoof(
        owner=rig.owner,
        link=endpoint.link,
        mac=endpoint.mac,
        addresses=(endpoint.ip, endpoint.ip6),
        bridged=endpoint.bridge is not None,
    )


class DiscoveryTests(FirewallTests):
    def test_no_guest_lies_by_ipv6(self, rig: Rig) -> None:
        """Forged sources and neighbours, routers' and servers' messages do not get through.

        Without the rule each of them does.
        """
        kinds = [kind for kind in HOSTILE6 if kind not in rig.not_said]
        lost = [kind for kind in kinds if not rig.says(A1, A2, kind)]
        assert lost == [], "these do not arrive even without a rule"
        add(rig, _only(rig, A1), _only(rig, A2), DhcpGuard(owner=rig.owner, link="pa1", mac=A1.mac))
        heard = [kind for kind in kinds if rig.says(A1, A2, kind)]
        assert heard == []

    @pytest.mark.parametrize("kind", HONEST6)
    def test_honest_ipv6_passes(self, rig: Rig, kind: str) -> None:
        """Neighbour discovery, duplicate detection, MLD, DHCPv6 and fragments pass."""
        add(rig, _only(rig, A1), _only(rig, A2), DhcpGuard(owner=rig.owner, link="pa1", mac=A1.mac))
        assert passes(rig.says, A1, A2, kind)

    def test_neighbours_find_each_other(self, rig: Rig) -> None:
        """Guests with rules ping each other, their gateway, and what is behind it."""
        add(rig, _only(rig, A1), _only(rig, A2))
        assert A1.gateway6 is not None
        for target in (A2.ip6, A1.gateway6):
            assert passes(rig.ping, A1, target)

    def test_a_guest_without_an_ipv6_address_says_nothing(self, rig: Rig) -> None:
        """Not even what honest guests say."""
        rule = AntiSpoof(owner=rig.owner, link=A1.link, mac=A1.mac, addresses=(A1.ip,))
        add(rig, rule)
        assert [kind for kind in HONEST6 if rig.says(A1, A2, kind)] == []
        remove(rig, rule)
        assert passes(rig.says, A1, A2, "advert")
