"""Many VNICs in one call, and the whole wanted set of a compute node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import snnet
from tests.node.world import FakeWorld, port, vm

Call = Callable[[snnet.ComputeNode, Any], object]

CALLS: dict[str, Call] = {
    "create_vnics": lambda node, cfgs: node.create_vnics(cfgs),
    "destroy_vnics": lambda node, cfgs: node.destroy_vnics(cfgs),
    "reconcile vnics": lambda node, cfgs: node.reconcile(vnics=cfgs),
    "reconcile cnci_vnics": lambda node, cfgs: node.reconcile(cnci_vnics=cfgs),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("cfgs", [5, "v1", {"v1": 1}])
def test_what_is_not_a_list_is_an_invalid_request(fake: FakeWorld, call: Call, cfgs: Any) -> None:
    with pytest.raises(snnet.InvalidRequest, match="is not a list"):
        call(fake.node(), cfgs)


@pytest.mark.parametrize("atomic", [False, True])
def test_subnets_can_swap_their_keys(fake: FakeWorld, atomic: bool) -> None:
    node = fake.node()
    one, two = vm(8, subnet_key=7), vm(9, subnet_number=2, subnet_key=8)
    node.reconcile(vnics=[one, two])
    swapped = [vm(8, subnet_key=8), vm(9, subnet_number=2, subnet_key=7)]
    assert {item.action for item in node.reconcile(vnics=swapped, atomic=atomic).items} == {
        "updated"
    }
    assert [subnet.key for subnet in node.topology().subnets] == [8, 7]
    assert node.verify() == []


def test_a_subnet_can_have_the_key_of_one_that_goes(fake: FakeWorld) -> None:
    node = fake.node()
    node.reconcile(vnics=[vm(8, subnet_key=7), vm(9, subnet_number=2, subnet_key=8)])
    result = node.reconcile(vnics=[vm(8, subnet_key=8)], atomic=True)
    assert {item.key[2]: item.action for item in result.items} == {
        "v8": "updated",
        "v9": "removed",
    }


@pytest.mark.parametrize("atomic", [False, True])
def test_cnci_vnics_can_swap_their_macs(fake: FakeWorld, atomic: bool) -> None:
    node = fake.node()
    node.reconcile(cnci_vnics=[port(1), port(2)])
    one, two = (port(number).mac for number in (1, 2))
    result = node.reconcile(cnci_vnics=[port(1, mac=two), port(2, mac=one)], atomic=atomic)
    assert [item.action for item in result.items] == ["updated", "updated"]
    assert [vnic.mac for vnic in node.topology().cnci_vnics] == [two, one]
    assert node.verify() == []
