"""The same as ``test_drift.py``, for rules of the firewall ``iptables``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sample import sampled

from . import iptables_changes
from .changes import Foreign
from .test_drift import Worlds, node_of

pytestmark = pytest.mark.kernel

REPAIRED, NAMED = list(iptables_changes.repaired()), list(iptables_changes.named())


@pytest.fixture(scope="module")
def worlds() -> Iterator[Worlds]:
    made = Worlds("iptables")
    yield made
    made.drop()


@pytest.mark.parametrize("change", sampled([*REPAIRED, *NAMED]), ids=lambda change: change.name)
def test_a_foreign_change(worlds: Worlds, change: Foreign) -> None:
    """What is ours is named and repaired; what is others' is named until they take it back."""
    world = worlds.get()
    node, netns, kept = node_of(world, change), getattr(world, change.host), False
    try:
        assert node.verify() == []
        world.sh(netns, change.do)
        assert node.verify() != []
        node.repair()
        left = node.verify()
        assert (left == []) is (change in REPAIRED), left
        world.sh(netns, change.undo)
        kept = node.verify() == []
        assert kept, node.verify()
    finally:
        if not kept:
            worlds.drop()
