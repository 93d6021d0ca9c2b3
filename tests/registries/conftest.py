"""The etcd cluster of a test session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .members import Members, binary


@pytest.fixture(scope="session")
def etcd() -> str:
    found = binary()
    if found is None:
        pytest.skip("there is no etcd here, and Debian's package etcd-server cannot be unpacked")
    return found


@pytest.fixture(scope="session")
def members(etcd: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Members]:
    """Three members that run; a test that stops one starts it again."""
    members = Members(etcd, tmp_path_factory.mktemp("etcd"))
    members.start()
    members.leader()
    yield members
    members.kill()
