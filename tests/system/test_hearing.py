"""Hearing that others have addresses of ours: the frames, and real hosts that announce."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable, Iterable
from ipaddress import ip_address

import pytest

from snnet.contract import IPAddress
from snnet.system.announcer import Announcer, arp, na
from snnet.system.hearing import LinkHearing, user_of
from snnet.system.netns import open_netns
from snnet.system.process import run

MAC = bytes.fromhex("020000000009")


@pytest.mark.parametrize("text", ["192.0.2.200", "fd00::200"])
def test_what_announcements_say(text: str) -> None:
    address = ip_address(text)
    frame = (arp if address.version == 4 else na)(MAC, address)
    assert user_of(frame) == (address, MAC)
    assert user_of(frame[:40]) is None
    assert user_of(frame[:12] + b"\x08\0" + frame[14:]) is None


def link_pair(make_netns: Callable[[], str]) -> tuple[str, str]:
    """Two hosts with a wire between them."""
    here, there = make_netns(), make_netns()
    wire(here, there)
    return here, there


def wire(here: str, there: str) -> None:
    """Lay a wire between two hosts."""
    run(["ip", "-n", here, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0",
         "netns", there])  # fmt: skip
    for netns in (here, there):
        run(["ip", "-n", netns, "link", "set", "eth0", "up"])


def heard_in_time(hearing: LinkHearing, wanted: Iterable[IPAddress]) -> set[IPAddress]:
    found, end = set[IPAddress](), time.monotonic() + 5
    while not found >= set(wanted) and time.monotonic() < end:
        select.select([], [], [], 0.01)
        found |= hearing.heard()
    return found


@pytest.mark.kernel
def test_others_are_heard_and_this_host_is_not(make_netns: Callable[[], str]) -> None:
    here, there = link_pair(make_netns)
    mine = [ip_address(text) for text in ("192.0.2.200", "192.0.2.201", "fd00::200")]
    spaces = [open_netns(here), open_netns(there)]
    try:
        with (
            contextlib.closing(LinkHearing(spaces[0], "eth0", mine)) as hearing,
            contextlib.closing(Announcer(spaces[0])) as own,
            contextlib.closing(Announcer(spaces[1])) as other,
        ):
            for address in mine:
                own.announce("eth0", address, None)
            # Others' addresses, also one that ends as ours does, are none of our business.
            for text in ("192.0.2.9", "fd00::9", "fd01::200"):
                other.announce("eth0", ip_address(text), None)
            other.announce("eth0", mine[0], None)
            assert heard_in_time(hearing, mine[:1]) == {mine[0]}
            assert hearing.heard() == set()
            for address in mine[1:]:
                other.announce("eth0", address, None)
            assert heard_in_time(hearing, mine[1:]) == set(mine[1:])
            hearing.close()
        with pytest.raises(OSError, match="No such device"):
            LinkHearing(spaces[0], "eth9", mine)
        many = [ip_address("10.0.0.0") + number for number in range(2500)]
        with (
            contextlib.closing(LinkHearing(spaces[0], "eth0", many)) as hearing,
            contextlib.closing(Announcer(spaces[1])) as other,
        ):
            for one in (many[7], many[-1]):
                other.announce("eth0", one, None)
                assert heard_in_time(hearing, [one]) == {one}
    finally:
        for space in spaces:
            os.close(space)


@pytest.mark.kernel
def test_a_link_that_is_made_anew_is_heard(make_netns: Callable[[], str]) -> None:
    here, there = link_pair(make_netns)
    mine = ip_address("192.0.2.200")
    spaces = [open_netns(here), open_netns(there)]
    try:
        with (
            contextlib.closing(LinkHearing(spaces[0], "eth0", [mine])) as hearing,
            contextlib.closing(Announcer(spaces[1])) as other,
        ):
            run(["ip", "-n", here, "link", "delete", "eth0"])
            assert hearing.heard() == set(), "there is none"
            wire(here, there)
            assert hearing.heard() == set()
            other.announce("eth0", mine, None)
            assert heard_in_time(hearing, [mine]) == {mine}
            # The name counts, and not the link that had it.
            run(["ip", "-n", here, "link", "set", "eth0", "down", "name", "old"])
            run(["ip", "-n", there, "link", "set", "eth0", "name", "old"])
            wire(here, there)
            assert hearing.heard() == set()
            other.announce("eth0", mine, None)
            assert heard_in_time(hearing, [mine]) == {mine}
    finally:
        for space in spaces:
            os.close(space)
