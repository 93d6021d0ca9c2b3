"""Cleaning up needs no healthy network: no uplink, a wrong config, another tunnel."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_interface
from typing import Any

import pytest

import snnet
from snnet.backends.fake import FakeFirewall
from snnet.backends.fake.addresses import forget_link
from snnet.contract import Add, Address, Remove
from tests.node.test_cnci import neighbors
from tests.node.world import UPLINKS, FakeWorld, World, container, port, vm

Call = Callable[[Any], object]


def lose_address(world: World) -> None:
    address = Address(link="eth0", address=ip_interface(UPLINKS[world.version]))
    assert world.kernel.apply([Remove(address)]).error is None


def lose_uplink(world: World) -> None:
    link = world.link("eth0")
    assert link is not None
    if isinstance(world, FakeWorld):
        forget_link(world.kernel.state, link.name)
        world.kernel.state.drop_link(link)
    else:
        assert world.kernel.apply([Remove(link)]).error is None


LOSSES = pytest.mark.parametrize("lose", [lose_address, lose_uplink])


@LOSSES
@pytest.mark.parametrize("nets", [["192.0.2.0/24"], []], ids=["nets", "auto"])
def test_a_compute_node_is_reset_without_its_uplink(
    world: World, lose: Callable[[World], None], nets: list[str]
) -> None:
    with world.node() as node:
        for cfg in (vm(11), container(12), vm(13, subnet_number=2)):
            node.create_vnic(cfg)
    lose(world)
    before = {link.name for link in world.links()}
    with world.node(init=False, config=world.config(compute_nets=nets)) as node:
        with pytest.raises(snnet.InvalidRequest, match="compute_nets"):
            node.init()
        (line,) = node.verify()
        said = r"; (\d+) objects of cn:cn-1 are on this host, which reset_network\(\) removes$"
        left = re.search(said, line)
        assert left
        assert int(left[1]) >= len(before)
        assert {link.name for link in world.links()} == before
        with pytest.raises(snnet.InvalidRequest, match="not ready"):
            node.create_vnic(vm())
        report = node.reset_network()
        assert len(report.tunnel_events) == 2
        assert {str(event.cn_ip) for event in report.tunnel_events} == {"192.0.2.11"}
        assert node.reset_network().healed == []
    assert world.links() == []


@LOSSES
def test_a_concentrator_is_shut_down_without_its_uplink(
    walled: World, lose: Callable[[World], None]
) -> None:
    with walled.cnci() as cnci:
        bridge = cnci.add_remote_subnet("10.1.0.0/24", 7, "192.0.2.12")
        cnci.enable_nat(["eth0"])
        cnci.allow_external("eth0", bridge)
        cnci.add_public_ip("203.0.113.5", to="10.1.0.9", device="eth0")
    lose(walled)
    with walled.cnci(init=False) as cnci:
        with pytest.raises(snnet.InvalidRequest):
            cnci.init()
        cnci.shutdown()
        assert cnci.drivers.firewall.snapshot() == {}
        assert cnci.drivers.dhcp is not None
        assert cnci.drivers.dhcp.snapshot() == {}
    assert walled.links() == []
    address = Address(link="eth0", address=ip_interface("203.0.113.5/32"))
    assert walled.link("eth0") is None or walled.kernel.find(address) is None


@pytest.mark.parametrize("nets", [["192.0.2.0/24"], ["198.51.100.0/24"]], ids=["lost", "others"])
def test_a_routed_node_is_reset_without_its_uplink(walled: World, nets: list[str]) -> None:
    before = nouns(walled)
    with walled.node(config=walled.config(mode=snnet.NetworkMode.ROUTED)) as node:
        node.create_vnic(vm())
    if "192.0.2.0/24" in nets:
        lose_address(walled)
    config = walled.config(mode=snnet.NetworkMode.ROUTED, compute_nets=nets)
    with walled.node(init=False, config=config) as node:
        with pytest.raises(snnet.InvalidRequest):
            node.init()
        node.reset_network()
    assert nouns(walled) <= before


def nouns(world: World) -> set[str]:
    return {str(noun) for noun in world.kernel.snapshot().values()}


def test_a_macvtap_is_removed_without_the_uplinks_address(world: World) -> None:
    with world.node() as node:
        node.create_cnci_vnic(port())
    lose_address(world)
    with world.node(init=False) as node:
        with pytest.raises(snnet.InvalidRequest):
            node.init()
        node.reset_network()
    assert world.links() == []


@pytest.mark.parametrize(
    "changes",
    [{"compute_nets": ["198.51.100.0/24"]}, {"tunnel": "geneve"}, {"mtu": 1300}],
    ids=str,
)
def test_a_node_is_reset_with_another_config(world: World, changes: dict[str, Any]) -> None:
    with world.node() as node:
        node.create_vnic(vm())
    with world.node(init=False, config=world.config(**changes)) as node:
        try:
            node.init()
        except snnet.InvalidRequest:
            assert "mtu" not in changes
        node.reset_network()
    assert world.links() == []


def test_a_look_without_an_uplink_waits_for_the_clean_up_for_its_timeout(fake: FakeWorld) -> None:
    with fake.node() as node:
        node.create_vnic(vm())
    lose_address(fake)
    said: list[str] = []

    class Caller:
        def before_apply(self, node: snnet.ComputeNode) -> None:
            with pytest.raises(snnet.Timeout) as caught:
                node.verify(timeout=0.01)
            said.append(str(caught.value))

    node = fake.node(init=False, listeners=[Caller()])
    with pytest.raises(snnet.InvalidRequest, match="compute_nets"):
        node.init()
    node.reset_network()
    assert said == ["verify was not done within 0.01 s"]


def test_a_node_whose_firewall_is_not_installed_looks_and_cleans_up(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake.node() as node:
        node.create_vnic(vm())
    monkeypatch.setattr(FakeFirewall, "uninstalled", lambda _: "no firewall here")
    assert fake.node(read_only=True).verify() == []
    node = fake.node(init=False)
    with pytest.raises(snnet.InvalidRequest, match="no firewall here") as caught:
        node.init()
    assert caught.value.field == "firewall"
    (line,) = node.verify()
    assert "no firewall here" in line
    node.reset_network()
    assert fake.links() == []


RATED = container(9, rate_to_guest="50mbit", rate_from_guest="10mbit")
UNSEEN: dict[str, tuple[str, Call, Call, int]] = {
    "mesh": (
        "cnci",
        lambda cnci: cnci.update_neighbors(neighbors(11, 30)),
        lambda cnci: cnci.update_neighbors([]),
        0,
    ),
    "tunnel": (
        "cnci",
        lambda cnci: cnci.add_remote_subnet("10.1.0.0/24", 7, "192.0.2.21"),
        lambda cnci: cnci.del_remote_subnet("10.1.0.0/24", 7, "192.0.2.21"),
        1,
    ),
    "bridge": (
        "cnci",
        lambda cnci: cnci.add_remote_subnet("10.1.0.0/24", 7, "192.0.2.21"),
        lambda cnci: cnci.remove_subnet("10.1.0.0/24"),
        1,
    ),
    "macvtap": (
        "node",
        lambda node: node.create_cnci_vnic(port()),
        lambda node: node.destroy_cnci_vnic(port()),
        0,
    ),
    "tap": (
        "node", lambda node: node.create_vnic(vm(9)), lambda node: node.destroy_vnic(vm(9)), 2
    ),
    "veth and ifb": (
        "node", lambda node: node.create_vnic(RATED), lambda node: node.destroy_vnic(RATED), 2
    ),
}  # fmt: skip
"""The role of a node, a call that makes links and one that removes some, and how many stay."""


@pytest.mark.parametrize("name", UNSEEN)
def test_a_link_that_the_node_never_saw_is_removed(fake: FakeWorld, name: str) -> None:
    """Another process of the same node made it."""
    role, make, remove, staying = UNSEEN[name]
    node, other = getattr(fake, role)(), getattr(fake, role)()
    make(other)
    other.close()
    assert len(fake.links()) > staying
    remove(node)
    assert len(fake.links()) == staying
    remove(node)


@pytest.mark.parametrize("make", [vm, container])
def test_a_vnic_that_the_node_never_saw_is_removed_with_all_that_it_has(
    fake: FakeWorld, make: Callable[..., snnet.VnicConfig]
) -> None:
    node = fake.node()
    node.create_vnic(vm(8))
    before = fake.text()
    cfg = make(9, rate_to_guest="50mbit", rate_from_guest="10mbit")
    with fake.node() as other:
        other.create_vnic(cfg)
    node.destroy_vnic(cfg)
    assert fake.text() == before


def test_leftovers_of_changes_are_removed_by_whoever_looks_at_everything(fake: FakeWorld) -> None:
    """A node that only looks on removes nothing."""

    class Tidied(FakeFirewall):
        times = 0

        def tidy(self) -> None:
            self.times += 1

    firewall = Tidied(fake.kernel)
    node = fake.node(firewall=firewall, init=False)
    calls: dict[Call, int] = {
        snnet.ComputeNode.init: 1,
        lambda node: node.create_vnic(vm()): 0,
        snnet.ComputeNode.verify: 0,
        snnet.ComputeNode.rebuild_topology: 1,
        snnet.ComputeNode.repair: 1,
        lambda _: fake.node(firewall=firewall, read_only=True).rebuild_topology(): 0,
        snnet.ComputeNode.reset_network: 1,
    }
    for call, times in calls.items():
        firewall.times = 0
        call(node)
        assert firewall.times == times


def test_a_node_that_was_not_initialised_is_not_ready_for_a_reset(fake: FakeWorld) -> None:
    node = fake.node(init=False)
    with pytest.raises(snnet.InvalidRequest, match="not ready"):
        node.reset_network()


def test_a_node_works_once_its_uplink_is_back(fake: FakeWorld) -> None:
    with fake.node() as node:
        node.create_vnic(vm())
    lose_address(fake)
    node = fake.node(init=False)
    with pytest.raises(snnet.InvalidRequest):
        node.init()
    address = Address(link="eth0", address=ip_interface(UPLINKS[4]))
    assert fake.kernel.apply([Add(address)]).error is None
    node.init()
    assert node.verify() == []
