"""The index of a CNCI VNIC, which names the device that its VM opens."""

from __future__ import annotations

from typing import Any

import pytest

import snnet
from snnet.contract import Macvtap, Outcome, Remove
from tests.node.world import FakeWorld, port


def test_a_repaired_cnci_vnic_has_the_device_that_the_kernel_gave_it(fake: FakeWorld) -> None:
    node = fake.node()
    first = node.create_cnci_vnic(port(1))
    fake.delete(first.link_name)
    second = node.create_cnci_vnic(port(2))  # with the index that the first one had
    assert second.device == first.device
    node.repair()
    for vnic in node.topology().cnci_vnics:
        link = fake.link(vnic.link_name)
        assert link is not None
        assert vnic.index == link.index


def test_a_cnci_vnic_that_is_gone_at_once_has_none(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, apply = fake.node(), fake.kernel.apply

    def followed(operations: Any, **options: Any) -> Outcome:
        outcome = apply(operations, **options)
        apply([Remove(noun) for noun in fake.kernel.snapshot({Macvtap}).values()])
        return outcome

    monkeypatch.setattr(fake.kernel, "apply", followed)
    with pytest.raises(snnet.Missing, match="was deleted as soon as it was made"):
        node.create_cnci_vnic(port(1))
    monkeypatch.undo()
    assert node.create_cnci_vnic(port(1)).index
