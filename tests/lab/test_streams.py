"""Pings that go on: whose answer is whose."""

from __future__ import annotations

import time
from ipaddress import ip_address

import pytest

from snnet.lab.streams import Stream, Streams
from snnet.system.namespaces import Namespace

pytestmark = pytest.mark.kernel


def test_each_stream_of_a_guest_counts_its_own_answers() -> None:
    """Every socket of a namespace receives the answers to all of them."""
    space = Namespace("guest")
    try:
        space.ip(["link set lo up", "route add blackhole 192.0.2.9/32"])
        alive, dead = (
            Stream("guest", target, space, ip_address(target), "t1")
            for target in ("127.0.0.1", "192.0.2.9")
        )
        with Streams([alive, dead]):
            end = time.monotonic() + 10
            while len(alive.answered) < 5 and time.monotonic() < end:
                time.sleep(0.05)
        assert len(alive.answered) >= 5
        assert dead.answered == set()
        assert len(dead.sent) >= 5
    finally:
        space.close()
