"""The way out: external forwarding and masquerade."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Interface

import pytest

from snnet.conformance.endpoints import A1, A2, B1, C1, EXT0, EXT1, FAR, HUB, OUT, PORT, R1
from snnet.conformance.rig import Answer, Rig
from snnet.contract import (
    PROTOCOLS,
    Add,
    ExternalForward,
    Masquerade,
    Noun,
    OpenAddress,
    TranslatedSource,
    Zone,
)

from .base import (
    FirewallTests,
    add,
    answer,
    exit_by,
    passes,
    publish,
    remove,
    silent,
    stopped,
    tenants,
)


def outbound(rig: Rig) -> list[Noun]:
    """Return the tenants, whose zones lead out."""
    return [
        replace(noun, outbound=True) if isinstance(noun, Zone) else noun for noun in tenants(rig)
    ]


class ExitTests(FirewallTests):
    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_guests_get_out_by_the_hosts_address(self, rig: Rig, protocol: str) -> None:
        """Guests are seen outside with the address of the device; answers come back."""
        add(rig, *tenants(rig), *exit_by(rig))
        assert answer(rig, A1, OUT.ip, protocol) == Answer(OUT, EXT0.address.ip)
        assert answer(rig, A2, OUT.ip, protocol) == Answer(OUT, EXT0.address.ip)

    def test_pings_get_out(self, rig: Rig) -> None:
        """ICMP gets out and back too."""
        add(rig, *tenants(rig), *exit_by(rig))
        assert passes(rig.ping, A1, OUT.ip)

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_a_translated_source_gets_out(self, rig: Rig, protocol: str) -> None:
        """Its packets get an address of whatever device they leave by; others' do not."""
        add(rig, *outbound(rig), TranslatedSource(owner=rig.owner, source=A1.ip))
        assert answer(rig, A1, OUT.ip, protocol) == Answer(OUT, EXT0.address.ip)
        assert answer(rig, A1, FAR.ip, protocol) == Answer(FAR, EXT1.address.ip)
        assert answer(rig, A2, OUT.ip, protocol) == Answer(OUT, A2.ip)

    def test_a_translated_source_within_its_zone(self, rig: Rig) -> None:
        """Between links of a zone it stays as it is, and zones stay apart."""
        add(rig, *outbound(rig), TranslatedSource(owner=rig.owner, source=A1.ip))
        assert answer(rig, A1, B1.ip) == Answer(B1, A1.ip)
        assert silent(rig, A1, C1.ip)

    def test_a_translated_source_of_ipv6(self, rig: Rig) -> None:
        """The same for IPv6, which a ``Masquerade`` leaves alone."""
        add(rig, *outbound(rig), TranslatedSource(owner=rig.owner, source=A1.ip6))
        assert answer(rig, A1, OUT.ip6) == Answer(OUT, EXT0.address6.ip)
        assert answer(rig, A2, OUT.ip6) == Answer(OUT, A2.ip6)

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_an_open_address_is_reached_by_everybody(self, rig: Rig, protocol: str) -> None:
        """From outside and from other zones, and no other address of its zone."""
        add(rig, *outbound(rig))
        assert silent(rig, OUT, A1.ip)
        opened = OpenAddress(owner=rig.owner, address=A1.ip)
        add(rig, opened)
        assert answer(rig, OUT, A1.ip, protocol) == Answer(A1, OUT.ip)
        assert answer(rig, C1, A1.ip, protocol) == Answer(A1, C1.ip)
        assert silent(rig, OUT, A2.ip)
        assert silent(rig, A1, C1.ip)
        remove(rig, opened)
        assert silent(rig, OUT, A1.ip)

    def test_an_open_address_lets_nobody_out(self, rig: Rig) -> None:
        """Who may not leave its zone does not reach it."""
        add(rig, *tenants(rig), OpenAddress(owner=rig.owner, address=A1.ip))
        assert silent(rig, C1, A1.ip)
        assert answer(rig, OUT, A1.ip) == Answer(A1, OUT.ip)

    def test_an_open_address_of_ipv6(self, rig: Rig) -> None:
        """The same for IPv6."""
        add(rig, *outbound(rig), OpenAddress(owner=rig.owner, address=A1.ip6))
        assert answer(rig, OUT, A1.ip6) == Answer(A1, OUT.ip6)
        assert silent(rig, OUT, A2.ip6)

    def test_only_this_bridge_gets_out(self, rig: Rig) -> None:
        """Other links of the zone, and other zones, stay inside."""
        add(rig, *tenants(rig), *exit_by(rig))
        assert stopped(rig.ping, B1, OUT.ip)
        assert stopped(rig.ping, C1, OUT.ip)

    @pytest.mark.parametrize("name", ["ext*", "ext+"])
    def test_a_device_is_no_pattern(self, rig: Rig, name: str) -> None:
        """A name with which a program of the firewall means many links is refused, or one link."""
        add(rig, *tenants(rig))
        pattern = [
            replace(noun, device=name) if isinstance(noun, ExternalForward) else noun
            for noun in exit_by(rig)
        ]
        rig.driver.apply([Add(noun) for noun in pattern], keep_going=True)
        assert stopped(rig.ping, A1, OUT.ip)

    def test_only_by_this_device(self, rig: Rig) -> None:
        """Another device needs a rule of its own."""
        add(rig, *tenants(rig), *exit_by(rig), Masquerade(owner=rig.owner, device="ext1"))
        assert stopped(rig.ping, A1, FAR.ip)
        add(rig, ExternalForward(owner=rig.owner, device="ext1", bridge="in-a"))
        assert answer(rig, A1, FAR.ip) == Answer(FAR, EXT1.address.ip)
        assert answer(rig, A1, OUT.ip) == Answer(OUT, EXT0.address.ip)

    def test_only_answers_get_in(self, rig: Rig) -> None:
        """An ``ExternalForward`` lets no connection in from outside."""
        add(rig, *tenants(rig), *exit_by(rig))
        assert passes(rig.ping, A1, OUT.ip)
        assert stopped(rig.ping, OUT, A1.ip)
        for protocol in ("tcp", "udp", "sctp"):
            assert silent(rig, OUT, A1.ip, protocol)

    def test_nothing_leaves_without_nat(self, rig: Rig) -> None:
        """Without ``Masquerade`` on its device an ``ExternalForward`` lets nothing out."""
        masquerade, way_out = exit_by(rig)
        add(rig, *tenants(rig), way_out)
        assert stopped(rig.ping, A1, OUT.ip)
        assert silent(rig, A1, OUT.ip, "udp", PORT)
        add(rig, masquerade)
        assert answer(rig, A1, OUT.ip) == Answer(OUT, EXT0.address.ip)
        remove(rig, masquerade)
        assert stopped(rig.ping, A1, OUT.ip)

    def test_another_devices_nat_does_not_count(self, rig: Rig) -> None:
        """``Masquerade`` must be on the same device as the forward."""
        add(
            rig,
            *tenants(rig),
            Masquerade(owner=rig.owner, device="ext1"),
            ExternalForward(owner=rig.owner, device="ext0", bridge="in-a"),
        )
        assert stopped(rig.ping, A1, OUT.ip)

    def test_masquerade_alone_opens_nothing(self, rig: Rig) -> None:
        """``Masquerade`` changes addresses; it lets nothing out of a zone."""
        add(rig, *tenants(rig), Masquerade(owner=rig.owner, device="ext0"))
        assert stopped(rig.ping, A1, OUT.ip)

    def test_all_that_leaves_is_masqueraded(self, rig: Rig) -> None:
        """Packets from links of no zone are masqueraded too; packets that stay inside are not."""
        add(rig, Masquerade(owner=rig.owner, device="ext0"))
        assert answer(rig, R1, OUT.ip) == Answer(OUT, EXT0.address.ip)
        assert answer(rig, R1, FAR.ip) == Answer(FAR, R1.ip)
        assert answer(rig, A1, B1.ip) == Answer(B1, A1.ip)

    def test_incoming_connections_keep_their_source(self, rig: Rig) -> None:
        """Masquerade applies to packets that leave by the device, not to those that arrive."""
        add(rig, Masquerade(owner=rig.owner, device="ext0"))
        assert answer(rig, OUT, R1.ip) == Answer(R1, OUT.ip)
        assert answer(rig, R1, OUT.ip) == Answer(OUT, EXT0.address.ip)

    def test_the_way_out_closes_with_its_rule(self, rig: Rig) -> None:
        """Without the forward nothing gets out."""
        masquerade, way_out = exit_by(rig)
        add(rig, *tenants(rig), masquerade, way_out)
        assert passes(rig.ping, A1, OUT.ip)
        remove(rig, way_out)
        assert stopped(rig.ping, A1, OUT.ip)

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_ipv6_leaves_as_it_is(self, rig: Rig, protocol: str) -> None:
        """IPv6 gets out and back with the guest's own address, and nothing gets in."""
        add(rig, *tenants(rig), *exit_by(rig))
        assert answer(rig, A1, OUT.ip6, protocol) == Answer(OUT, A1.ip6)
        assert answer(rig, A1, OUT.ip, protocol) == Answer(OUT, EXT0.address.ip)
        assert passes(rig.ping, A1, OUT.ip6)
        assert stopped(rig.ping, OUT, A1.ip6)
        assert silent(rig, OUT, A1.ip6, protocol)
        assert stopped(rig.ping, B1, OUT.ip6)

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_ipv6_leaves_by_the_hosts_address(self, rig: Rig, protocol: str) -> None:
        """With ``nat66`` guests are seen outside with an IPv6 address of the device."""
        add(rig, *tenants(rig), *exit_by(rig, nat66=True))
        assert answer(rig, A1, OUT.ip6, protocol) == Answer(OUT, EXT0.address6.ip)
        assert answer(rig, A1, OUT.ip, protocol) == Answer(OUT, EXT0.address.ip)
        assert passes(rig.ping, A1, OUT.ip6)
        assert stopped(rig.ping, OUT, A1.ip6)

    def test_nat66_is_of_its_device(self, rig: Rig) -> None:
        """Another device, and what arrives, keep their addresses."""
        way_out = ExternalForward(owner=rig.owner, device="ext1", bridge="in-a")
        add(rig, *tenants(rig), *exit_by(rig, nat66=True))
        add(rig, Masquerade(owner=rig.owner, device="ext1"), way_out)
        assert answer(rig, A1, FAR.ip6) == Answer(FAR, A1.ip6)
        assert answer(rig, A1, OUT.ip6) == Answer(OUT, EXT0.address6.ip)
        assert answer(rig, A1, B1.ip6) == Answer(B1, A1.ip6)
        assert answer(rig, OUT, EXT0.address6.ip) == Answer(HUB, OUT.ip6)

    def test_no_ipv6_leaves_untranslated_by_nat66(self, rig: Rig) -> None:
        """What belongs to no connection does not leave with its private source."""
        assert passes(rig.forge, A1, OUT, address=A1.ip6, reply=True)
        add(rig, *tenants(rig), *exit_by(rig, nat66=True))
        assert passes(rig.forge, A1, OUT, address=A1.ip6)
        assert stopped(rig.forge, A1, OUT, address=A1.ip6, reply=True)

    def test_what_keeps_its_source_needs_no_connection(self, rig: Rig) -> None:
        """Without ``nat66`` IPv6 is routed alone, whether the host tracks it or not."""
        add(rig, *tenants(rig), *exit_by(rig))
        assert passes(rig.forge, A1, OUT, address=A1.ip6, reply=True)
        assert stopped(rig.forge, B1, OUT, address=B1.ip6, reply=True)

    def test_nothing_leaves_untranslated(self, rig: Rig) -> None:
        """What belongs to no connection does not leave with its private source."""
        assert passes(rig.forge, A1, OUT, reply=True)
        add(rig, *tenants(rig), *exit_by(rig))
        assert passes(rig.forge, A1, OUT)
        assert stopped(rig.forge, A1, OUT, reply=True)

    def test_nor_by_a_public_address(self, rig: Rig) -> None:
        """Likewise where the guest has an address of its own."""
        add(rig, *tenants(rig), publish(rig))
        assert passes(rig.forge, A1, OUT)
        assert stopped(rig.forge, A1, OUT, reply=True)

    def test_what_the_host_sends_keeps_its_source(self, rig: Rig) -> None:
        """Its second address too: peers know tunnels by it."""
        second = IPv4Interface("203.0.113.77/32")
        rig.add_address("ext0", second)
        add(rig, Masquerade(owner=rig.owner, device="ext0"))
        assert answer(rig, OUT, second.ip) == Answer(HUB, OUT.ip)
        assert answer(rig, HUB, OUT.ip) == Answer(OUT, EXT0.address.ip)
