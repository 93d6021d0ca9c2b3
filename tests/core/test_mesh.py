"""The mesh of one tenant's concentrators."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address
from typing import Any

import pytest

import snnet
from snnet.config import Neighbor
from snnet.contract import Gre, InvalidRequest, Neighbour, Noun, Route, Vxlan, keyed, link_key
from snnet.core import identity as ids
from snnet.core.mesh import Mesh, build_mesh, mesh_mac, read_mesh
from snnet.core.planner import plan
from snnet.core.site import Site
from tests.core.builders import CNCI, make_site

NAME = "scm-aaaaaaaaaa"
UNDERLAYS = [
    pytest.param("gre", "192.0.2.", id="gre"),
    pytest.param("vxlan", "192.0.2.", id="vxlan"),
    pytest.param("geneve", "192.0.2.", id="geneve"),
    pytest.param("gre", "2001:db8::", id="gre-ipv6"),
    pytest.param("vxlan", "2001:db8::", id="vxlan-ipv6"),
]


def site_on(tunnel: str, underlay: str, **changes: Any) -> Site:
    return make_site(CNCI, tunnel=tunnel, address=f"{underlay}11/24", **changes)


def member(
    number: int, *subnets: str, underlay: str = "192.0.2.", tunnel_id: int = 99
) -> list[Neighbor]:
    """The entries of one concentrator: one for each subnet behind it."""
    return [
        Neighbor(
            physical_ip=f"{underlay}{number}",
            subnet=subnet,
            tunnel_ip=f"10.255.0.{number}",
            tunnel_id=tunnel_id,
        )
        for subnet in subnets
    ]


def entries(underlay: str = "192.0.2.") -> list[Neighbor]:
    return [
        *member(12, "10.2.0.0/24", "10.3.0.0/24", underlay=underlay),
        *member(11, "10.1.0.0/24", underlay=underlay),
        *member(13, "10.4.0.0/16", underlay=underlay),
    ]


def built(site: Site, given: list[Neighbor]) -> Mesh:
    mesh = build_mesh(site, "t1", given, NAME)
    assert mesh is not None
    return mesh


def text(mesh: Mesh) -> str:
    return "\n".join(str(noun) for noun in [mesh.link, *list(mesh.nouns())[1:]])


def test_over_ipv4_with_gre_it_is_one_multipoint_gre() -> None:
    mesh = built(site_on("gre", "192.0.2."), entries())
    assert isinstance(mesh.link, Gre)
    assert text(mesh) == (
        'gre scm-aaaaaaaaaa mtu 1472 key 99 local 192.0.2.11 up alias "snnet1 o=cnci:cnci-1 '
        'k=mesh t=t1 y=99 a=10.255.0.11"\n'
        "address 10.255.0.11/32 dev scm-aaaaaaaaaa\n"
        "neighbour 10.255.0.12 lladdr 192.0.2.12 dev scm-aaaaaaaaaa\n"
        "route 10.255.0.12/32 dev scm-aaaaaaaaaa\n"
        "route 10.2.0.0/24 via 10.255.0.12 dev scm-aaaaaaaaaa onlink\n"
        "route 10.3.0.0/24 via 10.255.0.12 dev scm-aaaaaaaaaa onlink\n"
        "neighbour 10.255.0.13 lladdr 192.0.2.13 dev scm-aaaaaaaaaa\n"
        "route 10.255.0.13/32 dev scm-aaaaaaaaaa\n"
        "route 10.4.0.0/16 via 10.255.0.13 dev scm-aaaaaaaaaa onlink"
    )


@pytest.mark.parametrize(("tunnel", "underlay"), UNDERLAYS[1:])
def test_otherwise_it_is_one_vxlan_with_static_entries(tunnel: str, underlay: str) -> None:
    mesh = built(site_on(tunnel, underlay), entries(underlay))
    assert isinstance(mesh.link, Vxlan)
    assert (mesh.link.vni, mesh.link.port, mesh.link.remote) == (99, 4789, None)
    assert mesh.link.mac == mesh_mac(IPv4Address("10.255.0.11"))
    assert mesh.link.mtu == (1450 if underlay == "192.0.2." else 1430)
    far = mesh_mac(IPv4Address("10.255.0.12"))
    lines = text(mesh).splitlines()
    assert f"fdb {far} dst {underlay}12 dev {NAME}" in lines
    assert f"neighbour 10.255.0.12 lladdr {far} dev {NAME}" in lines
    assert f"route 10.255.0.12/32 dev {NAME}" in lines
    assert f"route 10.3.0.0/24 via 10.255.0.12 dev {NAME} onlink" in lines


def test_members_macs_are_unicast_local_and_their_own() -> None:
    macs = {mesh_mac(IPv4Address(f"10.255.{n}.{m}")) for n in range(4) for m in range(4)}
    assert len(macs) == 16
    assert all(int(mac[:2], 16) & 3 == 2 for mac in macs)


def test_the_cap_of_the_configuration_holds_here_too() -> None:
    for tunnel in ("gre", "vxlan"):
        assert built(site_on(tunnel, "192.0.2.", cap=1300), entries()).link.mtu == 1300


def test_ones_own_subnets_are_no_routes() -> None:
    mesh = built(site_on("gre", "192.0.2."), entries())
    assert "10.1.0.0/24" not in text(mesh)
    assert IPv4Network("10.1.0.0/24") not in set(mesh.subnets())


def test_a_repeated_entry_counts_once() -> None:
    site = site_on("gre", "192.0.2.")
    assert built(site, entries() * 2) == built(site, entries())


@pytest.mark.parametrize("given", [[], entries()[:2], member(13, "10.4.0.0/16")])
def test_without_an_entry_of_ones_own_there_is_no_mesh(given: list[Neighbor]) -> None:
    assert build_mesh(site_on("gre", "192.0.2."), "t1", given, NAME) is None


def test_one_can_be_alone_in_it() -> None:
    mesh = built(site_on("vxlan", "192.0.2."), member(11, "10.1.0.0/24"))
    assert mesh.peers == ()
    assert len(list(mesh.nouns())) == 2


_BAD: list[tuple[str, list[Any], str]] = [
    ("tunnel_id", member(12, "10.2.0.0/24", tunnel_id=98), "98 differs from 99"),
    ("physical_ip", member(12, "10.2.0.0/24", underlay="2001:db8::"), "IPv6"),
    ("physical_ip", member(1, "10.2.0.0/24", underlay="224.0.0."), "224.0.0.1"),
    ("physical_ip", [replace(member(12, "10.2.0.0/24")[0], physical_ip="0.0.0.0")], "0.0.0.0"),
    ("tunnel_ip", [replace(member(12, "10.2.0.0/24")[0], tunnel_ip="10.255.0.11")], "192.0.2.11"),
    ("tunnel_ip", [replace(member(11, "10.2.0.0/24")[0], tunnel_ip="10.255.0.9")], "10.255.0.11"),
    ("tunnel_ip", [replace(member(12, "10.2.0.0/24")[0], tunnel_ip="fd00::1")], "not IPv4"),
    ("tunnel_ip", [replace(member(12, "10.2.0.0/24")[0], tunnel_ip="224.0.0.5")], "unicast"),
    ("tunnel_ip", [replace(member(12, "10.2.0.0/24")[0], tunnel_ip="0.0.0.0")], "unicast"),
    ("tunnel_ip", [replace(member(12, "10.2.0.0/24")[0], tunnel_ip="255.255.255.255")], "unicast"),
    ("tunnel_ip", [replace(member(12, "10.2.0.0/24")[0], tunnel_ip="127.0.0.1")], "unicast"),
    ("subnet", member(12, "10.1.0.0/24"), "192.0.2.11"),
    ("subnet", member(12, "10.2.0.0/30"), "too small"),
    ("subnet", member(12, "10.0.0.0/8"), "too large"),
    ("subnet", [replace(member(12, "10.2.0.0/24")[0], subnet="fd00::/47")], "too large"),
    ("", [None], "not a snnet.Neighbor"),
    ("", [{"physical_ip": "192.0.2.12"}], "not a snnet.Neighbor"),
]


@pytest.mark.parametrize(("field", "more", "said"), _BAD)
def test_contradictions_are_refused_by_name(field: str, more: list[Any], said: str) -> None:
    given = [*member(11, "10.1.0.0/24"), *more]
    with pytest.raises(InvalidRequest, match=said) as caught:
        build_mesh(site_on("gre", "192.0.2."), "t1", given, NAME)
    assert caught.value.field == ("neighbors[1]." + field).rstrip(".")


@pytest.mark.parametrize(("tunnel", "underlay"), UNDERLAYS)
def test_the_tunnel_id_has_to_fit(tunnel: str, underlay: str) -> None:
    site = site_on(tunnel, underlay)
    limit = 2**32 if (tunnel, underlay) == ("gre", "192.0.2.") else 2**24
    given = member(11, "10.1.0.0/24", underlay=underlay, tunnel_id=limit - 1)
    assert built(site, given).tunnel_id == limit - 1
    if limit < 2**32:
        with pytest.raises(InvalidRequest) as caught:
            build_mesh(site, "t1", [replace(given[0], tunnel_id=limit)], NAME)
        assert caught.value.field == "tunnel_id"


@pytest.mark.parametrize(("tunnel", "underlay"), UNDERLAYS)
def test_what_is_built_is_read_back(tunnel: str, underlay: str) -> None:
    site = site_on(tunnel, underlay)
    mesh = built(site, entries(underlay))
    fields = ids.claimed(mesh.link, CNCI)
    assert fields is not None
    assert read_mesh(site, mesh.link, fields, mesh.nouns()) == mesh


def test_a_peer_that_lost_its_routes_is_read_with_no_subnets() -> None:
    site = site_on("vxlan", "192.0.2.")
    mesh = built(site, entries())
    fields = ids.claimed(mesh.link, CNCI)
    assert fields is not None
    left = [noun for noun in mesh.nouns() if not isinstance(noun, Route)]
    found = read_mesh(site, mesh.link, fields, left)
    assert found.peers == tuple(replace(peer, subnets=()) for peer in mesh.peers)


def test_the_alias_found_stays_the_alias_wanted() -> None:
    site = site_on("gre", "192.0.2.")
    mesh = built(site, entries())
    link = replace(mesh.link, alias=f"{mesh.link.alias} z=later")
    fields = ids.claimed(link, CNCI)
    assert fields is not None
    assert read_mesh(site, link, fields, mesh.nouns()).link == link


@pytest.mark.parametrize(("tunnel", "limit"), [("gre", 2**32), ("vxlan", 2**24)])
def test_a_tunnel_id_that_is_read_has_to_fit_the_device(tunnel: str, limit: int) -> None:
    site = site_on(tunnel, "192.0.2.")
    mesh = built(site, entries())
    fields = ids.claimed(mesh.link, CNCI)
    assert fields is not None
    fields[ids.TUNNEL_KEY] = str(limit - 1)
    assert read_mesh(site, mesh.link, fields, mesh.nouns()).tunnel_id == limit - 1
    fields[ids.TUNNEL_KEY] = str(limit)
    with pytest.raises(InvalidRequest) as caught:
        read_mesh(site, mesh.link, fields, mesh.nouns())
    assert caught.value.field == "tunnel_id"


def test_what_others_put_on_the_link_does_no_harm() -> None:
    site = site_on("vxlan", "192.0.2.")
    mesh = built(site, entries())
    foreign: list[Noun] = [
        Neighbour(link=NAME, address=ip_address("fd00::1"), lladdr="02:00:00:00:00:01"),
        Neighbour(link=NAME, address=IPv4Address("10.255.0.77"), lladdr="02:00:00:00:00:01"),
        Route(destination=IPv6Network("fd00::/64"), link=NAME, gateway=ip_address("fd00::2")),
        Route(
            destination=IPv4Network("10.77.0.0/16"), link="eth0", gateway=IPv4Address("10.255.0.12")
        ),
    ]
    fields = ids.claimed(mesh.link, CNCI)
    assert fields is not None
    assert read_mesh(site, mesh.link, fields, [*foreign, *mesh.nouns()]) == mesh


@pytest.mark.parametrize(
    "damage",
    [{ids.ADDRESS: "x"}, {ids.ADDRESS: "fd00::1"}, {ids.TUNNEL_KEY: "x"}, {ids.TUNNEL_KEY: "0"}],
)
def test_a_damaged_alias_is_an_error_that_the_reader_reports(damage: dict[str, str]) -> None:
    site = site_on("gre", "192.0.2.")
    mesh = built(site, entries())
    fields = ids.claimed(mesh.link, CNCI)
    assert fields is not None
    with pytest.raises((ValueError, InvalidRequest)):
        read_mesh(site, mesh.link, fields | damage, mesh.nouns())


UPDATES = {
    "as before": entries(),
    "one peer less": entries()[:3],
    "another tunnel id": [replace(entry, tunnel_id=5) for entry in entries()],
    "another own address": [
        *entries()[:2],
        replace(entries()[2], tunnel_ip="10.254.0.1"),
        entries()[3],
    ],
    "another address of a peer": [*entries()[:3], replace(entries()[3], tunnel_ip="10.254.0.1")],
    "a subnet moved": [*entries()[1:], *member(13, "10.2.0.0/24")],
}


@pytest.mark.parametrize("tunnel", ["gre", "vxlan"])
@pytest.mark.parametrize("update", UPDATES)
def test_the_kernel_takes_it_and_every_update_of_it(tunnel: str, update: str) -> None:
    site = site_on(tunnel, "192.0.2.")
    kernel = snnet.FakeKernel()
    kernel.add_uplink("eth0", "192.0.2.11/24")
    old, new = (keyed(built(site, given).nouns()) for given in (entries(), UPDATES[update]))
    for found, wanted in (({}, old), (old, new)):
        assert kernel.apply(plan(found, wanted).operations).error is None
        on_host = {
            key: noun
            for key, noun in kernel.snapshot().items()
            if link_key(NAME) in (key, noun.within)
        }
        assert not plan(on_host, wanted)


def test_it_prints_as_data() -> None:
    data = built(site_on("gre", "192.0.2."), entries()).to_dict()
    assert data["tunnel_id"] == 99
    assert data["link"] == NAME
    assert data["tunnel_ip"] == "10.255.0.11"
    assert data.keys() == {"link", "tunnel_ip", "tunnel_id", "peers"}
    assert data["peers"][0] == {
        "tunnel_ip": "10.255.0.12",
        "physical_ip": "192.0.2.12",
        "subnets": ["10.2.0.0/24", "10.3.0.0/24"],
    }
