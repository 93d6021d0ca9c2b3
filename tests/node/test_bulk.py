"""Many VNICs in one call, and the whole wanted set of a compute node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import snnet
from tests.node.world import FakeWorld

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
