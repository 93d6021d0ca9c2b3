"""What would do nothing, or harm, is refused or named; it is not accepted in silence."""

from __future__ import annotations

import logging
from typing import Any

import pytest

import snnet
from tests.node.world import FakeWorld, World, container, vm


def test_a_concentrator_cannot_be_the_node_itself(world: World) -> None:
    node = world.node()
    with pytest.raises(snnet.InvalidRequest, match="this node's own address") as caught:
        node.create_vnic(vm(concentrator_ip="192.0.2.11"))
    assert caught.value.field == "concentrator_ip"
    assert world.links() == []


def test_an_exit_without_nat_is_named_until_there_is_nat(walled: World) -> None:
    cnci = walled.cnci()
    bridge = cnci.add_remote_subnet("10.1.0.0/24", 7, "192.0.2.21")
    cnci.allow_external("eth0", bridge)
    (line,) = cnci.verify()
    assert line.startswith(f"{bridge} may go out by eth0, and nothing does")
    assert "enable_nat(['eth0'])" in line
    cnci.enable_nat(["eth0"])
    assert cnci.verify() == []
    cnci.disable_nat()
    assert len(cnci.verify()) == 1
    cnci.add_public_ip("203.0.113.5", to="10.1.0.9", device="eth0")
    assert cnci.verify() == []


@pytest.mark.parametrize(
    "call",
    [
        lambda cnci, _: cnci.add_port_forward(
            protocol="tcp", device="nic7", port=80, to="10.1.0.9"
        ),
        lambda cnci, _: cnci.add_public_ip("203.0.113.5", to="10.1.0.9", device="nic7"),
        lambda cnci, _: cnci.enable_nat(["nic7"]),
        lambda cnci, bridge: cnci.allow_external("nic7", bridge),
    ],
)
def test_a_rule_for_a_missing_device_is_refused(fake: FakeWorld, call: Any) -> None:
    cnci = fake.cnci()
    bridge = cnci.add_remote_subnet("10.1.0.0/24", 7, "192.0.2.21")
    with pytest.raises(snnet.InvalidRequest, match="'nic7'"):
        call(cnci, bridge)


def test_arguments_for_qemu_have_the_mac_and_the_mtu(world: World) -> None:
    made = world.node().create_vnic(vm(mac="02:00:00:00:00:99")).vnic
    assert made.qemu_args("n") == [
        "-netdev",
        f"tap,id=n,ifname={made.link_name},script=no,downscript=no",
        "-device",
        f"virtio-net-pci,netdev=n,mac=02:00:00:00:00:99,host_mtu={made.mtu}",
    ]


def test_arguments_for_qemu_hand_over_the_queues(fake: FakeWorld) -> None:
    node = fake.node()
    made = node.create_vnic(vm(queues=2)).vnic
    first, second = made.fds
    netdev, device = made.qemu_args()[1::2]
    assert netdev == f"tap,id=net0,fds={first}:{second}"
    assert device.endswith(",mq=on,vectors=6")
    with pytest.raises(snnet.InvalidRequest, match="container"):
        node.create_vnic(container(10)).vnic.qemu_args()


def test_a_failure_that_has_not_happened_is_pending(fake: FakeWorld) -> None:
    node = fake.node()
    fake.kernel.fail(at=999)
    node.create_vnic(vm())
    (line,) = fake.kernel.pending_failures
    assert line.startswith("ENOMEM at operation ")
    fake.kernel.fail(at=1)
    with pytest.raises(snnet.Exhausted):
        node.create_vnic(vm(10))
    assert (
        fake.kernel.pending_failures == (line.replace("so far", "so far"),)
        or len(fake.kernel.pending_failures) == 1
    )


def test_two_hosts_with_one_address_are_refused() -> None:
    fabric = snnet.Fabric()
    fabric.add_host("a", "192.0.2.11/24")
    with pytest.raises(snnet.InvalidRequest, match=r"host 'a' has the address 192\.0\.2\.11"):
        fabric.add_host("b", "192.0.2.11/16")
    assert list(fabric.hosts) == ["a"]


def test_a_guest_without_a_lease_is_logged(
    fake: FakeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    fabric = snnet.Fabric()
    host = fabric.add_host("cn-1", "192.0.2.11/24")
    node = snnet.ComputeNode("cn-1", fake.config(), backend=host, firewall="fake")
    node.init()
    made = node.create_vnic(vm())
    with caplog.at_level(logging.WARNING, "snnet.fabric"):
        guest = fabric.attach(host, made.vnic, dhcp=True)
    assert guest.lease is None
    assert "has no lease" in caplog.text
