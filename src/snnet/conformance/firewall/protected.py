"""Networks that members of zones keep away from."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network

from snnet.conformance.endpoints import A1, B1, EXT0, HUB, OUT, PORT
from snnet.conformance.rig import Answer, Rig
from snnet.contract import IPNetwork, ProtectedNetwork

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

_OUTSIDE = IPv4Network(EXT0.address.network)
_VXLAN, _OTHER = 20000, 9999


def _protected(rig: Rig, network: IPNetwork = _OUTSIDE, *, closed: bool = True) -> ProtectedNetwork:
    return ProtectedNetwork(owner=rig.owner, network=network, closed=closed)


class ProtectedTests(FirewallTests):
    def test_a_closed_network_is_out_of_reach(self, rig: Rig) -> None:
        """Whatever exits there are; the rule gone, they are open again."""
        rule = _protected(rig)
        add(rig, *tenants(rig), *exit_by(rig))
        assert passes(rig.ping, A1, OUT.ip)
        add(rig, rule)
        assert stopped(rig.ping, A1, OUT.ip)
        for protocol in ("tcp", "udp", "sctp"):
            assert silent(rig, A1, OUT.ip, protocol)
        remove(rig, rule)
        assert answer(rig, A1, OUT.ip) == Answer(OUT, EXT0.address.ip)

    def test_a_public_address_does_not_open_it(self, rig: Rig) -> None:
        """Nor does an address of the guest's own; who asks from there is answered."""
        rule = publish(rig)
        add(rig, *tenants(rig), rule, _protected(rig))
        assert stopped(rig.ping, A1, OUT.ip)
        assert answer(rig, OUT, rule.public) == Answer(A1, OUT.ip)

    def test_other_networks_stay_open(self, rig: Rig) -> None:
        """Members reach each other, even where a network of theirs is the protected one."""
        inside = IPv4Network("10.0.0.0/8")
        add(rig, *tenants(rig), *exit_by(rig), _protected(rig, inside))
        assert passes(rig.ping, A1, OUT.ip)
        assert passes(rig.ping, A1, B1.ip)

    def test_only_tunnels_are_closed(self, rig: Rig) -> None:
        """Without ``closed`` all but tunnels is open: UDP ports of theirs, and gre."""
        add(rig, *tenants(rig), *exit_by(rig))
        for port in (4789, 6081, 16384, _VXLAN, 32767, _OTHER):
            assert passes(rig.delivers, A1, OUT, port)
        add(rig, _protected(rig, closed=False))
        for port in (4789, 6081, 16384, _VXLAN, 32767):
            assert stopped(rig.delivers, A1, OUT, port)
        assert passes(rig.delivers, A1, OUT, _OTHER)
        assert answer(rig, A1, OUT.ip) == Answer(OUT, EXT0.address.ip)
        assert answer(rig, A1, OUT.ip, "udp") == Answer(OUT, EXT0.address.ip)

    def test_a_port_of_tunnels_can_be_named(self, rig: Rig) -> None:
        """It is closed as those are that all tunnels have."""
        add(rig, *tenants(rig), *exit_by(rig))
        rule = replace(_protected(rig, closed=False), port=_OTHER)
        add(rig, rule)
        for port in (4789, _OTHER):
            assert stopped(rig.delivers, A1, OUT, port)
        assert passes(rig.delivers, A1, OUT, _OTHER + 1)
        assert answer(rig, A1, OUT.ip) == Answer(OUT, EXT0.address.ip)
        remove(rig, rule)
        assert passes(rig.delivers, A1, OUT, _OTHER)

    def test_the_host_itself_is_not_concerned(self, rig: Rig) -> None:
        """Nor is anybody who is in no zone."""
        add(rig, *tenants(rig), _protected(rig))
        assert passes(rig.ping, HUB, OUT.ip)
        assert answer(rig, HUB, OUT.ip, "udp", PORT) is not None
