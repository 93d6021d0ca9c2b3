"""Announcements correct what neighbours and bridges have learned, at once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from ipaddress import ip_address

import pytest

from snnet.system.announcer import Announcer, arp, na
from snnet.system.netns import open_netns
from snnet.system.process import run
from tests.conftest import ip

OLD, NEW = "02:00:00:00:00:01", "02:00:00:00:00:02"
ADDRESSES = ["192.0.2.9", "2001:db8::9"]


def test_an_arp_announcement_has_the_bytes_of_the_rfc() -> None:
    frame = arp(bytes.fromhex("020000000002"), ip_address("192.0.2.9"))
    assert frame.hex() == (
        "ffffffffffff0200000000020806"  # to all, ARP
        "0001080006040001"  # Ethernet, IPv4, request
        "020000000002c0000209"  # the sender
        "000000000000c0000209"  # asks for itself
    )


def test_a_neighbour_advertisement_says_to_override() -> None:
    frame = na(bytes.fromhex("020000000002"), ip_address("fe80::2"))
    assert frame[:14].hex() == "33330000000102000000000286dd"
    assert frame[14:22].hex() == "6000000000203aff"
    assert frame[54:56].hex() == "8800"  # the kernel checks the checksum, below
    assert frame[58:].hex() == "20000000fe8000000000000000000000000000020201020000000002"


@pytest.fixture
def hosts(make_netns: Callable[[], str]) -> tuple[str, str]:
    """Two hosts on one wire; the other one knows an old MAC."""
    here, there = make_netns(), make_netns()
    ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", there, netns=here)
    for netns, last in ((here, 9), (there, 1)):
        ip("link", "set", "eth0", "up", netns=netns)
        ip("address", "add", f"192.0.2.{last}/24", "dev", "eth0", netns=netns)
        ip("address", "add", f"2001:db8::{last}/64", "dev", "eth0", "nodad", netns=netns)
    for address in ADDRESSES:
        entry = [address, "lladdr", OLD, "dev", "eth0", "nud", "reachable"]
        ip("neighbour", "replace", *entry, netns=there)
    return here, there


@pytest.fixture
def announcer(hosts: tuple[str, str]) -> Iterator[Announcer]:
    fd = open_netns(hosts[0])
    made = Announcer(fd)
    yield made
    made.close()
    made.close()
    os.close(fd)


@pytest.mark.kernel
@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("mac", [NEW, None])
def test_a_neighbour_believes_it_at_once(
    hosts: tuple[str, str], announcer: Announcer, address: str, mac: str | None
) -> None:
    announcer.announce("eth0", ip_address(address), mac)
    links = json.loads(ip("-j", "link", "show", "dev", "eth0", netns=hosts[0]))
    (found,) = json.loads(ip("-j", "neighbour", "show", address, netns=hosts[1]))
    assert found["lladdr"] == (mac or links[0]["address"])


@pytest.mark.kernel
def test_a_bridge_forgets_a_mac_and_all_macs(hosts: tuple[str, str], announcer: Announcer) -> None:
    here, _ = hosts
    ip("link", "add", "br0", "up", "type", "bridge", netns=here)
    ip("address", "add", "10.1.0.1/24", "dev", "br0", netns=here)
    ip("link", "set", "eth0", "master", "br0", netns=here)
    for mac in (OLD, NEW):
        bridge("fdb", "replace", mac, "dev", "eth0", "master", "dynamic", netns=here)
    ip("neighbour", "replace", "10.1.0.8", "lladdr", OLD, "dev", "br0", "nud", "stale", netns=here)
    ip("neighbour", "replace", "10.1.0.9", "lladdr", OLD, "dev", "br0", netns=here)
    announcer.forget("eth0", OLD)
    announcer.forget("eth0", OLD)
    assert learned(here) == [NEW]
    announcer.renew("br0")
    assert learned(here) == []
    left = json.loads(ip("-j", "neighbour", "show", "dev", "br0", netns=here))
    assert [entry["dst"] for entry in left] == ["10.1.0.9"], "what somebody set stays"


@pytest.mark.kernel
def test_a_link_that_is_gone_is_an_error(announcer: Announcer) -> None:
    with pytest.raises(OSError, match="No such device"):
        announcer.announce("eth9", ip_address("192.0.2.9"), None)
    announcer.forget("eth9", OLD)


def bridge(*words: str, netns: str) -> str:
    return run(["bridge", "-n", netns, *words]).stdout


def learned(netns: str) -> list[str]:
    """Which of the two MACs br0 has learned; it may also have heard the far host itself."""
    entries = json.loads(bridge("-j", "fdb", "show", "br", "br0", netns=netns))
    return [entry["mac"] for entry in entries if entry["mac"] in (OLD, NEW)]
