"""A compute node's topology, and what becomes of damaged and foreign links."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from snnet.config import VnicRole
from snnet.contract import (
    LINK_GROUP,
    AntiSpoof,
    Bridge,
    Conflict,
    Ifb,
    Link,
    Noun,
    Other,
    PortGroups,
    Shaper,
    Tap,
    keyed,
)
from snnet.contract.links import DYING_GROUPS
from snnet.core import identity as ids
from snnet.core.compute_records import ComputeRecords
from snnet.core.vnics import CnciVnic, TenantSubnet, Vnic
from tests.core.builders import (
    CNCI,
    a_cnci_vnic_request,
    links_of,
    make_site,
    nouns_of,
    port_of,
    read_links,
    subnet_of,
    vm_request,
    vnic_of,
)

SITE = make_site()
CONTAINER = VnicRole.TENANT_CONTAINER


def world(**changes: Any) -> tuple[TenantSubnet, Vnic, Vnic, CnciVnic]:
    """A subnet with two VNICs, and a CNCI VNIC."""
    vm, container = vm_request(SITE, 9, **changes), vm_request(SITE, 10, role=CONTAINER, **changes)
    return (
        subnet_of(SITE, vm),
        vnic_of(SITE, vm),
        vnic_of(SITE, container),
        port_of(SITE, a_cnci_vnic_request(SITE)),
    )


ONE = world()
TWO = world(tenant_id="t2", subnet_key=8)[:3]
SUBNET, VM, BOX, PORT = ONE
assert SUBNET.tunnel is not None


# -- the round trip ------------------------------------------------------------------


def test_records_are_read_back_from_their_links() -> None:
    topology = read_links(SITE, links_of(*ONE, *TWO))
    assert topology.orphans == []
    assert set(topology.subnets.values()) == {SUBNET, TWO[0]}
    assert set(topology.vnics()) == {VM, BOX, *TWO[1:]}
    assert list(topology.cnci_vnics.values()) == [PORT]


def test_the_order_of_links_makes_no_difference() -> None:
    links = links_of(*ONE, *TWO)
    one, other = (read_links(SITE, order).snapshot() for order in (links, links[::-1]))
    assert other.to_dict()["tenants"].keys() == one.to_dict()["tenants"].keys()
    assert set(other.vnics) == set(one.vnics)
    assert set(other.subnets) == set(one.subnets)


def test_what_is_wanted_is_what_was_made() -> None:
    links = links_of(*ONE)
    wanted = [noun for noun in read_links(SITE, links).nouns() if isinstance(noun, Link)]
    assert sorted(map(str, wanted)) == sorted(map(str, links))


# -- orphans ---------------------------------------------------------------------------


def damaged(link: Link, **fields: str | None) -> Link:
    """The link with other fields in its alias; None drops one."""
    alias = ids.decode(link.alias)
    assert alias is not None
    for key, value in fields.items():
        alias.pop(key, None)
        if value is not None:
            alias[key] = value
    kind = alias.pop(ids.KIND)
    alias.pop(ids.OWNER)
    return replace(link, alias=ids.encode(SITE.owner, kind, alias))


_BAD_NETS = [
    "x", "10.1.0.5/24", "10.0.0.0/8", "10.1.0.0", "2001:db8::/47", "224.0.0.0/24", "fe80::/64",
    "10.1.0.0/24,", "10.1.0.0/24,10.2.0.0/24", "~~", "~~AAAA", "~~ü",
]  # fmt: skip
_BAD_KEYS = ["x", "0", "-1", "4294967296", "1.5", "0x7"]
assert SUBNET.bridge is not None
assert SUBNET.tunnel is not None
BRIDGE, TUNNEL = SUBNET.bridge, SUBNET.tunnel
DAMAGE: list[tuple[Link, Mapping[str, str | None]]] = [
    *((BRIDGE, {"n": net}) for net in (None, *_BAD_NETS)),
    *((BRIDGE, {"y": key}) for key in (None, *_BAD_KEYS)),
    (BRIDGE, {"t": None}),
    (BRIDGE, {"s": None}),
    *((TUNNEL, {"n": net}) for net in (None, *_BAD_NETS)),
    *((TUNNEL, {"y": key}) for key in (None, *_BAD_KEYS)),
    *((TUNNEL, {"r": ip}) for ip in (None, "x", "2001:db8::1", "224.0.0.1", "0.0.0.0")),
    (TUNNEL, {"c": None}),
    (TUNNEL, {"t": None}),
    *((VM.link, {key: None}) for key in "tsvia"),
    *((VM.link, {"a": ip}) for ip in ("x", "2001:db8::1", "10.1.0.9/24", "10.1.0.9,", "~~AAAA")),
    *((VM.link, {"m": mac}) for mac in ("x", "", "01:00:00:00:00:01", "02:00:00:00:00")),
    *((VM.link, {"u": mtu}) for mtu in ("x", "", "-1", "0", "65536")),
    (VM.link, {"s": "gone"}),
    *((BOX.link, {key: None}) for key in "tsvia"),
    *((PORT.link, {key: None}) for key in "tvim"),
    (PORT.link, {"m": "ff:ff:ff:ff:ff:ff"}),
    (PORT.link, {"u": "99999999"}),
]


@pytest.mark.parametrize(("link", "fields"), DAMAGE, ids=[f"{a.kind}-{b}" for a, b in DAMAGE])
def test_one_damaged_link_is_an_orphan_and_takes_nothing_along(
    link: Link, fields: Mapping[str, str | None]
) -> None:
    links = [
        damaged(found, **fields) if found.name == link.name else found
        for found in links_of(*ONE, *TWO)
    ]
    topology = read_links(SITE, links)
    (orphan,) = topology.orphans
    assert link.name in orphan
    assert set(topology.vnics()) == {VM, BOX, *TWO[1:]} - {v for v in (VM, BOX) if v.link is link}
    assert set(topology.subnets) == {SUBNET.id, TWO[0].id}
    assert bool(topology.cnci_vnics) == (link is not PORT.link)


def _guarded(vnic: Vnic, **changes: Any) -> list[Noun]:
    return [
        replace(noun, **changes) if isinstance(noun, AntiSpoof) else noun for noun in vnic.nouns()
    ]


assert isinstance(VM.link, Tap)
_QUEUES = replace(VM.link, multi_queue=True, queues=4)
_PORT = PortGroups(owner="cn:cn-1", link=VM.link_name, tenant="t1", groups=("g",), addresses=VM.ips)
_ELSEWHERE = replace(BRIDGE, name="snb-aaaaaaaaaa")
_IFB = Ifb(
    name="snr-aaaaaaaaaa",
    alias=ids.encode(SITE.owner, ids.RATE, {"t": "t1", "s": "s1", "v": "v9"}),
)
FOUND: dict[str, list[Noun]] = {
    "nothing": [],
    "the same": nouns_of(*ONE, *TWO),
    "links alone": [*links_of(*ONE, *TWO)],
    "more addresses": [*nouns_of(SUBNET), *_guarded(VM, addresses=(*VM.ips, *BOX.ips))],
    "a network": [*nouns_of(SUBNET), *_guarded(VM, networks=(SUBNET.network,))],
    "a group": [*nouns_of(SUBNET, VM), _PORT],
    "a rate": [*nouns_of(SUBNET, VM), Shaper(link=VM.link_name, rate=1_000_000)],
    "rates": [*nouns_of(SUBNET, VM), _IFB, Shaper(link=_IFB.name, rate=1_000_000)],
    "queues": [*nouns_of(SUBNET), _QUEUES, *VM.dependents],
    "another bridge": [_ELSEWHERE, *nouns_of(VM)],
    "another network": [damaged(BRIDGE, n="10.1.0.0/20"), *nouns_of(VM)],
    "too small a network": [damaged(BRIDGE, n="10.1.0.0/29"), *nouns_of(VM)],
    "no bridge": nouns_of(VM),
    "another group of links": [*nouns_of(SUBNET), replace(VM.link, group=0)],
    "another kind": [*nouns_of(SUBNET), replace(BOX.link, name=VM.link_name, alias=VM.link.alias)],
    "another's alias": [*nouns_of(SUBNET, BOX), replace(VM.link, alias=BOX.link.alias)],
    "the alias twice": [*nouns_of(SUBNET, VM), replace(VM.link, name="snv-aaaaaaaaaa")],
    "no alias": [*nouns_of(SUBNET, BOX), replace(VM.link, alias="")],
    "another MTU": [*nouns_of(SUBNET, BOX), replace(VM.link, mtu=1300, mac="02:00:00:00:00:01")],
    **{
        f"damaged {number}": [
            damaged(one, **fields) if one is link else one for one in links_of(*ONE)
        ]
        for number, (link, fields) in enumerate(DAMAGE)
    },
}


@pytest.mark.parametrize("known", ["all", "queues", "a group", "rates"])
def test_what_the_node_knows_makes_no_difference_to_what_it_reads(known: str) -> None:
    knowing = ComputeRecords(SITE).read(keyed(FOUND["the same" if known == "all" else known]))[0]
    for found, nouns in FOUND.items():
        ours = keyed(nouns)
        fresh, useless = ComputeRecords(SITE).read(ours)
        again, and_useless = knowing.read(ours)
        assert again.snapshot() == fresh.snapshot(), found
        assert [*again.nouns()] == [*fresh.nouns()], found
        queues = [[vnic.queues for vnic in records.vnics()] for records in (fresh, again)]
        assert queues[0] == queues[1], found
        assert (again.orphans, and_useless) == (fresh.orphans, useless), found


def test_a_lost_tunnel_is_reported_and_its_vnics_stay() -> None:
    links = [link for link in links_of(*ONE) if link is not SUBNET.tunnel]
    topology = read_links(SITE, links)
    assert topology.orphans == []
    assert topology.subnets[SUBNET.id].tunnel is None
    assert set(topology.vnics()) == {VM, BOX}
    (note,) = topology.gaps()
    assert BRIDGE.name in note
    assert "create one of its VNICs again" in note


def test_a_lost_bridge_is_known_from_its_tunnel() -> None:
    topology = read_links(SITE, [link for link in links_of(*ONE) if link is not SUBNET.bridge])
    assert topology.orphans == []
    assert topology.subnets[SUBNET.id] == SUBNET


def test_vnics_without_bridge_and_tunnel_are_orphans_with_a_remedy() -> None:
    topology = read_links(SITE, links_of(VM, BOX, PORT, *TWO))
    assert len(topology.orphans) == 2
    assert all("destroy the VNIC, or create it again" in orphan for orphan in topology.orphans)
    assert set(topology.vnics()) == set(TWO[1:])


@pytest.mark.parametrize("link", links_of(*ONE), ids=lambda link: str(link.kind))
def test_a_second_link_of_one_identity_is_an_orphan(link: Link) -> None:
    second = replace(link, name="snx-aaaaaaaaaa")
    topology = read_links(SITE, [*links_of(*ONE), second])
    (orphan,) = topology.orphans
    assert second.name in orphan
    assert set(topology.vnics()) == {VM, BOX}


def test_a_second_vnic_with_one_address_is_an_orphan() -> None:
    other = vnic_of(SITE, vm_request(SITE, 11, ip="10.1.0.9"))
    topology = read_links(SITE, links_of(*ONE, other))
    (orphan,) = topology.orphans
    assert other.link_name in orphan
    assert "10.1.0.9" in orphan


def test_a_second_tunnel_with_one_wire_is_an_orphan_and_its_vnics_stay() -> None:
    clash = vm_request(SITE, 9, subnet_id="s2", subnet="10.2.0.0/24", ip="10.2.0.9")
    other = subnet_of(SITE, clash)
    topology = read_links(SITE, links_of(*ONE, other, vnic_of(SITE, clash)))
    (orphan,) = topology.orphans
    assert other.tunnel is not None
    assert other.tunnel.name in orphan
    assert topology.vnic(clash.id) is not None
    assert topology.subnets[SUBNET.id] == SUBNET


@pytest.mark.parametrize(
    "foreign",
    [
        Tap(name="copied", group=0, alias=VM.link.alias),
        Bridge(name="wrong-kind", alias=VM.link.alias),
        Other(name="read-only", other_kind="tap", group=LINK_GROUP, alias=VM.link.alias),
        Bridge(name="somebody", group=0, alias="mine"),
        Bridge(name="newer", alias=BRIDGE.alias.replace("snnet1", "snnet2")),
        Bridge(name="damaged", alias=BRIDGE.alias + " x"),
        Bridge(name="cnci", alias=ids.encode(CNCI, ids.BRIDGE, {"t": "t1", "s": "s1"})),
        Bridge(name="half", alias=""),
    ],
    ids=lambda link: str(link.name),
)
def test_foreign_links_are_not_orphans(foreign: Link) -> None:
    topology = read_links(SITE, [foreign, *links_of(*ONE)])
    assert topology.orphans == []
    assert topology.snapshot() == read_links(SITE, links_of(*ONE)).snapshot()


def test_links_whose_delete_was_cut_short_are_read_and_wanted_in_our_group() -> None:
    links = [replace(link, group=DYING_GROUPS[9]) for link in links_of(*ONE)]
    topology = read_links(SITE, links)
    assert set(topology.vnics()) == {VM, BOX}
    assert {noun.group for noun in topology.nouns() if isinstance(noun, Link)} == {LINK_GROUP}


def test_a_subnet_without_vnics_is_what_a_killed_call_left() -> None:
    topology = read_links(SITE, links_of(SUBNET, *TWO))
    assert topology.empty_subnets() == [SUBNET]


# -- indexes -----------------------------------------------------------------------


def filled() -> ComputeRecords:
    return read_links(SITE, links_of(*ONE, *TWO))


def test_vnics_of_one_subnet_or_of_all() -> None:
    topology = filled()
    assert set(topology.vnics(SUBNET.id)) == {VM, BOX}
    assert len(list(topology.vnics())) == 4
    assert topology.vnic(VM.id) == VM
    assert topology.vnic(("t1", "s1", "none")) is None
    assert topology.vnic(("none", "s1", "v9")) is None
    assert list(topology.vnics(("none", "s1"))) == []
    assert topology.containers(SUBNET.id) == 1


def test_an_address_is_taken_until_its_vnic_has_gone() -> None:
    topology = filled()
    rival = vnic_of(SITE, vm_request(SITE, 11, ip="10.1.0.9"))
    with pytest.raises(Conflict, match=r"10\.1\.0\.9 of subnet s1 belongs to VNIC v9"):
        topology.check_addresses(rival.id, rival.ips)
    topology.check_addresses(VM.id, VM.ips)
    topology.drop_vnic(VM.id)
    topology.drop_vnic(VM.id)
    topology.check_addresses(rival.id, rival.ips)


def test_tenants_do_not_share_addresses() -> None:
    topology = read_links(SITE, links_of(*TWO))
    topology.check_addresses(VM.id, VM.ips)


def test_a_wire_is_taken_until_its_subnet_has_gone() -> None:
    topology = filled()
    rival = subnet_of(SITE, vm_request(SITE, subnet_id="s2", subnet="10.2.0.0/24", ip="10.2.0.9"))
    with pytest.raises(Conflict, match="subnet s1 of tenant t1"):
        topology.check_subnet(rival)
    topology.check_subnet(SUBNET)
    topology.put_subnet(replace(SUBNET, tunnel=None))
    topology.check_subnet(rival)
    topology.put_subnet(SUBNET)
    topology.drop_subnet(SUBNET.id)
    topology.drop_subnet(SUBNET.id)
    topology.check_subnet(rival)
    assert list(topology.vnics(SUBNET.id)) == []


def test_a_mac_is_taken_by_one_cnci_vnic() -> None:
    topology = filled()
    rival = port_of(SITE, a_cnci_vnic_request(SITE, 2, mac=PORT.mac))
    with pytest.raises(Conflict, match=r"c1 of tenant t1"):
        topology.check_cnci_mac(rival.id, rival.mac)
    topology.check_cnci_mac(PORT.id, PORT.mac)


def test_one_mac_twice_in_a_subnet_is_a_warning() -> None:
    twin = vnic_of(SITE, vm_request(SITE, 11, mac=VM.mac))
    assert list(filled().warnings()) == []
    (warning,) = read_links(SITE, links_of(*ONE, twin, *TWO)).warnings()
    for word in ("v9", "v11", "s1", VM.mac):
        assert word in warning


# -- as data -----------------------------------------------------------------------


def test_a_snapshot_does_not_follow_what_comes_after() -> None:
    topology = filled()
    before = topology.snapshot()
    topology.drop_subnet(SUBNET.id)
    topology.cnci_vnics.clear()
    assert VM in before.vnics
    assert before.cnci_vnics == (PORT,)


def test_a_snapshot_is_plain_data_by_tenant() -> None:
    data = json.loads(json.dumps(filled().snapshot().to_dict()))
    assert list(data["tenants"]) == ["t1", "t2"]
    one = data["tenants"]["t1"]
    assert one["subnets"]["s1"]["subnet"] == "10.1.0.0/24"
    assert one["subnets"]["s1"]["concentrator_ip"] == "192.0.2.101"
    assert [vnic["vnic_id"] for vnic in one["subnets"]["s1"]["vnics"]] == ["v9", "v10"]
    assert one["cnci_vnics"] == [
        {
            "vnic_id": "c1",
            "instance_id": "cnci-1",
            "link_name": PORT.link_name,
            "device": "/dev/tap0",
            "mac": PORT.mac,
            "mtu": 1500,
        }
    ]
    assert data["tenants"]["t2"]["cnci_vnics"] == []
