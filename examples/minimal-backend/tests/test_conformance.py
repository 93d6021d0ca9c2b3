"""The conformance kit of snnet, on bridges in memory."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
from snnet_minimal import MinimalBackend

from snnet import FakeKernel, plugins
from snnet.conformance import BackendSuite, Place
from snnet.contract import Bridge, Other


class InMemory(Place):
    """Where the kit runs: the backend, and a way to change objects without it."""

    link_locals = survives_forks = False

    def __init__(self):
        self.owner = "cn:kit"
        self.driver = plugins.open_driver(plugins.BACKENDS, "minimal", FakeKernel())
        self._put(Other(name="eth0", other_kind="veth", mac="02:00:00:00:00:02", mtu=1500))

    @contextmanager
    def another(self):
        yield self.driver

    def make_bridge(self, name, *, alias="", group=0):
        self._put(Bridge(name=name, alias=alias, group=group, mac="02:00:00:00:00:03", mtu=1500))

    def make_other(self, name, kind):
        self._put(Other(name=name, other_kind=kind, mac="02:00:00:00:00:04", mtu=1500))

    def delete_link(self, name):
        del self.driver.links["link", name]

    def mark_link(self, name, *, alias, group):
        self._put(replace(self.driver.links["link", name], alias=alias, group=group))

    def move_veth(self, name):
        raise AssertionError("there is no veth")

    def names(self):
        return {link.name for link in self.driver.links.values()}

    def link_local_addresses(self, name):
        return []

    def setting(self, name):
        raise AssertionError("there are no parameters")

    def close(self):
        pass

    def _put(self, link):
        self.driver.links[link.key] = link


class TestMinimal(BackendSuite):
    @pytest.fixture
    def place(self):
        with InMemory() as place:
            yield place


def test_the_name_opens_it():
    assert isinstance(InMemory().driver, MinimalBackend)
