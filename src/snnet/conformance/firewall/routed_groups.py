"""Security groups at the links of routed guests, which are not ports of a bridge."""

from __future__ import annotations

from dataclasses import replace

import pytest

from snnet.conformance.endpoints import A2, HUB, OUT, PORT, R1, R2, Endpoint
from snnet.conformance.rig import Rig
from snnet.contract import Rule

from .base import FirewallTests, add, answer, passes, remove, silent, stopped
from .groups import ALL_IN, ALL_OUT, TCP, group, port, put


class RoutedGroupTests(FirewallTests):
    @pytest.mark.parametrize("other", [R2, A2, OUT], ids=repr)
    def test_a_routed_link_passes_only_what_rules_allow(self, rig: Rig, other: Endpoint) -> None:
        """The same holds at a link that is not a bridge port, whoever is at the other end."""
        rules = [TCP, Rule("out", "udp", PORT), Rule("out", "icmpv6", 128)]
        nouns = [*group(rig, rules, bridged=False), port(rig, R1)]
        assert answer(rig, R1, other.ip)
        assert answer(rig, other, R1.ip, "udp")
        assert passes(rig.ping, R1, other.ip)
        add(rig, *nouns)
        for theirs, own in ((other.ip, R1.ip), (other.ip6, R1.ip6)):
            assert answer(rig, other, own)
            assert answer(rig, R1, theirs, "udp")
            assert silent(rig, R1, theirs)
            assert silent(rig, other, own, "udp")
            assert stopped(rig.ping, other, own)
        assert stopped(rig.ping, R1, other.ip)
        assert passes(rig.ping, R1, other.ip6)
        remove(rig, *reversed(nouns))
        assert answer(rig, R1, other.ip)
        assert passes(rig.ping, other, R1.ip)

    def test_members_are_at_routed_links(self, rig: Rig) -> None:
        """Rules name those at routed links, and others, and the host is nobody special."""
        before = group(rig, [replace(TCP, remote="group:web")], bridged=False)
        both = [port(rig, R1), replace(port(rig, R2), groups=("all",))]
        add(rig, *before, *group(rig, [ALL_IN, ALL_OUT], name="all", bridged=False), *both)
        assert silent(rig, R2, R1.ip)
        assert silent(rig, OUT, R1.ip6)
        assert silent(rig, HUB, R1.ip)
        put(rig, [replace(both[1], groups=("all", "web"))], [both[1]])
        assert answer(rig, R2, R1.ip)
        assert answer(rig, R2, R1.ip6)
        there = replace(before[0], addresses=(OUT.ip6,))
        put(rig, [there], [before[0]])
        assert answer(rig, OUT, R1.ip6)
        assert silent(rig, OUT, R1.ip)
