"""Links whose alias and name disagree: renamed by an administrator, or forged by a guest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address, ip_interface
from shlex import quote
from typing import Any

import pytest

import snnet
from snnet.contract import LINK_GROUP, Add, Address, Bridge, Veth
from tests.node import test_local
from tests.node.test_cnci import neighbors
from tests.node.test_intents import flush_rules
from tests.node.world import FakeWorld, World, container, port, vm

NEW = "renamed0"


def rename(world: World, name: str, new: str = NEW) -> None:
    link = world.link(name)
    assert link is not None
    changes: dict[str, Any] = {"name": new, "index": 0}
    if isinstance(link, Veth):
        changes["peer"] = "renamed0-far"
    world.delete(name)
    world.add(replace(link, **changes))


@pytest.mark.parametrize("cfg", [vm(9), container(9)], ids=["tap", "veth"])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_renamed_vnic_is_not_made_twice_and_a_destroy_says_that_it_stays(
    world: World, cfg: snnet.VnicConfig, restarted: bool
) -> None:
    node = world.node()
    node.create_vnic(vm(8))
    name = node.create_vnic(cfg).vnic.link_name
    rename(world, name)
    if restarted:
        node.close()
        node = world.node(init=False)
        (orphan,) = node.init().orphans
        assert NEW in orphan
        assert [vnic.vnic_id for vnic in node.topology().vnics] == ["v8"]
    assert sum(NEW in line and "its name is not" in line for line in node.verify()) == 1
    with pytest.raises(snnet.Conflict, match=rf"{NEW}.*{name}"):
        node.create_vnic(cfg)
    assert world.link(name) is None
    for _ in range(2):
        with pytest.raises(snnet.Incomplete, match=NEW) as caught:
            node.destroy_vnic(cfg)
        assert [link.name for link in caught.value.leftovers] == [NEW]
    node.repair()
    assert world.link(NEW) is not None
    world.delete(NEW)
    node.destroy_vnic(cfg)
    node.create_vnic(cfg)
    assert node.verify() == []
    node.reset_network()
    assert world.links() == []


def test_a_copied_alias_is_an_orphan_and_costs_the_real_link_nothing(world: World) -> None:
    node = world.node()
    victim = node.create_vnic(container(9)).vnic
    link = world.link(victim.link_name)
    assert isinstance(link, Veth)
    forged = replace(link, name=NEW, index=0, peer="renamed0-far", master=None)
    world.add(forged)
    before = world.text()
    (orphan,) = node.rebuild_topology().orphans
    assert NEW in orphan
    assert node.topology().vnics[0].link_name == victim.link_name
    assert node.repair().healed == []
    assert world.text() == before
    node.create_vnic(container(9))
    node.destroy_vnic(container(9))
    assert world.link(NEW) is not None
    node.reset_network()
    assert world.links() == []


@pytest.mark.parametrize(
    ("topology", "kind"),
    [("hub", "bridge"), ("hub", "tunnel"), ("local", "bridge"), ("mesh", "bridge"),
     ("mesh", "tunnel")],
)  # fmt: skip
def test_a_renamed_bridge_or_tunnel_of_a_subnet(world: World, topology: str, kind: str) -> None:
    tunnel = "vxlan" if topology == "mesh" else world.tunnel
    node = world.node(config=world.config(topology=topology, tunnel=tunnel))
    node.create_vnic(vm(9))
    link = getattr(node.topology().subnets[0], kind)
    rename(world, link.name)
    calls: list[Callable[[], object]] = [
        partial(node.create_vnic, vm(10)),
        partial(node.plan_create_vnic, vm(10)),
    ]
    if topology == "mesh":
        calls.append(partial(node.set_peers, "t1", "s1", [snnet.Peer("192.0.2.12")]))
    for call in calls:
        with pytest.raises(snnet.Conflict, match=rf"{NEW} has the alias of {link.name}"):
            call()
    node.repair()  # the kernel may refuse a second tunnel like the renamed one
    assert world.link(NEW) is not None
    if world.link(link.name) is not None:
        world.delete(link.name)
    with pytest.raises(snnet.Incomplete, match=NEW):
        node.destroy_vnic(vm(9))
    node.reset_network()
    assert world.links() == []


def test_a_destroy_names_everything_that_was_renamed(world: World) -> None:
    node = world.node()
    vnics = [node.create_vnic(vm(number)).vnic for number in (8, 9)]
    (subnet,) = node.topology().subnets
    links = [*(vnic.link for vnic in vnics), subnet.tunnel, subnet.bridge]
    names = {f"renamed{number}": link.name for number, link in enumerate(links) if link}
    for new, name in names.items():
        rename(world, name, new)
    with pytest.raises(snnet.Incomplete) as caught:
        node.destroy_vnics([vm(8), vm(9)])
    assert {link.key[1] for link in caught.value.leftovers} == names.keys()
    for new in names:
        world.delete(new)
    node.destroy_vnics([vm(8), vm(9)])
    assert node.topology().subnets == ()


def test_a_renamed_cnci_vnic(world: World) -> None:
    node = world.node()
    name = node.create_cnci_vnic(port()).link_name
    rename(world, name)
    with pytest.raises(snnet.Conflict, match=rf"{NEW}.*{name}"):
        node.create_cnci_vnic(port())
    with pytest.raises(snnet.Incomplete, match=NEW):
        node.destroy_cnci_vnic(port())
    report = node.rebuild_topology()
    assert NEW in report.orphans[0]
    assert report.others == []
    with pytest.raises(snnet.Conflict, match=rf"{NEW}.*{name}"):
        node.create_cnci_vnic(port())
    node.reset_network()
    assert world.links() == []


def test_a_copied_alias_does_not_hinder_the_removal_of_a_cnci_vnic(fake: FakeWorld) -> None:
    node = fake.node()
    made = node.create_cnci_vnic(port()).link
    fake.add(replace(made, name=NEW, mac="02:00:00:00:00:77", index=0))
    node.destroy_cnci_vnic(port())
    assert [link.name for link in fake.links()] == [NEW]


def test_a_repeated_create_keeps_the_alias_of_a_cnci_vnic(fake: FakeWorld) -> None:
    node = fake.node()
    made = node.create_cnci_vnic(port(mtu=node.site.uplink.mtu))
    before = fake.text()
    assert node.create_cnci_vnic(port()) == made
    assert fake.text() == before


def test_a_cnci_vnic_whose_name_was_taken_gets_another(fake: FakeWorld) -> None:
    node = fake.node()
    name = node.create_cnci_vnic(port()).link_name
    fake.delete(name)
    fake.add(Bridge(name=name, group=0))
    again = node.create_cnci_vnic(port())
    assert again.link_name != name
    assert node.topology().cnci_vnics == (again,)
    fake.delete(name)
    node.destroy_cnci_vnic(port())
    assert fake.links() == []
    assert node.topology().cnci_vnics == ()


def _add(cnci: snnet.Cnci) -> object:
    return cnci.add_remote_subnet("10.1.0.0/24", 7, "192.0.2.21")


MAKERS: dict[str, tuple[Callable[[snnet.Cnci], str], Callable[[snnet.Cnci], object]]] = {
    "bridge": (lambda cnci: cnci.topology().subnets[0].bridge.name, _add),
    "tunnel": (lambda cnci: next(iter(cnci.topology().subnets[0].tunnels.values())).name, _add),
    "mesh": (
        lambda cnci: cnci.topology().mesh.link.name,  # type: ignore[union-attr]
        lambda cnci: cnci.update_neighbors(neighbors(11, 30)),
    ),
}
REMOVERS: dict[str, Callable[[snnet.Cnci], object]] = {
    "bridge": lambda cnci: cnci.remove_subnet("10.1.0.0/24"),
    "tunnel": lambda cnci: cnci.del_remote_subnet("10.1.0.0/24", 7, "192.0.2.21"),
    "mesh": lambda cnci: cnci.update_neighbors([]),
}


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("bridge", {}),
        ("tunnel", {"remote": IPv4Address("192.0.2.99"), "master": None}),
        ("mesh", {"tunnel_key": 99}),
    ],
)
def test_a_copied_alias_does_not_hinder_the_removal_of_the_real_link(
    fake: FakeWorld, kind: str, changes: dict[str, Any]
) -> None:
    cnci = fake.cnci()
    name_of, make = MAKERS[kind]
    make(cnci)
    name = name_of(cnci)
    link = fake.link(name)
    assert link is not None
    fake.add(replace(link, name=NEW, index=0, **changes))
    assert any(NEW in line for line in cnci.rebuild_topology().orphans)
    REMOVERS[kind](cnci)
    assert fake.link(name) is None
    assert fake.link(NEW) is not None


@pytest.mark.parametrize("kind", MAKERS)
def test_a_link_with_its_second_name_is_removed(fake: FakeWorld, kind: str) -> None:
    """The first name was a foreign link's when it was made."""
    cnci = fake.cnci()
    name_of, make = MAKERS[kind]
    make(cnci)
    first = name_of(cnci)
    REMOVERS[kind](cnci)
    fake.add(Bridge(name=first, group=0))
    make(cnci)
    second = name_of(cnci)
    assert second != first
    fake.delete(first)
    make(cnci)
    assert name_of(cnci) == second
    REMOVERS[kind](cnci)
    assert fake.link(second) is None
    assert cnci.verify() == []


@pytest.mark.parametrize("kinds", [["tunnel"], ["tunnel", "bridge"]])
def test_what_was_renamed_is_named_when_its_subnet_is_removed(
    fake: FakeWorld, kinds: list[str]
) -> None:
    cnci = fake.cnci()
    _add(cnci)
    names = {kind: MAKERS[kind][0](cnci) for kind in kinds}
    for kind in kinds:
        rename(fake, names[kind], f"renamed-{kind}")
    with pytest.raises(snnet.Incomplete) as caught:
        cnci.remove_subnet("10.1.0.0/24")
    assert [link.name for link in caught.value.leftovers] == [f"renamed-{kind}" for kind in kinds]


@pytest.mark.parametrize("kind", MAKERS)
def test_renamed_links_of_a_concentrator(world: World, kind: str) -> None:
    cnci = world.cnci()
    name_of, make = MAKERS[kind]
    make(cnci)
    name = name_of(cnci)
    rename(world, name)
    with pytest.raises(snnet.Conflict, match=rf"{NEW}.*{name}"):
        make(cnci)
    with pytest.raises(snnet.Incomplete, match=NEW):
        REMOVERS[kind](cnci)
    assert any(NEW in line for line in cnci.rebuild_topology().orphans)
    with pytest.raises(snnet.Conflict, match=rf"{NEW}.*{name}"):
        make(cnci)
    assert world.link(NEW) is not None
    cnci.shutdown()
    assert world.links() == []


def test_a_renamed_bridge_that_a_concentrator_is_to_serve(fake: FakeWorld) -> None:
    node = fake.node(config=fake.config(topology="local"))
    node.create_vnic(test_local.vnic(9))
    bridge = node.topology().subnets[0].bridge
    assert bridge is not None
    rename(fake, bridge.name)
    with pytest.raises(snnet.Conflict, match=rf"{NEW} has the alias of {bridge.name}"):
        node.set_concentrator(test_local.config())


@pytest.mark.parametrize("kind", ["way", "plug"])
def test_renamed_links_that_lead_to_a_concentrator(fake: FakeWorld, kind: str) -> None:
    node = fake.node(config=fake.config(topology="local"))
    made = node.set_concentrator(test_local.config())
    name = made.link_name if kind == "way" else made.plugs["web"].name
    rename(fake, name)
    with pytest.raises(snnet.Conflict, match=rf"{NEW}.*{name}"):
        node.set_concentrator(test_local.config())
    assert any(NEW in line for line in node.rebuild_topology().orphans)
    assert node.set_concentrator(test_local.config()) == made
    assert fake.link(NEW) is not None
    node.reset_network()
    assert fake.links() == []


@pytest.mark.parametrize("cfg", [vm(10), container(10), vm(9)], ids=["tap", "veth", "the same tap"])
def test_a_bridge_whose_name_was_taken_gets_no_port(world: World, cfg: snnet.VnicConfig) -> None:
    """The bridge was deleted, and a foreign link has its name since."""
    node = world.node()
    name = node.create_vnic(vm(9)).vnic.bridge
    assert name is not None
    world.delete(name)
    world.add(Bridge(name=name, group=0))
    made = node.create_vnic(cfg).vnic
    assert made.bridge != name
    link = world.link(made.link_name)
    assert link is not None
    assert link.master == made.bridge
    node.repair()
    assert node.verify() == []
    assert {vnic.bridge for vnic in node.topology().vnics} == {made.bridge}
    assert world.link(name) is not None


def test_what_gives_a_link_back(world: World) -> None:
    """The command comes first: a repair would make another link in its place."""
    node = world.node()
    vnic = node.create_vnic(vm(9)).vnic
    tap, bridge = world.link(vnic.link_name), world.link(str(vnic.bridge))
    assert tap is not None
    assert bridge is not None
    rename(world, tap.name)
    steps = (f"{NEW} down", f"{NEW} name {tap.name}", f"{tap.name} up")
    back = " && ".join(f"ip link set dev {step}" for step in steps)
    line = node.verify()[0]
    assert line.startswith(f"tap {NEW}: its name is not that of its alias")
    assert line.endswith(f"; delete it, or: {back}")
    world.add(replace(tap, alias="somebody", index=0))
    said = [line for line in node.verify() if NEW in line and "its name is not" in line]
    assert said[0].endswith(f"; delete it, or: ip link set dev {NEW} alias ''")
    for name in (NEW, tap.name):
        world.delete(name)
    world.add(replace(tap, group=5, index=0))
    line, back = node.verify()[0], f"ip link set dev {tap.name} group {LINK_GROUP}"
    assert line.startswith(f"tap {tap.name}: it counts as somebody else's, because its group")
    assert line.endswith(f"; delete it, or: {back}")
    world.delete(bridge.name)
    world.add(replace(bridge, alias="somebody", index=0))
    back = f"ip link set dev {bridge.name} alias {quote(str(bridge.alias))} group {LINK_GROUP}"
    (line,) = (line for line in node.verify() if line.endswith(f"; delete it, or: {back}"))
    assert line.startswith(f"bridge {bridge.name}: it counts as somebody else's, because its alias")


def test_what_else_is_to_be_repaired_hides_no_link_that_was_taken(fake: FakeWorld) -> None:
    node = fake.node()
    taken, other = (node.create_vnic(vm(9, subnet_number=n)).vnic.bridge or "" for n in (1, 2))
    link = fake.link(taken)
    assert link is not None
    fake.delete(taken)
    fake.add(replace(link, alias="somebody", index=0))
    added = Address(link=other, address=ip_interface("10.2.0.200/24"))
    assert fake.kernel.apply([Add(added)]).error is None
    flush_rules(fake)
    lines = node.verify()
    assert any(line.startswith(f"bridge {taken}: it counts as somebody else's") for line in lines)
    assert any(line.startswith("missing: no tracking") for line in lines)
    assert f"unexpected: {added}" in lines


@pytest.mark.parametrize(
    ("alias", "said"),
    [
        ("", "was removed; start its agent, or create its VNIC again"),
        ("somebody", "was changed; delete the link, or: ip link set dev {} alias ''"),
    ],
)
def test_a_link_whose_alias_says_nothing_is_named_by_a_node_that_does_not_know_it(
    fake: FakeWorld, alias: str, said: str
) -> None:
    node = fake.node()
    name = node.create_vnic(vm(9)).vnic.link_name
    tap = fake.link(name)
    assert tap is not None
    fake.delete(name)
    fake.add(replace(tap, alias=alias, index=0))
    node.close()
    node = fake.node()
    why = f"tap {name}: its name is one of snnet's, and its alias, which says what it is for, "
    assert why + said.format(name) in node.verify()
    assert fake.link(name) is not None
