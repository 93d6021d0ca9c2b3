"""Zones: which links forward to which."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network

import pytest

from snnet.conformance.endpoints import A1, A2, B1, C1, FAR, HUB, IN_A, OUT, R1, R2
from snnet.conformance.rig import Answer, Rig
from snnet.contract import Add, Change, Zone, ZoneLink

from .base import FirewallTests, add, answer, do, passes, remove, silent, stopped, tenants, zone


class ZoneTests(FirewallTests):
    def test_without_rules_all_passes(self, rig: Rig) -> None:
        """Packets that no rule matches pass, which is what the other tests rely on."""
        for source, target in ((A1, A2), (A1, B1), (A1, C1), (A1, OUT), (OUT, A1), (R1, R2)):
            assert passes(rig.ping, source, target.ip)
        assert passes(rig.ping, A1, C1.ip6)

    def test_links_of_a_zone_reach_each_other(self, rig: Rig) -> None:
        """Packets between links of one zone pass."""
        add(rig, *tenants(rig))
        assert passes(rig.ping, A1, B1.ip)
        assert passes(rig.ping, B1, A1.ip)
        for protocol in ("tcp", "udp", "sctp"):
            assert answer(rig, A1, B1.ip, protocol) == Answer(B1, A1.ip)

    def test_behind_one_link_all_reach_each_other(self, rig: Rig) -> None:
        """Frames between ports of a zone's bridge pass, also where IP's hooks see them."""
        add(rig, *tenants(rig))
        assert passes(rig.ping, A1, A2.ip)
        assert answer(rig, A2, A1.ip) == Answer(A1, A2.ip)

    def test_zones_do_not_reach_each_other(self, rig: Rig) -> None:
        """Packets from one zone to another are dropped."""
        add(rig, *tenants(rig))
        assert stopped(rig.ping, A1, C1.ip)
        assert stopped(rig.ping, C1, B1.ip)
        for protocol in ("tcp", "udp", "sctp"):
            assert silent(rig, C1, A1.ip, protocol)

    def test_a_zone_does_not_reach_other_links(self, rig: Rig) -> None:
        """Packets from a zone to links of no zone are dropped."""
        add(rig, *zone(rig, "ta", "in-a"))
        assert stopped(rig.ping, A1, OUT.ip)
        assert stopped(rig.ping, A1, B1.ip)

    def test_other_links_do_not_reach_a_zone(self, rig: Rig) -> None:
        """Packets from links of no zone into a zone are dropped."""
        add(rig, *zone(rig, "ta", "in-a"))
        assert stopped(rig.ping, OUT, A1.ip)
        assert stopped(rig.ping, B1, A1.ip)
        assert silent(rig, OUT, A1.ip)
        assert passes(rig.ping, OUT, B1.ip)

    def test_ipv6_stays_in_its_zone(self, rig: Rig) -> None:
        """IPv6 passes within a zone, and neither into it nor out of it."""
        add(rig, *tenants(rig))
        assert passes(rig.ping, A1, B1.ip6)
        for source, target in ((A1, C1), (C1, A1), (A1, OUT), (OUT, A1)):
            assert stopped(rig.ping, source, target.ip6)

    def test_zones_of_routed_links(self, rig: Rig) -> None:
        """Links that are not bridges can be in zones too."""
        add(rig, *zone(rig, "t1", "pr1"), *zone(rig, "t2", "pr2"))
        assert stopped(rig.ping, R1, R2.ip)
        remove(rig, *reversed(zone(rig, "t2", "pr2")))
        add(rig, ZoneLink(owner=rig.owner, link="pr2", zone="t1"))
        assert passes(rig.ping, R1, R2.ip)

    def test_the_host_reaches_a_zone(self, rig: Rig) -> None:
        """Zones apply to forwarded packets: the host itself reaches its zones."""
        add(rig, *tenants(rig))
        assert passes(rig.ping, HUB, A1.ip)
        assert passes(rig.ping, A1, IN_A.address.ip)

    def test_members_behind_other_nodes_reach_a_zone(self, rig: Rig) -> None:
        """From other links only the ``networks`` of a zone open connections into it."""
        add(rig, *zone(rig, "ta", "in-a", networks=(FAR.address.network,)))
        assert passes(rig.ping, FAR, A1.ip)
        assert answer(rig, FAR, A1.ip) == Answer(A1, FAR.ip)
        assert stopped(rig.ping, OUT, A1.ip)
        assert stopped(rig.ping, A1, FAR.ip)

    def test_an_outbound_zone_reaches_what_is_in_no_zone(self, rig: Rig) -> None:
        """Its members open connections to links of no zone, and none is opened to them."""
        add(rig, *zone(rig, "ta", "in-a", outbound=True), *zone(rig, "tc", "in-c"))
        for target in (OUT, B1):
            assert passes(rig.ping, A1, target.ip)
            assert stopped(rig.ping, target, A1.ip)
        assert answer(rig, A1, OUT.ip) == Answer(OUT, A1.ip)
        assert stopped(rig.ping, C1, OUT.ip)

    def test_an_outbound_zone_does_not_reach_other_zones(self, rig: Rig) -> None:
        """An outbound zone reaches another zone only if that has it in its ``networks``."""
        add(rig, *zone(rig, "ta", "in-a", outbound=True), *zone(rig, "tb", "in-b", outbound=True))
        add(rig, *zone(rig, "tc", "in-c", networks=(IN_A.address.network,)))
        assert stopped(rig.ping, A1, B1.ip)
        assert stopped(rig.ping, B1, A1.ip)
        assert stopped(rig.ping, B1, C1.ip)
        assert passes(rig.ping, A1, C1.ip)
        assert stopped(rig.ping, C1, A1.ip)

    def test_networks_are_those_of_their_zone(self, rig: Rig) -> None:
        """The networks of one zone have no rights in another."""
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
        """After a Change the new networks count and the old ones do not."""
        before, link = zone(rig, "ta", "in-a", networks=(FAR.address.network,))
        assert isinstance(before, Zone)
        add(rig, before, link)
        do(rig, Change(replace(before, networks=(OUT.address.network,)), before))
        assert passes(rig.ping, OUT, A1.ip)
        assert stopped(rig.ping, FAR, A1.ip)

    def test_networks_may_overlap(self, rig: Rig) -> None:
        """A network may lie in another of its zone, and in two zones."""
        wide, narrow = FAR.address.network.supernet(), FAR.address.network
        add(rig, *zone(rig, "ta", "in-a", networks=(wide, narrow)))
        add(rig, *zone(rig, "tc", "in-c", networks=(narrow,)))
        assert passes(rig.ping, FAR, A1.ip)
        assert passes(rig.ping, FAR, C1.ip)
        remove(rig, *reversed(zone(rig, "tc", "in-c", networks=(narrow,))))
        assert passes(rig.ping, FAR, A1.ip)

    def test_a_zones_link_may_know_its_network(self, rig: Rig) -> None:
        """Giving the network behind a link does not change which packets pass."""
        whole, *_ = zone(rig, "ta")
        links = [
            ZoneLink(owner=rig.owner, link=link, zone="ta", networks=(IPv4Network(network),))
            for link, network in (("in-a", "10.1.0.0/24"), ("in-b", "10.2.0.0/24"))
        ]
        add(rig, whole, *links)
        assert passes(rig.ping, A1, B1.ip)
        assert stopped(rig.ping, A1, C1.ip)
        assert stopped(rig.ping, OUT, A1.ip)

    def test_a_link_that_left_is_free(self, rig: Rig) -> None:
        """A link that has left its zone is not restricted; other zones still are."""
        rules = tenants(rig)
        add(rig, *rules)
        link = ZoneLink(owner=rig.owner, link="in-c", zone="tc")
        remove(rig, link)
        assert passes(rig.ping, C1, OUT.ip)
        assert stopped(rig.ping, A1, OUT.ip)

    def test_zones_of_two_owners(self, rig: Rig) -> None:
        """Zones of the same name and different owners are different zones."""
        other = rig.another("cnci:other")
        add(rig, *zone(rig, "ta", "in-a"))
        theirs = [replace(noun, owner="cnci:other") for noun in zone(rig, "ta", "in-b")]  # type: ignore[call-arg]
        assert not other.apply([Add(noun) for noun in theirs]).errors
        assert stopped(rig.ping, A1, B1.ip)
        remove(rig, *reversed(zone(rig, "ta", "in-a")))
        assert stopped(rig.ping, B1, OUT.ip)
        assert passes(rig.ping, A1, OUT.ip)

    @pytest.mark.parametrize("name", ["ext+", "ext*", "ex"])
    def test_names_are_no_patterns(self, rig: Rig, name: str) -> None:
        """A rule is for the link of exactly that name."""
        outcome = rig.driver.apply([])
        for noun in zone(rig, "ta", name):
            outcome = rig.driver.apply([Add(noun)])
        assert passes(rig.ping, OUT, A1.ip), f"{name} means ext0: {outcome.error}"
