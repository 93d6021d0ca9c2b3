"""Anti-spoofing of IPv6: neighbour discovery, and what only routers and servers say."""

from __future__ import annotations

from ipaddress import IPv6Address

import pytest

from snnet.conformance.endpoints import A1, A2, EXT0, HUB, OUT, R1, R2, Endpoint
from snnet.conformance.messages import ANOTHER_MAC, HONEST6, HOSTILE6
from snnet.conformance.rig import Rig
from snnet.contract import AntiSpoof, DhcpGuard, Untracked

from .base import FirewallTests, add, passes, remove, stopped

_FOREIGN = IPv6Address("fd00:4::77")


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

    @pytest.mark.parametrize("untracked", [False, True])
    def test_long_packets_pass_in_fragments(self, rig: Rig, untracked: bool) -> None:
        """Of both families, between guests, to the host and through it."""
        if not rig.fragments:
            return
        add(rig, _only(rig, A1), _only(rig, A2), _only(rig, R1))
        if untracked:
            ports = (endpoint.link for endpoint in (A1, A2))
            add(rig, *(Untracked(owner=rig.owner, link=link) for link in ports))
        assert A1.gateway6 is not None
        for target in (A2.ip, A2.ip6, A1.gateway, A1.gateway6, OUT.ip, OUT.ip6):
            assert passes(rig.ping, A1, target, size=4000), target
        for target in (OUT.ip, OUT.ip6):
            assert passes(rig.ping, R1, target, size=4000), target

    def test_routed_guests_find_their_gateway(self, rig: Rig) -> None:
        """With rules they ping each other and outside, both families, and tell no lies."""
        assert passes(rig.forge, R1, OUT, address=_FOREIGN)
        add(rig, _only(rig, R1), _only(rig, R2))
        assert R1.gateway6 is not None
        for target in (R2.ip6, OUT.ip6, EXT0.address6.ip, OUT.ip):
            assert passes(rig.ping, R1, target)
        assert passes(rig.resolve, R1, R1.gateway6)
        assert passes(rig.ping, OUT, R1.ip6)
        assert stopped(rig.forge, R1, OUT, address=_FOREIGN)
        assert stopped(rig.forge, R1, OUT, address=R1.ip6, mac=ANOTHER_MAC)
        assert stopped(rig.forge, R1, HUB, address=_FOREIGN)

    def test_a_routed_guest_is_one_neighbour_by_ipv6(self, rig: Rig) -> None:
        """The host learns its own addresses from it alone, and no router."""
        assert passes(rig.learns, R1, _FOREIGN)
        add(rig, _only(rig, R1))
        assert stopped(rig.learns, R1, _FOREIGN)
        assert stopped(rig.learns, R1, R1.ip6, ANOTHER_MAC)
        assert passes(rig.learns, R1, R1.ip6)

    def test_a_guest_without_an_ipv6_address_says_nothing(self, rig: Rig) -> None:
        """Not even what honest guests say."""
        rule = AntiSpoof(owner=rig.owner, link=A1.link, mac=A1.mac, addresses=(A1.ip,))
        add(rig, rule)
        assert [kind for kind in HONEST6 if rig.says(A1, A2, kind)] == []
        remove(rig, rule)
        assert passes(rig.says, A1, A2, "advert")
