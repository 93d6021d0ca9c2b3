"""IPv6 beside IPv4: forwards, public addresses and protected networks of both families."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Address, IPv6Interface, IPv6Network

import pytest

from snnet.conformance.endpoints import A1, A2, B1, C1, EXT0, FAR, HUB, IN_A, IN_B, OUT, PORT
from snnet.conformance.rig import Answer, Rig
from snnet.contract import PROTOCOLS, ProtectedNetwork

from .base import (
    DOOR,
    PUBLIC6,
    FirewallTests,
    add,
    answer,
    exit_by,
    forward,
    forward6,
    passes,
    patiently,
    public,
    publish,
    remove,
    silent,
    stopped,
    tenants,
)

_HOST, _HOST4 = EXT0.address6.ip, EXT0.address.ip
_NOBODY = IPv6Network("fd00:ffff::/64")
_MANY = tuple(IPv6Address("2001:db8:1::1000") + number for number in range(20))


def _only(address: IPv6Address) -> IPv6Network:
    return IPv6Network(address)


class BothFamiliesTests(FirewallTests):
    # -- forwards ---------------------------------------------------------------------

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_an_ipv6_forward_leads_to_a_guest(self, rig: Rig, protocol: str) -> None:
        """From outside, where the source is kept, and from inside, where it is the host's."""
        assert silent(rig, OUT, _HOST, protocol, DOOR)
        add(rig, *tenants(rig), *exit_by(rig), forward6(rig, protocol=protocol))
        assert answer(rig, OUT, _HOST, protocol, DOOR) == Answer(A1, OUT.ip6)
        assert answer(rig, A2, _HOST, protocol, DOOR) == Answer(A1, IN_A.address6.ip)
        assert answer(rig, B1, _HOST, protocol, DOOR) == Answer(A1, IN_A.address6.ip)
        assert silent(rig, C1, _HOST, protocol, DOOR)
        assert silent(rig, OUT, A1.ip6, protocol)

    def test_forwards_of_both_families_share_a_port(self, rig: Rig) -> None:
        """One port leads to a guest for each family; one goes without the other."""
        four, six = forward(rig), forward6(rig, target=B1)
        add(rig, *tenants(rig), four, six)
        assert answer(rig, OUT, _HOST4, "tcp", DOOR) == Answer(A1, OUT.ip)
        assert answer(rig, OUT, _HOST, "tcp", DOOR) == Answer(B1, OUT.ip6)
        remove(rig, four)
        assert silent(rig, OUT, _HOST4, "tcp", DOOR)
        assert answer(rig, OUT, _HOST, "tcp", DOOR) == Answer(B1, OUT.ip6)
        add(rig, four)
        remove(rig, six)
        assert silent(rig, OUT, _HOST, "tcp", DOOR)
        assert answer(rig, OUT, _HOST4, "tcp", DOOR) == Answer(A1, OUT.ip)

    def test_an_ipv6_forward_is_of_the_host_alone(self, rig: Rig) -> None:
        """Not of what is routed through the host, and not of another device."""
        add(rig, *tenants(rig), forward6(rig, port=PORT))
        assert answer(rig, OUT, _HOST) == Answer(A1, OUT.ip6)
        assert answer(rig, OUT, FAR.ip6) == Answer(FAR, OUT.ip6)
        assert answer(rig, FAR, _HOST) == Answer(HUB, FAR.ip6)

    def test_an_ipv6_forward_of_one_address_comes_first(self, rig: Rig) -> None:
        """It comes before a forward of any address."""
        rig.add_address("ext0", IPv6Interface((PUBLIC6, 128)))
        one = forward6(rig, address=PUBLIC6, addresses=())
        add(rig, *tenants(rig), forward6(rig, target=B1, addresses=(_HOST, *_MANY)), one)
        assert answer(rig, OUT, PUBLIC6, "tcp", DOOR) == Answer(A1, OUT.ip6)
        assert answer(rig, OUT, _HOST, "tcp", DOOR) == Answer(B1, OUT.ip6)
        assert answer(rig, A2, PUBLIC6, "tcp", DOOR) == Answer(A1, IN_A.address6.ip)
        assert answer(rig, A2, _HOST, "tcp", DOOR) == Answer(B1, IN_B.address6.ip)
        remove(rig, one)
        assert answer(rig, OUT, PUBLIC6, "tcp", DOOR) == Answer(B1, OUT.ip6)

    def test_an_ipv6_forward_for_some_sources(self, rig: Rig) -> None:
        """To others it does not exist."""
        rule = forward6(rig, port=PORT, sources=(_NOBODY, _only(OUT.ip6), _only(A2.ip6)))
        add(rig, *tenants(rig), rule, replace(rule, device="ext1", addresses=()))
        assert answer(rig, OUT, _HOST) == Answer(A1, OUT.ip6)
        assert answer(rig, FAR, _HOST) == Answer(HUB, FAR.ip6)
        assert answer(rig, A2, _HOST) == Answer(A1, IN_A.address6.ip)
        assert answer(rig, B1, _HOST) == Answer(HUB, B1.ip6)

    def test_ipv6_flows_end_with_their_forward(self, rig: Rig) -> None:
        """UDP flows follow a forward that moves, and end with the last one."""
        rule, later = forward6(rig, protocol="udp"), forward6(rig, target=B1, protocol="udp")
        add(rig, *tenants(rig), rule)
        flow = rig.converse(OUT, _HOST, DOOR)
        assert patiently(flow.ask) == Answer(A1, OUT.ip6)
        remove(rig, rule)
        assert flow.ask() is None
        add(rig, later)
        assert patiently(flow.ask) == Answer(B1, OUT.ip6)

    # -- public addresses --------------------------------------------------------------

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_an_ipv6_public_address(self, rig: Rig, protocol: str) -> None:
        """It leads to its guest, and is the guest's address outside."""
        add(rig, *tenants(rig), *exit_by(rig, nat66=True), publish(rig, address=PUBLIC6))
        assert answer(rig, OUT, PUBLIC6, protocol) == Answer(A1, OUT.ip6)
        assert answer(rig, A1, OUT.ip6, protocol) == Answer(OUT, PUBLIC6)
        assert answer(rig, A2, OUT.ip6, protocol) == Answer(OUT, _HOST)
        assert answer(rig, A2, PUBLIC6, protocol) == Answer(A1, IN_A.address6.ip)
        assert silent(rig, C1, PUBLIC6, protocol)
        assert silent(rig, OUT, A1.ip6, protocol)

    def test_public_addresses_of_both_families(self, rig: Rig) -> None:
        """A guest may have one of each; pings pass in both directions."""
        four, six = publish(rig), publish(rig, address=PUBLIC6)
        add(rig, *tenants(rig), four, six)
        for target in (four.public, six.public):
            assert passes(rig.ping, OUT, target)
        assert passes(rig.ping, A1, OUT.ip6)
        assert passes(rig.ping, A1, OUT.ip)
        remove(rig, six)
        assert stopped(rig.ping, A1, OUT.ip6)
        assert answer(rig, OUT, PUBLIC6) == Answer(HUB, OUT.ip6)
        assert answer(rig, OUT, four.public) == Answer(A1, OUT.ip)

    def test_ipv6_flows_end_with_their_public_address(self, rig: Rig) -> None:
        """Those from outside go to the host again, those of the guest end."""
        rule = publish(rig, address=PUBLIC6)
        add(rig, *tenants(rig), rule)
        inward, outward = rig.converse(OUT, PUBLIC6, PORT), rig.converse(A1, OUT.ip6, PORT)
        assert patiently(inward.ask) == Answer(A1, OUT.ip6)
        assert patiently(outward.ask) == Answer(OUT, PUBLIC6)
        remove(rig, rule)
        assert patiently(inward.ask) == Answer(HUB, OUT.ip6)
        assert outward.ask() is None
        add(rig, public(rig, B1, PUBLIC6))
        assert patiently(inward.ask) == Answer(B1, OUT.ip6)

    # -- protected networks -------------------------------------------------------------

    def test_a_closed_ipv6_network_is_out_of_reach(self, rig: Rig) -> None:
        """IPv4 networks are not concerned."""
        rule = ProtectedNetwork(owner=rig.owner, network=EXT0.address6.network)
        add(rig, *tenants(rig), *exit_by(rig), rule)
        assert stopped(rig.ping, A1, OUT.ip6)
        assert passes(rig.ping, A1, OUT.ip)
        remove(rig, rule)
        assert passes(rig.ping, A1, OUT.ip6)

    def test_only_tunnels_over_ipv6_are_closed(self, rig: Rig) -> None:
        """Without ``closed`` all but tunnels is open."""
        rule = ProtectedNetwork(owner=rig.owner, network=EXT0.address6.network, closed=False)
        add(rig, *tenants(rig), *exit_by(rig))
        assert passes(rig.delivers, A1, OUT, 4789, version=6)
        add(rig, rule)
        for port in (4789, 6081, 16384, 32767):
            assert stopped(rig.delivers, A1, OUT, port, version=6)
        assert passes(rig.delivers, A1, OUT, 9999, version=6)
        assert answer(rig, A1, OUT.ip6, "udp") == Answer(OUT, A1.ip6)
