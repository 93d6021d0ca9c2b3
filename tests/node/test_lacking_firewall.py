"""A firewall that lacks some rules: the node works without them, and says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set

import pytest

import snnet
from snnet.backends.fake import FakeFirewall
from snnet.contract import AntiSpoof, HostIsolation, HostPacket, Noun, TunnelGuard, keyed
from snnet.core.own_packets import own_packets
from tests.node.world import FakeWorld, vm

LACKS = "the kernel has no such rules"


class Lacking(FakeFirewall):
    """A firewall that cannot set rules of some kinds."""

    lacks: frozenset[type[Noun]] = frozenset()

    def missing(self, noun: Noun) -> str | None:
        return LACKS if type(noun) in self.lacks else super().missing(noun)


@pytest.fixture
def firewall(fake: FakeWorld) -> Lacking:
    return Lacking(fake.kernel)


def test_a_tunnel_without_a_guard_is_logged_and_named(
    fake: FakeWorld, firewall: Lacking, caplog: pytest.LogCaptureFixture
) -> None:
    firewall.lacks = frozenset({TunnelGuard})
    node = fake.node(firewall=firewall, config=fake.config(tunnel="vxlan"))
    node.create_vnic(vm())
    (subnet,) = node.topology().subnets
    assert subnet.tunnel is not None
    said = (
        f"tunnel {subnet.tunnel.name} takes frames from any sender, not from 192.0.2.101 alone: "
        f"{LACKS}"
    )
    assert caplog.messages == [said]
    assert node.verify() == [said]


@pytest.mark.parametrize(
    ("lacks", "named"),
    [
        ({AntiSpoof, HostIsolation}, {AntiSpoof, HostIsolation}),
        (FakeFirewall.carries, set()),
    ],
    ids=["some", "all"],
)
def test_rules_that_are_not_set_are_named_where_others_are(
    fake: FakeWorld, firewall: Lacking, lacks: Set[type[Noun]], named: Set[type[Noun]]
) -> None:
    firewall.lacks = frozenset(lacks)
    node = fake.node(firewall=firewall)
    made = node.create_vnic(vm()).vnic
    (subnet,) = node.topology().subnets
    nouns = [*subnet.nouns(), *made.nouns()]
    wanted = [noun for noun in nouns if type(noun) in named]
    assert sorted(node.verify()) == sorted(
        f"not set, as for all {type(noun).__name__}: {noun}: {LACKS}" for noun in wanted
    )
    carried = [noun for noun in nouns if type(noun) in firewall.carries - lacks]
    assert firewall.snapshot() == keyed(carried)


def test_rules_of_others_that_drop_what_the_node_sends_are_named(fake: FakeWorld) -> None:
    class Dropping(FakeFirewall):
        def stopped(self, packets: Sequence[HostPacket]) -> Sequence[str]:
            return [f"somebody drops {packet}" for packet in packets]

    node = fake.node(firewall=Dropping(fake.kernel), config=fake.config(tunnel="vxlan"))
    node.create_vnic(vm())
    (subnet,) = node.topology().subnets
    packets = own_packets(node.site, subnet.nouns())
    assert packets
    assert node.verify() == [f"somebody drops {packet}" for packet in packets]


@pytest.mark.parametrize("call", [snnet.ComputeNode.repair, snnet.ComputeNode.rebuild_topology])
def test_rules_that_are_there_stay(
    fake: FakeWorld, firewall: Lacking, call: Callable[[snnet.ComputeNode], object]
) -> None:
    """Nobody asks whether they could be set."""
    node = fake.node(firewall=firewall)
    node.create_vnic(vm())
    before = fake.text()
    firewall.lacks = frozenset({AntiSpoof, HostIsolation})
    call(node)
    assert fake.text() == before
