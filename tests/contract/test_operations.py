"""Operations, plans and outcomes."""

from __future__ import annotations

import json
import os

import pytest

from snnet.contract import Add, Bridge, Change, Missing, Outcome, Plan, Remove, Tap, Timeout

OLD, NEW = Tap(name="t", mtu=1400), Tap(name="t", mtu=1300)
BRIDGE = Bridge(name="b")


@pytest.mark.parametrize(
    ("operation", "inverse"),
    [
        (Add(OLD), Remove(OLD)),
        (Remove(OLD), Add(OLD)),
        (Change(NEW, OLD), Change(OLD, NEW)),
    ],
)
def test_every_operation_can_be_undone(operation: Add | Remove | Change, inverse: object) -> None:
    assert operation.inverse() == inverse
    assert operation.inverse().inverse() == operation


def test_a_plan_prints_as_text() -> None:
    plan = Plan((Remove(BRIDGE), Change(NEW, OLD), Add(OLD)))
    assert str(plan) == (
        "remove bridge b up\n"
        "change tap t mtu 1300 up (was tap t mtu 1400 up)\n"
        "add tap t mtu 1400 up"
    )
    assert str(Plan()) == "nothing to do"


def test_a_plan_prints_as_json() -> None:
    data = json.loads(Plan((Add(BRIDGE), Change(NEW, OLD), Remove(OLD))).to_json())
    assert [item["op"] for item in data] == ["add", "change", "remove"]
    assert data[0]["noun"] == "Bridge"
    assert (data[1]["mtu"], data[1]["old"]["mtu"]) == (1300, 1400)
    assert json.loads(Plan().to_json()) == []


def test_a_plan_prints_as_commands_as_its_renderer_says() -> None:
    plan = Plan((Add(BRIDGE), Remove(OLD)), render=lambda operation: [f"do {operation}", "then"])
    assert plan.to_commands() == [
        "do add bridge b up",
        "then",
        "do remove tap t mtu 1400 up",
        "then",
    ]
    assert Plan((Add(BRIDGE),)).to_commands() == []


def test_a_plan_is_a_sequence_of_operations() -> None:
    plan = Plan((Add(BRIDGE), Remove(OLD)))
    assert list(plan) == [Add(BRIDGE), Remove(OLD)]
    assert len(plan) == 2
    assert plan
    assert not Plan()
    assert plan == Plan(plan.operations, render=lambda _: [])


def test_the_first_error_is_the_first_by_position() -> None:
    late, early = Missing("late"), Timeout("early")
    assert Outcome(errors={3: late, 1: early}).error is early
    assert Outcome(done={0, 2}).error is None


def test_descriptors_of_an_outcome_thrown_away_are_closed_once() -> None:
    ends = os.pipe()
    outcome = Outcome(fds={"t": ends})
    outcome.close_fds()
    outcome.close_fds()
    for fd in ends:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
