"""What public methods return: exported, readable as text, and plain data on request."""

from __future__ import annotations

import inspect
import json
import typing
from dataclasses import fields, is_dataclass
from ipaddress import ip_network
from typing import Any

import pytest

import snnet
from snnet.contract import Add, Bridge, Outcome, Plan, Remove, Route
from tests.node.test_reconcile_cnci import everything
from tests.node.world import FakeWorld, container, port, vm

FACES = (snnet.ComputeNode, snnet.Cnci, snnet.ScopeControl)
PLAIN = (str, int, bool, dict, list, tuple, type(None), typing.Self)


def returned() -> set[type]:
    """The classes that public methods and properties are annotated to return."""
    found: set[type] = set()
    for face in FACES:
        for name, member in inspect.getmembers(face):
            if name.startswith("_"):
                continue
            call = member.fget if isinstance(member, property) else member
            if callable(call):
                hints = typing.get_type_hints(call)
                if "return" in hints:
                    found |= classes_in(hints["return"])
    return found


def classes_in(hint: Any) -> set[type]:
    if arguments := typing.get_args(hint):
        return {one for argument in arguments for one in classes_in(argument)}
    return {hint} if isinstance(hint, type) else set()


RETURNED = sorted(
    (one for one in returned() if one.__module__.startswith("snnet.")), key=lambda one: one.__name__
)
DRIVERS = {"Driver", "Drivers", "Site"}
"""What is lent, not returned: the drivers of a node and its place."""


def test_there_is_something_to_check() -> None:
    assert {"CreatedVnic", "Report", "Reconciled", "Topology", "Plan"} <= {
        one.__name__ for one in RETURNED
    }


@pytest.mark.parametrize("kind", RETURNED, ids=lambda kind: kind.__name__)
def test_what_is_returned_is_exported_and_gives_plain_data(kind: type) -> None:
    if kind.__name__ in DRIVERS:
        return
    assert getattr(snnet, kind.__name__) is kind
    assert kind.__name__ in snnet.__all__
    if is_dataclass(kind):
        assert callable(getattr(kind, "to_dict", None) or getattr(kind, "to_json", None))


def results() -> dict[str, Any]:
    """One object of each kind that comes back, of a node and a concentrator that are in use."""
    world = FakeWorld("gre")
    node, cnci = world.node(), world.cnci()
    made = node.create_vnic(container(9))
    several = node.create_vnics([vm(10), vm(10, ip="10.9.0.9")])
    nic = node.create_cnci_vnic(port(1))
    reconciled = cnci.reconcile(**everything())
    topology, tenants = cnci.topology(), node.topology()
    assert topology.mesh is not None
    return {
        "plan": node.plan_create_vnic(vm(11)),
        "created": made,
        "vnic": made.vnic,
        "event": made.tunnel_event,
        "info": made.container_info,
        "one of several": several[0],
        "one that failed": several[1],
        "cnci vnic": nic,
        "uplink": node.uplinks[0],
        "topology": tenants,
        "subnet": tenants.subnets[0],
        "reconciled": reconciled,
        "item": reconciled.items[0],
        "failed item": node.reconcile(vnics=[vm(12, ip="10.9.0.9")]).failed[0],
        "cnci topology": topology,
        "cnci subnet": topology.subnets[0],
        "mesh": topology.mesh,
        "peer": topology.mesh.peers[0],
        "forward": cnci.port_forwards[0],
        "entry": cnci.dhcp("10.1.0.0/24").added[0],
        "report": node.rebuild_topology(),
        "destroyed": node.destroy_vnic(container(9)),
    }


RESULTS = results()


@pytest.mark.parametrize("name", RESULTS)
def test_results_are_plain_data_on_request(name: str) -> None:
    result = RESULTS[name]
    text = result.to_json() if hasattr(result, "to_json") else json.dumps(result.to_dict())
    assert json.loads(text) is not None


@pytest.mark.parametrize(
    "name", [name for name in RESULTS if type(RESULTS[name]).__module__ == "snnet.node.results"]
)
def test_the_plain_data_of_a_calls_result_has_its_fields(name: str) -> None:
    result = RESULTS[name]
    assert result.to_dict() == {
        one.name: plain(getattr(result, one.name)) for one in fields(result)
    }


def plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, snnet.SnnetError):
        return str(value)
    return value.to_dict() if hasattr(value, "to_dict") else value


@pytest.mark.parametrize("name", RESULTS)
def test_results_are_readable(name: str) -> None:
    text = repr(RESULTS[name])
    assert type(RESULTS[name]).__name__ in text
    assert " object at 0x" not in text
    assert len(text) < 700, text


def test_a_report_says_what_a_plan_did_and_what_makes_room_for_the_rest() -> None:
    to, bridge, port = ip_network("10.1.0.0/24"), Bridge(name="b"), Bridge(name="c")
    main, other = Route(destination=to, link="b"), Route(destination=to, link="b", table=77)
    plan = Plan((Add(bridge), Add(main), Add(other), Remove(port), Remove(other)))
    taken = snnet.Exists("taken")
    failed: dict[int, snnet.SnnetError] = {1: taken, 2: taken, 3: snnet.Busy("in use")}
    report = snnet.Report()
    report.account(plan, Outcome(done={0}, errors=failed))
    assert report.healed == [str(plan.operations[0])]
    room = "taken; somebody's route has its place: ip route delete 10.1.0.0/24"
    assert report.orphans == [
        f"{main}: {room}",
        f"{other}: {room} table 77",
        f"{port}: in use",
    ]
    report.account(plan, Outcome(errors={0: taken, 1: snnet.Busy("in use")}))
    assert report.orphans[3:] == [f"{bridge}: taken", f"{main}: in use"]
