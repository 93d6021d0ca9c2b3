"""The whole wanted set of a concentrator at once."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from itertools import count
from typing import Any

import pytest

import snnet
from snnet.backends.fake.driver import FakeDriver
from snnet.contract import Add, Bridge, Operation, PublicIp, Remove
from tests.node.test_cnci import neighbors
from tests.node.world import FakeWorld, World

ONE, TWO, THREE = "10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24"
NEAR, FAR = snnet.Remote("192.0.2.21"), snnet.Remote("192.0.2.22")
GUEST = "10.1.0.9"


OWN = snnet.Remote("192.0.2.11")
DOOR = {"protocol": "tcp", "device": "eth0", "port": 80, "to": GUEST}
DOOR_OF_ALL = {"address": "203.0.113.6", "to": GUEST, "device": "eth0"}


def entry(number: int, hostname: str | None = None) -> snnet.DhcpEntry:
    address = f"10.1.0.{number}"
    return snnet.DhcpEntry(
        mac=snnet.mac_for(address), address=IPv4Address(address), hostname=hostname
    )


def everything() -> dict[str, Any]:
    """One of each kind."""
    return {
        "subnets": [
            snnet.Subnet(ONE, 7, remotes=[NEAR, FAR], entries=[entry(9, "web")]),
            snnet.Subnet((TWO,), 8, remotes=[NEAR]),
        ],
        "nat": ["eth0"],
        "exits": [("eth0", ONE)],
        "forwards": [{"protocol": "tcp", "device": "eth0", "port": 33009, "to": GUEST}],
        "public_ips": [{"address": "203.0.113.5", "to": GUEST, "device": "eth0"}],
        "neighbors": neighbors(11, 30),
    }


def actions(result: snnet.Reconciled) -> dict[tuple[str, ...], str]:
    assert len({item.key for item in result.items}) == len(result.items)
    return {item.key: item.action for item in result.items}


KEYS = {
    ("subnet", ONE),
    ("subnet", TWO),
    ("nat", "eth0"),
    ("exit", "eth0", ONE),
    ("forward", "tcp", "eth0", "33009"),
    ("public_ip", "203.0.113.5"),
    ("mesh",),
}


def test_everything_is_made_kept_and_removed(world: World) -> None:
    cnci = world.cnci()
    before = world.text()
    assert actions(cnci.reconcile(**everything())) == dict.fromkeys(KEYS, "created")
    assert cnci.verify() == []
    assert {str(ip) for ip in cnci.public_ips} == {"203.0.113.5"}
    assert [rule.port for rule in cnci.port_forwards] == [33009]
    assert [one.hostname for one in cnci.dhcp(ONE).added] == ["web"]
    made = world.text()
    assert actions(cnci.reconcile(**everything())) == dict.fromkeys(KEYS, "kept")
    assert world.text() == made
    nothing: dict[str, Any] = {kind: [] for kind in everything()}
    assert actions(cnci.reconcile(**nothing)) == dict.fromkeys(KEYS, "removed")
    assert world.text() == before
    assert cnci.verify() == []


def test_a_kind_that_is_not_passed_is_left_alone(world: World) -> None:
    cnci = world.cnci()
    cnci.reconcile(**everything())
    before = world.text()
    assert cnci.reconcile().items == []
    assert world.text() == before
    assert actions(cnci.reconcile(nat=[])) == {("nat", "eth0"): "removed"}
    assert actions(cnci.reconcile(nat=["eth0"])) == {("nat", "eth0"): "created"}
    assert cnci.verify() == []


def test_the_order_of_arguments_and_records_makes_no_difference(fake: FakeWorld) -> None:
    cnci = fake.cnci()
    cnci.reconcile(**everything())
    again = everything() | {
        "forwards": cnci.port_forwards,
        "subnets": everything()["subnets"][::-1],
    }
    assert set(actions(cnci.reconcile(**again)).values()) == {"kept"}


def test_what_differs_is_updated(world: World) -> None:
    cnci = world.cnci()
    cnci.reconcile(**everything())
    wanted = everything()
    wanted["subnets"] = [
        snnet.Subnet(ONE, 7, remotes=[FAR], entries=[entry(9), entry(10)]),
        snnet.Subnet(THREE, 8),
    ]
    wanted["forwards"] = [
        {"protocol": "tcp", "device": "eth0", "port": 33009, "to": "10.1.0.10", "to_port": 22}
    ]
    assert actions(cnci.reconcile(**wanted)) == dict.fromkeys(KEYS, "kept") | {
        ("subnet", ONE): "updated",
        ("subnet", TWO): "removed",
        ("subnet", THREE): "created",
        ("forward", "tcp", "eth0", "33009"): "updated",
    }
    assert cnci.verify() == []
    (forward,) = cnci.port_forwards
    assert (str(forward.target), forward.target_port) == ("10.1.0.10", 22)
    topology = cnci.topology()
    assert set(topology["subnets"]) == {ONE, THREE}
    assert set(topology["subnets"][ONE]["tunnels"]) == {"192.0.2.22"}
    assert topology["subnets"][THREE]["tunnels"] == {}
    assert [str(one.address) for one in cnci.dhcp(ONE).added] == ["10.1.0.9", "10.1.0.10"]


def test_the_mtu_of_a_subnet_is_changed_in_place(world: World) -> None:
    """The gateway has it, guests learn it, and the next concentrator knows it."""
    cnci = world.cnci()
    wanted: dict[str, Any] = {"subnets": [snnet.Subnet(ONE, 7, remotes=[NEAR], mtu=1400)]}
    cnci.reconcile(**wanted)
    full, tunnels = cnci.site.mtu, cnci.topology()["subnets"][ONE]["tunnels"]
    assert full > 1400

    def seen() -> tuple[int | None, int]:
        (scope,) = (subnet.scope for subnet in cnci.topology().subnets)
        bridge = cnci.backend.find(snnet.contract.Link(name=scope.link))
        found = cnci._drivers.find([scope])[scope.key]
        assert isinstance(bridge, snnet.contract.Bridge)
        assert isinstance(found, snnet.contract.DhcpScope)
        return bridge.mtu, found.mtu

    assert seen() == (1400, 1400)
    assert cnci.verify() == []
    cnci.close()
    cnci = world.cnci()
    assert actions(cnci.reconcile(**wanted)) == {("subnet", ONE): "kept"}
    for cap, mtu in ((1300, 1300), (None, full), (9000, full), (1400, 1400)):
        wanted["subnets"] = [snnet.Subnet(ONE, 7, remotes=[NEAR], mtu=cap)]
        assert actions(cnci.reconcile(**wanted)) == {("subnet", ONE): "updated"}
        assert seen() == (mtu, mtu)
        assert cnci.topology()["subnets"][ONE]["tunnels"] == tunnels
        assert cnci.verify() == []


def test_an_mtu_too_low_for_ipv6_is_named() -> None:
    with pytest.raises(snnet.InvalidRequest, match="mtu: 1000 is not a whole number from 1280"):
        snnet.Subnet(("10.1.0.0/24", "fd00:1::/64"), 7, mtu=1000)


def test_forwards_of_one_port_differ_by_address(fake: FakeWorld) -> None:
    cnci = fake.cnci()
    cnci.add_remote_subnet("10.1.0.0/24", 7, "192.0.2.21")
    door = {"protocol": "tcp", "device": "eth0", "port": 33009, "to": GUEST}
    own = door | {"address": "192.0.2.11", "sources": ["198.51.100.0/24"]}
    rest, one = (
        ("forward", "tcp", "eth0", "33009"),
        ("forward", "tcp", "eth0", "33009", "192.0.2.11"),
    )
    assert actions(cnci.reconcile(forwards=[door, own])) == {rest: "created", one: "created"}
    kept = cnci.port_forwards
    assert actions(cnci.reconcile(forwards=kept)) == {rest: "kept", one: "kept"}
    assert actions(cnci.reconcile(forwards=[door])) == {rest: "kept", one: "removed"}
    assert actions(cnci.reconcile(forwards=kept)) == {rest: "kept", one: "created"}
    wider = own | {"sources": []}
    assert actions(cnci.reconcile(forwards=[wider])) == {rest: "removed", one: "updated"}
    (forward,) = cnci.port_forwards
    assert (str(forward.address), forward.sources) == ("192.0.2.11", ())
    assert cnci.verify() == []


def test_another_key_makes_the_subnet_again(world: World) -> None:
    cnci = world.cnci()
    cnci.reconcile(**everything())
    result = cnci.reconcile(subnets=[snnet.Subnet(ONE, 99, remotes=[NEAR])])
    assert actions(result) == {("subnet", ONE): "updated", ("subnet", TWO): "removed"}
    assert cnci.topology()["subnets"][ONE]["subnet_key"] == 99
    assert cnci.verify() == []


def test_what_was_deleted_behind_its_back_is_repaired(world: World) -> None:
    cnci = world.cnci()
    cnci.reconcile(**everything())
    (nat,) = [rule for rule in cnci.topology().rules if type(rule).__name__ == "Masquerade"]
    assert cnci.drivers.firewall.apply([Remove(nat)]).error is None
    world.delete(cnci.topology()["subnets"][ONE]["tunnels"]["192.0.2.21"])
    found = actions(cnci.reconcile(**everything()))
    assert {key: action for key, action in found.items() if action != "kept"} == {
        ("subnet", ONE): "updated",
        ("nat", "eth0"): "updated",
    }
    assert cnci.verify() == []


def test_one_that_cannot_be_fails_alone(world: World) -> None:
    cnci = world.cnci()
    wanted = everything()
    wanted["nat"] = ["eth0", "no-such"]
    wanted["exits"] = [("eth0", THREE)]
    result = cnci.reconcile(**wanted)
    assert {item.key: item.error is not None for item in result.failed} == {
        ("nat", "no-such"): True,
        ("exit", "eth0", THREE): True,
    }
    assert actions(result)[("nat", "eth0")] == "created"
    assert cnci.verify() == []


@pytest.mark.parametrize("before", [{}, everything()], ids=["from nothing", "from everything"])
def test_atomic_is_all_or_nothing(world: World, before: dict[str, Any]) -> None:
    cnci = world.cnci()
    cnci.reconcile(**before)
    text, known = world.text(), cnci.topology()
    wanted = everything() | {"subnets": [snnet.Subnet(THREE, 9, remotes=[NEAR])]}
    wanted |= {"forwards": [], "public_ips": [], "exits": [("no-such", THREE)]}
    with pytest.raises(snnet.InvalidRequest, match="no-such") as caught:
        cnci.reconcile(**wanted, atomic=True)
    assert caught.value.state is snnet.State.ROLLED_BACK
    assert world.text() == text
    assert cnci.topology().to_dict() == known.to_dict()
    assert cnci.verify() == []


def test_every_operation_fails_once_and_atomic_leaves_nothing() -> None:
    at = 0
    while True:
        at += 1
        world = FakeWorld("gre")
        cnci = world.cnci()
        cnci.reconcile(subnets=[snnet.Subnet(THREE, 9, remotes=[NEAR])], nat=["eth0"])
        text = world.text()
        world.kernel.fail(at=at, error="ENOMEM")
        error: snnet.ApiError | None = None
        try:
            cnci.reconcile(**everything(), atomic=True)
        except snnet.ApiError as caught:
            error = caught
        if error is None:
            assert at > 10
            return
        assert error.state is snnet.State.ROLLED_BACK, at
        assert world.text() == text, at
        assert cnci.verify() == [], at


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"subnets": [ONE]}, "subnets[0]"),
        ({"nat": "eth0"}, "nat"),
        ({"nat": [5]}, "nat[0]"),
        ({"exits": [("eth0",)]}, "exits[0]"),
        ({"exits": [("eth0", "10.1.0.9")]}, "exits[0][1]"),
        ({"forwards": [{"protocol": "tcp"}]}, "forwards[0].device"),
        ({"forwards": [{"protokol": "tcp"}]}, "forwards[0].protokol"),
        ({"public_ips": ["203.0.113.5"]}, "public_ips[0]"),
        ({"neighbors": ["x"]}, "neighbors[0]"),
        ({"subnets": [snnet.Subnet(ONE, 7), snnet.Subnet(TWO, 8, [OWN])]}, "subnets[1].cn_ip"),
        ({"nat": [{"device": "eth0", "nat66": "yes"}]}, "nat[0].nat66"),
        ({"nat": [{"device": 5}]}, "nat[0].device"),
        ({"forwards": [DOOR, DOOR | {"port": 81, "to": "x"}]}, "forwards[1].to"),
        ({"public_ips": [DOOR_OF_ALL | {"address": "::1"}]}, "public_ips[0].address"),
        ({"public_ips": [DOOR_OF_ALL | {"to": None}]}, "public_ips[0].to"),
    ],
)
def test_what_is_malformed_touches_nothing(
    fake: FakeWorld, wanted: dict[str, Any], field: str
) -> None:
    cnci = fake.cnci()
    cnci.reconcile(**everything())
    before = fake.text()
    with pytest.raises(snnet.InvalidRequest) as caught:
        cnci.reconcile(**everything() | wanted)
    assert caught.value.field == field
    assert fake.text() == before


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"cidrs": "10.1.0.9/24"}, "cidrs"),
        ({"cidrs": ()}, "cidrs"),
        ({"cidrs": (ONE, TWO)}, "cidrs"),
        ({"key": 0}, "key"),
        ({"remotes": ["192.0.2.21"]}, "remotes[0]"),
        ({"entries": ["10.1.0.9"]}, "entries[0]"),
    ],
)
def test_a_subnet_is_checked_when_it_is_made(given: dict[str, Any], field: str) -> None:
    values: dict[str, Any] = {"cidrs": ONE, "key": 7}
    with pytest.raises(snnet.InvalidRequest) as caught:
        snnet.Subnet(**values | given)
    assert caught.value.field == field


MAC = "02:00:00:00:00:01"
NO_ADDRESS: Any = 5
WRONG_ENTRIES: dict[str, tuple[Any, str]] = {
    "no entry": ("x", "entries[0]"),
    "mac": (snnet.DhcpEntry(mac="zz", address=IPv4Address(GUEST)), "entries[0].mac"),
    "text": (snnet.DhcpEntry(mac=MAC, address=NO_ADDRESS), "entries[0].address"),
    "outside": (
        snnet.DhcpEntry(mac=MAC, address=IPv4Address("10.9.0.9")),
        "entries[0].address",
    ),
    "hostname": (
        snnet.DhcpEntry(mac=MAC, address=IPv4Address(GUEST), hostname="a b"),
        "entries[0].hostname",
    ),
}


@pytest.mark.parametrize(("wrong", "field"), WRONG_ENTRIES.values(), ids=WRONG_ENTRIES)
def test_entries_are_checked_before_anything_is_touched(
    fake: FakeWorld, wrong: Any, field: str
) -> None:
    with pytest.raises(snnet.InvalidRequest) as caught:
        snnet.Subnet(ONE, 7, entries=[wrong])
    assert caught.value.field == field
    cnci = fake.cnci()
    cnci.add_remote_subnet(ONE, 7, "192.0.2.21")
    with pytest.raises(snnet.InvalidRequest) as caught:
        cnci.dhcp(ONE).add_entries([wrong])
    assert caught.value.field == field


def test_the_mac_of_an_entry_comes_back_in_lower_case() -> None:
    (known,) = snnet.Subnet(
        ONE, 7, entries=[snnet.DhcpEntry(mac="02:AA:00:00:00:01", address=IPv4Address(GUEST))]
    ).entries
    assert known.mac == "02:aa:00:00:00:01"


FORWARD = {"protocol": "tcp", "device": "eth0", "to": GUEST}
TWICE: dict[str, tuple[dict[str, Any], str]] = {
    "subnet": ({"subnets": [snnet.Subnet(ONE, 7), snnet.Subnet(ONE, 8)]}, "subnets[1]"),
    "nat": ({"nat": ["eth0", "eth0"]}, "nat[1]"),
    "exit": ({"exits": [("eth0", ONE), ("eth0", ONE)]}, "exits[1]"),
    "forward": (
        {"forwards": [FORWARD | {"port": 80, "to": "10.1.0.8"}, FORWARD | {"port": "79-80"}]},
        "forwards[1]",
    ),
    "public_ip": (
        {
            "public_ips": [
                {"address": "203.0.113.5", "to": GUEST, "device": "eth0"},
                {"address": "203.0.113.5", "to": "10.1.0.8", "device": "eth0"},
            ]
        },
        "public_ips[1]",
    ),
}


@pytest.mark.parametrize(("wanted", "field"), TWICE.values(), ids=TWICE)
def test_what_is_there_twice_is_refused_before_anything_is_touched(
    fake: FakeWorld, wanted: dict[str, Any], field: str
) -> None:
    cnci = fake.cnci()
    before = fake.text()
    with pytest.raises(snnet.InvalidRequest, match="is there twice") as caught:
        cnci.reconcile(**wanted)
    assert caught.value.field == field
    assert fake.text() == before


def test_a_guest_gets_one_of_two_public_addresses(fake: FakeWorld) -> None:
    cnci = fake.cnci()
    cnci.add_remote_subnet(ONE, 7, "192.0.2.21")
    two = [{"address": f"203.0.113.{number}", "to": GUEST, "device": "eth0"} for number in (5, 6)]
    items = cnci.reconcile(public_ips=two).items
    assert [item.action for item in items] == ["created", "failed"]
    assert isinstance(items[1].error, snnet.Conflict)
    assert [str(address) for address in cnci.public_ips] == ["203.0.113.5"]


@pytest.mark.parametrize("atomic", [False, True])
def test_subnets_can_swap_their_keys(world: World, atomic: bool) -> None:
    cnci = world.cnci()
    cnci.reconcile(subnets=[snnet.Subnet(ONE, 7, [NEAR]), snnet.Subnet(TWO, 8, [NEAR])])
    swapped = [snnet.Subnet(ONE, 8, [NEAR]), snnet.Subnet(TWO, 7, [NEAR])]
    assert actions(cnci.reconcile(subnets=swapped, atomic=atomic)) == {
        ("subnet", ONE): "updated",
        ("subnet", TWO): "updated",
    }
    assert [subnet.key for subnet in cnci.topology().subnets] == [8, 7]
    assert cnci.verify() == []


def test_a_new_key_leaves_rules_alone_that_are_not_named(world: World) -> None:
    cnci = world.cnci()
    cnci.reconcile(**everything())
    rules = set(cnci.topology().rules)
    wanted = [snnet.Subnet(ONE, 77, [NEAR, FAR]), snnet.Subnet(TWO, 8, [NEAR])]
    assert actions(cnci.reconcile(subnets=wanted)) == {
        ("subnet", ONE): "updated",
        ("subnet", TWO): "kept",
    }
    assert set(cnci.topology().rules) == rules
    assert cnci.verify() == []


def test_a_new_key_keeps_the_rules_though_the_removal_failed_at_first() -> None:
    for at in count(1):
        world = FakeWorld("gre")
        cnci = world.cnci()
        cnci.reconcile(**everything())
        rules = set(cnci.topology().rules)
        wanted = [snnet.Subnet(ONE, 77, [NEAR, FAR]), snnet.Subnet(TWO, 8, [NEAR])]
        world.kernel.fail(at=at, error="ENOMEM")
        (failed,) = cnci.reconcile(subnets=wanted).failed
        if not str(failed.error).startswith("remove_subnet"):
            assert at > 10
            return
        cnci.reconcile(subnets=wanted)
        assert cnci.topology()["subnets"][ONE]["subnet_key"] == 77, at
        assert set(cnci.topology().rules) == rules, at
        assert cnci.verify() == []
        world.close()


def test_rules_that_cannot_come_back_do_not_hide_the_removal_that_failed(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    cnci = fake.cnci()
    cnci.reconcile(**everything())
    perform: Any = FakeDriver.perform

    def refusing(driver: FakeDriver, operation: Operation) -> Any:
        if (type(operation), type(operation.noun)) in {(Remove, Bridge), (Add, PublicIp)}:
            raise snnet.Busy("cannot do it: Device or resource busy (EBUSY)")
        return perform(driver, operation)

    wanted = everything()
    wanted["subnets"][0] = replace(wanted["subnets"][0], key=77)
    with monkeypatch.context() as patch:
        patch.setattr(FakeDriver, "perform", refusing)
        (failed,) = cnci.reconcile(subnets=wanted["subnets"]).failed
    assert failed.key == ("subnet", ONE)
    assert str(failed.error).startswith(f"remove_subnet {ONE} is unfinished")
    assert not cnci.reconcile(**wanted).failed
    assert cnci.verify() == []


def test_a_port_stays_until_another_one_is_wanted() -> None:
    cnci = FakeWorld("vxlan").cnci()
    for port, has, action in (
        (17000, 17000, "created"),
        (17000, 17000, "kept"),
        (None, 17000, "kept"),
        (17001, 17001, "updated"),
    ):
        wanted = snnet.Subnet(ONE, 7, [snnet.Remote("192.0.2.21", port)])
        assert actions(cnci.reconcile(subnets=[wanted])) == {("subnet", ONE): action}
        (tunnel,) = cnci.topology().subnets[0].tunnels.values()
        assert tunnel.wire_port == has
    two = [snnet.Remote("192.0.2.21", 17001), snnet.Remote("192.0.2.22", 17002)]
    other = [snnet.Remote("192.0.2.22", 17001), snnet.Remote("192.0.2.23", 17002)]
    for remotes in (two, other):
        cnci.reconcile(subnets=[snnet.Subnet(ONE, 7, remotes)])
        (subnet,) = cnci.topology().subnets
        ports = {remote: tunnel.wire_port for remote, tunnel in subnet.tunnels.items()}
        assert ports == {remote.cn_ip: remote.port for remote in remotes}
    assert cnci.verify() == []


def test_tunnels_that_have_no_port_stay_whatever_port_is_wanted(fake: FakeWorld) -> None:
    cnci = fake.cnci()
    for port, action in ((17000, "created"), (17000, "kept"), (17001, "kept")):
        wanted = snnet.Subnet(ONE, 7, [snnet.Remote("192.0.2.21", port)])
        assert actions(cnci.reconcile(subnets=[wanted])) == {("subnet", ONE): action}
    assert cnci.verify() == []


OTHER = {"protocol": "tcp", "device": "eth0", "port": 33009, "to": "10.1.0.8"}
SECOND = snnet.Subnet((TWO,), 8, remotes=[NEAR])
FAILING: dict[str, tuple[dict[str, Any], tuple[str, ...], str]] = {
    "key": (
        {"subnets": [snnet.Subnet(ONE, 9, [NEAR]), SECOND]},
        ("subnet", ONE),
        "remove_subnet 10.1.0.0/24",
    ),
    "subnet": ({"subnets": [SECOND]}, ("subnet", ONE), "remove_subnet 10.1.0.0/24"),
    "node": (
        {"subnets": [snnet.Subnet(ONE, 7, [NEAR], entries=[entry(9, "web")]), SECOND]},
        ("subnet", ONE),
        "del_remote_subnet 10.1.0.0/24 192.0.2.22",
    ),
    "entries": (
        {"subnets": [snnet.Subnet(ONE, 7, [NEAR, FAR]), SECOND]},
        ("subnet", ONE),
        "dhcp reconcile 10.1.0.0/24",
    ),
    "mtu": (
        {"subnets": [snnet.Subnet(ONE, 7, [NEAR, FAR], [entry(9, "web")], mtu=1300), SECOND]},
        ("subnet", ONE),
        "cap mtu of 10.1.0.0/24",
    ),
    "mesh": ({"neighbors": neighbors(11, 31)}, ("mesh",), "update_neighbors"),
    "no mesh": ({"neighbors": []}, ("mesh",), "update_neighbors"),
    "forward": (
        {"forwards": [OTHER, OTHER | {"port": 33010}]},
        ("forward", "tcp", "eth0", "33009"),
        "reconcile",
    ),
    "no forward": ({"forwards": []}, ("forward", "tcp", "eth0", "33009"), "reconcile"),
    "no exit": ({"exits": []}, ("exit", "eth0", ONE), "reconcile"),
}
"""What is wanted, the key of what fails, and the call that the error names."""


@pytest.mark.parametrize(("wanted", "key", "call"), FAILING.values(), ids=FAILING)
def test_what_fails_is_named_with_its_call_and_a_repeat_does_it(
    fake: FakeWorld, wanted: dict[str, Any], key: tuple[str, ...], call: str
) -> None:
    cnci = fake.cnci()
    cnci.reconcile(**everything())
    fake.kernel.fail(at=1)
    first = cnci.reconcile(**wanted)
    (item,) = first.failed
    assert item.key == key
    assert str(item.error).startswith(f"{call} ")
    again = actions(cnci.reconcile(**wanted))
    assert again[key] in ("updated", "removed")
    assert again.keys() == actions(first).keys()
    assert cnci.verify() == []


def test_a_rule_that_cannot_be_set_with_others_or_alone_fails(fake: FakeWorld) -> None:
    cnci = fake.cnci()
    cnci.reconcile(**everything())
    two: dict[str, Any] = {
        "forwards": [FORWARD | {"port": 33009}, FORWARD | {"port": 81}],
        "nat": ["eth0"],
    }
    for at in (1, 2):
        fake.kernel.fail(at=at)
    result = cnci.reconcile(**two)
    key = ("forward", "tcp", "eth0", "81")
    assert actions(result) == {
        ("nat", "eth0"): "kept",
        ("forward", "tcp", "eth0", "33009"): "kept",
        key: "failed",
    }
    assert str(result.failed[0].error).startswith("reconcile failed")
    assert actions(cnci.reconcile(**two))[key] == "created"


def test_a_subnet_moves_from_a_peer_of_the_mesh_to_here_and_back(fake: FakeWorld) -> None:
    cnci = fake.cnci()
    here, there = snnet.Subnet(THREE, 9), neighbors(11, 30)
    behind = next(str(entry.subnet) for entry in there if entry.physical_ip != cnci.compute_ip)
    cnci.reconcile(subnets=[here], neighbors=there)
    alone = [entry for entry in there if entry.physical_ip == cnci.compute_ip]
    both = [here, snnet.Subnet(behind, 10)]
    result = actions(cnci.reconcile(subnets=both, neighbors=alone, atomic=True))
    assert result["subnet", behind] == "created"
    result = actions(cnci.reconcile(subnets=[here], neighbors=there, atomic=True))
    assert result["subnet", behind] == "removed"
    assert cnci.verify() == []


def test_an_exit_names_a_subnet_of_both_families_by_one_of_its_networks(fake: FakeWorld) -> None:
    fake.kernel.add_uplink("ext0", "203.0.113.1/24")
    node = fake.cnci()
    both = ("10.2.0.0/24", "fd00:2::/64")
    for cidr in both:
        exits = [("ext0", cidr)]
        result = node.reconcile(subnets=[snnet.Subnet(both, 2)], nat=["ext0"], exits=exits)
        assert result.failed == []
        assert ("exit", "ext0", ",".join(both)) in {item.key for item in result.items}
