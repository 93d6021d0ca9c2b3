"""The backend suite on every backend of snnet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from snnet.conformance import BackendSuite, Place, RealPlace

from .fake_place import FakePlace


class TestFake(BackendSuite):
    @pytest.fixture
    def place(self) -> Iterator[Place]:
        with FakePlace() as place:
            yield place


@pytest.mark.kernel
class TestNetlink(BackendSuite):
    @pytest.fixture
    def place(self) -> Iterator[Place]:
        from snnet.backends.netlink import NetlinkBackend

        with RealPlace(NetlinkBackend) as place:
            yield place


@pytest.mark.kernel
class TestIprouteShell(BackendSuite):
    @pytest.fixture
    def place(self) -> Iterator[Place]:
        from snnet.backends.iproute_shell import IprouteShellBackend

        with RealPlace(IprouteShellBackend) as place:
            yield place
