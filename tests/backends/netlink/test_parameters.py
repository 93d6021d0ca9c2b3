"""Many parameters at once are the same as each on its own."""

from __future__ import annotations

import pytest

from snnet.backends.netlink import NetlinkBackend
from snnet.backends.netlink.parameters import MANY
from snnet.contract import Sysctl
from snnet.system.process import run
from tests.conftest import ip

pytestmark = pytest.mark.kernel

NAMES = ("forwarding", "accept_ra", "accept_redirects", "proxy_ndp", "disable_ipv6", "hop_limit")


def test_a_listing_says_what_the_files_say(backend: NetlinkBackend, netns: str) -> None:
    for number in range(12):
        ip("link", "add", f"d{number}.x", "type", "bridge", netns=netns)
    nouns = [
        Sysctl(name=f"net.ipv6.conf.d{number}/x.{name}") for number in range(12) for name in NAMES
    ]
    nouns += [
        Sysctl(name="net.ipv6.conf.all.forwarding"),
        Sysctl(name="net.ipv4.ip_forward"),
        Sysctl(name="net.ipv6.conf.nowhere.accept_ra"),
        Sysctl(name="net.ipv6.conf.d1/x.no_such_parameter"),
    ]
    for number, value in enumerate("2102"):
        name = f"net/ipv6/conf/d{number}.x/{NAMES[number]}"
        run(["sysctl", "-qw", f"{name}={value}"], netns=backend.host.netns.fd)
    assert len(nouns) > MANY
    each = {noun.key: found for noun in nouns if (found := backend.find(noun)) is not None}
    assert backend.find_all(nouns) == each
    assert len(each) == len(nouns) - 2
    changed = Sysctl(name="net.ipv6.conf.d3/x.proxy_ndp")
    assert each[changed.key] == Sysctl(name=changed.name, value="2")
    assert backend.find_all(nouns[:3]) == {noun.key: each[noun.key] for noun in nouns[:3]}
