"""Subnets of IPv4, IPv6 and both: the records, the names, and what contradicts them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

import snnet
from snnet.contract.addresses import mac_of
from tests.node.world import FakeWorld, vm

SUBNETS: dict[str, tuple[str, ...]] = {
    "ipv4": ("10.1.0.0/24",),
    "ipv6": ("fd00:1::/64",),
    "both": ("10.1.0.0/24", "fd00:1::/64"),
}
FAMILIES = pytest.mark.parametrize("family", SUBNETS)


def guest(family: str, number: int = 9, **changes: Any) -> snnet.VnicConfig:
    """A VNIC with an address in each network of the family."""
    subnets = SUBNETS[family]
    ips = tuple(str(ip_network(subnet)[number]) for subnet in subnets)
    return replace(vm(number), **{"subnet": subnets, "ip": ips, **changes})


@FAMILIES
def test_a_vnic_has_an_address_gateway_and_network_of_each_family(
    fake: FakeWorld, family: str
) -> None:
    made = fake.node().create_vnic(guest(family))
    subnets = tuple(map(ip_network, SUBNETS[family]))
    vnic = made.vnic
    assert vnic.ips == tuple(subnet[9] for subnet in subnets)
    assert vnic.subnets == subnets
    assert vnic.gateways == tuple(subnet[1] for subnet in subnets)
    assert (vnic.ip, vnic.subnet, vnic.gateway) == (vnic.ips[0], subnets[0], vnic.gateways[0])
    assert vnic.mac == snnet.mac_for(vnic.ip)
    assert made.tunnel_event is not None
    assert (made.tunnel_event.subnet, made.tunnel_event.subnets) == (subnets[0], subnets)
    data = made.to_dict()["vnic"]
    assert data["ips"] == [str(ip) for ip in vnic.ips]
    assert data["gateways"] == [str(ip) for ip in vnic.gateways]
    assert data["subnets"] == list(SUBNETS[family])
    assert [entry.address for entry in vnic.dhcp_entries] == [
        ip for ip in vnic.ips if ip.version == 6
    ]


@FAMILIES
def test_a_restarted_node_knows_the_same(fake: FakeWorld, family: str) -> None:
    first = fake.node()
    first.create_vnic(guest(family))
    first.create_vnic(guest(family, 10, mac="02:00:00:00:00:77"))
    before, text = first.topology().to_dict(), fake.text()
    first.close()
    second = fake.node()
    assert second.topology().to_dict() == before
    assert fake.text() == text
    assert second.verify() == []
    for number in (9, 10):
        second.destroy_vnic(guest(family, number))
    assert fake.links() == []


@FAMILIES
def test_the_order_of_families_makes_no_difference(fake: FakeWorld, family: str) -> None:
    node, cfg = fake.node(), guest(family)
    made = node.create_vnic(cfg)
    again = replace(cfg, subnet=SUBNETS[family][::-1], ip=tuple(map(str, made.vnic.ips[::-1])))
    assert again == cfg
    assert node.create_vnic(again).vnic == made.vnic
    assert snnet.VnicConfig(**cfg.to_dict()) == cfg


@pytest.mark.parametrize(
    ("family", "changes", "said"),
    [
        ("both", {"ip": ("10.1.0.9", "fd00:1::a")}, "fd00:1::a"),
        ("both", {"ip": "10.1.0.9"}, "10.1.0.9"),
        ("both", {"subnet": "10.1.0.0/24", "ip": "10.1.0.9"}, "subnet"),
        ("ipv4", {"subnet": SUBNETS["both"], "ip": "10.1.0.9"}, "subnet"),
        ("ipv6", {"subnet": "fd00:2::/64", "ip": "fd00:2::9"}, "subnet"),
    ],
)
def test_another_set_of_families_is_a_conflict(
    fake: FakeWorld, family: str, changes: dict[str, Any], said: str
) -> None:
    node = fake.node()
    node.create_vnic(guest(family))
    with pytest.raises(snnet.Conflict, match=said):
        node.create_vnic(guest(family, **changes))


@pytest.mark.parametrize("address", ["10.1.0.9", "fd00:1::9"])
def test_each_address_belongs_to_one_vnic(fake: FakeWorld, address: str) -> None:
    node = fake.node()
    node.create_vnic(guest("both"))
    other = ("10.1.0.10", address) if ":" in address else (address, "fd00:1::a")
    with pytest.raises(snnet.Conflict, match=f"{address} of subnet .* belongs to VNIC"):
        node.create_vnic(guest("both", 10, ip=other))
    with pytest.raises(snnet.Conflict, match="is asked for by VNIC"):
        node.create_vnics(
            [guest("both", 11), guest("both", 12, ip=guest("both", 11).ip)], atomic=True
        )
    node.destroy_vnic(guest("both"))
    node.create_vnic(guest("both", 10, ip=other))


def test_the_default_mac_of_an_ipv6_address_is_a_hash_and_must_be_alone(fake: FakeWorld) -> None:
    node = fake.node()
    mac = mac_of(ip_address("fd00:1::9"))
    node.create_vnic(guest("ipv6", 10, mac=mac))
    with pytest.raises(snnet.Conflict, match="mac="):
        node.create_vnic(guest("ipv6", 9))
    assert node.create_vnic(guest("ipv6", 9, mac="02:00:00:00:00:99")).vnic.mac[-2:] == "99"


@pytest.mark.parametrize("mtu", [1279, 1280])
def test_ipv6_needs_an_mtu_of_1280(fake: FakeWorld, mtu: int) -> None:
    node = fake.node(config=fake.config(mtu=mtu))
    cnci = fake.cnci(config=fake.config(mtu=mtu))
    node.create_vnic(guest("ipv4", subnet_id="s4", subnet_key=4))
    cnci.add_remote_subnet("10.3.0.0/24", 4, "192.0.2.21")
    if mtu < 1280:
        with pytest.raises(snnet.InvalidRequest, match="1280") as caught:
            node.create_vnic(guest("ipv6"))
        assert caught.value.field == "subnet"
        with pytest.raises(snnet.InvalidRequest, match="1280"):
            cnci.add_remote_subnet(SUBNETS["both"], 7, "192.0.2.21")
        with pytest.raises(snnet.InvalidRequest, match="1280"):
            cnci.reconcile(subnets=[snnet.Subnet(SUBNETS["both"], 7)])
    else:
        node.create_vnic(guest("ipv6"))
        cnci.add_remote_subnet(SUBNETS["both"], 7, "192.0.2.21")


# -- the concentrator -------------------------------------------------------------------


@FAMILIES
def test_a_concentrator_has_the_gateways_of_a_subnet(fake: FakeWorld, family: str) -> None:
    before = fake.text()
    cnci = fake.cnci()
    bridge = cnci.add_remote_subnet(SUBNETS[family], 7, "192.0.2.21")
    assert cnci.add_remote_subnet(SUBNETS[family][::-1], 7, "192.0.2.22") == bridge
    subnet = cnci.topology()["subnets"][SUBNETS[family][0]]
    gateways = [str(ip_network(one)[1]) for one in SUBNETS[family]]
    assert subnet["subnets"] == list(SUBNETS[family])
    assert (subnet["gateway"], subnet["gateways"]) == (gateways[0], gateways)
    text = fake.text()
    for one, gateway in zip(SUBNETS[family], gateways, strict=True):
        assert f"address {gateway}/{ip_network(one).prefixlen}" in text
    cnci.close()
    again = fake.cnci()
    assert again.topology()["subnets"][SUBNETS[family][0]] == subnet
    assert again.verify() == []
    assert fake.text() == text
    again.shutdown()
    assert fake.text() == before


@FAMILIES
@pytest.mark.parametrize("part", [0, -1])
def test_a_subnet_is_named_by_one_of_its_networks(fake: FakeWorld, family: str, part: int) -> None:
    cnci = fake.cnci()
    cnci.add_remote_subnet(SUBNETS[family], 7, "192.0.2.21")
    name = SUBNETS[family][part]
    assert cnci.dhcp(name).running
    cnci.del_remote_subnet(name, 7, "192.0.2.21")
    assert cnci.topology()["subnets"][SUBNETS[family][0]]["tunnels"] == {}
    cnci.remove_subnet(name)
    assert cnci.topology()["subnets"] == {}
    assert fake.links() == []


@pytest.mark.parametrize(
    ("subnet", "key", "said"),
    [
        ("10.1.0.0/24", 7, "remove_subnet"),
        ("fd00:1::/64", 7, "remove_subnet"),
        (("10.1.0.0/24", "fd00:2::/64"), 7, "remove_subnet"),
        (("10.2.0.0/24", "fd00:1::/64"), 8, "overlaps"),
        ("fd00:1::/80", 8, "overlaps"),
        ("10.1.0.0/16", 8, "overlaps"),
        (("10.1.0.0/24", "fd00:1::/64"), 8, "has the key 7"),
        (("10.2.0.0/24", "fd00:2::/64"), 7, "key 7 belongs"),
    ],
)
def test_a_subnet_that_contradicts_one_of_both_families(
    fake: FakeWorld, subnet: Any, key: int, said: str
) -> None:
    cnci = fake.cnci()
    cnci.add_remote_subnet(SUBNETS["both"], 7, "192.0.2.21")
    before = fake.text()
    with pytest.raises(snnet.Conflict, match=said):
        cnci.add_remote_subnet(subnet, key, "192.0.2.22")
    assert fake.text() == before


@FAMILIES
def test_a_concentrator_follows_the_events_of_both_families(fake: FakeWorld, family: str) -> None:
    node, cnci = fake.node(), fake.cnci()
    event = node.create_vnic(guest(family, concentrator_ip="192.0.2.12")).tunnel_event
    assert event is not None
    cnci.follow(replace(event, cn_ip=ip_address("192.0.2.21")))
    assert cnci.topology()["subnets"][SUBNETS[family][0]]["subnets"] == list(SUBNETS[family])


def test_entries_of_both_families_for_one_guest(fake: FakeWorld) -> None:
    cnci = fake.cnci()
    cnci.add_remote_subnet(SUBNETS["both"], 7, "192.0.2.21")
    scope = cnci.dhcp("fd00:1::/64")
    vnic = fake.node().create_vnic(guest("both", mac="02:00:00:00:00:99")).vnic
    assert scope.add_entry(vnic.ips, vnic.mac, "web").address == vnic.ip
    scope.add_entries([replace(entry, hostname="web") for entry in vnic.dhcp_entries])
    assert [entry.address for entry in scope.added] == list(vnic.ips)
    with pytest.raises(snnet.Conflict):
        scope.add_entry("fd00:1::10", vnic.mac)
    with pytest.raises(snnet.Conflict):
        scope.add_entry("fd00:1::9", "02:00:00:00:00:98")
    scope.remove_entry("10.1.0.9")
    assert [entry.address for entry in scope.added] == [ip_address("fd00:1::9")]
    assert scope.add_entry(("10.1.0.10", "fd00:1::a")).mac == "02:00:0a:01:00:0a"
    assert scope.add_entry("fd00:1::b").mac == snnet.mac_for("fd00:1::b")


@FAMILIES
def test_reconcile_wants_subnets_of_each_family(fake: FakeWorld, family: str) -> None:
    cnci = fake.cnci()
    wanted = snnet.Subnet(SUBNETS[family], 7, remotes=[snnet.Remote("192.0.2.21")])
    done = cnci.reconcile(subnets=[wanted])
    assert [(item.key, item.action) for item in done.items] == [
        (("subnet", ",".join(SUBNETS[family])), "created")
    ]
    assert [item.action for item in cnci.reconcile(subnets=[wanted]).items] == ["kept"]
    other = snnet.Subnet("fd00:9::/64", 7)
    assert [item.action for item in cnci.reconcile(subnets=[other]).items] == ["removed", "created"]
    assert list(cnci.topology()["subnets"]) == ["fd00:9::/64"]
