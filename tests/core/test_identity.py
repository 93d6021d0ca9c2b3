"""Aliases as the database, names of links, and whose a link is."""

from __future__ import annotations

import string
import uuid
from dataclasses import replace
from ipaddress import ip_address
from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snnet.config import Neighbor
from snnet.contract import (
    LINK_GROUP,
    Bridge,
    Geneve,
    Gre,
    Gretap,
    InvalidRequest,
    Link,
    Macvtap,
    Other,
    Tap,
    Veth,
    Vxlan,
)
from snnet.contract.links import ALIAS_MAX, DYING_GROUPS, NAME_MAX
from snnet.core import identity as ids
from snnet.core.addressing import written
from snnet.core.building import build_vnic, read_vnic
from snnet.core.identity import Owner
from snnet.core.mesh import build_mesh
from snnet.core.routed import build_routed_subnet
from tests.core.builders import (
    CN,
    CNCI,
    TUNNELS,
    a_cnci_vnic_request,
    links_of,
    local_subnet,
    make_site,
    port_of,
    read_links,
    subnet_of,
    vm_request,
    vnic_of,
)

KINDS = (ids.BRIDGE, ids.TUNNEL, ids.VM, ids.CONTAINER, ids.CNCI_VNIC, ids.MESH)
A_UUID = "01234567-89ab-4cde-8f01-23456789abcd"
PACKED = ids.encode(CN, ids.VM, {ids.TENANT: A_UUID}).rpartition("t=~")[2]

_letters = string.ascii_letters + string.digits
plain_ids = st.builds(
    "{}{}".format,
    st.sampled_from(_letters),
    st.text(_letters + "._-", max_size=25),
)
uuids = st.uuids().map(str)
odd_ids = st.sampled_from(
    [
        PACKED,
        A_UUID[:-1],
        A_UUID + "0",
        A_UUID.replace("-", "_"),
        A_UUID.replace("-", ""),
        A_UUID.replace("-", "") + "----",
        "urn-uuid" + A_UUID[8:],
        "snnet1",
        "a" * 23,
    ]
)
some_ids = plain_ids | uuids | uuids.map(str.upper) | odd_ids


# -- encode, decode ----------------------------------------------------------------


@settings(max_examples=20)
@given(owner=some_ids, role=st.sampled_from(["cn", "cnci"]), one=some_ids, two=some_ids)
def test_what_is_encoded_is_decoded(owner: str, role: str, one: str, two: str) -> None:
    fields = {ids.TENANT: one, ids.VNIC: two, ids.REMOTE: "2001:db8::1", ids.NETWORK: "10.1.0.0/24"}
    node = Owner(role, owner)
    alias = ids.encode(node, ids.VM, fields)
    assert ids.decode(alias) == {ids.OWNER: str(node), ids.KIND: ids.VM, **fields}
    assert len(alias.encode()) <= ALIAS_MAX


@settings(max_examples=20)
@given(one=some_ids, two=some_ids)
def test_different_ids_never_share_an_alias(one: str, two: str) -> None:
    aliases = {ids.encode(CN, ids.VM, {ids.VNIC: value}) for value in (one, two)}
    assert len(aliases) == len({one, two})


@pytest.mark.parametrize("value", [A_UUID, str(uuid.UUID(int=0)), str(uuid.UUID(int=2**128 - 1))])
def test_a_uuid_takes_22_characters_and_its_mark(value: str) -> None:
    bare = ids.encode(CN, ids.VM, {ids.VNIC: ""})
    assert len(ids.encode(CN, ids.VM, {ids.VNIC: value})) == len(bare) + 23


def test_the_case_of_a_uuid_is_kept() -> None:
    for value in (A_UUID, A_UUID.upper()):
        fields = ids.decode(ids.encode(CN, ids.VM, {ids.VNIC: value}))
        assert fields is not None
        assert fields[ids.VNIC] == value


def test_unknown_keys_are_decoded() -> None:
    fields = ids.decode("snnet1 o=cn:cn-1 k=vm zz=new x=")
    assert fields == {"o": "cn:cn-1", "k": "vm", "zz": "new", "x": ""}


@pytest.mark.parametrize(
    "alias",
    [
        "",
        " ",
        "somebody's",
        "snnet",
        "snnet2 o=cn:cn-1 k=vm",
        "snnet10 o=cn:cn-1 k=vm",
        "Snnet1 o=cn:cn-1 k=vm",
        " snnet1 o=cn:cn-1 k=vm",
        "snnet1  o=cn:cn-1 k=vm",
        "snnet1 o=cn:cn-1 k=vm ",
        "snnet1\to=cn:cn-1\tk=vm",
        "snnet1 o=cn:cn-1 k=vm k=bridge",
        "snnet1 o=cn:cn-1 k=vm o=cn:cn-1",
        "snnet1 o=cn:cn-1 k",
        "snnet1 o=cn:cn-1 k=vm garbage",
    ],
)
def test_foreign_damaged_and_newer_aliases_have_no_owner(alias: str) -> None:
    assert ids.decode(alias) is None
    assert ids.claimed(Tap(name="snv-aaaaaaaaaa", alias=alias), CN) is None


@pytest.mark.parametrize("packed", ["~", "~" + "a" * 22, "~" + "!" * 22, "~" + "é" * 22, "~=" * 11])
def test_a_damaged_packed_id_is_read_without_an_error(packed: str) -> None:
    fields = ids.decode(f"snnet1 o=cn:{packed} k=vm t={packed}")
    assert fields is not None
    assert fields[ids.TENANT]


# -- what fits ------------------------------------------------------------------------


def _uuid(number: int) -> str:
    return str(uuid.UUID(int=(0xA5 << 120) + number, version=4))


_LONG6 = "2001:db8:1234:5678:9abc:def0:1234:5678"
_UUIDS: dict[str, Any] = {
    "vnic_id": _uuid(1),
    "instance_id": _uuid(2),
    "tenant_id": _uuid(3),
    "subnet_id": _uuid(4),
    "concentrator_id": _uuid(5),
}


@pytest.mark.parametrize("tunnel", TUNNELS)
@pytest.mark.parametrize("upper", [False, True])
def test_all_uuid_ids_and_ipv6_addresses_fit_on_a_compute_node(tunnel: str, upper: bool) -> None:
    owner = Owner("cn", _uuid(6))
    site = make_site(owner, tunnel=tunnel, address=f"{_LONG6}/64")
    given_ids = {key: value.upper() if upper else value for key, value in _UUIDS.items()}
    request = vm_request(
        site,
        **given_ids,
        concentrator_ip="2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
        subnet=("172.29.128.0/17", f"{_LONG6[:-4]}0000/126"),
        ip=("172.29.255.253", f"{_LONG6[:-4]}2"),
        mac="02:de:ad:be:ef:00",
        mtu=1280,
        subnet_key=2**24 - 1,
        owner=2**32 - 2,
    )
    port_ids = {k: given_ids[k] for k in ("vnic_id", "instance_id", "tenant_id")}
    port = port_of(site, a_cnci_vnic_request(site, **port_ids, mtu=1280))
    container = replace(request, role=type(request.role)("tenant-container"), user=0)
    alone = replace(request, subnets=request.subnets[1:], ips=request.ips[1:])
    routed = [
        build_vnic(
            replace(site, routed=True),
            one,
            build_routed_subnet(site, *one.id[:2], one.subnets),
            next(ids.names(owner, ids.VM, *one.id)),
        )
        for one in (request, alone)
    ]
    for vnic in routed:
        fields = ids.claimed(vnic.link, owner)
        assert fields is not None
        assert fields[ids.ADDRESS] == written(vnic.ips)
        assert fields[ids.NETWORK] == written(vnic.subnets)
    for link in links_of(
        subnet_of(site, request), vnic_of(site, request), vnic_of(site, container), port, *routed
    ):
        assert len(link.alias.encode()) <= ALIAS_MAX
        assert len(link.name) <= NAME_MAX
        assert ids.claimed(link, owner) is not None


def test_all_uuid_ids_and_ipv6_addresses_fit_on_a_concentrator() -> None:
    owner = Owner("cnci", _uuid(6))
    site = make_site(owner, tunnel="gre", address=f"{_LONG6}/64")
    network = f"172.29.128.0/17,{_LONG6[:-4]}0/126"
    subnet = local_subnet(site, network, 2**32 - 1, _LONG6[:-1] + "9")
    entry = Neighbor(
        physical_ip=_LONG6, subnet="10.1.0.0/24", tunnel_ip="172.29.255.253", tunnel_id=2**24 - 1
    )
    mesh = build_mesh(site, _uuid(3), [entry], "scm-aaaaaaaaaa")
    assert mesh is not None
    for link in (*links_of(subnet), mesh.link):
        assert ids.claimed(link, owner) is not None


@pytest.mark.parametrize("field", ["tenant_id", "subnet_id", "vnic_id", "instance_id"])
def test_the_longest_id_is_named_where_they_do_not_fit(field: str) -> None:
    site = make_site(Owner("cn", "n" * 64))
    values: dict[str, Any] = dict.fromkeys(
        ("tenant_id", "subnet_id", "vnic_id", "instance_id"), "x" * 40
    ) | {field: "x" * 64}
    with pytest.raises(InvalidRequest, match=str(ALIAS_MAX)) as caught:
        vnic_of(site, vm_request(site, **values))
    assert caught.value.field == field


def test_an_alias_may_be_as_long_as_the_kernel_allows() -> None:
    owner = Owner("cn", "n" * 64)
    room = ALIAS_MAX - len(ids.encode(owner, ids.VM, {ids.VNIC: ""}))
    assert len(ids.encode(owner, ids.VM, {ids.VNIC: "v" * room})) == ALIAS_MAX
    with pytest.raises(InvalidRequest):
        ids.encode(owner, ids.VM, {ids.VNIC: "v" * (room + 1)})


@pytest.mark.parametrize("value", ["A" * 23, "~" + "A" * 21, "~" + "A" * 23])
def test_what_only_looks_like_a_packed_uuid_is_read_as_it_is(value: str) -> None:
    """One begins with no mark, one is too short, one too long."""
    assert ids.decode(f"{ids.VERSION} v={value}") == {"v": value}


def test_an_id_is_named_and_no_address_that_happens_to_be_longer() -> None:
    site = make_site(Owner("cn", "n" * 64), address=f"{_LONG6}/64")
    values: dict[str, Any] = {
        "tenant_id": "t" * 32,
        "subnet_id": "s" * 33,
        "concentrator_id": "c" * 32,
    }
    request = vm_request(site, **values, concentrator_ip=_LONG6[:-1] + "9", subnet_key=2**32 - 1)
    with pytest.raises(InvalidRequest) as caught:
        subnet_of(site, request)
    assert caught.value.field == "subnet_id"


# -- kept through a rebuild ------------------------------------------------------------


def test_unknown_keys_survive_a_rebuild() -> None:
    site = make_site()
    request = vm_request(site)
    links = [
        replace(link, alias=link.alias + " zz=newer")
        for link in links_of(subnet_of(site, request), vnic_of(site, request))
    ]
    topology = read_links(site, links)
    assert topology.orphans == []
    wanted = {noun.name: noun for noun in topology.nouns() if isinstance(noun, Link)}
    assert {link.name: link.alias for link in links} == {
        name: noun.alias for name, noun in wanted.items()
    }


# -- names -----------------------------------------------------------------------------


def test_names_are_short_enough_and_tell_role_and_kind() -> None:
    for owner, role in ((CN, "sn"), (CNCI, "sc")):
        for kind in KINDS:
            for name in islice(ids.names(owner, kind, "t" * 64, "s" * 64, "v" * 64), 20):
                assert len(name.encode()) <= NAME_MAX
                assert name.startswith(role)
                assert set(name) <= set(string.ascii_lowercase + string.digits + "-")


def test_names_are_distinct() -> None:
    identities = [
        ("t1", "s1", "v1"),
        ("t1", "s1v1"),
        ("t1s1", "v1"),
        ("t1s1v1",),
        ("t1", "s1"),
        ("s1", "t1"),
    ]
    owners = [CN, CNCI, Owner("cn", "cnci-1"), Owner("cnci", "cn-1")]
    made = [
        name
        for owner in owners
        for kind in KINDS
        for identity in identities
        for name in islice(ids.names(owner, kind, *identity), 5)
    ]
    assert len(set(made)) == len(made)


@settings(max_examples=20)
@given(st.lists(st.tuples(some_ids, some_ids, some_ids), unique=True, min_size=2, max_size=5))
def test_names_of_different_vnics_differ(identities: list[tuple[str, str, str]]) -> None:
    made = {next(ids.names(CN, ids.VM, *identity)) for identity in identities}
    assert len(made) == len(identities)


@pytest.mark.parametrize(
    ("owner", "kind", "identity", "expected"),
    [
        (CN, ids.BRIDGE, ("t1", "s1"), ["snb-jk2dnqjvbo", "snb-d5fdadbgxe"]),
        (CN, ids.TUNNEL, ("t1", "s1"), ["snt-73l3hvx7o7", "snt-njawi7uiie"]),
        (CN, ids.VM, ("t1", "s1", "v1"), ["snv-6e5lgjdotd", "snv-uvd24oo7xb"]),
        (CN, ids.CONTAINER, ("t1", "s1", "v1"), ["snv-6zy7pcbrlj", "snv-6q6iriunl3"]),
        (CN, ids.CNCI_VNIC, ("t1", "v1"), ["snc-ewec2dhvv4", "snc-p4dcro3mug"]),
        (CNCI, ids.BRIDGE, ("10.1.0.0/24",), ["scb-r4fywptfzx", "scb-4sx3wupk7m"]),
        (CNCI, ids.TUNNEL, ("10.1.0.0/24", "192.0.2.11"), ["sct-q242e25eww", "sct-jxcul4yqk4"]),
        (CNCI, ids.MESH, ("t1",), ["scm-w7kvmmnqju", "scm-cuqow6frdz"]),
    ],
)
def test_names_are_the_same_in_every_version(
    owner: Owner, kind: str, identity: tuple[str, ...], expected: list[str]
) -> None:
    assert list(islice(ids.names(owner, kind, *identity), 2)) == expected


def test_the_peer_has_a_name_of_its_own() -> None:
    name = next(ids.names(CN, ids.CONTAINER, "t1", "s1", "v1"))
    assert ids.peer_name(name) == name.replace("snv-", "snp-")
    made = {next(ids.names(CN, kind, "t1", "s1", "v1")) for kind in KINDS}
    assert ids.peer_name(name) not in made


# -- MACs ------------------------------------------------------------------------------


@settings(max_examples=20)
@given(plain_ids)
def test_macs_of_our_own_links_are_local_unicast_and_no_guests(name: str) -> None:
    mac = ids.link_mac(name)
    assert len(mac) == 17
    assert mac == ids.link_mac(name)
    assert mac.startswith("06:")  # locally administered, unicast


def test_the_host_end_has_the_guests_mac_with_another_first_byte() -> None:
    assert ids.host_mac("02:00:0a:01:00:09") == "fe:00:0a:01:00:09"


# -- whose a link is -------------------------------------------------------------------


def _alias(kind: str, owner: Owner = CN) -> str:
    return ids.encode(owner, kind, {ids.TENANT: "t1"})


_NAME = "snv-aaaaaaaaaa"
_ENDS: dict[str, Any] = {"name": _NAME, "mtu": 1400}
_FOUR, _SIX = ip_address("192.0.2.1"), ip_address("2001:db8::1")
_LINKS: dict[str, Link] = {
    "bridge": Bridge(**_ENDS),
    "tap": Tap(**_ENDS),
    "veth": Veth(**_ENDS),
    "macvtap": Macvtap(**_ENDS, lower="eth0"),
    "gretap": Gretap(**_ENDS, local=_FOUR, remote=_FOUR + 1, tunnel_key=1),
    "ip6gretap": Gretap(**_ENDS, local=_SIX, remote=_SIX + 1, tunnel_key=1),
    "vxlan": Vxlan(**_ENDS, local=_FOUR, remote=_FOUR + 1, vni=1, port=4789),
    "geneve": Geneve(**_ENDS, remote=_FOUR + 1, vni=1),
    "gre": Gre(**_ENDS, local=_FOUR, tunnel_key=1),
}
_FITS = {
    ids.BRIDGE: {"bridge"},
    ids.TUNNEL: {"gretap", "ip6gretap", "vxlan", "geneve"},
    ids.VM: {"tap"},
    ids.CONTAINER: {"veth"},
    ids.CNCI_VNIC: {"macvtap"},
    ids.MESH: {"gre", "vxlan"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_alias_counts_on_a_link_of_its_kind_only(kind: str) -> None:
    links = {name: replace(link, alias=_alias(kind)) for name, link in _LINKS.items()}
    assert {name for name, link in links.items() if ids.claimed(link, CN)} == _FITS[kind]
    assert {name for name, link in links.items() if ids.is_ours(link, CN)} == _FITS[kind]


def test_a_copied_alias_in_another_group_is_not_ours() -> None:
    for group in (0, 1, LINK_GROUP - 1, LINK_GROUP + 1, DYING_GROUPS[0] - 1, DYING_GROUPS[-1] + 1):
        assert not ids.is_ours(Tap(name=_NAME, alias=_alias(ids.VM), group=group), CN)
        assert not ids.is_ours(Tap(name=_NAME, group=group), CN)


def test_a_link_whose_delete_was_cut_short_is_still_ours() -> None:
    for group in (DYING_GROUPS[0], DYING_GROUPS[-1]):
        assert ids.is_ours(Tap(name=_NAME, alias=_alias(ids.VM), group=group), CN)
        assert ids.is_ours(Tap(name=_NAME, group=group), CN)


def test_nodes_of_equal_id_and_other_role_are_apart() -> None:
    cn, cnci = Owner("cn", "x"), Owner("cnci", "x")
    for mine, other in ((cn, cnci), (cnci, cn)):
        link = Bridge(name=next(ids.names(mine, ids.BRIDGE, "t1")), alias=_alias(ids.BRIDGE, mine))
        assert ids.is_ours(link, mine)
        assert not ids.is_ours(link, other)
        assert not ids.is_ours(replace(link, alias=""), other)


def test_nodes_of_one_role_and_other_id_are_apart() -> None:
    link = Tap(name=_NAME, alias=_alias(ids.VM, Owner("cn", "cn-11")))
    assert not ids.is_ours(link, CN)


def test_an_unknown_kind_of_object_is_not_ours() -> None:
    for kind in ("", "policy", "vm2", "VM"):
        assert not ids.is_ours(Tap(name=_NAME, alias=f"snnet1 o=cn:cn-1 k={kind} t=t1"), CN)
    assert not ids.is_ours(Tap(name=_NAME, alias="snnet1 o=cn:cn-1 t=t1"), CN)
    assert not ids.is_ours(Tap(name=_NAME, alias="snnet1 k=vm t=t1"), CN)


@pytest.mark.parametrize("kind", ["physical", "tap", "bridge"])
def test_a_link_we_only_read_is_never_ours(kind: str) -> None:
    for alias in ("", _alias(ids.VM), _alias(ids.BRIDGE)):
        other = Other(name=_NAME, other_kind=kind, group=LINK_GROUP, alias=alias)
        assert not ids.is_ours(other, CN)


def test_a_link_without_an_alias_is_ours_by_group_and_name() -> None:
    for kind in KINDS:
        name = next(ids.names(CN, kind, "t1", "s1"))
        assert ids.is_ours(Tap(name=name), CN)
        assert not ids.is_ours(Tap(name=name, alias="x"), CN)
        assert not ids.is_ours(Tap(name=name), CNCI)


@pytest.mark.parametrize(
    "name", ["tap0", "sn-aaaaaaaaaaa", "snv-aaaaaaaaa", "snv-aaaaaaaaaaa", "snv_aaaaaaaaaa"]
)
def test_a_link_with_a_foreign_name_is_not_half_born(name: str) -> None:
    assert not ids.is_ours(Tap(name=name), CN)


def test_reading_a_vnic_gives_the_alias_found() -> None:
    site = make_site()
    request = vm_request(site)
    subnet, vnic = subnet_of(site, request), vnic_of(site, request)
    fields = ids.claimed(vnic.link, CN)
    assert fields is not None
    assert read_vnic(site, vnic.link, fields, subnet) == vnic
