"""Port forwards: ports of the host that lead to guests."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from snnet.conformance.endpoints import (
    A1,
    A2,
    B1,
    C1,
    EXT0,
    EXT1,
    FAR,
    HUB,
    IN_A,
    IN_B,
    OUT,
    PORT,
    R1,
    Endpoint,
)
from snnet.conformance.rig import Answer, Rig
from snnet.contract import PROTOCOLS, PortForward

from .base import (
    DOOR,
    PUBLIC,
    FirewallTests,
    add,
    answer,
    exit_by,
    forward,
    remove,
    silent,
    tenants,
)

_HOST = EXT0.address.ip
_SECOND = IPv4Interface((PUBLIC, 32))
_NOBODY = IPv4Network("192.168.255.0/24")


class ForwardTests(FirewallTests):
    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_a_forward_leads_to_a_guest(self, rig: Rig, protocol: str) -> None:
        """A connection from outside reaches the guest, which sees the source address."""
        assert silent(rig, OUT, _HOST, protocol, DOOR)
        add(rig, *tenants(rig), forward(rig, protocol=protocol))
        assert answer(rig, OUT, _HOST, protocol, DOOR) == Answer(A1, OUT.ip)

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_the_host_itself_uses_a_forward(self, rig: Rig, protocol: str) -> None:
        """A connection of the host to an address of the device reaches the guest."""
        add(rig, *tenants(rig), forward(rig, protocol=protocol))
        assert answer(rig, HUB, _HOST, protocol, DOOR) == Answer(A1, _HOST)
        assert silent(rig, HUB, EXT1.address.ip, protocol, DOOR)
        remove(rig, forward(rig, protocol=protocol))
        assert silent(rig, HUB, _HOST, protocol, DOOR)

    def test_the_host_is_a_source_like_others(self, rig: Rig) -> None:
        """A forward with ``sources`` exists for the host only if they contain its address."""
        add(rig, *tenants(rig), forward(rig, sources=(OUT.address.network,)))
        assert answer(rig, HUB, _HOST, "tcp", DOOR) == Answer(A1, _HOST)
        remove(rig, forward(rig, sources=(OUT.address.network,)))
        add(rig, forward(rig, sources=(_NOBODY,)))
        assert silent(rig, HUB, _HOST, "tcp", DOOR)

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_a_forward_beside_masquerade(self, rig: Rig, protocol: str) -> None:
        """``Masquerade`` does not change the source of incoming connections."""
        add(rig, *tenants(rig), *exit_by(rig), forward(rig, protocol=protocol))
        assert answer(rig, OUT, _HOST, protocol, DOOR) == Answer(A1, OUT.ip)

    def test_a_forward_without_zones(self, rig: Rig) -> None:
        """A forward needs no zone."""
        add(rig, forward(rig, target=R1))
        assert answer(rig, OUT, _HOST, "tcp", DOOR) == Answer(R1, OUT.ip)

    def test_a_forward_is_of_one_protocol_and_port(self, rig: Rig) -> None:
        """A forward is for one protocol and one port."""
        add(rig, *tenants(rig), forward(rig))
        assert silent(rig, OUT, _HOST, "udp", DOOR)
        assert silent(rig, OUT, _HOST, "tcp", DOOR + 1)
        assert answer(rig, OUT, _HOST, "tcp", PORT) == Answer(HUB, OUT.ip)
        assert silent(rig, OUT, A1.ip)

    def test_a_forward_takes_over_the_hosts_own_port(self, rig: Rig) -> None:
        """A forward comes before a service of the host on the same port."""
        assert answer(rig, OUT, _HOST) == Answer(HUB, OUT.ip)
        add(rig, *tenants(rig), forward(rig, port=PORT))
        assert answer(rig, OUT, _HOST) == Answer(A1, OUT.ip)

    def test_a_forward_is_of_one_device(self, rig: Rig) -> None:
        """By another device the same address and port reach the host itself."""
        add(rig, *tenants(rig), forward(rig, port=PORT))
        assert answer(rig, FAR, _HOST) == Answer(HUB, FAR.ip)

    def test_a_forward_is_of_any_address(self, rig: Rig) -> None:
        """By its device, a forward is for any address of the host."""
        add(rig, *tenants(rig), forward(rig))
        assert answer(rig, OUT, EXT1.address.ip, "tcp", DOOR) == Answer(A1, OUT.ip)

    def test_a_forward_is_of_the_host_alone(self, rig: Rig) -> None:
        """Connections routed through the host to the same port elsewhere are not changed."""
        add(rig, forward(rig, port=PORT))
        assert answer(rig, OUT, FAR.ip) == Answer(FAR, OUT.ip)
        assert answer(rig, OUT, R1.ip) == Answer(R1, OUT.ip)
        assert answer(rig, OUT, _HOST) == Answer(A1, OUT.ip)

    def test_forwards_of_two_devices(self, rig: Rig) -> None:
        """One port on two devices may lead to two guests."""
        other = forward(rig, target=B1, device="ext1", addresses=(EXT1.address.ip,))
        add(rig, *tenants(rig), forward(rig), other)
        assert answer(rig, OUT, _HOST, "tcp", DOOR) == Answer(A1, OUT.ip)
        assert answer(rig, FAR, _HOST, "tcp", DOOR) == Answer(B1, FAR.ip)

    def test_forwards_of_many_ports(self, rig: Rig) -> None:
        """Each port leads to its own guest."""
        targets = {DOOR: A1, DOOR + 1: A2, DOOR + 2: B1, DOOR + 3: C1}
        add(rig, *tenants(rig), *(forward(rig, target=to, port=at) for at, to in targets.items()))
        for port, target in targets.items():
            assert answer(rig, OUT, _HOST, "tcp", port) == Answer(target, OUT.ip)

    def test_a_forward_goes_with_its_rule(self, rig: Rig) -> None:
        """Without the rule the port is closed; other forwards stay."""
        gone, kept = forward(rig), forward(rig, port=DOOR + 1)
        add(rig, *tenants(rig), gone, kept)
        assert answer(rig, OUT, _HOST, "tcp", DOOR) == Answer(A1, OUT.ip)
        remove(rig, gone)
        assert silent(rig, OUT, _HOST, "tcp", DOOR)
        assert answer(rig, OUT, _HOST, "tcp", DOOR + 1) == Answer(A1, OUT.ip)

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_forward_hairpin_from_the_same_subnet(self, rig: Rig, protocol: str) -> None:
        """A guest reaches another guest of its subnet by the host's outside address.

        It is seen with an address of the host, because the answer must come back this way.
        """
        add(rig, *tenants(rig), forward(rig, protocol=protocol))
        assert answer(rig, A2, _HOST, protocol, DOOR) == Answer(A1, IN_A.address.ip)

    def test_forward_hairpin_to_oneself(self, rig: Rig) -> None:
        """A guest reaches itself by the forward."""
        if not rig.reflects:
            return  # no rule can change that
        add(rig, *tenants(rig), forward(rig))
        assert answer(rig, A1, _HOST, "tcp", DOOR) == Answer(A1, IN_A.address.ip)

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_forward_hairpin_from_another_subnet(self, rig: Rig, protocol: str) -> None:
        """A guest on another link of the zone reaches it in the same way."""
        add(rig, *tenants(rig), forward(rig, protocol=protocol))
        assert answer(rig, B1, _HOST, protocol, DOOR) == Answer(A1, IN_A.address.ip)

    def test_forward_hairpin_to_another_subnet(self, rig: Rig) -> None:
        """The guest sees the host's address on its own link."""
        add(rig, *tenants(rig), forward(rig, target=B1))
        assert answer(rig, A1, _HOST, "tcp", DOOR) == Answer(B1, IN_B.address.ip)

    def test_forward_hairpin_with_masquerade(self, rig: Rig) -> None:
        """``Masquerade`` and an external forward do not change a hairpin."""
        add(rig, *tenants(rig), *exit_by(rig), forward(rig))
        assert answer(rig, A2, _HOST, "tcp", DOOR) == Answer(A1, IN_A.address.ip)
        assert answer(rig, A1, OUT.ip) == Answer(OUT, EXT0.address.ip)

    def test_forward_hairpin_only_by_its_addresses(self, rig: Rig) -> None:
        """From inside, other addresses of the host reach the host itself."""
        add(rig, *tenants(rig), forward(rig, port=PORT))
        assert answer(rig, A2, IN_A.address.ip) == Answer(HUB, A2.ip)
        assert answer(rig, A2, EXT1.address.ip) == Answer(HUB, A2.ip)

    def test_no_forward_hairpin_without_addresses(self, rig: Rig) -> None:
        """A forward without ``addresses`` is for connections from outside only."""
        add(rig, *tenants(rig), replace(forward(rig), addresses=()))
        assert silent(rig, A2, _HOST, "tcp", DOOR)
        assert answer(rig, OUT, _HOST, "tcp", DOOR) == Answer(A1, OUT.ip)

    def test_no_forward_hairpin_into_another_zone(self, rig: Rig) -> None:
        """A guest of another zone does not get in by a forward."""
        add(rig, *tenants(rig), forward(rig))
        assert silent(rig, C1, _HOST, "tcp", DOOR)
        assert silent(rig, C1, A1.ip)
        assert answer(rig, OUT, _HOST, "tcp", DOOR) == Answer(A1, OUT.ip)

    def test_forward_hairpin_closes_with_its_rule(self, rig: Rig) -> None:
        """Without the rule the port is closed from inside too."""
        rule = forward(rig)
        add(rig, *tenants(rig), rule)
        assert answer(rig, A2, _HOST, "tcp", DOOR) == Answer(A1, IN_A.address.ip)
        remove(rig, rule)
        assert silent(rig, A2, _HOST, "tcp", DOOR)

    # -- one address of the host ------------------------------------------------------

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_a_forward_of_one_address(self, rig: Rig, protocol: str) -> None:
        """With an ``address``, packets to other addresses of the host go to the host itself."""
        rig.add_address("ext0", _SECOND)
        rule = forward(rig, protocol=protocol, port=PORT, addresses=(), address=_HOST)
        add(rig, *tenants(rig), rule)
        assert answer(rig, OUT, _HOST, protocol) == Answer(A1, OUT.ip)
        assert answer(rig, OUT, PUBLIC, protocol) == Answer(HUB, OUT.ip)
        assert answer(rig, FAR, _HOST, protocol) == Answer(HUB, FAR.ip)

    def test_forwards_of_two_addresses(self, rig: Rig) -> None:
        """One port of one device leads to a guest for each address."""
        rig.add_address("ext0", _SECOND)
        one, two = at(forward(rig), _HOST), at(forward(rig, target=B1), PUBLIC)
        add(rig, *tenants(rig), one, two)
        assert answer(rig, OUT, _HOST, "tcp", DOOR) == Answer(A1, OUT.ip)
        assert answer(rig, OUT, PUBLIC, "tcp", DOOR) == Answer(B1, OUT.ip)
        remove(rig, one)
        assert silent(rig, OUT, _HOST, "tcp", DOOR)
        assert answer(rig, OUT, PUBLIC, "tcp", DOOR) == Answer(B1, OUT.ip)

    @pytest.mark.parametrize("first", ["one address", "any address"])
    def test_a_forward_of_one_address_comes_first(self, rig: Rig, first: str) -> None:
        """It comes before a forward of any address, from outside and inside, at any age."""
        rig.add_address("ext0", _SECOND)
        rest = forward(rig, target=B1, addresses=(_HOST, PUBLIC))
        rules = [at(forward(rig), _HOST), rest]
        add(rig, *tenants(rig), *(rules if first == "one address" else reversed(rules)))
        assert answer(rig, OUT, _HOST, "tcp", DOOR) == Answer(A1, OUT.ip)
        assert answer(rig, OUT, PUBLIC, "tcp", DOOR) == Answer(B1, OUT.ip)
        assert answer(rig, A2, _HOST, "tcp", DOOR) == Answer(A1, IN_A.address.ip)
        assert answer(rig, A2, PUBLIC, "tcp", DOOR) == Answer(B1, IN_B.address.ip)
        remove(rig, rules[0])
        assert answer(rig, OUT, _HOST, "tcp", DOOR) == Answer(B1, OUT.ip)
        assert answer(rig, A2, _HOST, "tcp", DOOR) == Answer(B1, IN_B.address.ip)

    def test_forward_hairpin_by_its_one_address(self, rig: Rig) -> None:
        """Guests reach a forward of one address by that address only."""
        rig.add_address("ext0", _SECOND)
        rule = at(forward(rig, port=PORT), PUBLIC)
        add(rig, *tenants(rig), replace(rule, addresses=(_HOST,)))
        assert answer(rig, A2, PUBLIC) == Answer(A1, IN_A.address.ip)
        assert answer(rig, A2, _HOST) == Answer(HUB, A2.ip)

    def test_a_forward_on_a_device_with_many_addresses(self, rig: Rig) -> None:
        """Guests reach a forward by each of 40 addresses of its device."""
        rig.add_address("ext0", _SECOND)
        many = tuple(IPv4Address("203.0.113.150") + number for number in range(38))
        rule = forward(rig, addresses=(_HOST, *many, PUBLIC))
        add(rig, *tenants(rig), rule)
        assert rig.driver.find(rule) == rule
        assert answer(rig, OUT, _HOST, "tcp", DOOR) == Answer(A1, OUT.ip)
        assert answer(rig, A2, _HOST, "tcp", DOOR) == Answer(A1, IN_A.address.ip)
        assert answer(rig, A2, PUBLIC, "tcp", DOOR) == Answer(A1, IN_A.address.ip)

    # -- some sources only ------------------------------------------------------------

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_a_forward_for_some_sources(self, rig: Rig, protocol: str) -> None:
        """A host outside ``sources`` reaches the host itself, as without the forward."""
        mine = forward(rig, protocol=protocol, port=PORT, sources=(_NOBODY, net(OUT)))
        other = replace(mine, device="ext1", addresses=(EXT1.address.ip,))
        add(rig, *tenants(rig), mine, other)
        assert answer(rig, OUT, _HOST, protocol) == Answer(A1, OUT.ip)
        assert answer(rig, FAR, _HOST, protocol) == Answer(HUB, FAR.ip)

    def test_a_forward_for_overlapping_sources(self, rig: Rig) -> None:
        """Networks in ``sources`` may contain each other, or everybody."""
        wide = (net(OUT, 32), net(OUT, 24), net(OUT, 8))
        add(
            rig,
            *tenants(rig),
            forward(rig, sources=wide),
            forward(rig, port=DOOR + 1, sources=(IPv4Network("0.0.0.0/0"), net(FAR, 32))),
        )
        for port in (DOOR, DOOR + 1):
            assert answer(rig, OUT, _HOST, "tcp", port) == Answer(A1, OUT.ip)

    def test_other_sources_get_the_next_forward(self, rig: Rig) -> None:
        """Whom a forward of one address excludes gets the forward of any address."""
        excludes = at(forward(rig, sources=(_NOBODY,)), _HOST)
        add(rig, *tenants(rig), excludes, forward(rig, target=B1))
        assert answer(rig, OUT, _HOST, "tcp", DOOR) == Answer(B1, OUT.ip)
        assert answer(rig, A2, _HOST, "tcp", DOOR) == Answer(B1, IN_B.address.ip)

    @pytest.mark.parametrize("address", [None, _HOST], ids=["any address", "one address"])
    def test_forward_hairpin_for_some_sources(self, rig: Rig, address: IPv4Address | None) -> None:
        """From inside, ``sources`` counts too."""
        add(rig, *tenants(rig), replace(forward(rig, sources=(net(A2),)), address=address))
        assert answer(rig, A2, _HOST, "tcp", DOOR) == Answer(A1, IN_A.address.ip)
        assert silent(rig, B1, _HOST, "tcp", DOOR)
        assert silent(rig, OUT, _HOST, "tcp", DOOR)

    def test_a_forward_for_some_sources_goes_with_its_rule(self, rig: Rig) -> None:
        """Without the rule there is no answer; a forward for all sources can replace it."""
        rule = forward(rig, sources=(net(OUT),))
        add(rig, *tenants(rig), rule)
        assert answer(rig, OUT, _HOST, "tcp", DOOR) == Answer(A1, OUT.ip)
        remove(rig, rule)
        assert silent(rig, OUT, _HOST, "tcp", DOOR)
        add(rig, forward(rig, target=B1))
        assert answer(rig, OUT, _HOST, "tcp", DOOR) == Answer(B1, OUT.ip)


def at(rule: PortForward, address: IPv4Address) -> PortForward:
    """The forward for this address of the host only."""
    return replace(rule, address=address, addresses=())


def net(endpoint: Endpoint, length: int = 32) -> IPv4Network:
    """The network of this length that the endpoint is in."""
    return IPv4Network((endpoint.ip, length), strict=False)
