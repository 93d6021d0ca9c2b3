"""Bad input: InvalidRequest names the field, and nothing was touched."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from functools import partial
from ipaddress import ip_interface
from typing import Any, cast

import pytest

import snnet
from snnet import InvalidRequest, VnicRole
from tests.node.world import FakeWorld

CONTAINER, DATA_CENTER = VnicRole.TENANT_CONTAINER, VnicRole.DATA_CENTER
HUGE = 10**5000
"""Python refuses to print it."""
A_HUGE_ONE = pytest.param(HUGE, id="huge")

VM = snnet.VnicConfig(
    vnic_id="v9",
    instance_id="i9",
    tenant_id="t1",
    subnet_id="s1",
    concentrator_id="cnci-1",
    concentrator_ip="192.0.2.101",
    subnet="10.1.0.0/24",
    subnet_key=7,
    ip="10.1.0.9",
)
PORT = snnet.VnicConfig(
    role=DATA_CENTER, vnic_id="c1", instance_id="cnci-1", tenant_id="t1", mac="02:00:00:00:01:01"
)


def config(**changes: Any) -> snnet.NetworkConfig:
    return snnet.NetworkConfig(**{"compute_nets": ["192.0.2.0/24"], **changes})


@pytest.fixture
def world() -> Iterator[FakeWorld]:
    made = FakeWorld("gre")
    yield made
    made.close()


@pytest.fixture
def kernel(world: FakeWorld) -> snnet.FakeKernel:
    return world.kernel


MakeNode = Callable[..., Any]


@pytest.fixture
def make_cn(world: FakeWorld) -> MakeNode:
    return _maker(world, world.node)


@pytest.fixture
def make_cnci(world: FakeWorld) -> MakeNode:
    return _maker(world, world.cnci)


def _maker(world: FakeWorld, make: MakeNode) -> MakeNode:
    """``make``, with ``tunnel`` as a word for a whole config."""

    def made(*, tunnel: str = "gre", **options: Any) -> Any:
        return make(**{"config": world.config(tunnel=tunnel), **options})

    return made


def refused(
    kernel: snnet.FakeKernel,
    field: str | None,
    call: Callable[..., object],
    *args: Any,
    **more: Any,
) -> None:
    """The call is refused by the field's name, and the host stays as it is."""
    before = kernel.to_text()
    with pytest.raises(InvalidRequest) as caught:
        call(*args, **more)
    # A wrong item of a list is named with its position.
    found = caught.value.field
    assert found == field or (found or "").startswith(f"{field}[")
    assert kernel.to_text() == before


# -- a compute node's VNICs -----------------------------------------------------------------


POLICY = ("extra_addresses", "anti_spoofing", "groups", "rate_to_guest", "rate_from_guest")
BAD_VNICS: list[tuple[str, dict[str, Any]]] = [
    *((item.name, {item.name: None}) for item in fields(snnet.VnicConfig)
      if item.name not in ("role", "mac", "mtu", "queues", "owner", *POLICY)),
    ("owner", {"owner": "no-such-user"}), ("owner", {"owner": ""}), ("owner", {"owner": "a\0b"}),
    ("owner", {"owner": 7, "role": CONTAINER}),
    ("role", {"role": DATA_CENTER}),
    ("ip", {"ip": "10.1.1.9"}),
    ("ip", {"ip": "10.1.0.0"}),
    ("ip", {"ip": "10.1.0.255"}),
    ("ip", {"ip": "10.1.0.1"}),
    ("ip", {"ip": "fd00::9"}),
    ("subnet", {"subnet": "10.1.0.0/30"}),
    ("subnet", {"subnet": "10.1.0.8/31"}),
    ("subnet", {"subnet": "10.1.0.9/32"}),
    ("subnet", {"subnet": "10.0.0.0/15"}),
    ("subnet", {"subnet": "0.0.0.0/0"}),
    ("ip", {"subnet": "fd00::/64", "ip": "10.1.0.9"}),
    ("ip", {"subnet": "fd00::/64", "ip": ("10.1.0.9", "fd00::9")}),
    ("ip", {"subnet": ("10.1.0.0/24", "fd00::/64"), "ip": ("10.1.0.9", "fd00:1::9")}),
    ("ip", {"subnet": "fd00::/64", "ip": "fd00::"}),
    ("ip", {"subnet": "fd00::/64", "ip": "fd00::1"}),
    ("subnet", {"subnet": "fd00::/127", "ip": "fd00::1"}),
    ("subnet", {"subnet": "fd00::/47", "ip": "fd00::9"}),
    ("subnet", {"subnet": "fe80::/64", "ip": "fe80::9"}),
    ("subnet", {"subnet": "ff02::/64", "ip": "ff02::9"}),
    ("subnet", {"subnet": ("10.1.0.0/24", "fd00::/47")}),
    ("mtu", {"subnet": "fd00::/64", "ip": "fd00::9", "mtu": 1279}),
    ("subnet", {"subnet": "224.1.0.0/24", "ip": "224.1.0.9"}),
    ("subnet", {"subnet": "127.0.0.0/24", "ip": "127.0.0.9"}),
    ("concentrator_ip", {"concentrator_ip": "2001:db8::1"}),
    ("concentrator_ip", {"concentrator_ip": "224.0.0.1"}),
    ("concentrator_ip", {"concentrator_ip": "255.255.255.255"}),
    ("concentrator_ip", {"concentrator_ip": "0.0.0.0"}),
    ("concentrator_ip", {"concentrator_ip": "127.0.0.1"}),
    ("mac", {"mac": "fe:00:0a:01:00:09"}),
    ("mtu", {"mtu": 1459}),
    ("mtu", {"mtu": 65535}),
    ("queues", {"queues": 2, "role": CONTAINER}),
    ("extra_addresses[0]", {"extra_addresses": ["0.0.0.0/0"]}),
    ("extra_addresses[1]", {"extra_addresses": ["10.1.0.8", "224.0.0.1"]}),
    ("extra_addresses[0]", {"extra_addresses": ["127.0.0.1"]}),
    ("extra_addresses[0]", {"extra_addresses": ["10.1.0.1"]}),
    ("extra_addresses[0]", {"extra_addresses": ["10.1.0.0/28"]}),
    ("extra_addresses[0]", {"extra_addresses": ["fe80::9"]}),
    ("extra_addresses[0]", {"extra_addresses": ["::/0"]}),
    ("tenant_id", {"tenant_id": "x" * 64, "vnic_id": "x" * 63, "subnet_id": "x" * 63,
                   "instance_id": "x" * 63}),
    ("instance_id", {"tenant_id": "x" * 30, "vnic_id": "x" * 60, "subnet_id": "x" * 30,
                     "instance_id": "x" * 64}),
    ("concentrator_id", {"tenant_id": "x" * 60, "subnet_id": "x" * 60,
                         "concentrator_id": "x" * 64}),
]  # fmt: skip


@pytest.mark.parametrize(("field", "changes"), BAD_VNICS, ids=[field for field, _ in BAD_VNICS])
def test_a_vnic_that_cannot_be_is_refused(
    kernel: snnet.FakeKernel, make_cn: MakeNode, field: str, changes: dict[str, Any]
) -> None:
    node = make_cn(node_id="n" * 64)
    for call in (node.create_vnic, node.plan_create_vnic):
        refused(kernel, field, call, replace(VM, **changes))
    node.create_vnic(VM)  # the same call with the mistake mended


@pytest.mark.parametrize(
    ("tunnel", "limit"), [("gre", 2**32 - 1), ("vxlan", 2**24 - 1), ("geneve", 2**24 - 1)]
)
def test_a_key_has_as_many_bits_as_the_tunnel(
    kernel: snnet.FakeKernel, make_cn: MakeNode, make_cnci: MakeNode, tunnel: str, limit: int
) -> None:
    node, cnci = make_cn(tunnel=tunnel), make_cnci(tunnel=tunnel)
    if limit < 2**32 - 1:
        refused(kernel, "subnet_key", node.create_vnic, replace(VM, subnet_key=limit + 1))
    refused(kernel, "key", cnci.add_remote_subnet, "10.2.0.0/24", limit + 1, "192.0.2.21")
    node.create_vnic(replace(VM, subnet_key=limit))
    cnci.add_remote_subnet("10.2.0.0/24", limit, "192.0.2.21")


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        *((name, {name: None}) for name in ("tenant_id", "vnic_id", "instance_id", "mac")),
        ("role", {"role": VnicRole.TENANT_VM}),
        ("role", {"role": CONTAINER}),
        ("mtu", {"mtu": 1501}),
        ("queues", {"queues": 2}),
        ("vnic_id", {"tenant_id": "x" * 63, "vnic_id": "x" * 64, "instance_id": "x" * 63}),
    ],
)
@pytest.mark.parametrize("call", ["create_cnci_vnic", "plan_create_cnci_vnic"])
def test_a_cnci_vnic_that_cannot_be_is_refused(
    kernel: snnet.FakeKernel, make_cn: MakeNode, call: str, field: str, changes: dict[str, Any]
) -> None:
    node = make_cn(node_id="n" * 64)
    refused(kernel, field, getattr(node, call), replace(PORT, **changes))
    node.create_cnci_vnic(PORT)


@pytest.mark.parametrize(
    ("call", "cfg", "needed"),
    [
        ("destroy_vnic", VM, ("tenant_id", "subnet_id", "vnic_id")),
        ("destroy_cnci_vnic", PORT, ("tenant_id", "vnic_id")),
    ],
)
def test_a_destroy_needs_the_identity_and_its_role(
    kernel: snnet.FakeKernel,
    make_cn: MakeNode,
    call: str,
    cfg: snnet.VnicConfig,
    needed: tuple[str, ...],
) -> None:
    node = make_cn()
    node.create_vnic(VM)
    node.create_cnci_vnic(PORT)
    for name in needed:
        refused(kernel, name, getattr(node, call), replace(cfg, **{name: cast(Any, None)}))
    other = PORT if cfg is VM else VM
    refused(kernel, "role", getattr(node, call), other)


_CN_VNIC_CALLS = (
    "create_vnic", "plan_create_vnic", "destroy_vnic", "create_cnci_vnic", "plan_create_cnci_vnic",
    "destroy_cnci_vnic", "update_vnic", "plan_update_vnic",
)  # fmt: skip


@pytest.mark.parametrize("cfg", [None, "v9", {"vnic_id": "v9"}, 5, A_HUGE_ONE, VnicRole.TENANT_VM])
def test_a_config_is_a_vnic_config(
    kernel: snnet.FakeKernel, make_cn: MakeNode, cfg: object
) -> None:
    node = make_cn()
    for call in _CN_VNIC_CALLS:
        refused(kernel, "cfg", getattr(node, call), cfg)


# -- timeouts and cancel tokens --------------------------------------------------------------


BAD_TIMEOUTS: list[Any] = [
    0, -1, 0.0, -0.5, float("nan"), float("inf"), -float("inf"), 1e300, True, False, "5", "",
    b"5", [], {}, 1j, HUGE, -HUGE,
]  # fmt: skip
BAD_CANCELS: list[Any] = [
    True,
    5,
    "x",
    object(),
    threading.Lock(),
    type("T", (), {"is_set": True})(),
]

CN_CHANGES: dict[str, tuple[Any, ...]] = {
    "create_vnic": (VM,),
    "destroy_vnic": (VM,),
    "create_cnci_vnic": (PORT,),
    "destroy_cnci_vnic": (PORT,),
    "repair": (),
    "reset_network": (),
}
CN_READS: dict[str, tuple[Any, ...]] = {
    "plan_create_vnic": (VM,),
    "plan_create_cnci_vnic": (PORT,),
    "topology": (),
    "verify": (),
    "dump_firewall": (),
}
NEIGHBORS = [
    snnet.Neighbor(
        physical_ip=f"192.0.2.{n}", subnet=f"10.{n}.0.0/24", tunnel_ip=f"10.255.0.{n}", tunnel_id=5
    )
    for n in (11, 12)
]
SUBNET = ("10.1.0.0/24", 7, "192.0.2.21")
FORWARD = {"protocol": "tcp", "device": "eth0", "port": 33265, "to": "10.1.0.9", "to_port": 22}
CNCI_CHANGES: dict[str, tuple[Any, ...]] = {
    "add_remote_subnet": SUBNET,
    "del_remote_subnet": SUBNET,
    "add_local_subnet": ("10.2.0.0/24", 8, "plug"),
    "update_neighbors": (NEIGHBORS,),
    "enable_nat": (["eth0"],),
    "disable_nat": (),
    "remove_subnet": ("10.1.0.0/24",),
    "allow_external": ("eth0", "BRIDGE"),
    "deny_external": ("eth0", "BRIDGE"),
    "add_port_forward": (FORWARD,),
    "remove_port_forward": ({"protocol": "tcp", "device": "eth0", "port": 33265},),
    "add_public_ip": ("203.0.113.5", {"to": "10.1.0.9", "device": "eth0"}),
    "remove_public_ip": ("203.0.113.5",),
    "repair": (),
    "shutdown": (),
}
CNCI_READS: dict[str, tuple[Any, ...]] = {
    "plan_add_remote_subnet": SUBNET,
    "dhcp": ("10.1.0.0/24",),
    "topology": (),
    "verify": (),
    "dump_firewall": (),
}


def cnci_with_a_subnet(make_cnci: MakeNode, **options: Any) -> tuple[Any, str]:
    cnci = make_cnci(**options)
    return cnci, cnci.add_remote_subnet(*SUBNET)


def bound(
    node: object, call: str, arguments: tuple[Any, ...], bridge: str = "no-such"
) -> Callable[..., Any]:
    """The call with its arguments, a dictionary among them given by keyword."""
    given: list[Any] = [bridge if item == "BRIDGE" else item for item in arguments]
    named: dict[str, Any] = given.pop() if given and isinstance(given[-1], dict) else {}
    return partial(getattr(node, call), *given, **named)


@pytest.mark.parametrize("call", [*CN_CHANGES, "rebuild_topology"])
def test_a_compute_nodes_deadline_is_a_number_of_seconds(
    kernel: snnet.FakeKernel, make_cn: MakeNode, call: str
) -> None:
    node = make_cn()
    method, arguments = getattr(node, call), CN_CHANGES.get(call, ())
    for timeout in BAD_TIMEOUTS:
        refused(kernel, "timeout", method, *arguments, timeout=timeout)
    for cancel in BAD_CANCELS:
        refused(kernel, "cancel", method, *arguments, cancel=cancel)


@pytest.mark.parametrize("call", [*CNCI_CHANGES, "rebuild_topology"])
def test_a_concentrators_deadline_is_a_number_of_seconds(
    kernel: snnet.FakeKernel, make_cnci: MakeNode, call: str
) -> None:
    cnci, bridge = cnci_with_a_subnet(make_cnci)
    method = bound(cnci, call, CNCI_CHANGES.get(call, ()), bridge)
    for timeout in BAD_TIMEOUTS:
        refused(kernel, "timeout", method, timeout=timeout)
    for cancel in BAD_CANCELS:
        refused(kernel, "cancel", method, cancel=cancel)


# -- construction ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "options"),
    [
        *(("node_id", {"node_id": value}) for value in (None, 5, "", "a b", "a\n", "x" * 65, b"a")),
        *(("api_timeout", {"api_timeout": value}) for value in BAD_TIMEOUTS),
        *(("max_api_concurrency", {"max_api_concurrency": value})
          for value in (0, -1, True, 1.5, "8", None)),
        *(("backend", {"backend": value}) for value in (None, 5, object(), snnet.FakeKernel)),
        *(("firewall", {"firewall": value}) for value in (None, 5, object(), ["fake"])),
        ("netns", {"netns": "somewhere"}),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str) else "",
)  # fmt: skip
def test_a_node_that_cannot_be_is_refused(
    kernel: snnet.FakeKernel,
    make_cn: MakeNode,
    make_cnci: MakeNode,
    field: str,
    options: dict[str, Any],
) -> None:
    for make in (make_cn, make_cnci):
        refused(kernel, field, make, init=False, **options)


@pytest.mark.parametrize("value", [None, {}, {"tunnel": "gre"}, "gre", A_HUGE_ONE])
def test_a_node_needs_a_network_config(kernel: snnet.FakeKernel, value: Any) -> None:
    drivers: dict[str, Any] = {"backend": kernel, "firewall": "fake"}
    refused(kernel, "config", snnet.ComputeNode, "cn-1", value, **drivers)
    refused(kernel, "config", snnet.Cnci, "c", value, tenant_id="t1", dhcp="fake", **drivers)


@pytest.mark.parametrize("tenant_id", [None, "", 5, "a b", "t1\n"])
def test_a_concentrator_needs_a_tenant(
    kernel: snnet.FakeKernel, make_cnci: MakeNode, tenant_id: Any
) -> None:
    refused(kernel, "tenant_id", make_cnci, init=False, tenant_id=tenant_id)


@pytest.mark.parametrize("dhcp", [None, 5, object()])
def test_a_concentrator_needs_a_dhcp_driver(
    kernel: snnet.FakeKernel, make_cnci: MakeNode, dhcp: Any
) -> None:
    refused(kernel, "dhcp", make_cnci, init=False, dhcp=dhcp)


@pytest.mark.parametrize(
    ("field", "nets"),
    [
        ("compute_nets", {"compute_nets": ["198.51.100.0/24"]}),
        ("management_nets", {"management_nets": ["198.51.100.0/24"]}),
    ],
)
def test_nets_without_an_uplink_are_refused_by_init(
    kernel: snnet.FakeKernel, make_cn: MakeNode, make_cnci: MakeNode, field: str, nets: Any
) -> None:
    for make in (make_cn, make_cnci):
        node = make(init=False, config=config(**nets))
        refused(kernel, field, node.init)
        kernel_fits = make(init=False, config=config())
        kernel_fits.close()


# -- a concentrator's subnets ----------------------------------------------------------------


BAD_SUBNETS: list[Any] = [
    None, 5, "", "x", "10.1.0.0", "10.1.0.5/24", "10.1.0.0/30", "10.1.0.0/31", "10.1.0.0/32",
    "10.0.0.0/15", "0.0.0.0/0", "224.1.0.0/24", "127.0.0.0/24", "240.0.0.0/24", b"x",
    "fd00::/47", "fd00::/127", "fe80::/64", "::/64", [], (), ("10.1.0.0/24", "10.2.0.0/24"),
    ("10.1.0.0/24", "fe80::/64"), ip_interface("10.1.0.0/24"), HUGE,
]  # fmt: skip
BAD_KEYS: list[Any] = [None, 0, -1, 2**32, HUGE, -HUGE, True, "7", 7.0, float("nan"), [], b"7"]
BAD_REMOTES: list[Any] = [
    None, 5, "", "x", "2001:db8::1", "224.0.0.1", "0.0.0.0", "127.0.0.1", "255.255.255.255",
    "192.0.2.21/32", "192.0.2.21\n", b"\xc0\x00\x02\x15", [], ip_interface("192.0.2.21/24"),
]  # fmt: skip


@pytest.mark.parametrize(
    "call", ["add_remote_subnet", "plan_add_remote_subnet", "del_remote_subnet"]
)
def test_a_remote_subnet_that_cannot_be_is_refused(
    kernel: snnet.FakeKernel, make_cnci: MakeNode, call: str
) -> None:
    method = getattr(cnci_with_a_subnet(make_cnci)[0], call)
    for subnet in BAD_SUBNETS:
        refused(kernel, "subnet", method, subnet, 8, "192.0.2.21")
    for key in BAD_KEYS:
        refused(kernel, "key", method, "10.2.0.0/24", key, "192.0.2.21")
    for remote in BAD_REMOTES:
        refused(kernel, "cn_ip", method, "10.2.0.0/24", 8, remote)


@pytest.mark.parametrize("call", ["add_remote_subnet", "plan_add_remote_subnet"])
def test_a_reservation_that_leaves_no_address_is_refused(
    kernel: snnet.FakeKernel, make_cnci: MakeNode, call: str
) -> None:
    cnci = make_cnci(config=config(dhcp_reserved=5))
    refused(kernel, "dhcp_reserved", getattr(cnci, call), "10.1.0.0/29", 7, "192.0.2.21")
    cnci.add_remote_subnet("10.1.0.0/28", 7, "192.0.2.21")


# -- DHCP ------------------------------------------------------------------------------------


def test_a_scope_is_one_of_the_concentrators_subnets(
    kernel: snnet.FakeKernel, make_cnci: MakeNode
) -> None:
    cnci, _ = cnci_with_a_subnet(make_cnci)
    for subnet in [*BAD_SUBNETS, "10.2.0.0/24", "10.1.0.0/25"]:
        refused(kernel, "subnet", cnci.dhcp, subnet)


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        *(("address", {"address": value}) for value in (
            None, 5, "", "x", "10.1.0.0", "10.1.0.1", "10.1.0.255", "10.2.0.9", "fd00::9", b"x")),
        *(("mac", {"mac": value}) for value in (
            5, "", "x", "01:00:00:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", b"x",
            list[str](), "02:00:00:00:00:01\n", "02:00:00:00:00:01,set:x")),
        *(("hostname", {"hostname": value}) for value in (
            5, "", "-a", "a b", "a\n", "a,b", "a.b", "a" * 64, b"a", list[str]())),
    ],
)  # fmt: skip
def test_an_entry_that_cannot_be_is_refused(
    kernel: snnet.FakeKernel, make_cnci: MakeNode, field: str, arguments: dict[str, Any]
) -> None:
    scope = cnci_with_a_subnet(make_cnci)[0].dhcp("10.1.0.0/24")
    refused(kernel, field, scope.add_entry, **{"address": "10.1.0.9"} | arguments)
    assert scope.added == ()


@pytest.mark.parametrize("address", [None, 5, "", "x", "fd00::9/64", b"x"])
def test_an_entry_is_removed_by_its_address(
    kernel: snnet.FakeKernel, make_cnci: MakeNode, address: Any
) -> None:
    scope = cnci_with_a_subnet(make_cnci)[0].dhcp("10.1.0.0/24")
    refused(kernel, "address", scope.remove_entry, address)


# -- the mesh --------------------------------------------------------------------------------


@pytest.mark.parametrize("neighbors", [None, 5, True, NEIGHBORS[0], object()])
def test_neighbors_are_a_list(
    kernel: snnet.FakeKernel, make_cnci: MakeNode, neighbors: Any
) -> None:
    refused(kernel, "neighbors", make_cnci().update_neighbors, neighbors)


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("tunnel_id", {"tunnel_id": 6}),
        ("physical_ip", {"physical_ip": "2001:db8::12"}),
        ("physical_ip", {"physical_ip": "224.0.0.1"}),
        ("tunnel_ip", {"tunnel_ip": "10.255.0.11"}),
        ("tunnel_ip", {"tunnel_ip": "fd00::12"}),
        ("tunnel_ip", {"tunnel_ip": "255.255.255.255"}),
        ("tunnel_ip", {"physical_ip": "192.0.2.11"}),
        ("subnet", {"subnet": "10.11.0.0/24"}),
        ("subnet", {"subnet": "10.12.0.0/30"}),
        ("subnet", {"subnet": "fd00::/47"}),
        ("subnet", {"subnet": "fe80::/64"}),
    ],
)
def test_a_mesh_that_contradicts_itself_is_refused(
    kernel: snnet.FakeKernel, make_cnci: MakeNode, field: str, changes: dict[str, Any]
) -> None:
    cnci = make_cnci()
    wrong = [NEIGHBORS[0], replace(NEIGHBORS[1], **changes)]
    refused(kernel, f"neighbors[1].{field}", cnci.update_neighbors, wrong)
    cnci.update_neighbors(NEIGHBORS)
    refused(kernel, f"neighbors[1].{field}", cnci.update_neighbors, wrong)
    assert cnci.verify() == []


@pytest.mark.parametrize("wrong", [None, "x", A_HUGE_ONE, {"physical_ip": "192.0.2.12"}])
def test_every_neighbor_is_a_neighbor(
    kernel: snnet.FakeKernel, make_cnci: MakeNode, wrong: Any
) -> None:
    refused(kernel, "neighbors[1]", make_cnci().update_neighbors, [NEIGHBORS[0], wrong])


def test_a_tunnel_id_has_as_many_bits_as_the_mesh(
    kernel: snnet.FakeKernel, make_cnci: MakeNode
) -> None:
    wrong = [replace(neighbor, tunnel_id=2**24) for neighbor in NEIGHBORS]
    refused(kernel, "tunnel_id", make_cnci(tunnel="vxlan").update_neighbors, wrong)
    make_cnci(node_id="other").update_neighbors(wrong)


# -- ways out and in ---------------------------------------------------------------------------


BAD_DEVICES: list[Any] = [None, 5, "", "eth9", "eth0\n", "ETH0", b"eth0", [], ["eth0"], {}, True]


@pytest.mark.parametrize(
    "devices", [None, 5, "eth0", b"eth0", True, *([item] for item in BAD_DEVICES)]
)
def test_nat_is_for_a_list_of_external_devices(
    kernel: snnet.FakeKernel, make_cnci: MakeNode, devices: Any
) -> None:
    refused(kernel, "devices", make_cnci().enable_nat, devices)


def test_a_bridge_of_ours_is_no_external_device(
    kernel: snnet.FakeKernel, make_cnci: MakeNode
) -> None:
    cnci, bridge = cnci_with_a_subnet(make_cnci)
    refused(kernel, "devices", cnci.enable_nat, ["eth0", bridge])
    refused(kernel, "device", cnci.allow_external, bridge, bridge)
    refused(kernel, "device", cnci.add_port_forward, **FORWARD | {"device": bridge})
    refused(kernel, "device", cnci.add_public_ip, "203.0.113.5", to="10.1.0.9", device=bridge)


def test_forwarding_is_from_a_bridge_to_an_external_device(
    kernel: snnet.FakeKernel, make_cnci: MakeNode
) -> None:
    cnci, bridge = cnci_with_a_subnet(make_cnci)
    for device in BAD_DEVICES:
        refused(kernel, "device", cnci.allow_external, device, bridge)
    for wrong in [*BAD_DEVICES, "eth0", "lo"]:
        refused(kernel, "bridge", cnci.allow_external, "eth0", wrong)


BAD_PORTS: list[Any] = [None, 0, -1, 65536, True, "", 22.0, float("nan"), HUGE, []]
BAD_INTERNALS: list[Any] = [
    None, 5, "", "x", "10.9.0.9", "fd00::9", "10.1.0.9/24", b"x", "10.1.0.0",
    "10.1.0.1", "10.1.0.255",
]  # fmt: skip


BAD_ADDRESSES_OF_FORWARDS: list[Any] = [
    5, "", "x", "192.0.2.11/24", b"x", [], True, "2001:db8::5", "0.0.0.0", "127.0.0.1",
    "224.0.0.1", "255.255.255.255",
]  # fmt: skip


def test_a_port_forward_that_cannot_be_is_refused(
    kernel: snnet.FakeKernel, make_cnci: MakeNode
) -> None:
    cnci, _ = cnci_with_a_subnet(make_cnci)
    wrong: dict[str, list[Any]] = {
        "protocol": [None, 6, "", "TCP", "icmp", "tcp\n", b"tcp", []],
        "device": BAD_DEVICES,
        "port": [*BAD_PORTS, "x", "80-", "-80", "80-79", "0-80", "65535-65536", "1-2000"],
        "to": BAD_INTERNALS,
        "to_port": [*(port for port in BAD_PORTS if port is not None), "22"],
        "address": [*BAD_ADDRESSES_OF_FORWARDS, "192.0.2.99", "10.1.0.1", "10.1.0.9"],
        "sources": [
            None, 5, True, "10.0.0.0/8", b"10.0.0.0/8", [None], [5], ["x"], ["10.0.0.1"],
            ["10.0.0.1/8"], ["fd00::/8"], ["10.0.0.0/8", "10.0.0.0/33"], {"10.0.0.0/8": 1},
        ],
    }  # fmt: skip
    for field, values in wrong.items():
        for value in values:
            refused(kernel, field, cnci.add_port_forward, **FORWARD | {field: value})
    refused(
        kernel, "to_port", cnci.add_port_forward, **FORWARD | {"port": "9-10", "to_port": 65535}
    )
    cnci.add_port_forward(**FORWARD)


def test_a_public_ip_that_cannot_be_is_refused(
    kernel: snnet.FakeKernel, make_cnci: MakeNode
) -> None:
    cnci, _ = cnci_with_a_subnet(make_cnci)
    good = {"address": "203.0.113.5", "to": "10.1.0.9", "device": "eth0"}
    wrong: dict[str, list[Any]] = {
        "to": BAD_INTERNALS,
        "address": [
            None, 5, "", "x", "2001:db8::5", "203.0.113.5/32", b"x",
            "0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255",
            "::", "::1", "fe80::5", "ff02::1", "::ffff:203.0.113.5",
        ],
        "device": BAD_DEVICES,
    }  # fmt: skip
    for field, values in wrong.items():
        for value in values:
            refused(kernel, field, cnci.add_public_ip, **good | {field: value})
    cnci.add_public_ip(**good)
    for value in wrong["address"]:
        if value != "2001:db8::5":
            refused(kernel, "address", cnci.remove_public_ip, value)


def test_a_public_ip_comes_from_the_floating_pool(
    kernel: snnet.FakeKernel, make_cnci: MakeNode
) -> None:
    pool = config(floating_pool=["203.0.113.5", "203.0.113.6"])
    cnci, _ = cnci_with_a_subnet(make_cnci, config=pool)
    refused(kernel, "address", cnci.add_public_ip, "203.0.113.7", to="10.1.0.9", device="eth0")
    other = {"address": "203.0.113.7", "to": "10.1.0.9", "device": "eth0"}
    refused(kernel, "public_ips[0].address", cnci.reconcile, public_ips=[other])
    refused(kernel, "atomic", cnci.reconcile, atomic="yes")
    cnci.add_public_ip("203.0.113.6", to="10.1.0.9", device="eth0")


def test_a_device_is_a_name_even_where_a_rule_goes(
    kernel: snnet.FakeKernel, make_cnci: MakeNode
) -> None:
    cnci, bridge = cnci_with_a_subnet(make_cnci)
    wrong: Any
    for wrong in (None, 5, [], {}, b"eth0"):
        refused(kernel, "device", cnci.deny_external, wrong, bridge)
        refused(kernel, "bridge", cnci.deny_external, "eth0", wrong)
        forward = {"protocol": "tcp", "device": wrong, "port": 22}
        refused(kernel, "device", cnci.remove_port_forward, **forward)
    for wrong in BAD_ADDRESSES_OF_FORWARDS:
        if wrong == "2001:db8::5":
            continue  # wrong only where the guest has no IPv6
        forward = {"protocol": "tcp", "device": "eth0", "port": 22, "address": wrong}
        refused(kernel, "address", cnci.remove_port_forward, **forward)


# -- the right call at the wrong time ------------------------------------------------------------


@pytest.mark.parametrize("call", [*CN_CHANGES, *CN_READS, "rebuild_topology"])
def test_a_compute_node_wants_init_first_and_nothing_after_close(
    kernel: snnet.FakeKernel, make_cn: MakeNode, call: str
) -> None:
    node = make_cn(init=False)
    method, arguments = getattr(node, call), {**CN_CHANGES, **CN_READS}.get(call, ())
    refused(kernel, None, method, *arguments)
    node.init()
    node.create_vnic(VM)
    node.close()
    refused(kernel, None, method, *arguments)


@pytest.mark.parametrize("call", [*CNCI_CHANGES, *CNCI_READS, "rebuild_topology"])
def test_a_concentrator_wants_init_first_and_nothing_after_close(
    kernel: snnet.FakeKernel, make_cnci: MakeNode, call: str
) -> None:
    cnci = make_cnci(init=False)
    arguments = {**CNCI_CHANGES, **CNCI_READS}.get(call, ())
    refused(kernel, None, bound(cnci, call, arguments))
    cnci.init()
    bridge = cnci.add_remote_subnet(*SUBNET)
    cnci.close()
    refused(kernel, None, bound(cnci, call, arguments, bridge))


def test_close_may_be_repeated_and_init_not_follow_it(
    kernel: snnet.FakeKernel, make_cn: MakeNode, make_cnci: MakeNode
) -> None:
    for node in (make_cn(), make_cnci(), make_cn(init=False), make_cnci(init=False)):
        node.close()
        node.close()
        refused(kernel, None, node.init)


def test_where_the_node_is_is_not_known_before_init(
    kernel: snnet.FakeKernel, make_cn: MakeNode
) -> None:
    node = make_cn(init=False)
    refused(kernel, None, lambda: node.compute_ip)
    refused(kernel, None, lambda: node.uplinks)


def test_a_scope_in_hand_goes_with_its_node(kernel: snnet.FakeKernel, make_cnci: MakeNode) -> None:
    cnci, _ = cnci_with_a_subnet(make_cnci)
    scope = cnci.dhcp("10.1.0.0/24")
    cnci.close()
    for call in (scope.reload, scope.start, scope.stop, scope.restart):
        refused(kernel, None, call)
    refused(kernel, None, scope.add_entry, "10.1.0.9")
    refused(kernel, None, scope.remove_entry, "10.1.0.9")


@pytest.mark.parametrize("call", CN_CHANGES)
def test_a_read_only_compute_node_changes_nothing(
    kernel: snnet.FakeKernel, make_cn: MakeNode, call: str
) -> None:
    make_cn().create_vnic(VM)
    watcher = make_cn(read_only=True)
    refused(kernel, None, getattr(watcher, call), *CN_CHANGES[call])


@pytest.mark.parametrize("call", CNCI_CHANGES)
def test_a_read_only_concentrator_changes_nothing(
    kernel: snnet.FakeKernel, make_cnci: MakeNode, call: str
) -> None:
    _, bridge = cnci_with_a_subnet(make_cnci)
    watcher = make_cnci(read_only=True)
    refused(kernel, None, bound(watcher, call, CNCI_CHANGES[call], bridge))


def test_a_read_only_concentrator_leaves_dhcp_and_sysctls_alone(
    kernel: snnet.FakeKernel, make_cnci: MakeNode
) -> None:
    before = kernel.to_text()
    watcher = make_cnci(read_only=True)
    assert kernel.to_text() == before
    watcher.close()
    cnci_with_a_subnet(make_cnci)
    scope = make_cnci(read_only=True).dhcp("10.1.0.0/24")
    refused(kernel, None, scope.add_entry, "10.1.0.9")
    refused(kernel, None, scope.stop)


@pytest.mark.parametrize("call", [*CN_READS, "rebuild_topology"])
def test_a_read_only_compute_node_reads(
    kernel: snnet.FakeKernel, make_cn: MakeNode, call: str
) -> None:
    make_cn().create_vnic(VM)
    watcher = make_cn(read_only=True)
    before = kernel.to_text()
    getattr(watcher, call)(*CN_READS.get(call, ()))
    assert kernel.to_text() == before


@pytest.mark.parametrize("call", [*CNCI_READS, "rebuild_topology"])
def test_a_read_only_concentrator_reads(
    kernel: snnet.FakeKernel, make_cnci: MakeNode, call: str
) -> None:
    cnci_with_a_subnet(make_cnci)
    watcher = make_cnci(read_only=True)
    before = kernel.to_text()
    getattr(watcher, call)(*CNCI_READS.get(call, ()))
    assert kernel.to_text() == before
