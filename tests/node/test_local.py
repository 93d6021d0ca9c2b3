"""Topology "local": one host with VNICs and concentrators in namespaces, on the fake."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import IPv4Address, ip_interface, ip_network
from typing import Any

import pytest

import snnet
from snnet.backends.fake import FakeFirewall, Guest
from snnet.contract import (
    Add,
    Address,
    Bridge,
    Change,
    Gre,
    Link,
    Listener,
    Namespace,
    Noun,
    Remove,
    Route,
    Veth,
)

CONFIG = snnet.NetworkConfig(topology="local", compute_nets=["192.0.2.0/24"])
HOST = "192.0.2.11"


def config(tenant: str = "acme", port: int = 33022, **changes: Any) -> snnet.ConcentratorConfig:
    subnet = snnet.LocalSubnet(subnet_id="web", subnet="10.1.0.0/24", subnet_key=7)
    return snnet.ConcentratorConfig(
        **{
            "tenant_id": tenant,
            "concentrator_id": f"c-{tenant}",
            "subnets": [subnet],
            "forwards": [snnet.HostForward(protocol="tcp", port=port)],
            **changes,
        }
    )


def vnic(number: int, tenant: str = "acme") -> snnet.VnicConfig:
    return snnet.VnicConfig(
        vnic_id=f"v{number}",
        instance_id=f"i{number}",
        tenant_id=tenant,
        subnet_id="web",
        subnet="10.1.0.0/24",
        subnet_key=7,
        ip=f"10.1.0.{number}",
    )


class OneHost:
    """A host of a fabric with its node, and its concentrators as an agent would run them."""

    def __init__(self) -> None:
        self.fabric = snnet.Fabric()
        self.kernel = self.fabric.add_host("host", f"{HOST}/24")
        self.outside = self.fabric.add_host("outside", "192.0.2.99/24")
        self.fabric.listen(self.outside, "tcp")
        self.clean = self.kernel.to_text()
        self._open = ExitStack()
        self.cn = self.node()

    def node(self, **options: Any) -> snnet.ComputeNode:
        cn = snnet.ComputeNode("host", CONFIG, backend=self.kernel, firewall="fake", **options)
        self._open.enter_context(cn)
        cn.init()
        return cn

    def cnci(self, made: snnet.Concentrator) -> snnet.Cnci:
        inside = self.kernel.namespace(made.netns)
        cnci = snnet.Cnci(
            made.concentrator_id, CONFIG, tenant_id=made.tenant_id, backend=inside,
            firewall="fake", dhcp="fake",
        )  # fmt: skip
        self._open.enter_context(cnci)
        cnci.init()
        return cnci

    def serve(self, cfg: snnet.ConcentratorConfig, to: str = "10.1.0.9") -> snnet.Cnci:
        """Have the concentrator, with DHCP, NAT and a forward of each port to a guest."""
        made = self.cn.set_concentrator(cfg)
        cnci = self.cnci(made)
        result = cnci.reconcile(
            subnets=[snnet.Subnet("10.1.0.0/24", 7, link=made.links["web"])],
            nat=[made.uplink],
            exits=[(made.uplink, "10.1.0.0/24")],
            forwards=[
                {
                    "protocol": rule.protocol, "device": made.uplink,
                    "port": rule.target_port, "to": to, "to_port": 22,
                }
                for rule in made.forwards
            ],
        )  # fmt: skip
        assert not result.failed
        return cnci

    def guest(self, number: int, tenant: str = "acme") -> Guest:
        made = self.cn.create_vnic(vnic(number, tenant))
        return self.fabric.attach(self.kernel, made.vnic, dhcp=True, name=f"{tenant}-{number}")

    def close(self) -> None:
        self._open.close()


@pytest.fixture
def one() -> Iterator[OneHost]:
    host = OneHost()
    yield host
    host.close()


def reached(one: OneHost, source: Any, port: int) -> tuple[str, str] | None:
    found = one.fabric.connected(source, HOST, "tcp", port)
    return None if found is None else (found.station, str(found.source))


def test_guests_on_one_host(one: OneHost) -> None:
    cnci = one.serve(config())
    first, second = one.guest(9), one.guest(10)
    assert first.lease is not None
    assert first.lease.mtu == 1500, "no tunnel takes a part of the MTU"
    assert one.fabric.ping(first, second)
    assert one.fabric.connected(first, "192.0.2.99", "tcp", 80) == ("outside", IPv4Address(HOST))
    assert one.fabric.ping(first, "192.0.2.99", size=1472)
    assert reached(one, one.outside, 33022) == ("acme-9", "192.0.2.99")
    assert reached(one, one.kernel, 33022) == ("acme-9", HOST)
    assert reached(one, second, 33022) == ("acme-9", "169.254.1.1")
    assert reached(one, first, 33022) == ("acme-9", "169.254.1.1")
    assert not one.fabric.ping(first, HOST), "guests do not reach the host itself"
    assert not one.fabric.ping(first, "169.254.169.254")
    assert one.cn.verify() == []
    assert cnci.verify() == []


def test_two_tenants_with_the_same_addresses_never_meet(one: OneHost) -> None:
    one.serve(config())
    one.serve(config("other", 33023))
    mine, other, second = one.guest(9), one.guest(9, "other"), one.guest(10, "other")
    assert one.fabric.ping(other, second)
    assert not one.fabric.ping(mine, second)
    assert reached(one, one.outside, 33022) == ("acme-9", "192.0.2.99")
    assert reached(one, one.outside, 33023) == ("other-9", "192.0.2.99")
    for made in one.cn.topology().concentrators:
        assert one.fabric.connected(mine, made.ip, "tcp", 22) is None
        assert one.fabric.connected(one.outside, made.ip, "tcp", 33022) is None
    # Through the host's own port tenants are outsiders to each other.
    assert reached(one, mine, 33023) == ("other-9", "169.254.1.1")


def test_everything_goes(one: OneHost) -> None:
    cnci = one.serve(config())
    one.guest(9)
    cnci.shutdown()
    cnci.close()
    one.cn.remove_concentrator("acme", "c-acme")
    assert one.cn.topology().concentrators == ()
    assert [subnet.subnet_id for subnet in one.cn.topology().subnets] == ["web"]
    one.cn.destroy_vnic(vnic(9))
    assert one.cn.topology().subnets == ()
    one.cn.reset_network()
    assert one.kernel.to_text() == one.clean


def test_reset_takes_the_concentrators_along(one: OneHost) -> None:
    one.serve(config()).close()
    one.guest(9)
    one.cn.reset_network()
    assert one.kernel.to_text() == one.clean


@pytest.mark.parametrize("first", ["concentrator", "vnic"])
def test_they_come_and_go_in_any_order(one: OneHost, first: str) -> None:
    if first == "vnic":
        one.cn.create_vnic(vnic(9))
        one.serve(config())
    else:
        one.serve(config())
        one.cn.create_vnic(vnic(9))
    made = one.cn.create_vnic(vnic(10))
    assert made.tunnel_event is None
    guest = one.fabric.attach(one.kernel, made.vnic, dhcp=True)
    assert one.fabric.ping(guest, "192.0.2.99")
    one.cn.destroy_vnic(vnic(9))
    one.cn.destroy_vnic(vnic(10))
    assert len(one.cn.topology().subnets) == 1, "its concentrator serves it"
    one.cn.remove_concentrator("acme", "c-acme")
    assert one.cn.topology().subnets == ()


def test_another_config_changes_what_differs(one: OneHost) -> None:
    made = one.cn.set_concentrator(config())
    again = one.cn.set_concentrator(config())
    assert again == made
    assert not one.cn.plan_set_concentrator(config())
    db = snnet.LocalSubnet(subnet_id="db", subnet="10.2.0.0/24", subnet_key=8)
    other = config(subnets=[db], forwards=[snnet.HostForward(protocol="udp", port="53-54")])
    changed = one.cn.set_concentrator(other)
    assert (changed.netns, changed.ip, changed.link_name) == (made.netns, made.ip, made.link_name)
    assert list(changed.links) == ["db"]
    assert [rule.port for rule in changed.forwards] == [53, 54]
    assert {subnet.subnet_id for subnet in one.cn.topology().subnets} == {"db"}
    assert one.cn.verify() == []


def test_the_wanted_set(one: OneHost) -> None:
    both = [config(), config("other", 33023)]
    first = one.cn.reconcile(concentrators=both, vnics=[vnic(9)])
    assert {item.key: item.action for item in first.items} == {
        ("concentrator", "acme", "c-acme"): "created",
        ("concentrator", "other", "c-other"): "created",
        ("acme", "web", "v9"): "created",
    }
    assert {item.action for item in one.cn.reconcile(concentrators=both).items} == {"kept"}
    swapped = [config(port=33023), config("other", 33022)]
    result = one.cn.reconcile(concentrators=swapped[:1])
    assert [(item.key[1], item.action) for item in result.items] == [
        ("other", "removed"),
        ("acme", "updated"),
    ]
    assert one.cn.reconcile(concentrators=None).items == []
    with pytest.raises(snnet.InvalidRequest, match="twice") as caught:
        one.cn.reconcile(concentrators=[config(), config()])
    assert caught.value.field == "concentrators[1]"


def test_a_restarted_node_knows_everything(one: OneHost) -> None:
    one.serve(config())
    guest = one.guest(9)
    before, known = one.kernel.to_text(), one.cn.topology()
    one.cn.close()
    one.cn = one.node()
    assert one.cn.topology() == known
    assert one.kernel.to_text() == before
    assert one.cn.verify() == []
    assert one.fabric.ping(guest, "192.0.2.99")


def test_without_the_record_the_aliases_say_it(one: OneHost) -> None:
    made = one.cn.set_concentrator(config())
    one.cn.close()
    one.kernel.state.journals.clear()
    one.cn = one.node()
    (found,) = one.cn.topology().concentrators
    assert (found.ip, found.netns, found.links) == (made.ip, made.netns, made.links)
    assert found.forwards == made.forwards
    assert one.cn.verify() == []


def drift(one: OneHost, made: snnet.Concentrator, what: str) -> None:
    inside, kernel = one.kernel.namespace(made.netns), one.kernel
    if what == "the namespace":
        noun = kernel.find(Namespace(name=made.netns))
        assert noun is not None
        assert kernel.apply([Remove(noun)]).error is None
    elif what == "the uplink":
        way = kernel.find(Link(name=made.link_name))
        assert way is not None
        assert kernel.apply([Remove(way)]).error is None
    elif what == "the address inside":
        address = next(
            noun
            for noun in inside.snapshot({Address}).values()
            if isinstance(noun, Address) and noun.link == made.uplink
        )
        assert inside.apply([Remove(address)]).error is None
    elif what == "the link inside":
        link = inside.find(Link(name=made.uplink))
        assert isinstance(link, Veth)
        assert inside.apply([Change(replace(link, up=False), link)]).error is None
    elif what == "a rule of its subnet":
        rule = one.cn.topology().subnets[0].rules[0]
        assert FakeFirewall(kernel.host).apply([Remove(rule)]).error is None
    else:
        plug = one.cn.topology().concentrators[0].plugs["web"]
        assert kernel.apply([Remove(plug)]).error is None


DRIFT = ["the namespace", "the uplink", "the address inside", "the link inside", "a plug",
         "a rule of its subnet"]  # fmt: skip


@pytest.mark.parametrize("what", DRIFT)
@pytest.mark.parametrize("cure", ["repair", "again", "reconcile", "restart"])
def test_drift_is_named_and_repaired(one: OneHost, what: str, cure: str) -> None:
    made = one.cn.set_concentrator(config())
    drift(one, made, what)
    assert one.cn.verify()
    if cure == "repair":
        one.cn.repair()
    elif cure == "again":
        assert one.cn.set_concentrator(config()) == made
    elif cure == "reconcile":
        (item,) = one.cn.reconcile(concentrators=[config()]).items
        assert item.action == "updated"
    else:
        one.cn.close()
        one.cn = one.node()
    assert one.cn.verify() == []
    cnci = one.serve(config())
    assert one.fabric.ping(one.guest(9), "192.0.2.99")
    assert cnci.verify() == []


def test_after_a_reboot_all_comes_back(one: OneHost) -> None:
    """Everything is gone but what the agent knows."""
    one.serve(config()).close()
    one.cn.close()
    rebooted = OneHost()
    assert not rebooted.cn.reconcile(concentrators=[config()], vnics=[vnic(9)]).failed
    rebooted.serve(config())
    assert rebooted.fabric.ping(rebooted.guest(9), "192.0.2.99")
    rebooted.close()


def test_ports_that_something_else_has(one: OneHost) -> None:
    before = one.kernel.to_text()
    one.kernel.sockets += [
        Listener("tcp", 22, None, "sshd (pid 1)"),
        Listener("tcp", 631, IPv4Address("127.0.0.1"), "cupsd (pid 2)"),
    ]
    with pytest.raises(snnet.Conflict, match=r"port tcp/22 .* in use by sshd \(pid 1\)") as caught:
        one.cn.set_concentrator(config(port=22))
    assert caught.value.state is snnet.State.UNTOUCHED
    assert one.kernel.to_text() == before
    one.cn.set_concentrator(config(port=631))
    one.kernel.sockets.append(Listener("tcp", 631, None, "cupsd (pid 3)"))
    one.cn.set_concentrator(config(port=631))  # it has had the port since before
    with pytest.raises(snnet.Conflict, match="concentrator c-acme of tenant acme"):
        one.cn.set_concentrator(config("other", 631))
    forward = snnet.HostForward(protocol="tcp", port=80, address="192.0.2.12")
    with pytest.raises(snnet.InvalidRequest, match=r"^address: .* not an address of this host"):
        one.cn.set_concentrator(config("other", forwards=[forward]))


@pytest.mark.parametrize(
    ("address", "listening", "busy"),
    [
        (None, HOST, True),
        (None, "127.0.0.1", False),
        (HOST, None, True),
        (HOST, HOST, True),
        (HOST, "127.0.0.1", False),
    ],
)
def test_a_program_has_the_port_of_its_address(
    one: OneHost, address: str | None, listening: str | None, busy: bool
) -> None:
    where = None if listening is None else IPv4Address(listening)
    one.kernel.sockets.append(Listener("tcp", 80, where, "httpd (pid 1)"))
    cfg = config(forwards=[snnet.HostForward(protocol="tcp", port=80, address=address)])
    if busy:
        with pytest.raises(snnet.Conflict, match=r"in use by httpd \(pid 1\)"):
            one.cn.set_concentrator(cfg)
    else:
        one.cn.set_concentrator(cfg)


def test_a_forward_of_a_busy_port_fails_alone(one: OneHost) -> None:
    """Whole, whatever of its range is free; the concentrator and its other forwards are there."""
    one.kernel.sockets.append(Listener("tcp", 8081, None, "httpd (pid 1)"))
    doors = [
        snnet.HostForward(protocol="tcp", port=port) for port in (33022, "8080-8082", 33023)
    ]  # fmt: skip
    whole, busy = (
        ("concentrator", "acme", "c-acme"),
        ("host_forward", "acme", "c-acme", "tcp", "8080"),
    )

    def tried() -> tuple[dict[tuple[str, ...], str], list[int]]:
        done = one.cn.reconcile(concentrators=[config(forwards=doors)])
        for item in done.failed:
            assert str(item.error) == (
                "port tcp/8081 of this host is in use by httpd (pid 1): stop it, or choose another "
                "port"
            )
        (made,) = one.cn.topology().concentrators
        assert one.cn.verify() == []
        actions = {item.key: item.action for item in done.items}
        assert {item.key: "failed" for item in done.failed}.items() <= actions.items()
        assert len(done.failed) == [*actions.values()].count("failed")
        return actions, [rule.port for rule in made.forwards]

    assert tried() == ({whole: "created", busy: "failed"}, [33022, 33023])
    assert tried() == ({whole: "kept", busy: "failed"}, [33022, 33023])
    before = one.kernel.to_text()
    with pytest.raises(snnet.Conflict, match="in use by httpd"):
        one.cn.reconcile(concentrators=[config(forwards=doors)], atomic=True)
    assert one.kernel.to_text() == before
    moved = snnet.LocalSubnet(subnet_id="web", subnet="10.5.0.0/24", subnet_key=9)
    done = one.cn.reconcile(concentrators=[config(subnets=[moved], forwards=doors)])
    assert {item.key: item.action for item in done.items} == {whole: "updated", busy: "failed"}
    one.kernel.sockets.pop()
    assert tried() == ({whole: "updated"}, [33022, 8080, 8081, 8082, 33023])
    assert tried() == ({whole: "kept"}, [33022, 8080, 8081, 8082, 33023])


def test_what_is_refused(one: OneHost) -> None:
    web = snnet.LocalSubnet(subnet_id="web", subnet="10.1.0.0/24", subnet_key=7)
    wrong = [
        (config(subnets=[web, web]), "is there twice"),
        (config(subnets=[web, replace(web, subnet_id="b", subnet="10.1.0.0/16")]), "overlaps"),
        (config(forwards=[snnet.HostForward(protocol="tcp", port=0)]), r"forwards\[0\]\.port"),
        (config(forwards=[snnet.HostForward(protocol="icmp", port=1)]), "protocol"),
        ("acme", "is not a snnet.ConcentratorConfig"),
    ]
    for cfg, words in wrong:
        with pytest.raises(snnet.InvalidRequest, match=words):
            one.cn.set_concentrator(cfg)  # type: ignore[arg-type]
    one.cn.set_concentrator(config())
    with pytest.raises(snnet.Conflict, match="served by concentrator c-acme"):
        one.cn.set_concentrator(config(concentrator_id="c2", forwards=[]))
    with pytest.raises(snnet.Conflict, match="subnet web"):
        one.cn.set_concentrator(config(subnets=[replace(web, subnet_key=8)], forwards=[]))


def test_topologies_that_do_not_fit() -> None:
    geneve = snnet.NetworkConfig(topology="mesh", tunnel="geneve")
    with pytest.raises(snnet.InvalidRequest, match=r"^tunnel: .*vxlan tunnels"):
        snnet.ComputeNode("cn-1", geneve, backend="fake")
    routed = snnet.NetworkConfig(topology="local", mode=snnet.NetworkMode.ROUTED)
    with pytest.raises(snnet.InvalidRequest, match=r"^topology: .*no concentrators"):
        snnet.ComputeNode("cn-1", routed, backend="fake")
    hub = snnet.NetworkConfig(compute_nets=["192.0.2.0/24"])
    with snnet.ComputeNode("cn-1", hub, backend="fake", firewall="fake") as cn:
        cn.init()
        calls: dict[str, Callable[[], object]] = {
            "set_concentrator": lambda: cn.set_concentrator(config()),
            "remove_concentrator": lambda: cn.remove_concentrator("acme", "c-acme"),
            "reconcile(concentrators=...)": lambda: cn.reconcile(concentrators=[]),
        }
        for name, call in calls.items():
            with pytest.raises(snnet.InvalidRequest) as caught:
                call()
            assert str(caught.value).startswith(f'topology: {name} is for topology "local"')
            assert caught.value.field == "topology"


def test_a_kernel_without_tunnels_is_enough() -> None:
    kernel = snnet.FakeKernel(gaps=["gretap", "ip6gretap", "gre", "vxlan", "geneve"])
    kernel.add_uplink("eth0", f"{HOST}/24")
    with snnet.ComputeNode("host", CONFIG, backend=kernel, firewall="fake") as cn:
        cn.init()
        cn.set_concentrator(config())
        cn.create_vnic(vnic(9))
        assert cn.verify() == []


def test_docker_lets_concentrators_through(one: OneHost) -> None:
    made = one.cn.set_concentrator(config())
    one.kernel.state.docker_user = {"eth9": False}
    one.cn.close()
    one.cn = one.node()
    bridge = one.cn.topology().subnets[0].bridge
    assert bridge is not None
    mine = {made.link_name: False, bridge.name: True}
    assert one.kernel.state.docker_user == {"eth9": False, **mine}
    assert one.cn.verify() == []
    del one.kernel.state.docker_user[made.link_name]
    assert any("Docker lets" in line for line in one.cn.verify())
    one.cn.repair()
    assert one.kernel.state.docker_user == {"eth9": False, **mine}
    one.cn.remove_concentrator("acme", "c-acme")
    assert one.kernel.state.docker_user == {"eth9": False}
    one.cn.set_concentrator(config())
    one.cn.reset_network()
    assert one.kernel.state.docker_user == {"eth9": False}


def test_a_concentrator_leaves_no_subnet_that_nothing_else_needs(one: OneHost) -> None:
    before = one.kernel.to_text()
    one.cn.set_concentrator(config())
    one.cn.remove_concentrator("acme", "c-acme")
    assert one.cn.topology().subnets == ()
    assert one.kernel.to_text() == before


@pytest.mark.parametrize("routed", [False, True])
def test_an_address_that_the_host_has_or_reaches_goes_to_no_concentrator(
    one: OneHost, routed: bool
) -> None:
    chosen = one.cn.set_concentrator(config()).ip
    one.cn.remove_concentrator("acme", "c-acme")
    taken: Noun = Address(link="eth0", address=ip_interface(chosen))
    if routed:
        taken = Route(link="eth0", destination=ip_network(chosen))
    assert one.kernel.apply([Add(taken)]).error is None
    assert one.cn.set_concentrator(config()).ip != chosen
    assert one.cn.verify() == []


def test_a_namespace_of_others_keeps_its_name(one: OneHost) -> None:
    made = one.cn.set_concentrator(config())
    one.cn.remove_concentrator("acme", "c-acme")
    foreign = Namespace(name=made.netns, alias="mine")
    assert one.kernel.apply([Add(foreign)]).error is None
    again = one.cn.set_concentrator(config())
    assert again.netns != made.netns
    assert one.kernel.apply([Remove(foreign)]).error is None
    assert one.cn.set_concentrator(config()) == again
    assert one.kernel.apply([Add(foreign)]).error is None
    one.cn.reset_network()
    assert one.kernel.find(foreign) == foreign


def test_the_link_of_a_local_subnet(one: OneHost) -> None:
    made = one.cn.set_concentrator(config())
    cnci = one.cnci(made)
    inside = one.kernel.namespace(made.netns)
    raw = Gre(name="raw", local=IPv4Address("192.0.2.60"), tunnel_key=9)
    taken = Veth(name="taken", peer="taken-far", master="bridge")
    assert inside.apply([Add(Bridge(name="bridge")), Add(raw), Add(taken)]).error is None
    with pytest.raises(snnet.Conflict, match="taken is a port of bridge"):
        cnci.add_local_subnet("10.1.0.0/24", 7, "taken")
    for wrong, words in (
        ("no-such", "'no-such' is not a link"),
        ("lo", "'lo' is not a link"),
        ("bridge", "'bridge' is not a link"),
        ("raw", "'raw' is not a link"),
        ("eth0", "eth0 is in use"),
    ):
        with pytest.raises(snnet.InvalidRequest, match=words) as caught:
            cnci.add_local_subnet("10.1.0.0/24", 7, wrong)
        assert caught.value.field == "link"
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(snnet.Cancelled, match=r"^add_local_subnet 10.1.0.0/24 "):
        cnci.add_local_subnet("10.1.0.0/24", 7, made.links["web"], cancel=cancelled)
    bridge = cnci.add_local_subnet("10.1.0.0/24", 7, made.links["web"])
    assert cnci.add_local_subnet("10.1.0.0/24", 7, made.links["web"]) == bridge
    with pytest.raises(snnet.Conflict, match="leads to subnet"):
        cnci.add_local_subnet("10.2.0.0/24", 8, made.links["web"])
    before = one.kernel.to_text()
    cnci.close()
    again = one.cnci(made)
    assert again.verify() == []
    assert one.kernel.to_text() == before
    again.remove_subnet("10.1.0.0/24")
    link = inside.find(Link(name=made.links["web"]))
    assert isinstance(link, Link)
    assert (link.up, link.master) == (False, None)


def test_a_link_on_its_way_to_a_bridge_is_not_the_hosts(one: OneHost) -> None:
    """What a concentrator finds there when it starts takes no router advertisements for it."""
    cidrs = ("10.1.0.0/24", "fd00:1::/64")
    subnet = snnet.LocalSubnet(subnet_id="web", subnet=cidrs, subnet_key=7)
    made = one.cn.set_concentrator(config(subnets=[subnet], forwards=[]))
    cnci = one.cnci(made)
    cnci.add_local_subnet(cidrs, 7, made.links["web"])
    assert cnci.verify() == []
    cnci.close()
    assert one.cnci(made).verify() == []


@pytest.mark.parametrize("atomic", [False, True])
@pytest.mark.parametrize("cidrs", [("10.1.0.0/24", "10.2.0.0/24"), ("10.2.0.0/24", "10.1.0.0/24")])
def test_subnets_that_are_others_now(one: OneHost, cidrs: tuple[str, str], atomic: bool) -> None:
    """Deleted and made again before anybody looked: the keys, maybe the networks, are swapped."""

    def have(first: tuple[str, int], second: tuple[str, int]) -> snnet.Reconciled:
        nets = {"web": first, "db": second}
        subnets = [
            snnet.LocalSubnet(subnet_id=name, subnet=cidr, subnet_key=key)
            for name, (cidr, key) in nets.items()
        ]
        vnics = [
            replace(vnic(9), subnet_id=name, subnet=cidr, subnet_key=key, ip=f"{cidr[:5]}0.9")
            for name, (cidr, key) in nets.items()
        ]
        return one.cn.reconcile(concentrators=[config(subnets=subnets)], vnics=vnics, atomic=atomic)

    assert not have(("10.1.0.0/24", 7), ("10.2.0.0/24", 8)).failed
    again = have((cidrs[0], 8), (cidrs[1], 7))
    assert {item.key: item.action for item in again.items} == {
        ("concentrator", "acme", "c-acme"): "updated",
        ("acme", "web", "v9"): "updated",
        ("acme", "db", "v9"): "updated",
    }
    assert one.cn.verify() == []
    assert {subnet.subnet_id: subnet.key for subnet in one.cn.topology().subnets} == {
        "web": 8,
        "db": 7,
    }


def test_a_subnet_that_could_not_be_released_is_not_kept(one: OneHost) -> None:
    """It still has its old key: the concentrator failed, and the next reconcile changes it."""
    one.cn.set_concentrator(config())
    moved = snnet.LocalSubnet(subnet_id="web", subnet="10.5.0.0/24", subnet_key=9)
    one.kernel.fail(at=1, error="ENOMEM")
    done = one.cn.reconcile(concentrators=[config(subnets=[moved])])
    (failed,) = done.failed
    assert failed.key == ("concentrator", "acme", "c-acme")
    assert "subnet web of tenant acme is 10.1.0.0/24 with key 7 on this host" in str(failed.error)
    done = one.cn.reconcile(concentrators=[config(subnets=[moved])])
    assert [item.action for item in done.items] == ["updated"]
    assert [subnet.key for subnet in one.cn.topology().subnets] == [9]
    assert one.cn.verify() == []


def test_a_public_address_moves_while_a_subnet_changes(one: OneHost) -> None:
    """Releasing the subnet does not ask for the address, which the other one still has."""
    public = "192.0.2.50"
    both = [config(forwards=[]), config("other", forwards=[], public_ips=[public])]
    assert not one.cn.reconcile(concentrators=both).failed
    moved = snnet.LocalSubnet(subnet_id="web", subnet="10.5.0.0/24", subnet_key=9)
    wanted = [
        config(forwards=[], subnets=[moved], public_ips=[public]),
        config("other", forwards=[]),
    ]
    done = one.cn.reconcile(concentrators=wanted)
    assert [item.error for item in done.failed] == []
    assert {str(made.publics) for made in one.cn.topology().concentrators} == {
        f"(IPv4Address('{public}'),)",
        "()",
    }
    assert one.cn.verify() == []
