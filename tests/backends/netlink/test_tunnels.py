"""A tunnel that is looked up again and again."""

from __future__ import annotations

import json
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest

from snnet.backends.netlink import NetlinkBackend
from snnet.backends.netlink.found import ParsedLink
from snnet.contract import Add, Announcement, Bridge, Link, Vxlan
from tests.conftest import ip

pytestmark = pytest.mark.kernel


def test_the_same_answer_is_parsed_once_and_each_change_is_seen(
    backend: NetlinkBackend, done: Callable[..., Any], netns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bridge = Bridge(name="br", mtu=1500)
    tunnel = Vxlan(
        name="tun", vni=7, local=ip_address("192.0.2.1"), remote=ip_address("192.0.2.2"),
        port=4789, master="br", mac="06:00:00:00:00:01", mtu=1450, alias="x",
    )  # fmt: skip
    done(Add(bridge), Add(tunnel))
    found = backend.find(Link(name="tun"))
    # The kernel notes a carrier a little after a link is up.
    while (now := backend.find(Link(name="tun"))) is not found:
        found = now
    assert found is not None
    assert not tunnel.differences(found)
    before = _frames(netns)
    backend.announce([Announcement(link="br", address=ip_address("192.0.2.1"))])
    assert _frames(netns) > before
    with monkeypatch.context() as patch:
        patch.setattr(ParsedLink, "parse", lambda _: pytest.fail("parsed again"))
        assert backend.find(Link(name="tun")) is found

    def changed(*words: str) -> Link | None:
        ip(*words, netns=netns)
        now = backend.find(Link(name="tun"))
        assert now is None or isinstance(now, Link)
        assert now == backend.snapshot({Link}).get(("link", "tun"))
        return now

    assert getattr(changed("link", "set", "dev", "br", "name", "other"), "master", "") == "other"
    assert getattr(changed("link", "set", "dev", "tun", "nomaster"), "master", "") is None
    assert getattr(changed("link", "set", "dev", "tun", "down"), "up", None) is False
    assert getattr(changed("link", "set", "dev", "tun", "mtu", "1400"), "mtu", None) == 1400
    assert getattr(changed("link", "set", "dev", "tun", "alias", "y"), "alias", None) == "y"
    assert changed("link", "delete", "tun") is None


def _frames(netns: str) -> int:
    """What the tunnel was given to send, whether it could or not."""
    (found,) = json.loads(ip("-json", "-statistics", "link", "show", "tun", netns=netns))
    sent = found["stats64"]["tx"]
    return int(sent["packets"] + sent["errors"] + sent["dropped"])
