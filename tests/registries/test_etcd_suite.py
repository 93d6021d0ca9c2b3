"""The registry suite on a real etcd cluster of three members."""

from __future__ import annotations

import re
from functools import partial

import pytest

from snnet.conformance import RegistryPlace, RegistrySuite
from snnet.contract import Registry
from snnet.registries.etcd import EtcdRegistry

from .members import Members

pytestmark = pytest.mark.kernel
"""Not of the kernel, but as slow: the members sync every commit to the disk."""


def compact(registry: Registry, revision: int) -> None:
    assert isinstance(registry, EtcdRegistry)
    registry.compact(revision)


class TestEtcd(RegistrySuite):
    @pytest.fixture
    def place(self, members: Members, request: pytest.FixtureRequest) -> RegistryPlace:
        namespace = re.sub(r"\W", "_", request.node.name)
        return RegistryPlace(partial(EtcdRegistry, members.url(namespace)), compact, ttl=2.0)
