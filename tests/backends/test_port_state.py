"""The state of a bridge's port: its own where the bridge is up, else the bridge's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from snnet.backends.iproute_shell import IprouteShellBackend
from snnet.backends.netlink import NetlinkBackend
from snnet.contract import Change, Driver, Link
from snnet.system.host import RealHost
from tests.conftest import ip

pytestmark = pytest.mark.kernel

DISABLED = (("bridge_slave state", 0),)


@pytest.fixture(params=[NetlinkBackend, IprouteShellBackend], ids=lambda kind: kind.name)
def driver(request: pytest.FixtureRequest, netns: str) -> Iterator[Driver]:
    host = RealHost(netns)
    made = request.param(host)
    yield made
    made.close()
    host.close()


def settings(driver: Driver) -> tuple[object, object]:
    """Those of the port, as it is listed and as it is found."""
    listed = [noun for noun in driver.snapshot({Link}).values() if isinstance(noun, Link)]
    found = driver.find(Link(name="port"))
    assert isinstance(found, Link)
    return next(link.settings for link in listed if link.name == "port"), found.settings


def wait_until_it_is(state: str, netns: str) -> None:
    """The kernel looks at carriers up to a second later (linkwatch_schedule_work)."""
    end = time.monotonic() + 10
    while f" state {state} " not in ip("link", "show", "dev", "port", netns=netns):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_port_is_disabled_by_itself_or_by_its_bridge(driver: Driver, netns: str) -> None:
    ip("link", "add", "name", "br", "type", "bridge", netns=netns)
    ip("link", "add", "port", "type", "veth", "peer", "name", "far", netns=netns)
    ip("link", "set", "port", "master", "br", netns=netns)
    assert settings(driver) == (None, None), "all is down"
    for link in ("port", "far"):
        ip("link", "set", link, "up", netns=netns)
    wait_until_it_is("UP", netns)
    assert settings(driver) == (None, None), "the bridge is down"
    ip("link", "set", "dev", "br", "up", netns=netns)
    assert settings(driver) == (None, None)
    ip("netns", "exec", netns, "bridge", "link", "set", "dev", "port", "state", "0")
    assert settings(driver) == (DISABLED, DISABLED)
    port = driver.find(Link(name="port"))
    assert isinstance(port, Link)
    assert driver.apply([Change(replace(port, settings=None), port)]).error is None
    assert settings(driver) == (None, None)
    ip("netns", "exec", netns, "bridge", "link", "set", "dev", "port", "state", "0")
    ip("link", "set", "far", "down", netns=netns)
    wait_until_it_is("LOWERLAYERDOWN", netns)
    assert settings(driver) == (None, None), "it has no carrier"
    ip("link", "set", "far", "up", netns=netns)
    wait_until_it_is("UP", netns)
    assert settings(driver) == (None, None), "the kernel enables it with the carrier"
