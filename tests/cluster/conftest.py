"""A cluster on a registry in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from snnet import Cluster


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster with one network, "web" of tenant "acme"."""
    with Cluster("memory:") as cluster:
        cluster.create_network("web", tenant="acme", subnet="10.1.0.0/24")
        yield cluster
