"""The index of a CNCI VNIC, which names the device that its VM opens."""

from __future__ import annotations

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
