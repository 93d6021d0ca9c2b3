"""A host that is listed again and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest

from snnet.backends.netlink import NetlinkBackend
from snnet.backends.netlink.found import ParsedLink
from snnet.contract import Add, Announcement, Bridge, Link, Tap
from snnet.system.process import run
from tests.conftest import ip

pytestmark = pytest.mark.kernel


def test_a_listing_parses_what_is_new_alone_and_each_change_is_seen(
    backend: NetlinkBackend, done: Callable[..., Any], netns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    taps = [Tap(name=f"tap{number}", master="br", alias=f"a{number}") for number in range(3)]
    done(Add(Bridge(name="br", mtu=1500, mac="06:00:00:00:00:01")), *map(Add, taps))

    def listed() -> dict[str, Link]:
        found = backend.snapshot({Link}).values()
        return {link.name: link for link in found if isinstance(link, Link)}

    found = listed()
    names = [tap.name for tap in taps]  # a bridge shows the time until it forgets addresses
    quiet = time.monotonic()
    while time.monotonic() < quiet + 1.5:  # a carrier is noted within a second (link_watch.c)
        now = listed()
        if now != found or any(now[name] is not found[name] for name in names):
            found, quiet = now, time.monotonic()
        time.sleep(0.05)
    # Counters alone change.
    backend.announce([Announcement(link="br", address=ip_address("192.0.2.1"))])
    parsed: list[str] = []
    parse = ParsedLink.parse

    def counted(message: bytes) -> ParsedLink:
        link = parse(message)
        parsed.append(link.name)
        return link

    monkeypatch.setattr(ParsedLink, "parse", counted)
    now = listed()
    assert all(now[name] is found[name] for name in names)
    assert not {*parsed} & {*names}

    def changed(*words: str) -> dict[str, Link]:
        ip(*words, netns=netns)
        parsed.clear()
        now = listed()
        again.append({*parsed} & {*names})
        # A look-up parses each of them.
        assert now == {name: backend.find(Link(name=name)) for name in now}
        return now

    again: list[set[str]] = []
    assert changed("link", "set", "dev", "tap1", "alias", "y")["tap1"].alias == "y"
    assert again == [{"tap1"}]
    assert changed("link", "set", "dev", "tap1", "mtu", "1400")["tap1"].mtu == 1400
    assert changed("link", "set", "dev", "tap1", "nomaster")["tap1"].master is None
    now = changed("link", "set", "dev", "br", "name", "other")
    assert [now[name].master for name in names] == ["other", None, "other"]
    assert "tap1" not in changed("link", "delete", "tap1")
    now = changed("link", "set", "dev", "tap2", "name", "tap1")
    assert now["tap1"].alias == "a2"
    assert "tap2" not in now


@pytest.mark.parametrize("value", ["0", "1"])
def test_a_listing_says_whether_a_link_has_ipv6(
    backend: NetlinkBackend, done: Callable[..., Any], value: str
) -> None:
    done(Add(Bridge(name="br")), Add(Tap(name="tap", master="br")))
    backend.snapshot({Link})
    run(["sysctl", "-qw", f"net.ipv6.conf.tap.disable_ipv6={value}"], netns=backend.host.netns.fd)
    found = backend.snapshot({Link})["link", "tap"]
    assert isinstance(found, Link)
    assert found.without_ipv6 is (value == "1")
