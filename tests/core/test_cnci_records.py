"""A concentrator's topology: built, checked, and read back from what is on the host."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    ip_address,
)
from typing import Any

import pytest

from snnet.config import Neighbor
from snnet.contract import (
    Address,
    Conflict,
    DhcpEntry,
    DhcpScope,
    ExternalForward,
    HostServices,
    InvalidRequest,
    Link,
    Masquerade,
    MssClamp,
    Noun,
    PortForward,
    ProtectedNetwork,
    PublicIp,
    Sysctl,
    Tunnel,
    Untracked,
    Zone,
    ZoneLink,
    keyed,
)
from snnet.core import identity as ids
from snnet.core.cnci_records import CnciRecords
from snnet.core.fitting import check_mesh, with_addresses
from snnet.core.mesh import Mesh, build_mesh
from snnet.core.rules import Rule
from snnet.core.site import Site
from snnet.core.subnets import CnciSubnet, Scoping, build_cnci_subnet
from tests.core.builders import CN, CNCI, SCOPING, TUNNELS, local_subnet, make_site, nouns_of

SITE = make_site(CNCI)
ONE = local_subnet(SITE, "10.1.0.0/24", 7, "192.0.2.21", "192.0.2.22")
TWO = local_subnet(SITE, "10.2.0.0/16", 8, "192.0.2.21")
RULES: list[Rule] = [
    Masquerade(owner=str(CNCI), device="eth0"),
    ExternalForward(device="eth0", bridge=ONE.bridge.name),
    PortForward(
        owner=str(CNCI),
        protocol="tcp",
        device="eth0",
        port=33009,
        target=IPv4Address("10.1.0.9"),
        target_port=22,
    ),
    PublicIp(
        owner=str(CNCI),
        public=IPv4Address("203.0.113.5"),
        internal=IPv4Address("10.1.0.9"),
        device="eth0",
    ),
]


def a_mesh(*subnets: str) -> Mesh:
    entries = [
        Neighbor(physical_ip=ip, subnet=subnet, tunnel_ip=tunnel_ip, tunnel_id=99)
        for ip, tunnel_ip, subnet in (
            ("192.0.2.11", "10.255.0.11", "10.1.0.0/24"),
            *(("192.0.2.12", "10.255.0.12", subnet) for subnet in subnets),
        )
    ]
    mesh = build_mesh(SITE, "t1", entries, "scm-aaaaaaaaaa")
    assert mesh is not None
    return mesh


def known(*subnets: CnciSubnet, mesh: Mesh | None = None, site: Site = SITE) -> CnciRecords:
    records = CnciRecords(site, "t1", SCOPING)
    for subnet in subnets:
        records.put_subnet(subnet)
    records.mesh = mesh
    return records


def read(nouns: list[Noun], site: Any = SITE, scoping: Scoping = SCOPING) -> CnciRecords:
    return CnciRecords(site, "t1", scoping).read(keyed(nouns))[0]


# -- built -----------------------------------------------------------------------------


@pytest.mark.parametrize("tunnel", TUNNELS)
def test_a_subnet_is_bridge_zone_gateway_dhcp_and_a_tunnel_a_node(tunnel: str) -> None:
    site = make_site(CNCI, tunnel=tunnel)
    subnet = local_subnet(site, "10.1.0.0/24", 7, "192.0.2.21", "192.0.2.22")
    closed = [noun for noun in subnet.nouns() if isinstance(noun, ProtectedNetwork)]
    rest = [noun for noun in subnet.nouns() if not isinstance(noun, ProtectedNetwork)]
    bridge, zone, inside, services, clamp, address, scope, *others = rest
    assert [str(noun.network) for noun in closed] == ["192.0.2.21/32", "192.0.2.22/32"]
    assert bridge == subnet.bridge
    assert isinstance(zone, Zone)
    assert inside == ZoneLink(
        owner=str(CNCI), link=subnet.bridge.name, zone=zone.zone, networks=subnet.networks
    )
    assert services == HostServices(owner=str(CNCI), link=subnet.bridge.name)
    assert clamp == MssClamp(owner=str(CNCI), link=subnet.bridge.name, mtu=site.mtu, bridged=False)
    assert address == Address(link=subnet.bridge.name, address=IPv4Interface("10.1.0.1/24"))
    assert isinstance(scope, DhcpScope)
    assert scope.mtu == subnet.bridge.mtu == site.mtu
    assert [str(link.remote) for link in subnet.tunnels.values()] == ["192.0.2.21", "192.0.2.22"]
    tunnels = list(subnet.tunnels.values())
    assert [noun for noun in others if isinstance(noun, Tunnel)] == tunnels
    assert [noun for noun in others if isinstance(noun, Untracked)] == [
        Untracked(owner=str(CNCI), link=tunnel.name, router=subnet.bridge.mac) for tunnel in tunnels
    ]
    assert {link.master for link in subnet.tunnels.values()} == {subnet.bridge.name}


def test_the_configuration_reaches_the_scope() -> None:
    subnet = build_cnci_subnet(
        SITE,
        "t1",
        Scoping(3, "t1.example", True),
        (IPv4Network("10.1.0.0/24"),),
        7,
        "scb-aaaaaaaaaa",
    )
    assert (subnet.scope.reserved, subnet.scope.domain) == (3, "t1.example")


def test_tunnels_come_and_go() -> None:
    far = ip_address("192.0.2.21")
    less = ONE.without_tunnel(far)
    assert list(less.tunnels) == [ip_address("192.0.2.22")]
    assert less.without_tunnel(far) == less
    assert set(less.with_tunnel(ONE.tunnels[far]).tunnels) == set(ONE.tunnels)
    assert len(ONE.tunnels) == 2


@pytest.mark.parametrize(
    ("reserved", "network", "fits"),
    [
        (0, "10.1.0.0/29", True),
        (4, "10.1.0.0/29", True),
        (5, "10.1.0.0/29", False),
        (6, "10.1.0.0/29", False),
        (252, "10.1.0.0/24", True),
        (253, "10.1.0.0/24", False),
        (65536, "10.1.0.0/16", False),
    ],
)
def test_a_reservation_leaves_at_least_one_address(reserved: int, network: str, fits: bool) -> None:
    scoping = Scoping(reserved, None, True)
    if fits:
        scoping.check((IPv4Network(network),))
        return
    with pytest.raises(InvalidRequest, match=network) as caught:
        scoping.check((IPv4Network(network),))
    assert caught.value.field == "dhcp_reserved"


# -- conflicts -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "key", "said"),
    [
        ("10.1.0.0/24", 9, "has the key 7, not 9"),
        ("10.1.0.0/25", 9, "overlaps 10.1.0.0/24"),
        ("10.1.0.0/16", 9, "overlaps 10.1.0.0/24"),
        ("10.2.9.0/24", 9, "overlaps 10.2.0.0/16"),
        ("10.3.0.0/24", 8, "key 8 belongs to subnet 10.2.0.0/16"),
        ("10.9.0.0/25", 9, "which a peer of the mesh has"),
    ],
)
def test_a_subnet_that_contradicts_another_is_a_conflict(network: str, key: int, said: str) -> None:
    with pytest.raises(Conflict, match=said):
        known(ONE, TWO, mesh=a_mesh("10.9.0.0/24")).check_subnet((IPv4Network(network),), key)


def test_the_same_subnet_and_new_ones_are_fine() -> None:
    state = known(ONE, TWO, mesh=a_mesh("10.9.0.0/24"))
    state.check_subnet(ONE.networks, 7)
    state.check_subnet((IPv4Network("10.3.0.0/24"),), 9)


def test_a_peers_subnet_that_overlaps_ours_is_a_conflict() -> None:
    check_mesh(a_mesh("10.9.0.0/24"), known(ONE).networks())
    with pytest.raises(Conflict, match=r"10\.1\.0\.128/25 of a peer overlaps 10\.1\.0\.0/24"):
        check_mesh(a_mesh("10.9.0.0/24", "10.1.0.128/25"), known(ONE).networks())


def test_vxlans_to_nodes_whose_ports_coincide_are_a_conflict() -> None:
    site = make_site(CNCI, tunnel="vxlan")
    near = local_subnet(site, "10.1.0.0/24", 7, "192.0.2.21")
    both = local_subnet(site, "10.1.0.0/24", 7, "192.0.2.21", "192.0.66.21")
    far = ip_address("192.0.66.21")
    with pytest.raises(Conflict, match=r"192\.0\.66\.21.*192\.0\.2\.21.*subnet 10\.1\.0\.0/24"):
        known(near, site=site).check_tunnel(near.networks, 7, far)
    known(both, site=site).check_tunnel((IPv4Network("10.2.0.0/24"),), 8, far)


# -- read back -------------------------------------------------------------------------


@pytest.mark.parametrize("tunnel", TUNNELS)
@pytest.mark.parametrize("underlay", ["192.0.2.", "2001:db8::"])
def test_subnets_are_read_back(tunnel: str, underlay: str) -> None:
    site = make_site(CNCI, tunnel=tunnel, address=f"{underlay}11/24")
    one = local_subnet(site, "10.1.0.0/24", 7, f"{underlay}21", f"{underlay}22")
    two = local_subnet(site, "10.2.0.0/16", 8)
    state = read(nouns_of(one, two), site)
    assert state.orphans == []
    assert state.subnets == {one.networks: one, two.networks: two}


def test_the_whole_node_is_read_back() -> None:
    state = known(ONE, TWO, mesh=a_mesh("10.9.0.0/24", "10.8.0.0/24"))
    state.rules = {rule.key: rule for rule in RULES}
    state.forwarding = frozenset({4})
    again = read(list(state.nouns()))
    assert again.snapshot() == state.snapshot()
    assert list(map(str, again.nouns())) == list(map(str, state.nouns()))


def test_a_public_ip_comes_with_its_address_on_the_device() -> None:
    rule = RULES[3]
    assert list(with_addresses(rule)) == [
        Address(link="eth0", address=IPv4Interface("203.0.113.5/32")),
        rule,
    ]
    assert list(with_addresses(RULES[0])) == [RULES[0]]


def test_a_public_ipv6_address_is_nobodys_source_but_its_guests() -> None:
    """IPv6 masquerades with the address most like the destination (RFC 6724, 5, rule 8)."""
    internal, public = IPv6Address("fd00:1::9"), IPv6Interface("2001:db8:2::2/128")
    rule = PublicIp(owner=str(CNCI), public=public.ip, internal=internal, device="eth0")
    assert list(with_addresses(rule)) == [
        Address(link="eth0", address=public, deprecated=True),
        rule,
    ]


def test_only_rules_are_taken_for_rules() -> None:
    state = read([*nouns_of(ONE), *RULES, Sysctl(name="net.ipv4.ip_forward", value="1")])
    assert list(state.rules.values()) == RULES


def test_entries_added_by_hand_are_kept_and_the_rest_follows_the_configuration() -> None:
    entry = DhcpEntry(mac="02:00:00:00:00:01", address=IPv4Address("10.1.0.9"), hostname="web")
    old = replace(ONE.scope, entries=(entry,), mtu=1000, reserved=9, domain="old")
    nouns = [old if noun == ONE.scope else noun for noun in nouns_of(ONE)]
    scope = read(nouns, scoping=Scoping(2, "new", True)).subnets[ONE.networks].scope
    assert scope.entries == (entry,)
    assert (scope.mtu, scope.reserved, scope.domain) == (1458, 2, "new")


def test_a_lost_bridge_is_known_from_a_tunnel() -> None:
    state = read([noun for noun in nouns_of(ONE, TWO) if noun != ONE.bridge])
    assert state.orphans == []
    assert state.subnets[ONE.networks] == ONE


# -- orphans ---------------------------------------------------------------------------


def damaged(link: Link, **fields: str | None) -> Link:
    alias = ids.decode(link.alias)
    assert alias is not None
    for key, value in fields.items():
        alias.pop(key, None)
        if value is not None:
            alias[key] = value
    kind = alias.pop(ids.KIND)
    alias.pop(ids.OWNER)
    return replace(link, alias=ids.encode(CNCI, kind, alias))


TUNNEL = ONE.tunnels[ip_address("192.0.2.21")]
MESH = a_mesh("10.9.0.0/24")
_NETS = [None, "x", "10.1.0.5/24", "10.0.0.0/8", "2001:db8::/127", "10.1.0.0/24,10.2.0.0/24"]
_KEYS = [None, "x", "0", "4294967296"]
DAMAGE: list[tuple[Link, dict[str, str | None]]] = [
    *((ONE.bridge, {"n": net}) for net in _NETS),
    *((ONE.bridge, {"y": key}) for key in _KEYS),
    *((TUNNEL, {"n": net}) for net in _NETS),
    *((TUNNEL, {"y": key}) for key in (*_KEYS, "9")),
    *((TUNNEL, {"r": ip}) for ip in (None, "x", "2001:db8::1", "224.0.0.1")),
    (TUNNEL, {"r": "192.0.2.22"}),
    (TUNNEL, {"n": "10.1.0.0/25"}),
    (MESH.link, {"a": None}),
    (MESH.link, {"a": "x"}),
    (MESH.link, {"y": None}),
    (MESH.link, {"y": "0"}),
    *((link, {"t": tenant}) for link in (ONE.bridge, TUNNEL, MESH.link) for tenant in (None, "t2")),
]


@pytest.mark.parametrize(("link", "fields"), DAMAGE, ids=[f"{a.kind}-{b}" for a, b in DAMAGE])
def test_one_damaged_link_is_an_orphan_and_takes_nothing_along(
    link: Link, fields: dict[str, str | None]
) -> None:
    nouns = [*nouns_of(ONE, TWO), *MESH.nouns()]
    state = read([damaged(link, **fields) if noun == link else noun for noun in nouns])
    (orphan,) = state.orphans
    assert "snnet1" in orphan
    assert set(state.subnets) == {ONE.networks, TWO.networks}
    assert state.subnets[TWO.networks] == TWO
    assert (state.mesh is None) == (link is MESH.link)


def test_a_second_bridge_of_a_subnet_is_an_orphan() -> None:
    second = replace(ONE.bridge, name="scb-zzzzzzzzzz")
    state = read([*nouns_of(ONE), second])
    (orphan,) = state.orphans
    assert "scb-zzzzzzzzzz" in orphan
    assert state.subnets[ONE.networks] == ONE


def test_links_of_other_nodes_are_not_even_orphans() -> None:
    other = local_subnet(make_site(ids.Owner("cnci", "other")), "10.1.0.0/24", 7)
    strange = replace(ONE.bridge, name="copied", group=0)
    cn = replace(ONE.bridge, name="cn", alias=ids.encode(CN, ids.BRIDGE, {"t": "t1"}))
    state = read([strange, cn, *nouns_of(ONE), other.bridge])
    assert state.orphans == []
    assert set(state.subnets) == {ONE.networks}


# -- as data ---------------------------------------------------------------------------


def test_the_subnet_of_an_address() -> None:
    state = known(ONE, TWO)
    assert state.subnet_of(IPv4Address("10.2.200.1")) == TWO
    assert state.subnet_of(IPv4Address("10.3.0.1")) is None


def test_it_prints_as_data() -> None:
    state = known(ONE, mesh=MESH)
    state.rules = {rule.key: rule for rule in RULES}
    data = json.loads(json.dumps(state.snapshot().to_dict()))
    assert data["subnets"]["10.1.0.0/24"]["subnet_key"] == 7
    assert data["subnets"]["10.1.0.0/24"]["gateway"] == "10.1.0.1"
    assert set(data["subnets"]["10.1.0.0/24"]["tunnels"]) == {"192.0.2.21", "192.0.2.22"}
    assert data["mesh"]["tunnel_id"] == 99
    assert data["rules"] == [str(rule) for rule in RULES]
