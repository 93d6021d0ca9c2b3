"""``world``: node tests run on the fake and on the real kernel, by tunnel kind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import ip
from tests.node.world import FakeWorld, RealWorld, World

_KERNEL = [
    pytest.param("netlink-vxlan", marks=[pytest.mark.kernel]),
    pytest.param("netlink-gre", marks=[pytest.mark.kernel, pytest.mark.needs("gretap")]),
    pytest.param("iproute_shell-vxlan", marks=[pytest.mark.kernel, pytest.mark.sampled]),
]


_WALLS = [
    pytest.param("netlink-vxlan-nftables", marks=[pytest.mark.kernel]),
    pytest.param("netlink-vxlan-iptables", marks=[pytest.mark.kernel, pytest.mark.sampled]),
    pytest.param("iproute_shell-vxlan-nftables", marks=[pytest.mark.kernel, pytest.mark.sampled]),
]


def make_world(request: pytest.FixtureRequest, name: str, version: int = 4) -> World:
    """The world called backend-tunnel or backend-tunnel-firewall; the caller closes it."""
    backend, tunnel, firewall, *_ = [*name.split("-"), "nftables"]
    if backend == "fake":
        return FakeWorld(tunnel, version)
    netns = request.getfixturevalue("netns")
    return RealWorld(tunnel, netns, ip, version, firewall, backend)


@pytest.fixture(params=["fake-gre", *_KERNEL])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """One host, fake or real."""
    made = make_world(request, request.param)
    yield made
    made.close()


@pytest.fixture(params=_KERNEL)
def real(request: pytest.FixtureRequest) -> Iterator[World]:
    """One real host, for what only the kernel can show."""
    made = make_world(request, request.param)
    yield made
    made.close()


@pytest.fixture(params=["fake-gre", *_WALLS])
def walled(request: pytest.FixtureRequest) -> Iterator[World]:
    """One host, fake or real, with each of the firewalls."""
    made = make_world(request, request.param)
    yield made
    made.close()


@pytest.fixture(params=_WALLS)
def real_walled(request: pytest.FixtureRequest) -> Iterator[World]:
    """One real host with each of the firewalls, for what only the kernel can show."""
    made = make_world(request, request.param)
    yield made
    made.close()


@pytest.fixture
def fake() -> Iterator[FakeWorld]:
    """One fake host, for what only the fake can show."""
    made = FakeWorld("gre")
    yield made
    made.close()
