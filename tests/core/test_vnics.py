"""A compute node's records: the nouns they stand for, built and read back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from snnet.config import VnicConfig, VnicRole
from snnet.contract import (
    Bridge,
    BridgeAccept,
    Conflict,
    HostIsolation,
    InvalidRequest,
    Tap,
    Untracked,
    Veth,
)
from snnet.core import identity as ids
from snnet.core.building import read_subnet, read_vnic
from snnet.core.cnci_ports import read_cnci_vnic
from snnet.core.conflicts import check_same_cnci_vnic, check_same_subnet, check_same_vnic
from snnet.core.requests import (
    cnci_vnic_identity,
    cnci_vnic_request,
    tenant_identity,
    tenant_request,
)
from tests.core.builders import (
    CN,
    TUNNELS,
    a_cnci_vnic_request,
    make_site,
    port_config,
    port_of,
    subnet_of,
    vm_config,
    vm_request,
    vnic_of,
)

CONTAINER = VnicRole.TENANT_CONTAINER
SITE = make_site()


def claim(link: Any) -> tuple[Any, dict[str, str]]:
    fields = ids.claimed(link, CN)
    assert fields is not None
    return link, fields


# -- built -----------------------------------------------------------------------------


@pytest.mark.parametrize("tunnel", TUNNELS)
def test_a_subnet_is_a_bridge_its_rules_and_a_tunnel(tunnel: str) -> None:
    site = make_site(tunnel=tunnel)
    subnet = subnet_of(site, vm_request(site))
    bridge, rule, isolation, untracked, *_, link = subnet.nouns()
    assert isinstance(bridge, Bridge)
    assert isinstance(rule, BridgeAccept)
    assert (rule.bridge, rule.owner) == (bridge.name, str(CN))
    assert isolation == HostIsolation(owner=str(CN), link=bridge.name)
    assert link == subnet.tunnel
    assert subnet.tunnel is not None
    assert untracked == Untracked(owner=str(CN), link=subnet.tunnel.name)
    assert subnet.tunnel.master == bridge.name
    assert subnet.tunnel.mtu == bridge.mtu == site.mtu
    assert not bridge.link_local
    assert bridge.mac is not None
    assert bridge.mac != subnet.tunnel.mac
    assert str(subnet.concentrator_ip) == "192.0.2.101"


def test_the_concentrator_stands_on_the_tunnel_only() -> None:
    subnet = subnet_of(SITE, vm_request(SITE))
    vnic = vnic_of(SITE, vm_request(SITE))
    assert subnet.tunnel is not None
    assert subnet.bridge is not None
    assert "cnci-1" in subnet.tunnel.alias
    assert "192.0.2.101" in subnet.tunnel.alias
    for alias in (subnet.bridge.alias, vnic.link.alias):
        assert "cnci-1" not in alias
        assert "192.0.2.101" not in alias


def test_a_vm_has_a_tap_and_a_container_a_veth_pair() -> None:
    vm = vnic_of(SITE, vm_request(SITE))
    container = vnic_of(SITE, vm_request(SITE, role=CONTAINER))
    assert isinstance(vm.link, Tap)
    assert isinstance(container.link, Veth)
    assert vm.link_name != container.link_name
    assert vm.peer_name is None
    assert container.peer_name == container.link.peer
    assert container.link.peer_mac == container.mac == vm.mac == "02:00:0a:01:00:09"
    for vnic in (vm, container):
        assert vnic.link.mac == "fe:00:0a:01:00:09"
        bridge = subnet_of(SITE, vm_request(SITE)).bridge
        assert bridge is not None
        assert vnic.bridge == bridge.name
        assert str(vnic.gateway) == "10.1.0.1"
        assert vnic.global_id == vnic.link.alias


def test_a_vnics_own_mtu_reaches_both_ends_of_a_veth() -> None:
    link = vnic_of(SITE, vm_request(SITE, role=CONTAINER, mtu=900)).link
    assert isinstance(link, Veth)
    assert (link.mtu, link.peer_mtu) == (900, 900)
    without = vnic_of(SITE, vm_request(SITE)).link
    assert without.mtu == 1458


def test_a_port_is_a_macvtap_on_the_compute_uplink() -> None:
    port = port_of(SITE, a_cnci_vnic_request(SITE))
    assert (port.link.lower, port.link.mode, port.link.mtu) == ("eth0", "bridge", 1500)
    assert port.mac == "02:00:00:00:01:01"
    assert port_of(SITE, a_cnci_vnic_request(SITE, mtu=1000)).mtu == 1000


def test_what_is_wanted_of_a_port_is_not_its_index() -> None:
    port = port_of(SITE, a_cnci_vnic_request(SITE))
    made = replace(port, link=replace(port.link, index=2**20 + 7))
    assert made.device == "/dev/tap1048583"
    (noun,) = made.nouns()
    assert noun == replace(port.link, index=0)


# -- read back -------------------------------------------------------------------------


@pytest.mark.parametrize("tunnel", TUNNELS)
@pytest.mark.parametrize("address", ["192.0.2.11/24", "2001:db8::b/64"])
def test_a_subnet_is_read_back(tunnel: str, address: str) -> None:
    site = make_site(tunnel=tunnel, address=address)
    far = "192.0.2.101" if "." in address else "2001:db8::65"
    subnet = subnet_of(site, vm_request(site, concentrator_ip=far))
    assert read_subnet(site, claim(subnet.bridge), claim(subnet.tunnel)) == subnet


def test_a_bridge_alone_knows_all_but_the_concentrator() -> None:
    subnet = subnet_of(SITE, vm_request(SITE))
    read = read_subnet(SITE, claim(subnet.bridge), None)
    assert read == replace(subnet, tunnel=None, concentrator_id="")


def test_a_tunnel_alone_knows_all() -> None:
    subnet = subnet_of(SITE, vm_request(SITE))
    assert read_subnet(SITE, None, claim(subnet.tunnel)) == subnet


_VNICS: dict[str, dict[str, Any]] = {
    "vm": {},
    "container": {"role": CONTAINER},
    "own mac": {"mac": "02:00:00:00:00:01"},
    "own mtu": {"mtu": 68},
    "all its own": {"role": CONTAINER, "mac": "0a:ff:ff:ff:ff:ff", "mtu": 1458},
}


@pytest.mark.parametrize("changes", _VNICS.values(), ids=_VNICS)
def test_a_vnic_is_read_back(changes: dict[str, Any]) -> None:
    request = vm_request(SITE, **changes)
    vnic = vnic_of(SITE, request)
    assert read_vnic(SITE, *claim(vnic.link), subnet_of(SITE, request)) == vnic


def test_that_a_tap_has_several_queues_is_read_back() -> None:
    request = vm_request(SITE, queues=4)
    vnic = vnic_of(SITE, request)
    assert isinstance(vnic.link, Tap)
    found = replace(vnic.link, queues=1)
    read = read_vnic(SITE, *claim(found), subnet_of(SITE, request))
    assert read.queues > 1
    check_same_vnic(read, request, SITE)


@pytest.mark.parametrize("changes", [{}, {"mtu": 1000}])
def test_a_port_is_read_back_with_its_index(changes: dict[str, Any]) -> None:
    port = port_of(SITE, a_cnci_vnic_request(SITE, **changes))
    found = replace(port.link, index=2**20 + 1)
    assert read_cnci_vnic(SITE, *claim(found)) == replace(port, link=found)


def test_the_mtu_without_a_wish_follows_the_uplink() -> None:
    request = vm_request(SITE)
    vnic = vnic_of(SITE, request)
    jumbo = make_site(mtu=9000)
    subnet = subnet_of(jumbo, vm_request(jumbo))
    assert read_vnic(jumbo, *claim(vnic.link), subnet).mtu == 8958


# -- what calls need ----------------------------------------------------------------


_TENANT_NEEDS = (
    "vnic_id", "instance_id", "tenant_id", "subnet_id", "concentrator_id", "concentrator_ip",
    "subnet", "subnet_key", "ip",
)  # fmt: skip


def _tenant(cfg: VnicConfig, tunnel: str = "gre") -> Any:
    site = make_site(tunnel=tunnel)
    return tenant_request(cfg, tunnel=tunnel, uplink=site.uplink.address, mtu_limit=site.mtu)


@pytest.mark.parametrize("field", _TENANT_NEEDS)
@pytest.mark.parametrize("role", [VnicRole.TENANT_VM, CONTAINER])
def test_tenant_roles_need_all_but_the_mac(role: VnicRole, field: str) -> None:
    missing: dict[str, Any] = {field: None}
    with pytest.raises(InvalidRequest, match="is needed") as caught:
        _tenant(vm_config(role=role, **missing))
    assert caught.value.field == field


@pytest.mark.parametrize("field", ["vnic_id", "instance_id", "tenant_id", "mac"])
def test_the_data_center_role_needs_tenant_vnic_instance_and_mac(field: str) -> None:
    missing: dict[str, Any] = {field: None}
    with pytest.raises(InvalidRequest, match="is needed") as caught:
        cnci_vnic_request(port_config(**missing), mtu_limit=1500)
    assert caught.value.field == field


def test_no_mac_means_the_one_that_holds_the_address() -> None:
    assert _tenant(vm_config()).mac == "02:00:0a:01:00:09"
    assert _tenant(vm_config(mac="0A:00:00:00:00:01")).mac == "0a:00:00:00:00:01"


_WRONG: list[tuple[str, dict[str, Any]]] = [
    ("ip", {"ip": "10.1.1.9"}),
    ("ip", {"ip": "10.1.0.0"}),
    ("ip", {"ip": "10.1.0.1"}),
    ("ip", {"ip": "10.1.0.255"}),
    ("ip", {"ip": "2001:db8::9"}),
    ("subnet", {"subnet": "10.1.0.0/30"}),
    ("subnet", {"subnet": "10.0.0.0/15"}),
    ("ip", {"subnet": "2001:db8::/64"}),
    ("subnet", {"subnet": "2001:db8::/47"}),
    ("subnet", {"subnet": "224.1.0.0/24"}),
    ("concentrator_ip", {"concentrator_ip": "2001:db8::1"}),
    ("concentrator_ip", {"concentrator_ip": "224.0.0.1"}),
    ("concentrator_ip", {"concentrator_ip": "0.0.0.0"}),
    ("concentrator_ip", {"concentrator_ip": "127.0.0.1"}),
    ("concentrator_ip", {"concentrator_ip": "255.255.255.255"}),
    ("mtu", {"mtu": 1459}),
    ("queues", {"role": CONTAINER, "queues": 2}),
    # The host's end has the guest's MAC with first byte fe: they must differ.
    ("mac", {"mac": "fe:00:0a:01:00:09"}),
    ("mac", {"mac": "FE:00:00:00:00:01", "role": CONTAINER}),
    ("role", {"role": VnicRole.DATA_CENTER}),
]


@pytest.mark.parametrize(("field", "changes"), _WRONG)
def test_a_tenant_request_that_cannot_be_is_refused_by_name(
    field: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        _tenant(vm_config(**changes))
    assert caught.value.field == field


@pytest.mark.parametrize(("tunnel", "key"), [("vxlan", 2**24), ("geneve", 2**24)])
def test_a_key_of_more_bits_than_the_tunnel_has_is_refused(tunnel: str, key: int) -> None:
    assert _tenant(vm_config(subnet_key=key)).subnet_key == key
    with pytest.raises(InvalidRequest) as caught:
        _tenant(vm_config(subnet_key=key), tunnel)
    assert caught.value.field == "subnet_key"


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("mtu", {"mtu": 1501}),
        ("queues", {"queues": 2}),
        ("role", {"role": VnicRole.TENANT_VM}),
        ("role", {"role": CONTAINER}),
    ],
)
def test_a_port_request_that_cannot_be_is_refused_by_name(
    field: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        cnci_vnic_request(port_config(**changes), mtu_limit=1500)
    assert caught.value.field == field


def test_destroys_need_the_identity_only() -> None:
    cfg = VnicConfig(tenant_id="t1", subnet_id="s1", vnic_id="v1")
    assert tenant_identity(cfg) == ("t1", "s1", "v1")
    port = VnicConfig(role=VnicRole.DATA_CENTER, tenant_id="t1", vnic_id="v1")
    assert cnci_vnic_identity(port) == ("t1", "v1")


@pytest.mark.parametrize("field", ["tenant_id", "subnet_id", "vnic_id"])
def test_destroys_need_the_whole_identity(field: str) -> None:
    missing: dict[str, Any] = {field: None}
    with pytest.raises(InvalidRequest) as caught:
        tenant_identity(vm_config(**missing))
    assert caught.value.field == field


# -- conflicts ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"role": CONTAINER}, r"role tenant-vm \(asked for: tenant-container\)"),
        ({"instance_id": "i2"}, r"instance_id i9 \(asked for: i2\)"),
        ({"ip": "10.1.0.10"}, r"ip 10\.1\.0\.9 \(asked for: 10\.1\.0\.10\)"),
        ({"mac": "02:00:00:00:00:01"}, r"mac 02:00:0a:01:00:09 \(asked for: 02:00:00:00:00:01\)"),
        ({"mtu": 1000}, r"mtu 1458 \(asked for: 1000\)"),
        ({"queues": 2}, "queues"),
    ],
)
def test_a_conflict_names_what_is_and_what_was_asked_for(
    changes: dict[str, Any], said: str
) -> None:
    old = vnic_of(SITE, vm_request(SITE))
    with pytest.raises(Conflict, match=said):
        check_same_vnic(old, vm_request(SITE, **changes), SITE)


def test_the_same_said_otherwise_is_no_conflict() -> None:
    old = vnic_of(SITE, vm_request(SITE))
    check_same_vnic(old, vm_request(SITE, mac="02:00:0A:01:00:09", mtu=1458), SITE)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"subnet": "10.1.0.0/25"}, "subnet 10.1.0.0/24"),
        ({"subnet_key": 8}, "subnet_key 7"),
        ({"concentrator_id": "other"}, "concentrator_id cnci-1"),
        ({"concentrator_ip": "192.0.2.9"}, "concentrator_ip 192.0.2.101"),
    ],
)
def test_vnics_of_one_subnet_agree_about_it(changes: dict[str, Any], said: str) -> None:
    subnet = subnet_of(SITE, vm_request(SITE))
    check_same_subnet(subnet, vm_request(SITE, 10))
    with pytest.raises(Conflict, match=said):
        check_same_subnet(subnet, vm_request(SITE, 10, **changes))


def test_a_create_may_name_the_concentrator_of_a_subnet_that_lost_its_tunnel() -> None:
    subnet = replace(subnet_of(SITE, vm_request(SITE)), tunnel=None, concentrator_id="")
    check_same_subnet(subnet, vm_request(SITE, concentrator_id="x", concentrator_ip="192.0.2.9"))
    with pytest.raises(Conflict):
        check_same_subnet(subnet, vm_request(SITE, subnet_key=8))


@pytest.mark.parametrize(
    "changes", [{"instance_id": "x"}, {"mac": "02:00:00:00:00:99"}, {"mtu": 1000}]
)
def test_a_cnci_vnic_with_other_attributes_is_a_conflict(changes: dict[str, Any]) -> None:
    old = port_of(SITE, a_cnci_vnic_request(SITE))
    check_same_cnci_vnic(old, a_cnci_vnic_request(SITE), SITE)
    with pytest.raises(Conflict, match=next(iter(changes))):
        check_same_cnci_vnic(old, a_cnci_vnic_request(SITE, **changes), SITE)
