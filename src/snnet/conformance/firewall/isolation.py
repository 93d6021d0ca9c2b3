"""``HostIsolation``: the host's own addresses cannot be reached from a link."""

from __future__ import annotations

import pytest

from snnet.conformance.endpoints import (
    A1,
    A2,
    B1,
    EXT0,
    HUB,
    IN_A,
    IN_B,
    OUT,
    PORT,
    R1,
    R2,
    ROUTED_GATEWAY,
)
from snnet.conformance.rig import Answer, Rig
from snnet.contract import HostIsolation, HostServices, IPAddress

from .base import FirewallTests, add, answer, passes, remove, silent, stopped


class IsolationTests(FirewallTests):
    @pytest.mark.parametrize("arp", [True, False], ids=["arp", "ip"])
    def test_the_host_is_out_of_reach(self, rig: Rig, arp: bool) -> None:
        """Packets to any address of the host are dropped."""
        targets = (IN_A.address.ip, IN_B.address.ip, EXT0.address.ip)
        for target in targets:
            assert passes(rig.ping, A1, target)
        add(rig, HostIsolation(owner=rig.owner, link="in-a", arp=arp))
        for target in targets:
            assert stopped(rig.ping, A1, target)
        assert stopped(rig.forge, A1, HUB)
        for protocol in ("tcp", "udp", "sctp"):
            assert silent(rig, A1, EXT0.address.ip, protocol)

    @pytest.mark.parametrize("arp", [True, False], ids=["arp", "ip"])
    def test_ipv6_of_the_host_is_out_of_reach(self, rig: Rig, arp: bool) -> None:
        """Packets to its IPv6 addresses are dropped too."""
        targets = (IN_A.address6.ip, IN_B.address6.ip, EXT0.address6.ip)
        for target in targets:
            assert passes(rig.ping, A1, target)
        add(rig, HostIsolation(owner=rig.owner, link="in-a", arp=arp))
        for target in targets:
            assert stopped(rig.ping, A1, target)
            assert silent(rig, A1, target, "udp")
        assert silent(rig, A1, EXT0.address6.ip, "tcp")
        assert passes(rig.ping, A1, A2.ip6)
        if not arp:  # with it, guests that do not know their gateway yet do not find it
            assert passes(rig.ping, A1, B1.ip6)

    @pytest.mark.parametrize("version", [4, 6])
    def test_one_address_of_the_host_may_be_open(self, rig: Rig, version: int) -> None:
        """Only from this link, only this address, and none of the other family."""
        own: tuple[IPAddress, IPAddress] = (EXT0.address.ip, EXT0.address6.ip)
        others: tuple[IPAddress, IPAddress] = (IN_B.address.ip, IN_B.address6.ip)
        one, closed = own[version == 6], (own[version == 4], others[version == 6])
        for target in (*own, *others):
            assert passes(rig.ping, A1, target)
        rule = HostIsolation(owner=rig.owner, link="in-a", arp=False, open_address=one)
        add(rig, rule)
        assert passes(rig.ping, A1, one)
        for protocol in ("tcp", "udp", "sctp"):
            assert answer(rig, A1, one, protocol) == Answer(HUB, A1.ip if version == 4 else A1.ip6)
        for target in closed:
            assert stopped(rig.ping, A1, target)
            assert silent(rig, A1, target, "udp")
        add(rig, HostIsolation(owner=rig.owner, link="in-b", arp=False))
        assert stopped(rig.ping, B1, one)
        remove(rig, rule)
        assert passes(rig.ping, A1, closed[0])

    def test_the_host_answers_no_solicitations(self, rig: Rig) -> None:
        """With ``arp`` it answers none; without it does, and its own connections go on."""
        closed = HostIsolation(owner=rig.owner, link="in-a")
        assert passes(rig.resolve, A1, IN_A.address6.ip)
        add(rig, closed)
        assert stopped(rig.resolve, A1, IN_A.address6.ip)
        assert passes(rig.resolve, A1, A2.ip6)
        remove(rig, closed)
        add(rig, HostIsolation(owner=rig.owner, link="in-a", arp=False))
        assert passes(rig.resolve, A1, IN_A.address6.ip)
        assert stopped(rig.ping, A1, IN_A.address6.ip)
        assert passes(rig.ping, HUB, A1.ip6)
        assert answer(rig, HUB, A1.ip6) == Answer(A1, IN_A.address6.ip)

    def test_the_host_answers_no_arp(self, rig: Rig) -> None:
        """With ``arp`` the host does not answer ARP for its addresses; guests still do."""
        assert passes(rig.resolve, A1, EXT0.address.ip)
        rule = HostIsolation(owner=rig.owner, link="in-a")
        add(rig, rule)
        assert stopped(rig.resolve, A1, IN_A.address.ip)
        assert stopped(rig.resolve, A1, EXT0.address.ip)
        assert passes(rig.resolve, A1, A2.ip)
        assert passes(rig.ping, A1, A2.ip)
        remove(rig, rule)
        assert passes(rig.resolve, A1, IN_A.address.ip)

    def test_by_ip_alone_the_host_still_answers_arp(self, rig: Rig) -> None:
        """Without ``arp`` it answers: routed guests need the MAC of their gateway."""
        add(rig, HostIsolation(owner=rig.owner, link="pr1", arp=False))
        assert passes(rig.resolve, R1, ROUTED_GATEWAY)
        assert stopped(rig.ping, R1, EXT0.address.ip)
        assert stopped(rig.ping, R1, ROUTED_GATEWAY)
        assert passes(rig.ping, R1, R2.ip)

    def test_answers_to_the_host_pass(self, rig: Rig) -> None:
        """Answers to the host's own connections pass."""
        add(rig, HostIsolation(owner=rig.owner, link="pr1", arp=False))
        assert stopped(rig.ping, R1, ROUTED_GATEWAY)
        assert passes(rig.ping, HUB, R1.ip)
        assert answer(rig, HUB, R1.ip) == Answer(R1, ROUTED_GATEWAY)

    def test_only_services_for_guests_are_open(self, rig: Rig) -> None:
        """ICMP of the host answers, its other services do not, whichever its address."""
        rule = HostServices(owner=rig.owner, link="in-a")
        assert answer(rig, A1, IN_A.address.ip) == Answer(HUB, A1.ip)
        add(rig, rule)
        for target in (IN_A.address.ip, IN_B.address.ip, EXT0.address.ip):
            assert passes(rig.ping, A1, target)
            for protocol in ("tcp", "udp", "sctp"):
                assert silent(rig, A1, target, protocol)
        for six in (IN_A.address6.ip, EXT0.address6.ip):
            assert passes(rig.ping, A1, six)
            for protocol in ("tcp", "udp", "sctp"):
                assert silent(rig, A1, six, protocol)
        assert passes(rig.resolve, A1, IN_A.address6.ip)
        assert answer(rig, HUB, A1.ip6) == Answer(A1, IN_A.address6.ip)
        assert answer(rig, HUB, A1.ip) == Answer(A1, IN_A.address.ip)
        assert passes(rig.ping, A1, OUT.ip)
        assert answer(rig, OUT, EXT0.address.ip) == Answer(HUB, OUT.ip)
        remove(rig, rule)
        assert answer(rig, A1, IN_A.address.ip) == Answer(HUB, A1.ip)

    def test_other_links_are_not_concerned(self, rig: Rig) -> None:
        """The rule is for one link and for the host only."""
        add(rig, HostIsolation(owner=rig.owner, link="in-a", arp=False))
        assert stopped(rig.ping, A1, IN_A.address.ip)
        assert passes(rig.ping, B1, IN_B.address.ip)
        assert passes(rig.ping, B1, IN_A.address.ip)
        assert answer(rig, OUT, EXT0.address.ip, "tcp", PORT) == Answer(HUB, OUT.ip)
        assert passes(rig.ping, A1, B1.ip)
        assert passes(rig.ping, A1, OUT.ip)
