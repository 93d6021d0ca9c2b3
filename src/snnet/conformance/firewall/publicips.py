"""Public IPs: one outside address for one guest."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface

import pytest

from snnet.conformance.endpoints import A1, A2, B1, C1, EXT0, FAR, HUB, IN_A, IN_B, OUT
from snnet.conformance.rig import Answer, Rig
from snnet.contract import PROTOCOLS, PublicIp

from .base import (
    DOOR,
    PUBLIC,
    FirewallTests,
    add,
    answer,
    exit_by,
    forward,
    passes,
    publish,
    remove,
    silent,
    stopped,
    tenants,
)

_SECOND = IPv4Address("203.0.113.6")


class PublicIpTests(FirewallTests):
    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_public_ip_is_reached_from_outside(self, rig: Rig, protocol: str) -> None:
        """A connection to the public address reaches the guest, which sees the source address."""
        add(rig, *tenants(rig), publish(rig))
        assert answer(rig, OUT, PUBLIC, protocol) == Answer(A1, OUT.ip)

    def test_public_ip_answers_pings(self, rig: Rig) -> None:
        """All protocols are translated, also those without ports, in both directions."""
        add(rig, *tenants(rig), publish(rig))
        assert passes(rig.ping, OUT, PUBLIC)
        assert passes(rig.ping, A1, OUT.ip)

    def test_public_ip_is_reached_by_any_device(self, rig: Rig) -> None:
        """A connection may arrive by any device."""
        add(rig, *tenants(rig), publish(rig))
        assert answer(rig, FAR, PUBLIC) == Answer(A1, FAR.ip)

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_public_ip_is_the_guests_outside(self, rig: Rig, protocol: str) -> None:
        """Connections that the guest opens by that device have the public address."""
        add(rig, *tenants(rig), publish(rig))
        assert answer(rig, A1, OUT.ip, protocol) == Answer(OUT, PUBLIC)

    def test_public_ip_comes_before_masquerade(self, rig: Rig) -> None:
        """A public IP comes before ``Masquerade``; other guests keep the masquerade."""
        add(rig, *tenants(rig), *exit_by(rig), publish(rig))
        assert answer(rig, A1, OUT.ip) == Answer(OUT, PUBLIC)
        assert answer(rig, A2, OUT.ip) == Answer(OUT, EXT0.address.ip)
        assert answer(rig, OUT, PUBLIC) == Answer(A1, OUT.ip)

    def test_public_ip_is_of_its_device(self, rig: Rig) -> None:
        """A public IP opens no way out by another device."""
        add(rig, *tenants(rig), publish(rig))
        assert stopped(rig.ping, A1, FAR.ip)

    def test_public_ip_is_of_its_guest(self, rig: Rig) -> None:
        """A public IP opens no way out for other guests."""
        add(rig, *tenants(rig), publish(rig))
        assert stopped(rig.ping, A2, OUT.ip)
        assert stopped(rig.ping, B1, OUT.ip)

    def test_public_ip_leaves_the_inner_address_closed(self, rig: Rig) -> None:
        """From outside the guest is reached by its public address only."""
        add(rig, *tenants(rig), publish(rig))
        assert stopped(rig.ping, OUT, A1.ip)
        assert silent(rig, OUT, A1.ip)

    def test_public_ip_beside_another(self, rig: Rig) -> None:
        """Several guests have a public IP each, also guests of two tenants."""
        rig.add_address("ext0", IPv4Interface(f"{_SECOND}/32"))
        second = PublicIp(owner=rig.owner, public=_SECOND, internal=C1.ip, device="ext0")
        add(rig, *tenants(rig), publish(rig), second)
        assert answer(rig, OUT, PUBLIC) == Answer(A1, OUT.ip)
        assert answer(rig, OUT, _SECOND) == Answer(C1, OUT.ip)
        assert answer(rig, C1, OUT.ip) == Answer(OUT, _SECOND)

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_public_ip_hairpin_from_the_same_subnet(self, rig: Rig, protocol: str) -> None:
        """A guest of the subnet reaches it, and is seen with an address of the host."""
        add(rig, *tenants(rig), publish(rig))
        assert answer(rig, A2, PUBLIC, protocol) == Answer(A1, IN_A.address.ip)

    def test_public_ip_hairpin_from_another_subnet(self, rig: Rig) -> None:
        """A guest on another link of the zone reaches it in the same way."""
        add(rig, *tenants(rig), publish(rig))
        assert answer(rig, B1, PUBLIC) == Answer(A1, IN_A.address.ip)

    def test_public_ip_hairpin_to_oneself(self, rig: Rig) -> None:
        """The guest reaches itself by its public address."""
        if not rig.reflects:
            return  # no rule can change that
        add(rig, *tenants(rig), publish(rig))
        assert answer(rig, A1, PUBLIC) == Answer(A1, IN_A.address.ip)

    def test_public_ip_hairpin_between_two_public_ips(self, rig: Rig) -> None:
        """Within a zone the source becomes the host's address, not the guest's public one."""
        rig.add_address("ext0", IPv4Interface(f"{_SECOND}/32"))
        second = PublicIp(owner=rig.owner, public=_SECOND, internal=B1.ip, device="ext0")
        add(rig, *tenants(rig), publish(rig), second)
        assert answer(rig, A1, _SECOND) == Answer(B1, IN_B.address.ip)
        assert answer(rig, B1, PUBLIC) == Answer(A1, IN_A.address.ip)

    def test_public_ip_is_not_seen_inside(self, rig: Rig) -> None:
        """Within a zone the source is not changed unless the destination was."""
        add(rig, *tenants(rig), publish(rig))
        assert answer(rig, A1, B1.ip) == Answer(B1, A1.ip)

    def test_public_ip_is_out_of_another_tenants_reach(self, rig: Rig) -> None:
        """A guest of another zone does not reach the public address."""
        add(rig, *tenants(rig), publish(rig))
        assert silent(rig, C1, PUBLIC)
        assert stopped(rig.ping, C1, PUBLIC)

    def test_public_ip_comes_before_port_forwards(self, rig: Rig) -> None:
        """A public address belongs to its guest with all its ports."""
        add(rig, *tenants(rig), forward(rig, target=B1, port=7000), publish(rig))
        assert answer(rig, OUT, PUBLIC) == Answer(A1, OUT.ip)
        assert answer(rig, OUT, EXT0.address.ip) == Answer(B1, OUT.ip)
        assert silent(rig, OUT, PUBLIC, "tcp", DOOR)

    def test_public_ip_goes_with_its_rule(self, rig: Rig) -> None:
        """Without the rule the address is the host's own, and the guest stays inside."""
        rule = publish(rig)
        add(rig, *tenants(rig), rule)
        assert answer(rig, OUT, PUBLIC) == Answer(A1, OUT.ip)
        remove(rig, rule)
        assert answer(rig, OUT, PUBLIC) == Answer(HUB, OUT.ip)
        assert stopped(rig.ping, A1, OUT.ip)
