"""VNICs with rate limits: their nouns, what others change of them, and what lacks them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

import snnet
from snnet.contract import Add, Ifb, Redirect, Shaper, Tap
from snnet.contract.shaping import check_rate, show_rate
from tests.node.test_intents import lose_record
from tests.node.world import FakeWorld, World, container, port, vm

RATES: dict[str, Any] = {"rate_to_guest": "50mbit", "rate_from_guest": "10mbit"}
KINDS = (Shaper, Ifb, Redirect)


def limits(world: World) -> list[str]:
    """What there is of rates, without the names of links."""
    found = world.kernel.snapshot(KINDS).values()
    order = {kind: number for number, kind in enumerate(KINDS)}
    rows = sorted((order[type(noun)], getattr(noun, "rate", 0), noun) for noun in found)
    return [f"{type(noun).__name__} {show_rate(rate)}" for _, rate, noun in rows]


def block_of(world: World) -> Ifb:
    (found,) = world.kernel.snapshot({Ifb}).values()
    assert isinstance(found, Ifb)
    return found


@pytest.mark.parametrize(
    ("given", "bits"),
    [
        ("50mbit", 50_000_000),
        ("1.5Gbit", 1_500_000_000),
        ("8kbit", 8_000),
        ("9999bit", 9_992),
        ("1000000", 1_000_000),
        (1_000_007, 1_000_000),
        (100_000_000_000, 100_000_000_000),
    ],
)
def test_a_rate_is_read(given: object, bits: int) -> None:
    assert check_rate(given, "rate") == bits
    assert check_rate(show_rate(bits), "rate") == bits


def test_a_shaper_lets_a_whole_segment_pass_at_any_rate() -> None:
    """One of 64 KiB with the headers of its parts (GSO), and what 10 ms bring."""
    for rate in (8_000, 10**6, 10**9, 10**11):
        shaper = Shaper(link="x", rate=rate)
        assert shaper.burst >= 65536 + 50 * 66
        assert shaper.burst >= rate / 8 / 100
        assert shaper.limit > shaper.burst


@pytest.mark.parametrize("make", [vm, container])
def test_limits_come_change_and_go_with_the_vnic(world: World, make: Any) -> None:
    before, node = world.text(), world.node()
    node.create_vnic(make(8))
    plain = world.text()
    made = node.create_vnic(make(9, **RATES)).vnic
    assert (made.rate_to_guest, made.rate_from_guest) == (50_000_000, 10_000_000)
    assert limits(world) == ["Shaper 10mbit", "Shaper 50mbit", "Ifb 0bit", "Redirect 0bit"]
    assert node.verify() == []
    index = block_of(world).index
    node.update_vnic(make(9, rate_to_guest="1gbit", rate_from_guest="20mbit"))
    assert limits(world)[:2] == ["Shaper 20mbit", "Shaper 1gbit"]
    assert block_of(world).index == index
    node.update_vnic(make(9, rate_from_guest="20mbit"))
    assert limits(world) == ["Shaper 20mbit", "Ifb 0bit", "Redirect 0bit"]
    node.update_vnic(make(9, rate_to_guest="20mbit"))
    assert limits(world) == ["Shaper 20mbit"]
    node.update_vnic(make(9, **RATES))
    assert node.verify() == []
    node.destroy_vnic(make(9))
    assert world.text() == plain
    node.destroy_vnic(make(8))
    node.reset_network()
    assert world.text() == before


def test_limits_in_routed_mode(world: World) -> None:
    before, config = world.text(), world.config(mode=snnet.NetworkMode.ROUTED)
    node = world.node(config=config)
    node.create_vnic(container(9, **RATES))
    assert limits(world) == ["Shaper 10mbit", "Shaper 50mbit", "Ifb 0bit", "Redirect 0bit"]
    assert node.verify() == []
    node.update_vnic(container(9))
    assert limits(world) == []
    node.destroy_vnic(container(9))
    node.reset_network()
    assert world.text() == before


def test_a_restart_finds_limits_with_and_without_the_record(world: World) -> None:
    with world.node() as node:
        node.create_vnic(container(9, **RATES))
        node.create_vnic(vm(8))
    for lost in (False, True):
        if lost:
            lose_record(world, "cn:cn-1")
        with world.node() as node:
            assert node.verify() == []
            found = {vnic.vnic_id: vnic for vnic in node.topology().vnics}
            assert [(one.rate_to_guest, one.rate_from_guest) for one in found.values()] in (
                [(50_000_000, 10_000_000), (None, None)],
                [(None, None), (50_000_000, 10_000_000)],
            )
            assert node.create_vnic(container(9, **RATES)).tunnel_event is None


def damage(world: World, node: snnet.ComputeNode, what: str) -> None:
    """What somebody else does to the limits."""
    (vnic,) = node.topology().vnics
    block, link = block_of(world), vnic.link_name
    operations = {
        "rate": (snnet.contract.Change, Shaper(link=link, rate=8_000)),
        "shaper": (snnet.contract.Remove, Shaper(link=block.name, rate=10_000_000)),
        "redirect": (snnet.contract.Remove, Redirect(link=link, to=block.name)),
        "ifb": (snnet.contract.Remove, block),
    }
    verb, noun = operations[what]
    old = (Shaper(link=link, rate=50_000_000),) if what == "rate" else ()
    assert world.kernel.apply([verb(noun, *old)]).error is None


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("rate", "different: shaper {link} rate 8kbit, should be: shaper {link} rate 50mbit"),
        ("shaper", "missing: shaper {block} rate 10mbit"),
        ("redirect", "missing: redirect {link} to {block}"),
        ("ifb", "different: redirect {link} to a link that is gone, should be: redirect {link} to "
                "{block}"),
    ],
)  # fmt: skip
def test_what_others_change_is_named_and_repaired(world: World, what: str, said: str) -> None:
    node = world.node()
    node.create_vnic(container(9, **RATES))
    (vnic,), block = node.topology().vnics, block_of(world)
    damage(world, node, what)
    assert said.format(link=vnic.link_name, block=block.name) in node.verify()
    node.repair()
    assert node.verify() == []
    assert limits(world) == ["Shaper 10mbit", "Shaper 50mbit", "Ifb 0bit", "Redirect 0bit"]
    node.destroy_vnic(container(9))
    assert limits(world) == []


def test_what_a_killed_call_left_is_removed(world: World) -> None:
    """An ifb that no VNIC needs, and one without an alias."""
    with world.node() as node:
        made = node.create_vnic(container(9, **RATES)).vnic
        before, block = world.text(), block_of(world)
        node.update_vnic(container(9))
        world.add(replace(block, index=0))
    with world.node() as node:
        assert limits(world) == []
        world.add(replace(block, index=0, alias=""))
    with world.node() as node:
        assert limits(world) == []
        node.update_vnic(container(9, **RATES))
        assert world.text() == before
        world.delete(made.link_name)
        node.destroy_vnic(container(9))
        assert limits(world) == []


def test_an_ifb_that_lost_its_alias_gets_it_back(world: World) -> None:
    """More hangs on it than on other links without one, so that it is not removed."""
    with world.node() as node:
        node.create_vnic(container(9, **RATES))
    before, block = world.text(), block_of(world)
    bare = replace(block, alias="", up=False)
    assert world.kernel.apply([snnet.contract.Change(bare, block)]).error is None
    with world.node() as node:
        assert world.text() == before
        assert block_of(world).index == block.index
        assert node.verify() == []


def test_an_ifb_of_others_is_left_alone(world: World) -> None:
    """The VNIC's gets another name."""
    with world.node() as node:
        node.create_vnic(vm(9, **RATES))
        name = block_of(world).name
        node.destroy_vnic(vm(9))
        world.add(Ifb(name=name, group=0))
        other = node.create_vnic(vm(9, **RATES))
        names = {noun.key[1] for noun in world.kernel.snapshot({Ifb}).values()}
        assert len(names) == 2
        assert node.verify() == []
    with world.node() as node:
        assert node.verify() == []
        assert node.create_vnic(vm(9, **RATES)).vnic == other.vnic
        node.destroy_vnic(vm(9))
        assert block_of(world).name == name


def test_an_ifb_keeps_its_second_name(fake: FakeWorld) -> None:
    """While the first one is a foreign link's, and when it is free again."""
    node = fake.node()
    planned = [one.noun for one in node.plan_create_vnic(vm(9, **RATES))]
    (first,) = (noun for noun in planned if isinstance(noun, Ifb))
    fake.add(Ifb(name=first.name, group=0))
    made = node.create_vnic(vm(9, **RATES)).vnic
    assert node.update_vnic(vm(9, rate_from_guest="20mbit")).link == made.link
    (second,) = {str(key[1]) for key in fake.kernel.snapshot({Ifb})} - {first.name}
    assert node.verify() == []
    fake.delete(first.name)
    node.update_vnic(vm(9, rate_from_guest="30mbit"))
    assert block_of(fake).name == second
    assert limits(fake) == ["Shaper 30mbit", "Ifb 0bit", "Redirect 0bit"]
    assert node.verify() == []


def test_the_same_create_replaces_an_ifb_whose_name_was_taken(fake: FakeWorld) -> None:
    node = fake.node()
    made = node.create_vnic(vm(9, **RATES)).vnic
    name = block_of(fake).name
    fake.delete(name)
    foreign = Ifb(name=name, group=0)
    fake.add(foreign)
    assert node.create_vnic(vm(9, **RATES)).vnic.link == made.link
    assert len(fake.kernel.snapshot({Ifb})) == 2
    assert node.verify() == []
    node.destroy_vnic(vm(9))
    assert block_of(fake).alias == ""


def test_limits_of_a_foreign_link_that_took_the_name_of_a_vnic_stay(fake: FakeWorld) -> None:
    node = fake.node()
    name = node.create_vnic(vm(9, **RATES)).vnic.link_name
    fake.delete(name)
    fake.add(Tap(name=name, group=0))
    foreign = Shaper(link=name, rate=8_000)
    assert fake.kernel.apply([Add(foreign)]).error is None
    assert node.create_vnic(vm(9, **RATES)).vnic.link_name != name
    assert fake.kernel.find(foreign) == foreign
    assert node.verify() == []


def test_a_kernel_that_cannot_limit_rates_is_said_before_anything_is_touched() -> None:
    for gap, rates in (
        ("tbf", {"rate_to_guest": "1mbit"}),
        ("ifb", {"rate_from_guest": "1mbit"}),
        ("mirred", {"rate_from_guest": "1mbit"}),
    ):
        world = FakeWorld("gre")
        world.kernel.gaps.add(gap)
        node = world.node()
        before = world.text()
        with pytest.raises(snnet.Unsupported, match=f"this kernel .*{gap}"):
            node.create_vnic(vm(9, **rates))
        assert world.text() == before
        node.create_vnic(vm(9))
        before = world.text()
        with pytest.raises(snnet.Unsupported, match="this kernel"):
            node.update_vnic(vm(9, **rates))
        assert world.text() == before


@pytest.mark.parametrize("field", RATES)
def test_a_cnci_vnic_has_no_limits(fake: FakeWorld, field: str) -> None:
    node, before = fake.node(), fake.text()
    limited: dict[str, Any] = {field: "1mbit"}
    with pytest.raises(snnet.InvalidRequest, match="a CNCI VNIC is a macvtap") as caught:
        node.create_cnci_vnic(replace(port(1), **limited))
    assert caught.value.field == field
    assert fake.text() == before


def test_explain_names_the_limits_on_the_way() -> None:
    fabric = snnet.Fabric()
    kernel = fabric.add_host("cn-1", "192.0.2.11/24")
    world = FakeWorld("gre")
    world.kernel = kernel
    node = world.node()
    first = node.create_vnic(vm(9, **RATES)).vnic
    other = node.create_vnic(vm(10)).vnic
    guest, peer = fabric.attach(kernel, first), fabric.attach(kernel, other)
    block = block_of(world).name
    said = str(fabric.explain(guest, "10.1.0.10"))
    assert f"{first.link_name} on cn-1: to {block}" in said
    assert f"{block} on cn-1: sends at most 10mbit" in said
    assert f"{first.link_name} on cn-1: sends at most 50mbit" in said  # the answer
    assert "sends at most 50mbit" in str(fabric.explain(peer, "10.1.0.9"))
    world.delete(block)
    assert not fabric.ping(guest, "10.1.0.10")
    assert "redirected to a link that is gone" in str(fabric.explain(guest, "10.1.0.10"))
    node.repair()
    assert fabric.ping(guest, "10.1.0.10")


def test_a_vnic_without_limits_has_no_more_operations(fake: FakeWorld) -> None:
    node = fake.node()
    plain = node.plan_create_vnic(vm(9))
    assert not any(isinstance(operation.noun, KINDS) for operation in plain)
    assert len(node.plan_create_vnic(vm(9, **RATES))) == len(plain) + 4


@pytest.mark.parametrize("mode", snnet.NetworkMode)
@pytest.mark.parametrize("make", [vm, container])
def test_a_vnic_that_the_node_does_not_know_is_removed_whole(
    fake: FakeWorld, make: Callable[..., snnet.VnicConfig], mode: snnet.NetworkMode
) -> None:
    config, other = fake.config(mode=mode), FakeWorld("gre")
    node = fake.node(config=config)
    for one in (node, made := other.node(config=config)):
        one.create_vnic(vm(8))
    before = fake.text()
    there = other.kernel.snapshot()
    made.create_vnic(make(9, **RATES))
    added = [noun for key, noun in other.kernel.snapshot().items() if key not in there]
    assert {Ifb, Shaper} <= {type(noun) for noun in added}
    for noun in sorted(added, key=lambda noun: (noun.rank, getattr(noun, "alias", "x") == "")):
        if fake.kernel.find(noun) is None:  # the other end of a pair is made with the first
            assert fake.kernel.apply([Add(noun)]).error is None
    node.destroy_vnic(make(9))
    assert fake.text() == before
