"""The host changes after init(): verify() names it in one line, repair() mends what is ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from ipaddress import ip_interface, ip_network

import pytest

import snnet
from snnet.backends.fake import FakeDhcp
from snnet.contract import (
    Add,
    Address,
    Change,
    DhcpScope,
    Key,
    Link,
    Noun,
    Operation,
    Other,
    Remove,
    Route,
    Sysctl,
    Vxlan,
)
from snnet.system.process import run
from tests.node.world import UPLINKS, FakeWorld, RealWorld, World, scope_on, vm

SUBNET = "10.1.0.0/24"


def change(world: World, *operations: Operation) -> None:
    outcome = world.kernel.apply(operations)
    assert outcome.error is None, outcome.error


def address(cidr: str, link: str = "eth0") -> Address:
    return Address(link=link, address=ip_interface(cidr))


def set_link(world: World, **values: object) -> None:
    """Change the uplink, which snnet never does itself."""
    if isinstance(world, RealWorld):
        words = {"up": {True: ["up"], False: ["down"]}.get(values.get("up"), [])}  # type: ignore[call-overload]
        argv = ["ip", "link", "set", "eth0", *words["up"]]
        if "mtu" in values:
            argv += ["mtu", str(values["mtu"])]
        if "name" in values:
            run(["ip", "link", "set", "eth0", "down"], netns=world.kernel.host.netns.fd)
            argv += ["name", str(values["name"])]
        run(argv, netns=world.kernel.host.netns.fd)
        return
    link = world.link("eth0")
    assert link is not None
    change(world, Change(replace(link, **values), link))  # type: ignore[arg-type]


def set_sysctl(world: World, name: str, value: str) -> None:
    old = world.kernel.find(Sysctl(name=name))
    assert isinstance(old, Sysctl)
    change(world, Change(Sysctl(name=name, value=value), old))


def one(lines: list[str], *words: str) -> str:
    """The one line that has all the words."""
    found = [line for line in lines if all(word in line for word in words)]
    assert len(found) == 1, lines
    return found[0]


UPLINK_CHANGES = [
    (lambda world: set_link(world, up=False), "is down -> should be up"),
    (lambda world: set_link(world, mtu=1400), "mtu is 1400 -> should be 1500"),
    (
        lambda world: change(world, Remove(address(UPLINKS[4]))),
        "has no address 192.0.2.11 -> should have 192.0.2.11/24",
    ),
]


@pytest.mark.parametrize(
    ("alter", "words"), UPLINK_CHANGES, ids=[text for _, text in UPLINK_CHANGES]
)
def test_a_changed_uplink_is_named(
    world: World, alter: Callable[[World], None], words: str
) -> None:
    node = world.node()
    node.create_vnic(vm())
    assert node.verify() == []
    alter(world)
    line = one(node.verify(), "uplink eth0", words)
    assert line in node.repair().orphans


def test_a_way_to_a_concentrator_that_is_closed_is_named(world: World) -> None:
    node = world.node()
    node.create_vnic(vm())
    change(world, Remove(address(UPLINKS[4])))
    one(node.verify(), "way to 192.0.2.101: is closed")


def test_a_subnet_that_the_host_reaches_by_another_link_is_named(
    walled: World, cnci: snnet.Cnci
) -> None:
    (subnet,) = cnci.topology().subnets
    router = ip_interface("192.0.2.1/24").ip
    route = Route(destination=ip_network("10.1.0.128/25"), link="eth0", gateway=router)
    change(walled, Add(route))
    one(cnci.verify(), f"way to {SUBNET}: is by eth0 -> should be by {subnet.bridge.name}")


def test_a_repair_names_what_it_could_not_do_and_what_is_not_its_own(fake: FakeWorld) -> None:
    node = fake.node()
    made = node.create_vnic(vm()).vnic
    fake.delete(made.link_name)
    set_link(fake, mtu=1400)
    fake.kernel.fail(at=1)
    found = node.repair().orphans
    one(found, made.link_name)
    one(found, "mtu is 1400")


def test_a_setting_of_a_link_that_others_changed_is_named(fake: FakeWorld) -> None:
    node = fake.node()
    link = fake.link(node.create_vnic(vm()).vnic.link_name)
    assert link is not None
    settings = (("bridge_slave isolated", 1), ("bridge_slave learning", 0))
    change(fake, Change(replace(link, settings=settings), link))
    assert node.verify() == [
        f"different: tap {link.name}: bridge_slave isolated is 1, bridge_slave learning is 0 -> "
        "should be as snnet made it"
    ]
    node.repair()
    assert node.verify() == []


def test_what_an_object_does_not_say_of_itself_is_named_where_it_differs(fake: FakeWorld) -> None:
    node = fake.node(config=fake.config(tunnel="vxlan"))
    node.create_vnic(vm())
    tunnel = node.topology().subnets[0].tunnel
    assert isinstance(tunnel, Vxlan)
    fake.delete(tunnel.name)
    fake.add(replace(tunnel, ttl=5, index=0))
    one(node.verify(), f"different: {tunnel}: ttl 5, should be: ttl {tunnel.ttl}")
    cnci = fake.cnci()
    bridge = cnci.add_remote_subnet(SUBNET, 7, "192.0.2.12")
    for number in (50, 51):
        cnci.dhcp(SUBNET).add_entry(f"10.1.0.{number}", f"02:00:00:00:00:{number}")
    server = FakeDhcp(fake.kernel)
    scope = server.find(scope_on(bridge))
    assert isinstance(scope, DhcpScope)
    first, second = scope.entries
    third = replace(second, address=ip_interface("10.1.0.52").ip)
    other = replace(scope, entries=(first, third))
    assert server.apply([Change(other, scope)]).error is None
    assert cnci.verify() == [
        f"different: {scope}: entries 10.1.0.50 for 02:00:00:00:00:50 10.1.0.52 for "
        "02:00:00:00:00:51, should be: entries 10.1.0.50 for 02:00:00:00:00:50 10.1.0.51 for "
        "02:00:00:00:00:51"
    ]
    cnci.repair()
    assert cnci.verify() == []
    for number in range(60, 69):
        cnci.dhcp(SUBNET).add_entry(f"10.1.0.{number}", f"02:00:00:00:00:{number}", "a")
    scope = server.find(scope_on(bridge))
    assert isinstance(scope, DhcpScope)
    last = replace(scope.entries[-1], address=third.address)
    other = replace(scope, entries=(*scope.entries[:-1], last))
    assert server.apply([Change(other, scope)]).error is None
    assert cnci.verify() == [
        f"different: {scope}: entries 10.1.0.52 for 02:00:00:00:00:68 a and 10 that both have, "
        "should be: entries 10.1.0.68 for 02:00:00:00:00:68 a and 10 that both have"
    ]


def test_a_renamed_uplink_is_named(real: World) -> None:
    node = real.node()
    set_link(real, name="lan0")
    one(node.verify(), "uplink eth0: is called lan0 -> should be eth0")


def test_no_vnic_is_made_for_an_address_that_is_gone(world: World) -> None:
    node = world.node()
    node.create_vnic(vm())
    change(world, Remove(address(UPLINKS[4])))
    with pytest.raises(snnet.Conflict, match=r"192\.0\.2\.11/24 of this node is not on eth0"):
        node.create_vnic(vm(subnet_number=2))
    change(world, Add(address(UPLINKS[4])))
    assert node.create_vnic(vm(subnet_number=2)).tunnel_event is not None


def test_an_address_on_a_bridge_of_a_node_is_removed(world: World) -> None:
    node = world.node()
    bridge = node.create_vnic(vm()).vnic.bridge
    assert bridge is not None
    change(world, Add(address("10.1.0.200/24", bridge)))
    one(node.verify(), "unexpected: address 10.1.0.200/24")
    node.repair()
    assert node.verify() == []
    assert world.kernel.find(address("10.1.0.200/24", bridge)) is None


@pytest.fixture
def cnci(walled: World) -> snnet.Cnci:
    node = walled.cnci()
    bridge = node.add_remote_subnet(SUBNET, 7, "192.0.2.12")
    node.enable_nat(["eth0"])
    node.allow_external("eth0", bridge)
    node.add_port_forward(protocol="tcp", device="eth0", port=8080, to="10.1.0.9", to_port=22)
    assert node.verify() == []
    return node


def test_a_new_address_of_a_device_is_taken_by_its_forwards(
    walled: World, cnci: snnet.Cnci
) -> None:
    change(walled, Add(address("203.0.113.9/24")))
    line = one(cnci.verify(), "port tcp/8080")
    assert "addresses 192.0.2.11, should be: addresses 192.0.2.11 203.0.113.9" in line
    cnci.repair()
    assert cnci.verify() == []
    assert [str(ip) for ip in cnci.port_forwards[0].addresses] == ["192.0.2.11", "203.0.113.9"]


@pytest.mark.parametrize("link", ["default", "bridge"])
def test_forwarding_that_is_off_for_a_link_of_ours_is_repaired(
    walled: World, cnci: snnet.Cnci, link: str
) -> None:
    name = cnci.topology().subnets[0].bridge.name if link == "bridge" else link
    set_sysctl(walled, f"net.ipv4.conf.{name}.forwarding", "0")
    one(cnci.verify(), f"net.ipv4.conf.{name}.forwarding=0, should be")
    cnci.repair()
    assert cnci.verify() == []


def test_forwarding_that_is_off_for_a_foreign_link_is_named(
    walled: World, cnci: snnet.Cnci
) -> None:
    set_sysctl(walled, "net.ipv4.conf.eth0.forwarding", "0")
    line = one(cnci.verify(), "net.ipv4.conf.eth0.forwarding: is 0 -> should be 1: sysctl -w")
    assert line in cnci.repair().orphans
    set_sysctl(walled, "net.ipv4.conf.eth0.forwarding", "1")
    assert cnci.verify() == []


@pytest.mark.parametrize("cure", ["repair", "rebuild_topology"])
def test_forwarding_that_is_off_for_all_is_one_line(
    walled: World, cnci: snnet.Cnci, cure: str
) -> None:
    set_sysctl(walled, "net.ipv4.ip_forward", "0")
    assert len(cnci.verify()) == 1
    getattr(cnci, cure)()
    assert cnci.verify() == []


def test_an_init_that_cannot_set_a_parameter_sets_none(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake.cnci() as cnci:
        cnci.add_remote_subnet((SUBNET, "fd00:1::/64"), 7, "192.0.2.12")
    names = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")
    for name in names:
        set_sysctl(fake, name, "0")
    before, perform = fake.text(), fake.kernel.perform

    def refusing(operation: Operation) -> Sequence[int] | None:
        if isinstance(operation.noun, Sysctl) and operation.noun.name == names[1]:
            raise snnet.Denied("not permitted")
        return perform(operation)

    monkeypatch.setattr(fake.kernel, "perform", refusing)
    cnci = fake.cnci(init=False)
    with pytest.raises(snnet.Denied):
        cnci.init()
    assert fake.text() == before
    monkeypatch.undo()
    cnci.init()
    assert cnci.verify() == []


@pytest.mark.parametrize("whole", [False, True], ids=["one", "whole"])
@pytest.mark.parametrize("restarted", [False, True])
def test_forwarding_of_each_family_is_looked_at(
    walled: World, whole: bool, restarted: bool
) -> None:
    cnci = walled.cnci()
    bridge = cnci.add_remote_subnet((SUBNET, "fd00:1::/64"), 7, "192.0.2.12")
    four = "net.ipv4.ip_forward" if whole else f"net.ipv4.conf.{bridge}.forwarding"
    six = [f"net.ipv6.conf.{link}.forwarding" for link in ("eth0", bridge)]
    if restarted:
        cnci.close()
        cnci = walled.cnci()
    assert cnci.verify() == []
    for name in (four, *six):
        set_sysctl(walled, name, "0")
    found = cnci.verify()
    assert len(found) == 3
    for name in (four, *six):
        one(found, name)


def test_a_default_route_that_went_is_named(walled: World, cnci: snnet.Cnci) -> None:
    route = Route(
        destination=ip_network("0.0.0.0/0"), link="eth0", gateway=ip_interface("192.0.2.1/24").ip
    )
    change(walled, Add(route))
    assert cnci.verify() == []
    change(walled, Remove(route))
    one(cnci.verify(), "default route: is gone")


def test_a_strict_filter_with_two_ways_in_is_named(walled: World, cnci: snnet.Cnci) -> None:
    walled_add_second(walled)
    route = Route(
        destination=ip_network("0.0.0.0/0"), link="eth0", gateway=ip_interface("192.0.2.1/24").ip
    )
    change(walled, Add(route))
    cnci.add_port_forward(protocol="tcp", device="ext1", port=8081, to="10.1.0.9")
    set_sysctl(walled, "net.ipv4.conf.all.rp_filter", "0")
    set_sysctl(walled, "net.ipv4.conf.ext1.rp_filter", "0")
    assert cnci.verify() == []
    set_sysctl(walled, "net.ipv4.conf.ext1.rp_filter", "1")
    one(cnci.verify(), "net.ipv4.conf.ext1.rp_filter: is strict", "leave by eth0")
    set_sysctl(walled, "net.ipv4.conf.all.rp_filter", "2")
    assert cnci.verify() == []


def walled_add_second(world: World) -> None:
    if isinstance(world, FakeWorld):
        world.kernel.add_uplink("ext1", "198.51.100.1/24")
        return
    assert isinstance(world, RealWorld)
    for words in (
        "link add ext1 type veth peer name ext1-far",
        "address add 198.51.100.1/24 dev ext1",
        "link set ext1 up",
        "link set ext1-far up",
    ):
        run(["ip", *words.split()], netns=world.kernel.host.netns.fd)


def test_a_device_that_is_gone_is_named(walled: World, cnci: snnet.Cnci) -> None:
    walled_add_second(walled)
    router = ip_interface("192.0.2.1/24").ip
    change(walled, Add(Route(destination=ip_network("0.0.0.0/0"), link="eth0", gateway=router)))
    set_sysctl(walled, "net.ipv4.conf.all.rp_filter", "0")
    cnci.add_port_forward(protocol="tcp", device="ext1", port=8081, to="10.1.0.9")
    if isinstance(walled, FakeWorld):
        link = walled.link("ext1")
        assert isinstance(link, Other)
        from snnet.backends.fake.addresses import forget_link

        forget_link(walled.kernel.state, "ext1")
        walled.kernel.state.drop_link(link)
    else:
        walled.delete("ext1")
    found = cnci.verify()
    one(found, "device ext1: is gone")
    assert not any("rp_filter" in line for line in found)


def test_routed_mode_heals_after_a_flap_of_the_uplink(walled: World) -> None:
    config = walled.config(mode=snnet.NetworkMode.ROUTED)
    node = walled.node(config=config)
    node.create_vnic(vm())
    assert node.verify() == []
    set_link(walled, up=False)
    assert node.verify() != []
    set_link(walled, up=True)
    node.repair()
    assert node.verify() == []


def test_the_host_is_listed_once_for_a_verify_and_for_a_rebuild(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever of them asks for links, addresses and rules; the next call sees what changed."""
    node = fake.node()
    node.create_vnic(vm(9))
    listed: list[type[Noun]] = []
    snapshot = fake.kernel.snapshot

    def listing(types: Iterable[type[Noun]] | None = None) -> dict[Key, Noun]:
        listed.extend(types or ())
        return snapshot(types)

    monkeypatch.setattr(fake.kernel, "snapshot", listing)
    for call in (node.verify, node.rebuild_topology):
        call()
        assert Link in listed
        assert len(listed) == len(set(listed)), listed
        listed.clear()
    fake.delete(node.topology().vnics[0].link_name)
    one(node.verify(), "missing", "tap")
