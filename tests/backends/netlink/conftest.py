"""The netlink backend in a namespace of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from snnet.backends.netlink import NetlinkBackend
from snnet.contract import Operation, Outcome
from snnet.system.host import RealHost

KERNELS_OWN = {"lo", "gre0", "gretap0", "erspan0", "ip6gre0", "ip6tnl0", "sit0", "tunl0"}
"""Links of every new namespace, where the modules are loaded."""


@pytest.fixture
def make_backend(tmp_path: Path) -> Iterator[Callable[[str], NetlinkBackend]]:
    backends: list[NetlinkBackend] = []

    def make(netns: str) -> NetlinkBackend:
        backends.append(NetlinkBackend(RealHost(netns, owner="cn:test", runtime=tmp_path / "run")))
        return backends[-1]

    yield make
    for backend in backends:
        backend.close()
        backend.host.close()


@pytest.fixture
def backend(make_backend: Callable[[str], NetlinkBackend], netns: str) -> NetlinkBackend:
    return make_backend(netns)


@pytest.fixture
def done(backend: NetlinkBackend) -> Callable[..., Outcome]:
    """Apply operations that must all succeed."""

    def apply(*operations: Operation) -> Outcome:
        outcome = backend.apply(operations)
        assert outcome.errors == {}
        assert outcome.done == set(range(len(operations)))
        return outcome

    return apply
