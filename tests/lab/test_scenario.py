"""The data centre that the demo promises."""

from __future__ import annotations

from collections import Counter

from snnet.lab import demo_scenario


def test_two_compute_nodes_and_a_network_node_share_a_wire() -> None:
    scenario = demo_scenario()
    assert len(scenario.compute_nodes) == 2
    assert all(machine.address.ip in scenario.wire for machine in scenario.machines)
    machines = (*scenario.machines, scenario.internet)
    addresses = [address for machine in machines for address in machine.addresses]
    addresses += [address for tenant in scenario.tenants for address in tenant.addresses]
    assert len(set(addresses)) == len(addresses)


def test_tenants_use_the_same_addresses_and_other_keys() -> None:
    scenario = demo_scenario()
    blue, green = (
        [guest for guest in scenario.guests if guest.tenant is tenant]
        for tenant in scenario.tenants
    )
    assert [guest.ip for guest in blue] == [guest.ip for guest in green]
    assert not {guest.subnet.key for guest in blue} & {guest.subnet.key for guest in green}


def test_each_tenant_has_a_vm_and_a_container_everywhere() -> None:
    scenario = demo_scenario()
    places = Counter(
        (guest.tenant.name, guest.machine.name, guest.subnet.name, guest.is_vm)
        for guest in scenario.guests
    )
    assert len(places) == 16
    assert set(places.values()) == {1}
    assert len({guest.name for guest in scenario.guests}) == 16


def test_nobody_is_expected_to_ping_a_guest_in_a_group() -> None:
    expected = demo_scenario(groups=True).expected()
    assert not any(row.get("blue-web-vm2") for row in expected.values())
    assert expected["blue-web-vm2"]["blue-web-ct2"] == {4, 6}


def test_guests_of_one_tenant_and_no_others_are_expected_to_reach_each_other() -> None:
    scenario = demo_scenario()
    expected = scenario.expected()
    assert sum(len(row) for row in expected.values()) == 240
    for source, target in scenario.pairs():
        wanted = {4, 6} if source.tenant is target.tenant else set[int]()
        assert expected[source.name][target.name] == wanted
