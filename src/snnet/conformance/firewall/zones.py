"""Forwarding: zones and bridges that are kept apart."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network

import pytest

from snnet.conformance.endpoints import A1, A2, B1, C1, FAR, HUB, IN_A, OUT, R1, R2
from snnet.conformance.rig import Answer, Rig
from snnet.contract import Add, Change, Zone, ZoneLink

from .base import (
    FirewallTests,
    add,
    answer,
    do,
    passes,
    remove,
    silent,
    stopped,
    tenants,
    zone,
)


class ZoneTests(FirewallTests):
    def test_without_rules_all_passes(self, rig: Rig) -> None:
        """Where no rule speaks of a packet it passes: so the other tests mean something."""
        for source, target in ((A1, A2), (A1, B1), (A1, C1), (A1, OUT), (OUT, A1), (R1, R2)):
            assert passes(rig.ping, source, target.ip)
        assert passes(rig.ping, A1, C1.ip6)

    def test_links_of_a_zone_reach_each_other(self, rig: Rig) -> None:
        """Between links of one zone: pass."""
        add(rig, *tenants(rig))
        assert passes(rig.ping, A1, B1.ip)
        assert passes(rig.ping, B1, A1.ip)
        for protocol in ("tcp", "udp", "sctp"):
            assert answer(rig, A1, B1.ip, protocol) == Answer(B1, A1.ip)

    def test_behind_one_link_all_reach_each_other(self, rig: Rig) -> None:
        """Frames between ports of a zone's bridge pass, where br_netfilter shows them, too."""
        add(rig, *tenants(rig))
        assert passes(rig.ping, A1, A2.ip)
        assert answer(rig, A2, A1.ip) == Answer(A1, A2.ip)

    def test_zones_do_not_reach_each_other(self, rig: Rig) -> None:
        """From a link of a zone to any other: dropped."""
        add(rig, *tenants(rig))
        assert stopped(rig.ping, A1, C1.ip)
        assert stopped(rig.ping, C1, B1.ip)
        for protocol in ("tcp", "udp", "sctp"):
            assert silent(rig, C1, A1.ip, protocol)

    def test_a_zone_does_not_reach_other_links(self, rig: Rig) -> None:
        """Nor links of no zone, inside or outside."""
        add(rig, *zone(rig, "ta", "in-a"))
        assert stopped(rig.ping, A1, OUT.ip)
        assert stopped(rig.ping, A1, B1.ip)

    def test_other_links_do_not_reach_a_zone(self, rig: Rig) -> None:
        """From any other link to one of a zone: dropped."""
        add(rig, *zone(rig, "ta", "in-a"))
        assert stopped(rig.ping, OUT, A1.ip)
        assert stopped(rig.ping, B1, A1.ip)
        assert silent(rig, OUT, A1.ip)
        assert passes(rig.ping, OUT, B1.ip)

    def test_ipv6_stays_in_its_zone(self, rig: Rig) -> None:
        """The same for IPv6: within a zone it passes, out of it and into it none."""
        add(rig, *tenants(rig))
        assert passes(rig.ping, A1, B1.ip6)
        for source, target in ((A1, C1), (C1, A1), (A1, OUT), (OUT, A1)):
            assert stopped(rig.ping, source, target.ip6)

    def test_zones_of_routed_links(self, rig: Rig) -> None:
        """Links that are no bridges are in zones likewise."""
        add(rig, *zone(rig, "t1", "pr1"), *zone(rig, "t2", "pr2"))
        assert stopped(rig.ping, R1, R2.ip)
        remove(rig, *reversed(zone(rig, "t2", "pr2")))
        add(rig, ZoneLink(owner=rig.owner, link="pr2", zone="t1"))
        assert passes(rig.ping, R1, R2.ip)

    def test_the_host_reaches_a_zone(self, rig: Rig) -> None:
        """Zones are about what is forwarded: the host itself is not kept out."""
        add(rig, *tenants(rig))
        assert passes(rig.ping, HUB, A1.ip)
        assert passes(rig.ping, A1, IN_A.address.ip)

    def test_members_behind_other_nodes_reach_a_zone(self, rig: Rig) -> None:
        """From other links a zone's ``networks`` open connections into it, and only they."""
        add(rig, *zone(rig, "ta", "in-a", networks=(FAR.address.network,)))
        assert passes(rig.ping, FAR, A1.ip)
        assert answer(rig, FAR, A1.ip) == Answer(A1, FAR.ip)
        assert stopped(rig.ping, OUT, A1.ip)
        assert stopped(rig.ping, A1, FAR.ip)

    def test_an_outbound_zone_reaches_what_is_in_no_zone(self, rig: Rig) -> None:
        """Its members open connections to links of no zone; nobody opens any to them."""
        add(rig, *zone(rig, "ta", "in-a", outbound=True), *zone(rig, "tc", "in-c"))
        for target in (OUT, B1):
            assert passes(rig.ping, A1, target.ip)
            assert stopped(rig.ping, target, A1.ip)
        assert answer(rig, A1, OUT.ip) == Answer(OUT, A1.ip)
        assert stopped(rig.ping, C1, OUT.ip)

    def test_an_outbound_zone_does_not_reach_other_zones(self, rig: Rig) -> None:
        """Of other zones it reaches those that take it for a member behind another node."""
        add(rig, *zone(rig, "ta", "in-a", outbound=True), *zone(rig, "tb", "in-b", outbound=True))
        add(rig, *zone(rig, "tc", "in-c", networks=(IN_A.address.network,)))
        assert stopped(rig.ping, A1, B1.ip)
        assert stopped(rig.ping, B1, A1.ip)
        assert stopped(rig.ping, B1, C1.ip)
        assert passes(rig.ping, A1, C1.ip)
        assert stopped(rig.ping, C1, A1.ip)

    def test_networks_are_those_of_their_zone(self, rig: Rig) -> None:
        """The networks of one zone are strangers to another."""
        add(
            rig,
            *zone(rig, "ta", "in-a", networks=(FAR.address.network,)),
            *zone(rig, "tc", "in-c", networks=(OUT.address.network,)),
        )
        assert passes(rig.ping, FAR, A1.ip)
        assert stopped(rig.ping, FAR, C1.ip)
        assert passes(rig.ping, OUT, C1.ip)
        assert stopped(rig.ping, OUT, A1.ip)

    def test_a_zones_networks_change(self, rig: Rig) -> None:
        """After a change the new networks count and the old ones do not."""
        before, link = zone(rig, "ta", "in-a", networks=(FAR.address.network,))
        assert isinstance(before, Zone)
        add(rig, before, link)
        do(rig, Change(replace(before, networks=(OUT.address.network,)), before))
        assert passes(rig.ping, OUT, A1.ip)
        assert stopped(rig.ping, FAR, A1.ip)

    def test_networks_may_overlap(self, rig: Rig) -> None:
        """A network may be within another of its zone, and in two zones."""
        wide, narrow = FAR.address.network.supernet(), FAR.address.network
        add(rig, *zone(rig, "ta", "in-a", networks=(wide, narrow)))
        add(rig, *zone(rig, "tc", "in-c", networks=(narrow,)))
        assert passes(rig.ping, FAR, A1.ip)
        assert passes(rig.ping, FAR, C1.ip)
        remove(rig, *reversed(zone(rig, "tc", "in-c", networks=(narrow,))))
        assert passes(rig.ping, FAR, A1.ip)

    def test_a_zones_link_may_know_its_network(self, rig: Rig) -> None:
        """With the network behind it given, a link is in its zone as without."""
        whole, *_ = zone(rig, "ta")
        links = [
            ZoneLink(owner=rig.owner, link=link, zone="ta", network=IPv4Network(network))
            for link, network in (("in-a", "10.1.0.0/24"), ("in-b", "10.2.0.0/24"))
        ]
        add(rig, whole, *links)
        assert passes(rig.ping, A1, B1.ip)
        assert stopped(rig.ping, A1, C1.ip)
        assert stopped(rig.ping, OUT, A1.ip)

    def test_a_link_that_left_is_free(self, rig: Rig) -> None:
        """Without its link a zone does not hold, and the others' holds on."""
        rules = tenants(rig)
        add(rig, *rules)
        link = ZoneLink(owner=rig.owner, link="in-c", zone="tc")
        remove(rig, link)
        assert passes(rig.ping, C1, OUT.ip)
        assert stopped(rig.ping, A1, OUT.ip)

    def test_zones_of_two_owners(self, rig: Rig) -> None:
        """Zones of one name and two owners are two."""
        other = rig.another("cnci:other")
        add(rig, *zone(rig, "ta", "in-a"))
        his = [replace(noun, owner="cnci:other") for noun in zone(rig, "ta", "in-b")]  # type: ignore[call-arg]
        assert not other.apply([Add(noun) for noun in his]).errors
        assert stopped(rig.ping, A1, B1.ip)
        remove(rig, *reversed(zone(rig, "ta", "in-a")))
        assert stopped(rig.ping, B1, OUT.ip)
        assert passes(rig.ping, A1, OUT.ip)

    @pytest.mark.parametrize("name", ["ext+", "ext*", "ex"])
    def test_names_are_no_patterns(self, rig: Rig, name: str) -> None:
        """A rule is about the link of that name, and no other."""
        outcome = rig.driver.apply([])
        for noun in zone(rig, "ta", name):
            outcome = rig.driver.apply([Add(noun)])
        assert passes(rig.ping, OUT, A1.ip), f"{name} means ext0: {outcome.error}"
