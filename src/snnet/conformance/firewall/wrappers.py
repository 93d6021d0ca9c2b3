"""Guards see through wrappings, and let rare but honest frames pass."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from snnet.conformance.endpoints import A1, A2, R1
from snnet.conformance.rig import HONEST, HOSTILE, Rig
from snnet.contract import AntiSpoof, ArpGuard, DhcpGuard

from .base import FirewallTests, add, passes, remove, stopped

_OTHER = IPv4Address("10.4.0.77")


def _only(rig: Rig) -> AntiSpoof:
    return AntiSpoof(owner=rig.owner, link=A1.link, mac=A1.mac, addresses=(A1.ip,))


class WrapperTests(FirewallTests):
    @pytest.mark.parametrize("kind", HOSTILE)
    def test_lies_are_stopped_in_any_wrapping(self, rig: Rig, kind: str) -> None:
        """Tags, LLC, fragments and options hide nothing."""
        if not rig.strange_frames:
            return  # there is nothing to stop
        assert passes(rig.crafted, A1, A2, kind)
        add(rig, _only(rig))
        assert stopped(rig.crafted, A1, A2, kind)

    @pytest.mark.parametrize("kind", HONEST)
    def test_rare_honest_frames_pass(self, rig: Rig, kind: str) -> None:
        """Guests announce themselves, and take part in multicast."""
        if not rig.strange_frames:
            return
        add(rig, _only(rig), DhcpGuard(owner=rig.owner, link=A1.link, mac=A1.mac))
        assert passes(rig.crafted, A1, A2, kind)

    def test_nobody_speaks_of_anothers_lease(self, rig: Rig) -> None:
        """A request, a release, a decline are about the guest's own MAC, or stopped."""
        rule = DhcpGuard(owner=rig.owner, link=A1.link, mac=A1.mac)
        assert passes(rig.dhcp, A1, A2, server=False, mac=A2.mac)
        add(rig, _only(rig), rule)
        assert passes(rig.dhcp, A1, A2, server=False)
        assert stopped(rig.dhcp, A1, A2, server=False, mac=A2.mac)
        remove(rig, rule)
        assert passes(rig.dhcp, A1, A2, server=False, mac=A2.mac)

    def test_a_routed_guest_is_one_neighbour(self, rig: Rig) -> None:
        """The host learns its own MAC and address from it, and no other."""
        guard = ArpGuard(owner=rig.owner, link=R1.link, mac=R1.mac, address=R1.ip)
        other = "02:00:00:00:00:77"
        assert passes(rig.learns, R1, _OTHER)
        add(rig, guard)
        assert stopped(rig.learns, R1, _OTHER)
        assert stopped(rig.learns, R1, R1.ip, other)
        assert passes(rig.learns, R1, R1.ip)
        assert passes(rig.resolve, R1, R1.gateway)
        remove(rig, guard)
        assert passes(rig.learns, R1, _OTHER)
