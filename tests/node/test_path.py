"""How long the path of a call is: Python calls of the engine, counted, not timed.

What the drivers do is not counted.  A ceiling is at most a tenth above its path, so that what was
won is not lost bit by bit.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

import snnet
from tests.node.world import FakeWorld, vm

HOME = Path(snnet.__file__).parent
DRIVERS = (
    "backends/", "firewall/",
    "contract/applying.py", "contract/drivers.py", "contract/parameters.py",
)  # fmt: skip

FIRST, NEXT, DESTROY, LAST = (
    "first VNIC of a subnet",
    "next VNIC",
    "destroy one",
    "destroy the last",
)
CEILINGS = {FIRST: 249, NEXT: 145, DESTROY: 82, LAST: 144}


def engine_calls(work: Callable[[], object]) -> int:
    """The Python functions of the engine that are called, generators and comprehensions too."""
    count = 0

    def seen(frame: FrameType, event: str, _: object) -> None:
        nonlocal count
        if event != "call" or not frame.f_code.co_filename.startswith(f"{HOME}/"):
            return
        module = frame.f_code.co_filename.removeprefix(f"{HOME}/")
        count += not module.startswith(DRIVERS)

    before = sys.getprofile()
    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


@pytest.fixture
def counted(fake: FakeWorld) -> dict[str, int]:
    """The calls of each path on a node that has done all of them before."""
    node, one, two = fake.node(), vm(9), vm(10)
    node.create_vnic(one)
    node.destroy_vnic(one)
    return {
        FIRST: engine_calls(lambda: node.create_vnic(one)),
        NEXT: engine_calls(lambda: node.create_vnic(two)),
        DESTROY: engine_calls(lambda: node.destroy_vnic(two)),
        LAST: engine_calls(lambda: node.destroy_vnic(one)),
    }


@pytest.mark.parametrize("path", CEILINGS)
def test_a_path_is_no_longer_than_its_ceiling(path: str, counted: dict[str, int]) -> None:
    assert counted[path] <= CEILINGS[path]


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="comprehensions are no calls (PEP 709)")
@pytest.mark.parametrize("path", CEILINGS)
def test_a_ceiling_is_near_its_path(path: str, counted: dict[str, int]) -> None:
    """Else the ceiling says nothing."""
    assert counted[path] > 0.9 * CEILINGS[path]
