"""What an older snnet made otherwise is named by ``verify()``, and put right in place."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_interface

import pytest

from snnet.contract import Add, Address, Change, Macvtap, Remove
from tests.node.world import World, port

restarts = pytest.mark.parametrize("restart", [False, True], ids=["repair", "init"])


@restarts
def test_a_macvtap_that_filters_multicast(world: World, restart: bool) -> None:
    """Behind it, neighbour discovery does not find the concentrator."""
    node = world.node()
    node.create_cnci_vnic(port(1))
    (found,) = world.kernel.snapshot({Macvtap}).values()
    assert isinstance(found, Macvtap)
    assert found.all_multicast
    filtered = Change(replace(found, all_multicast=False), found)
    assert world.kernel.apply([filtered]).error is None
    assert ["multicast filtered" in str(difference) for difference in node.verify()] == [True]
    if restart:
        node.close()
        node = world.node()
    else:
        node.repair()
    assert node.verify() == []
    (now,) = world.kernel.snapshot({Macvtap}).values()
    assert (now, now.key) == (found, found.key)


@restarts
def test_a_public_address_that_other_packets_may_leave_with(world: World, restart: bool) -> None:
    cnci = world.cnci()
    cnci.add_remote_subnet(("10.1.0.0/24", "fd00:1::/64"), 7, "192.0.2.21")
    cnci.enable_nat(["eth0"], nat66=True)
    cnci.add_public_ip("2001:db8:2::2", to="fd00:1::9", device="eth0")
    made = Address(link="eth0", address=ip_interface("2001:db8:2::2/128"), deprecated=True)
    preferred = replace(made, deprecated=False)
    assert world.kernel.apply([Remove(made), Add(preferred)]).error is None
    assert [str(difference) for difference in cnci.verify()] == [
        f"different: {preferred}, should be: {made}"
    ]
    if restart:
        cnci.close()
        cnci = world.cnci()
    else:
        cnci.repair()
    assert cnci.verify() == []
    assert world.kernel.find(made) == made
