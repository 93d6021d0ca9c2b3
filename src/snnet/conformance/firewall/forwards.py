"""Port forwards: ports of the host that lead to guests."""

from __future__ import annotations

from dataclasses import replace

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
)
from snnet.conformance.rig import Answer, Rig
from snnet.contract import PROTOCOLS

from .base import DOOR, FirewallTests, add, answer, exit_by, forward, remove, silent, tenants

_HOST = EXT0.address.ip


class ForwardTests(FirewallTests):
    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_a_forward_leads_to_a_guest(self, rig: Rig, protocol: str) -> None:
        """A connection from outside reaches the guest, which sees the source address."""
        assert silent(rig, OUT, _HOST, protocol, DOOR)
        add(rig, *tenants(rig), forward(rig, protocol=protocol))
        assert answer(rig, OUT, _HOST, protocol, DOOR) == Answer(A1, OUT.ip)

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
