"""``world``: every node test runs on the fake, and on the real kernel by tunnel kind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import ip
from tests.node.world import FakeWorld, NetlinkWorld, World

_KERNEL = [
    pytest.param("netlink-vxlan", marks=[pytest.mark.kernel]),
    pytest.param("netlink-gre", marks=[pytest.mark.kernel, pytest.mark.needs("gretap")]),
    pytest.param("netlink-geneve", marks=[pytest.mark.kernel, pytest.mark.needs("geneve")]),
]


@pytest.fixture(params=["fake-gre", *_KERNEL])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """One host, fake or real."""
    backend, tunnel = request.param.split("-")
    if backend == "fake":
        made: World = FakeWorld(tunnel)
    else:
        made = NetlinkWorld(tunnel, request.getfixturevalue("netns"), ip)
    yield made
    made.close()


@pytest.fixture
def fake() -> Iterator[FakeWorld]:
    """One fake host, for what only the fake can show."""
    made = FakeWorld("gre")
    yield made
    made.close()
