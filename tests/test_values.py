"""Values that callers pass in: subclasses are kept as plain values, long ones are shown short."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest

import snnet
from snnet.node.results import Reconciled
from tests.node.world import FakeWorld


class Word(str, enum.Enum):  # noqa: UP042
    """Text that prints as "Word.VNIC", which no alias and no rule may have (a StrEnum does not)."""

    VNIC = "v9"
    TENANT = "acme"
    KIND = "vxlan"
    IN = "in"
    GROUP = "group:web"
    TCP = "tcp"
    MAC = "02:00:00:00:00:09"
    DOMAIN = "example.org"


class Number(enum.IntEnum):
    SEVEN = 7
    MTU = 1300


VNIC: dict[str, Any] = {
    "vnic_id": Word.VNIC,
    "instance_id": Word.VNIC,
    "tenant_id": Word.TENANT,
    "subnet_id": Word.VNIC,
    "concentrator_id": Word.VNIC,
    "concentrator_ip": "192.0.2.101",
    "subnet": "10.1.0.0/24",
    "subnet_key": Number.SEVEN,
    "ip": "10.1.0.9",
    "mac": Word.MAC,
    "mtu": Number.MTU,
}

MADE: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    (snnet.VnicConfig, VNIC | {"owner": Word.VNIC, "groups": [Word.VNIC], "queues": Number.SEVEN}),
    (
        snnet.NetworkConfig,
        {"tunnel": Word.KIND, "mtu": Number.MTU, "mesh_port": Number.SEVEN,
         "dhcp_reserved": Number.SEVEN, "node_number": Number.SEVEN, "domain_name": Word.DOMAIN},
    ),
    (
        snnet.Neighbor,
        {"physical_ip": "192.0.2.1", "subnet": "10.1.0.0/24", "tunnel_ip": "172.16.0.1",
         "tunnel_id": Number.SEVEN},
    ),
    (snnet.Rule, {"direction": Word.IN, "protocol": Word.TCP, "ports": Number.SEVEN,
                  "remote": Word.GROUP}),
    (snnet.Rule, {"direction": Word.IN, "protocol": Number.SEVEN}),
    (snnet.Group, {"tenant_id": Word.TENANT, "name": Word.VNIC}),
    (snnet.Remote, {"cn_ip": "192.0.2.1", "port": Number.SEVEN}),
    (snnet.Peer, {"cn_ip": "192.0.2.1", "port": Number.SEVEN, "macs": [Word.MAC]}),
    (snnet.Subnet, {"cidrs": "10.1.0.0/24", "key": Number.SEVEN, "mtu": Number.MTU,
                    "link": Word.VNIC}),
    (snnet.LocalSubnet, {"subnet_id": Word.VNIC, "subnet": "10.1.0.0/24",
                         "subnet_key": Number.SEVEN}),
    (snnet.ConcentratorConfig, {"tenant_id": Word.TENANT, "concentrator_id": Word.VNIC}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "given"), MADE)
def test_text_and_numbers_of_other_classes_are_kept_as_plain_ones(
    kind: Callable[..., Any], given: dict[str, Any]
) -> None:
    made = kind(**given)
    for item in fields(made):
        value = getattr(made, item.name)
        for one in value if isinstance(value, tuple) else (value,):
            assert not isinstance(one, (Word, Number)), item.name


def test_a_vnic_with_ids_of_an_enumeration_is_found_again() -> None:
    world = FakeWorld("gre")
    try:
        cfg = snnet.VnicConfig(**VNIC)
        node = world.node("cn-1")
        made = node.create_vnic(cfg).vnic
        node.close()
        again = world.node("cn-1")
        assert again.topology().vnics == (made,)
        kept: Reconciled = again.reconcile(vnics=[cfg])
        assert [item.action for item in kept.items] == ["kept"]
    finally:
        world.close()


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("repr")


WRONG: list[Callable[[Any], object]] = [
    lambda value: snnet.Rule(direction=value),
    lambda value: snnet.Rule(direction="in", protocol=value),
    lambda value: snnet.Rule(direction="in", protocol="tcp", ports=value),
    lambda value: snnet.Rule(direction="in", protocol="tcp", remote=value),
    lambda value: snnet.VnicConfig(vnic_id=value),
    lambda value: snnet.VnicConfig(rate_to_guest=value),
    lambda value: snnet.VnicConfig(subnet=value),
    lambda value: snnet.NetworkConfig(domain_name=value),
    lambda value: snnet.Subnet("10.1.0.0/24", 7, link=value),
    snnet.open_registry,
]


@pytest.mark.parametrize("value", [10**5000, "x/" * 50_000, Unprintable()], ids=["int", "text", ""])
@pytest.mark.parametrize("call", WRONG)
def test_a_wrong_value_is_shown_in_a_line(call: Callable[[Any], object], value: Any) -> None:
    with pytest.raises(snnet.InvalidRequest) as caught:
        call(value)
    assert len(str(caught.value)) < 1000


def test_a_wrong_config_or_flag_is_shown_in_a_line() -> None:
    world = FakeWorld("gre")
    try:
        node, cnci = world.node("cn-1"), world.cnci("c-1")
        owned = snnet.VnicConfig(**VNIC | {"owner": "x" * 10_000})
        bridge = cnci.add_remote_subnet("10.1.0.0/24", 7, "192.0.2.21")
        calls: list[Callable[[], object]] = [
            lambda: node.create_vnic(owned),
            lambda: node.create_vnic("x" * 10_000),  # type: ignore[arg-type]
            lambda: cnci.enable_nat(["eth0"], nat66=10**5000),  # type: ignore[arg-type]
            lambda: cnci.allow_external("eth0", "x" * 10_000),
            lambda: cnci.dhcp("10.1.0.0/24").add_entry("10.1.0.9", hostname="x" * 10_000),
            lambda: cnci.update_neighbors(["x" * 10_000]),  # type: ignore[list-item]
        ]
        for call in calls:
            with pytest.raises(snnet.InvalidRequest) as caught:
                call()
            assert len(str(caught.value)) < 1000
        assert bridge
        assert hash(cnci.topology()) == hash(cnci.topology())
    finally:
        world.close()


def test_the_wrong_one_of_many_configs_is_named() -> None:
    world = FakeWorld("gre")
    try:
        node = world.node("cn-1")
        right = snnet.VnicConfig(**VNIC)
        nobody = snnet.VnicConfig(tenant_id="t1", subnet_id="s1")
        outside = snnet.VnicConfig(**VNIC | {"vnic_id": "v8", "ip": "10.2.0.9"})
        calls: list[tuple[str, Callable[[], object]]] = [
            ("cfgs[1].vnic_id", lambda: node.destroy_vnics([right, nobody])),
            ("cfgs[1].ip", lambda: node.create_vnics([right, outside], atomic=True)),
            ("vnics[1].vnic_id", lambda: node.reconcile(vnics=[right, nobody])),
            ("vnics[1].ip", lambda: node.reconcile(vnics=[right, outside], atomic=True)),
            ("vnics[0]", lambda: node.reconcile(vnics=[5])),  # type: ignore[list-item]
        ]
        for field, call in calls:
            with pytest.raises(snnet.InvalidRequest) as caught:
                call()
            assert caught.value.field == field
            said = str(caught.value).removeprefix(f"{field}: ")
            assert said != str(caught.value)
            assert not said.startswith(field.rpartition(".")[2]), "the field is named twice"
    finally:
        world.close()
