"""The conformance kit of snnet, on the backend "ipdb"."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest

from snnet import plugins
from snnet.conformance import BackendSuite, Place, RealPlace

open_ipdb = functools.partial(plugins.open_driver, plugins.BACKENDS, "ipdb")


class TestIpdb(BackendSuite):
    @pytest.fixture
    def place(self) -> Iterator[Place]:
        with RealPlace(open_ipdb) as place:
            yield place
