"""What callers read when the core refuses: every message whole, in one place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, ip_address
from typing import Any

import pytest

from snnet.config import VnicRole
from snnet.contract import Conflict, InvalidRequest
from snnet.core import identity as ids
from snnet.core.addressing import check_guest
from snnet.core.conflicts import check_same_cnci_vnic, check_same_subnet, check_same_vnic
from snnet.core.far_ends import check_remote
from snnet.core.names import check_hostname
from snnet.core.requests import cnci_vnic_request, routed_request, tenant_identity
from snnet.core.routed import build_routed_subnet, check_disjoint
from snnet.core.tunnels import check_key, collision, tunnel_link
from snnet.core.uplinks import find_uplinks
from tests.core.builders import (
    CN,
    a_cnci_vnic_request,
    make_site,
    port_config,
    port_of,
    subnet_of,
    vm_config,
    vm_request,
    vnic_of,
)
from tests.core.test_uplinks import at, card

SITE = make_site()
NET = IPv4Network("10.1.0.8/29")
UPLINK = IPv4Address("192.0.2.11")
PEER = IPv4Address("192.0.2.12")


def guest(**changes: Any) -> object:
    return routed_request(vm_config(**changes), mtu_limit=1500)


def again(**changes: Any) -> None:
    """Create a VNIC once more, with other values."""
    check_same_vnic(vnic_of(SITE, vm_request(SITE)), vm_request(SITE, **changes), SITE)


def port_again(**changes: Any) -> None:
    old = port_of(SITE, a_cnci_vnic_request(SITE))
    check_same_cnci_vnic(old, a_cnci_vnic_request(SITE, **changes), SITE)


def another(**changes: Any) -> None:
    """Create a second VNIC in a subnet, which it knows otherwise."""
    check_same_subnet(subnet_of(SITE, vm_request(SITE)), vm_request(SITE, 10, **changes))


def overlapping() -> None:
    old = build_routed_subnet(SITE, "t1", "s1", (IPv4Network("10.1.0.0/16"),))
    check_disjoint([old], build_routed_subnet(SITE, "t2", "s2", (IPv4Network("10.1.2.0/24"),)))


def collide() -> None:
    old = tunnel_link(
        "vxlan", name="snt-b", alias="", key=7, local=UPLINK, remote=PEER,
        master="br", mac="06:00:00:00:00:01", mtu=1400,
    )  # fmt: skip
    raise collision(ip_address("192.0.66.12"), 7, old, "subnet s9 of tenant t9")


NETS = [IPv4Network("192.0.2.0/24"), IPv4Network("198.51.100.0/24")]
TWO = [card("eth0"), *at("eth0", "10.0.0.1/8"), card("eth1", 3), *at("eth1", "10.9.0.1/16")]

INVALID: list[tuple[Callable[[], object], str]] = [
    (
        lambda: check_guest(NET[0], (NET,)),
        "ip: 10.1.0.8 is the network address of 10.1.0.8/29",
    ),
    (lambda: check_guest(NET[1], (NET,)), "ip: 10.1.0.9 is the gateway of 10.1.0.8/29"),
    (
        lambda: check_guest(NET[7], (NET,)),
        "ip: 10.1.0.15 is the broadcast address of 10.1.0.8/29",
    ),
    (
        lambda: check_key("vxlan", 2**24),
        "subnet_key: 16777216 does not fit a vxlan key: give 1 to 16777215",
    ),
    (
        lambda: check_key("gre", 0, "tunnel_id"),
        "tunnel_id: 0 does not fit a gre key: give 1 to 4294967295",
    ),
    (
        lambda: check_hostname("a_b", "hostname"),
        "hostname: 'a_b' is not a host name: use letters, digits and inner hyphens, at most 63",
    ),
    (
        lambda: check_remote("255.255.255.255", UPLINK, "concentrator_ip"),
        "concentrator_ip: 255.255.255.255 is the broadcast address",
    ),
    (lambda: guest(ip=None), "ip: is needed for this call"),
    (
        lambda: guest(role=VnicRole.TENANT_CONTAINER, queues=2),
        "queues: a tenant-container VNIC has one queue: only taps of VMs have more",
    ),
    (
        lambda: guest(mac="fe:00:00:00:00:01"),
        "mac: fe:00:00:00:00:01 is reserved: MACs that begin with fe belong to host ends of VNICs",
    ),
    (
        lambda: guest(role=VnicRole.DATA_CENTER),
        "role: this call is for tenant-vm or tenant-container VNICs, not for data-center",
    ),
    (
        lambda: cnci_vnic_request(replace(port_config(), role=VnicRole.TENANT_VM), mtu_limit=1500),
        "role: this call is for data-center VNICs, not for tenant-vm",
    ),
    (
        lambda: tenant_identity({"vnic_id": "v1"}),  # type: ignore[arg-type]
        "cfg: {'vnic_id': 'v1'} is not a snnet.VnicConfig",
    ),
    (
        lambda: ids.encode(CN, ids.VM, {ids.TENANT: "t" * 64, ids.VNIC: "v" * 250}),
        "vnic_id: the ids of this request need 341 bytes in the link alias, 255 fit: "
        "use shorter ids (UUIDs are packed to 22 characters)",
    ),
    (
        lambda: find_uplinks(TWO, NETS, []),
        "compute_nets: no link of this node has an address in 192.0.2.0/24, 198.51.100.0/24; "
        "seen: eth0 10.0.0.1/8: outside the nets, eth1 10.9.0.1/16: outside the nets",
    ),
    (
        lambda: find_uplinks(TWO, [], []),
        "compute_nets: no nets are given, and this node has not exactly one real link with an "
        "address; seen: eth0 10.0.0.1/8, eth1 10.9.0.1/16; name the nets",
    ),
    (
        lambda: find_uplinks([], NETS[:1], []),
        "compute_nets: no link of this node has an address in 192.0.2.0/24; no links seen",
    ),
]

CONFLICTS: list[tuple[Callable[[], object], str]] = [
    (
        lambda: again(instance_id="i2", queues=2),
        "VNIC v9 of subnet s1 exists with instance_id i9 (asked for: i2), "
        "queues 1 (asked for: several): destroy it first",
    ),
    (
        lambda: port_again(instance_id="x", mac="02:00:00:00:00:99", mtu=1000),
        "CNCI VNIC c1 of tenant t1 exists with instance_id cnci-1 (asked for: x), "
        "mac 02:00:00:00:01:01 (asked for: 02:00:00:00:00:99), "
        "mtu 1500 (asked for: 1000): destroy it first",
    ),
    (
        lambda: another(subnet_key=8),
        "subnet s1 of tenant t1 exists with subnet_key 7 (asked for: 8): correct the request, or "
        "destroy all its VNICs on this node first",
    ),
    (
        overlapping,
        "subnet 10.1.2.0/24 of tenant t2 overlaps 10.1.0.0/16 (subnet s1 of tenant t1): "
        "in routed mode addresses must be unique: choose another subnet",
    ),
    (
        collide,
        "tunnel vxlan to 192.0.66.12 with key 7 collides with snt-b to 192.0.2.12 with key 7 "
        "(subnet s9 of tenant t9): choose another subnet key",
    ),
]


@pytest.mark.parametrize(("call", "message"), INVALID, ids=[text for _, text in INVALID])
def test_an_invalid_request_names_the_field_and_what_is_wrong(
    call: Callable[[], object], message: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        call()
    assert str(caught.value) == message


@pytest.mark.parametrize(("call", "message"), CONFLICTS, ids=[text for _, text in CONFLICTS])
def test_a_conflict_names_both_sides_and_what_to_do(
    call: Callable[[], object], message: str
) -> None:
    with pytest.raises(Conflict) as caught:
        call()
    assert str(caught.value) == message
