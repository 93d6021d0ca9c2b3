"""Asking who answers for addresses: the frames, and real hosts that answer."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from ipaddress import ip_address

import pytest

from snnet import Fabric
from snnet.system.netns import open_netns
from snnet.system.prober import answer, answering, question
from snnet.system.process import run

MAC = bytes.fromhex("020000000009")


def test_the_questions_have_the_bytes_of_the_rfcs() -> None:
    assert question(MAC, ip_address("192.0.2.9"), ip_address("192.0.2.1")).hex() == (
        "ffffffffffff0200000000090806"  # to all, ARP
        "0001080006040001"  # Ethernet, IPv4, request
        "020000000009c0000209"  # the sender
        "000000000000c0000201"  # asks for the target
    )
    frame = question(MAC, ip_address("fd00::9"), ip_address("fd00::12:3456"))
    assert frame[:14].hex() == "3333ff12345602000000000986dd"
    assert frame[38:54].hex() == "ff0200000000000000000001ff123456"
    assert frame[54:56].hex() == "8700"  # the kernel checks the checksum, below


def test_what_is_no_answer() -> None:
    asked = question(MAC, ip_address("192.0.2.9"), ip_address("192.0.2.1"))
    assert answer(asked) is None
    assert answer(asked[:20] + b"\0\2" + asked[22:]) == ip_address("192.0.2.9")
    assert answer(asked[:20] + b"\0\2" + asked[22:30]) is None
    assert answer(question(MAC, ip_address("fd00::9"), ip_address("fd00::1"))) is None


@pytest.mark.kernel
def test_hosts_answer_for_their_own_and_for_what_they_are_proxy_of(
    make_netns: Callable[[], str],
) -> None:
    here, there = make_netns(), make_netns()
    ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", there, netns=here)
    for netns, last in ((here, 9), (there, 1)):
        ip("link", "set", "lo", "up", netns=netns)
        ip("link", "set", "eth0", "up", netns=netns)
        ip("address", "add", f"192.0.2.{last}/24", "dev", "eth0", netns=netns)
        ip("address", "add", f"fd00::{last}/64", "dev", "eth0", "nodad", netns=netns)
    for name in ("ipv4.ip_forward=1", "ipv6.conf.all.forwarding=1", "ipv6.conf.eth0.proxy_ndp=1",
                 "ipv4.neigh.eth0.proxy_delay=0", "ipv6.neigh.eth0.proxy_delay=0"):  # fmt: skip
        run(["ip", "netns", "exec", there, "sysctl", "-qw", f"net.{name}"])
    ip("link", "add", "in0", "up", "type", "veth", "peer", "name", "in1", netns=there)
    ip("link", "set", "in1", "up", netns=there)
    for address in ("192.0.2.200", "fd00::200"):
        ip("route", "add", address, "dev", "in0", netns=there)
        ip("neigh", "add", "proxy", address, "dev", "eth0", netns=there)
    fd = open_netns(here)
    try:
        for source, mine, others in (
            ("192.0.2.9", ("192.0.2.1", "192.0.2.200"), "192.0.2.201"),
            ("fd00::9", ("fd00::1", "fd00::200"), "fd00::201"),
        ):
            asked = {ip_address(text) for text in mine}
            began = time.monotonic()
            assert answering(fd, "eth0", asked, ip_address(source), 5.0) == asked
            assert time.monotonic() - began < 4, "it ends with the last answer"
            silent = {ip_address(others), *asked}
            assert answering(fd, "eth0", silent, ip_address(source), 0.6) == asked
        with pytest.raises(OSError, match="No such device"):
            answering(fd, "eth9", asked, ip_address("fd00::9"), 0.1)
        assert answering(fd, "eth0", [], ip_address("192.0.2.9"), 5.0) == set()
    finally:
        os.close(fd)
    # What a host answers others meanwhile is not an answer of others.
    with subprocess.Popen(
        ["ip", "netns", "exec", here, "ping", "-c", "20", "-i", "0.05", "192.0.2.200"],
        stdout=subprocess.DEVNULL,
    ):
        fd = open_netns(there)
        try:
            for _ in range(4):
                ip("neigh", "flush", "dev", "eth0", netns=here)
                own = ip_address("192.0.2.200")
                assert answering(fd, "eth0", [own], ip_address("192.0.2.1"), 0.2) == set()
        finally:
            os.close(fd)


@pytest.mark.kernel
@pytest.mark.usefixtures("many_descriptors")
def test_a_process_with_many_descriptors_asks(netns: str) -> None:
    ip("link", "add", "eth0", "up", "type", "veth", "peer", "name", "eth1", netns=netns)
    fd = open_netns(netns)
    try:
        asked = ip_address("192.0.2.1")
        assert answering(fd, "eth0", [asked], ip_address("192.0.2.9"), 0.1) == set()
    finally:
        os.close(fd)


def ip(*words: str, netns: str) -> str:
    return run(["ip", "-n", netns, *words]).stdout


def test_a_host_of_a_fabric_asks_until_the_other_is_unplugged() -> None:
    fabric = Fabric()
    here = fabric.add_host("here", "192.0.2.9/24")
    there = fabric.add_host("there", "192.0.2.1/24")
    asked = {ip_address("192.0.2.1"), ip_address("192.0.2.7"), ip_address("192.0.2.9")}
    for _ in range(2):
        assert here.answering("eth0", asked, ip_address("192.0.2.9")) == {ip_address("192.0.2.1")}
    fabric.unplug(there)
    fabric.unplug(there)
    assert here.answering("eth0", asked, ip_address("192.0.2.9")) == set()
    assert not fabric.ping(here, "192.0.2.1")
    fabric.plug(there, "eth0")
    assert fabric.ping(here, "192.0.2.1")
