"""Two clients whose calls fall between each other's commits: a sample of all pairs of verbs.

``test_every_pair.py`` tries them all.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from snnet import Cluster
from snnet.contract import Unavailable
from snnet.registries.memory import MemoryRegistry
from tests.cluster.between import VERBS, Late, T, check_pair, faults, furnish

STRIDE = 8
"""One of so many verbs is tried as the second one, others for each first one."""


@pytest.mark.parametrize("first", list(VERBS))
def test_nothing_dangles(first: str) -> None:
    start = list(VERBS).index(first) % STRIDE
    for second in {first, *list(VERBS)[start::STRIDE]}:
        check_pair(first, second)


def test_a_network_that_was_changed_while_it_was_deleted_is_gone() -> None:
    with Late("changed") as late, MemoryRegistry("changed") as registry:
        other = Cluster(registry)
        other.create_network("web", subnet="10.1.0.0/24")
        late.at, late.meanwhile = 2, lambda: other.update_network(T, "web", mtu=1300)
        Cluster(late).delete_network(T, "web")
        assert other.list_networks() == []


class Lost(MemoryRegistry):
    """A registry that does not answer from commit number ``at`` on."""

    at = 0

    def commit(self, writes: Sequence[Any], expected: Mapping[str, int] | None = None) -> int:
        self.at -= 1
        if not self.at:
            raise Unavailable("nobody answers", unwritten=True)
        return super().commit(writes, expected)


def test_forgetting_a_node_by_force_is_finished_by_the_same_call() -> None:
    for at in itertools.count(1):
        with Lost("forgetting") as registry:
            cluster = Cluster(registry)
            furnish(cluster)
            cluster.create_vnic("v4", network="db", node="n1")
            registry.at = at
            try:
                cluster.forget_node("n1", force=True)
            except Unavailable:
                cluster.forget_node("n1", force=True)
            else:
                break
            finally:
                assert {item.name for item in cluster.list_vnics()} == {"v2", "v3"}
                assert list(faults(cluster)) == []
    assert at > 3
