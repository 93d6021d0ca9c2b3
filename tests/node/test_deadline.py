"""When a call stops, and how long it waits before it looks whether it must."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

import snnet
from snnet.node.deadline import NO_LIMIT, Deadline

FIELDS: list[tuple[dict[str, Any], str]] = [
    *(({"seconds": wrong}, "timeout") for wrong in (0, -1, "6", True, threading.TIMEOUT_MAX * 2)),
    *(({"cancel": wrong}, "cancel") for wrong in (0, "now", True)),
]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time now, in seconds, which a test moves."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(("wrong", "field"), FIELDS)
def test_what_is_no_limit_is_refused(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(snnet.InvalidRequest, match=str(*wrong.values())) as caught:
        Deadline("it", **{"seconds": None, "cancel": None, **wrong})
    assert caught.value.field == field


def test_a_call_may_take_as_long_as_it_says(clock: list[float]) -> None:
    deadline = Deadline("it", threading.TIMEOUT_MAX, None)
    deadline.check()
    deadline = Deadline("it", 0.5, None)
    assert deadline.patience() == 0.5
    clock[0] += 0.25
    deadline.check()
    assert deadline.patience() == 0.25
    assert deadline.within(5.0) == 0.25
    clock[0] += 0.25
    assert deadline.within(5.0) == 0.0
    with pytest.raises(snnet.Timeout, match="it was not done within"):
        deadline.check()
    clock[0] += 1
    assert deadline.within(5.0) == 0.0
    NO_LIMIT.check()
    assert NO_LIMIT.patience() is None
    assert NO_LIMIT.within(5.0) == 5.0


def test_who_may_cancel_is_asked_twenty_times_a_second(clock: list[float]) -> None:
    cancel = threading.Event()
    assert Deadline("it", None, cancel).patience() == 0.05
    deadline = Deadline("it", 1, cancel)
    assert deadline.patience() == 0.05
    clock[0] += 0.96875
    assert deadline.patience() == 0.03125
    deadline.check()
    cancel.set()
    clock[0] += 1
    with pytest.raises(snnet.Cancelled, match="it was cancelled"):
        deadline.check()
