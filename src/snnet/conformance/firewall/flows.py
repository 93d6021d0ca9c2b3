"""Flows that exist when a rule comes or goes.

They are UDP: such a flow ends only when the kernel forgets it (conntrack).
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Interface

from snnet.conformance.endpoints import A1, A2, B1, EXT0, EXT1, FAR, HUB, OUT, PORT
from snnet.conformance.rig import Answer, Conversation, Rig
from snnet.contract import ExternalForward

from .base import (
    DOOR,
    PUBLIC,
    FirewallTests,
    add,
    exit_by,
    forward,
    patiently,
    public,
    publish,
    remove,
    tenants,
)

_HOST = EXT0.address.ip


def _next(conversation: Conversation) -> Answer | None:
    return patiently(conversation.ask)


class FlowTests(FirewallTests):
    def test_a_removed_forward_ends_its_flows(self, rig: Rig) -> None:
        """A removed forward ends its flows."""
        rule = forward(rig, protocol="udp")
        add(rig, *tenants(rig), rule)
        flow = rig.converse(OUT, _HOST, DOOR)
        assert _next(flow) == Answer(A1, OUT.ip)
        remove(rig, rule)
        assert flow.ask() is None

    def test_a_forward_that_moves_takes_its_flows_along(self, rig: Rig) -> None:
        """When a port is forwarded elsewhere, existing flows follow at once."""
        rule, later = forward(rig, protocol="udp"), forward(rig, target=B1, protocol="udp")
        add(rig, *tenants(rig), rule)
        flow = rig.converse(OUT, _HOST, DOOR)
        assert _next(flow) == Answer(A1, OUT.ip)
        remove(rig, rule)
        add(rig, later)
        assert _next(flow) == Answer(B1, OUT.ip)

    def test_a_new_forward_takes_over_flows(self, rig: Rig) -> None:
        """A new forward takes over flows that went to the host itself."""
        flow = rig.converse(OUT, _HOST, PORT)
        assert _next(flow) == Answer(HUB, OUT.ip)
        add(rig, *tenants(rig), forward(rig, protocol="udp", port=PORT))
        assert _next(flow) == Answer(A1, OUT.ip)

    def test_a_hairpin_ends_too(self, rig: Rig) -> None:
        """A removed forward ends flows from inside the zone."""
        rule = forward(rig, protocol="udp")
        add(rig, *tenants(rig), rule)
        flow = rig.converse(A2, _HOST, DOOR)
        assert _next(flow) is not None
        remove(rig, rule)
        assert flow.ask() is None

    def test_other_flows_go_on(self, rig: Rig) -> None:
        """Flows of other forwards and of the way out continue."""
        gone = forward(rig, protocol="udp")
        kept = forward(rig, protocol="udp", port=DOOR + 1, target=B1)
        add(rig, *tenants(rig), *exit_by(rig), gone, kept)
        flow, out = rig.converse(OUT, _HOST, DOOR + 1), rig.converse(A2, OUT.ip, PORT)
        assert _next(flow) == Answer(B1, OUT.ip)
        assert _next(out) == Answer(OUT, _HOST)
        remove(rig, gone)
        assert _next(flow) == Answer(B1, OUT.ip)
        assert _next(out) == Answer(OUT, _HOST)

    def test_a_flow_straight_to_the_guest_goes_on(self, rig: Rig) -> None:
        """A removed forward ends no flow that reaches the same port of its guest without it."""
        rule = forward(rig, protocol="udp", port=PORT)
        add(rig, *tenants(rig), rule)
        flow, ends = rig.converse(B1, A1.ip, PORT), rig.converse(OUT, _HOST, PORT)
        assert _next(flow) == Answer(A1, B1.ip)
        assert _next(ends) == Answer(A1, OUT.ip)
        remove(rig, rule)
        assert _next(flow) == Answer(A1, B1.ip)
        assert _next(ends) == Answer(HUB, OUT.ip)

    def test_flows_to_another_address_go_on(self, rig: Rig) -> None:
        """Of two forwards of one port, the flows of the one that stays continue."""
        rig.add_address("ext0", IPv4Interface((PUBLIC, 32)))
        one = forward(rig, protocol="udp", address=_HOST, addresses=())
        two = replace(one, address=PUBLIC)
        add(rig, *tenants(rig), one, two)
        ends, stays = rig.converse(OUT, _HOST, DOOR), rig.converse(OUT, PUBLIC, DOOR)
        assert _next(ends) == Answer(A1, OUT.ip)
        assert _next(stays) == Answer(A1, OUT.ip)
        remove(rig, one)
        assert ends.ask() is None
        assert _next(stays) == Answer(A1, OUT.ip)

    def test_a_new_forward_of_one_address_takes_over_its_flows(self, rig: Rig) -> None:
        """Flows by the forward of any address follow the one of their address, and return."""
        rig.add_address("ext0", IPv4Interface((PUBLIC, 32)))
        rest = forward(rig, protocol="udp", target=B1, addresses=(_HOST, PUBLIC))
        add(rig, *tenants(rig), rest)
        moves, stays = rig.converse(OUT, _HOST, DOOR), rig.converse(OUT, PUBLIC, DOOR)
        assert _next(moves) == Answer(B1, OUT.ip)
        assert _next(stays) == Answer(B1, OUT.ip)
        one = forward(rig, protocol="udp", address=_HOST, addresses=())
        add(rig, one)
        assert _next(moves) == Answer(A1, OUT.ip)
        assert _next(stays) == Answer(B1, OUT.ip)
        remove(rig, one)
        assert _next(moves) == Answer(B1, OUT.ip)

    def test_a_removed_public_ip_ends_its_flows(self, rig: Rig) -> None:
        """Flows from outside to a removed public IP go to the host again."""
        rule = publish(rig)
        add(rig, *tenants(rig), rule)
        flow = rig.converse(OUT, PUBLIC, PORT)
        assert _next(flow) == Answer(A1, OUT.ip)
        remove(rig, rule)
        assert _next(flow) == Answer(HUB, OUT.ip)

    def test_a_removed_public_ip_ends_what_its_guest_opened(self, rig: Rig) -> None:
        """Flows that the guest opened end with its public IP."""
        rule = publish(rig)
        add(rig, *tenants(rig), rule)
        flow = rig.converse(A1, OUT.ip, PORT)
        assert _next(flow) == Answer(OUT, PUBLIC)
        remove(rig, rule)
        assert flow.ask() is None

    def test_a_new_public_ip_takes_over_flows(self, rig: Rig) -> None:
        """A new public IP takes over flows to the host and flows of its guest."""
        rule = publish(rig)
        add(rig, *tenants(rig), *exit_by(rig))
        inward, outward = rig.converse(OUT, PUBLIC, PORT), rig.converse(A1, OUT.ip, PORT)
        assert _next(inward) == Answer(HUB, OUT.ip)
        assert _next(outward) == Answer(OUT, _HOST)
        add(rig, rule)
        assert _next(inward) == Answer(A1, OUT.ip)
        assert _next(outward) == Answer(OUT, PUBLIC)

    def test_a_public_ip_that_moves_takes_its_flows_along(self, rig: Rig) -> None:
        """When a public IP moves to another guest, existing flows follow at once."""
        rule, later = publish(rig), public(rig, B1)
        add(rig, *tenants(rig), rule)
        flow = rig.converse(OUT, PUBLIC, PORT)
        assert _next(flow) == Answer(A1, OUT.ip)
        remove(rig, rule)
        add(rig, later)
        assert _next(flow) == Answer(B1, OUT.ip)

    def test_a_closed_way_out_ends_its_flows(self, rig: Rig) -> None:
        """Flows by a removed ``ExternalForward`` end; those of other bridges and devices do not."""
        a_masquerade, a_exit = exit_by(rig)
        b_exit = ExternalForward(owner=rig.owner, device="ext0", bridge="in-b")
        far = exit_by(rig, device="ext1")
        add(rig, *tenants(rig), a_masquerade, a_exit, b_exit, *far)
        ends, stays = rig.converse(A1, OUT.ip, PORT), rig.converse(B1, OUT.ip, PORT)
        other = rig.converse(A2, FAR.ip, PORT)
        for flow in (ends, stays, other):
            assert _next(flow) is not None
        remove(rig, a_exit)
        assert ends.ask() is None
        assert _next(stays) == Answer(OUT, _HOST)
        assert _next(other) == Answer(FAR, EXT1.address.ip)

    def test_flows_end_with_masquerade(self, rig: Rig) -> None:
        """Flows that got an address of the device end; those by other devices do not."""
        masquerade, way_out = exit_by(rig)
        add(rig, *tenants(rig), masquerade, way_out, *exit_by(rig, device="ext1"))
        ends, stays = rig.converse(A1, OUT.ip, PORT), rig.converse(A1, FAR.ip, PORT)
        assert _next(ends) == Answer(OUT, _HOST)
        assert _next(stays) == Answer(FAR, EXT1.address.ip)
        remove(rig, masquerade)
        assert ends.ask() is None
        assert _next(stays) == Answer(FAR, EXT1.address.ip)

    def test_a_public_ip_keeps_its_flows_where_the_way_out_closes(self, rig: Rig) -> None:
        """A guest with a public IP needs no ``ExternalForward``."""
        masquerade, way_out = exit_by(rig)
        add(rig, *tenants(rig), masquerade, way_out, publish(rig))
        flow = rig.converse(A1, OUT.ip, PORT)
        assert _next(flow) == Answer(OUT, PUBLIC)
        remove(rig, way_out)
        assert _next(flow) == Answer(OUT, PUBLIC)

    def test_one_port_of_two_devices(self, rig: Rig) -> None:
        """Of two forwards of a port, each with its device, only one ends the flows of it."""
        one = forward(rig, protocol="udp")
        two = replace(one, device="ext1", addresses=(EXT1.address.ip,))
        add(rig, *tenants(rig), one, two)
        ends, stays = rig.converse(OUT, _HOST, DOOR), rig.converse(FAR, EXT1.address.ip, DOOR)
        assert _next(ends) == Answer(A1, OUT.ip)
        assert _next(stays) == Answer(A1, FAR.ip)
        remove(rig, one)
        assert ends.ask() is None
        assert _next(stays) == Answer(A1, FAR.ip)

    def test_an_address_of_another_link(self, rig: Rig) -> None:
        """A forward without an address is for any of the host's: flows come and go with it."""
        rig.add_address("in-b", IPv4Interface((PUBLIC, 32)))
        flow = rig.converse(OUT, PUBLIC, PORT)
        assert _next(flow) == Answer(HUB, OUT.ip)
        rule = forward(rig, protocol="udp", port=PORT)
        add(rig, *tenants(rig), rule)
        assert _next(flow) == Answer(A1, OUT.ip)
        other = replace(rule, device="ext1", target=B1.ip, addresses=(EXT1.address.ip,))
        add(rig, other)
        assert _next(flow) == Answer(A1, OUT.ip)
        remove(rig, other)
        assert _next(flow) == Answer(A1, OUT.ip)
        remove(rig, rule)
        assert _next(flow) == Answer(HUB, OUT.ip)
