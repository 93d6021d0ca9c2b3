"""What guards drop is counted: by guest, rule and time."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from snnet import ComputeNode, Rule, VnicConfig, VnicRole
from snnet.system.netns import in_netns, open_netns

from .test_host import CONFIG, Host

pytestmark = pytest.mark.kernel

ADDRESS = "its address or MAC is not one of the guest's"
DHCP = "DHCP as only servers send it, or for another client"


VNIC = VnicConfig(
    role=VnicRole.TENANT_CONTAINER, tenant_id="acme", subnet_id="web", vnic_id="c1",
    instance_id="c1", concentrator_id="c1", concentrator_ip="192.0.2.10",
    subnet="10.1.0.0/24", subnet_key=7, ip="10.1.0.7", anti_spoofing=True,
)  # fmt: skip


@contextmanager
def plugged(
    host: Host, firewall: str, groups: tuple[str, ...] = ()
) -> Iterator[tuple[socket.socket, str, str]]:
    """A container of a node with this firewall: a raw socket at its end, its MAC, its link.

    A group lets it send to UDP port 1000 alone.
    """
    with ComputeNode("cn-1", CONFIG, netns=host.netns, firewall=firewall, api_timeout=60) as node:
        node.init()
        for group in groups:
            node.set_group("acme", group, rules=[Rule("out", "udp", "1000")])
        made = node.create_vnic(replace(VNIC, groups=groups)).vnic
    assert made.peer_name
    # What a guest's own IPv6 says is dropped too: it has no address of that family.
    host.do(f"ip link set {made.peer_name} addrgenmode none up")
    fd = open_netns(host.netns)
    raw = in_netns(fd, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
    raw.bind((made.peer_name, 0))
    with raw:
        yield raw, made.mac, made.link_name


def frame(mac: str, source: str, sport: int = 1000, dport: int = 1000) -> bytes:
    """A UDP packet from this address, to everybody."""
    ethernet = b"\xff" * 6 + bytes.fromhex(mac.replace(":", "")) + b"\x08\x00"
    ip = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 28, 1, 0, 64, 17, 0,
        socket.inet_aton(source), socket.inet_aton("10.1.0.255"),
    )  # fmt: skip
    words = struct.unpack("!10H", ip)
    total = sum(words)
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    ip = ip[:10] + struct.pack("!H", checksum) + ip[12:]
    return ethernet + ip + struct.pack("!HHHH", sport, dport, 8, 0)


@pytest.mark.parametrize("firewall", ["nftables", "iptables"])
def test_drops_are_counted_by_guest_and_rule(make_netns: Callable[[], str], firewall: str) -> None:
    host = Host(make_netns())
    host.snnet("reset --yes")
    with plugged(host, firewall) as (raw, mac, link):
        assert host.json("show --drops") == []
        before = time.time()
        raw.send(frame(mac, "10.1.0.7"))
        for _ in range(3):
            raw.send(frame(mac, "10.1.0.8"))
        raw.send(frame(mac, "10.1.0.7", sport=67))
    found = {item["rule"]: item for item in host.json("show --drops")}
    assert {rule: item["packets"] for rule, item in found.items()} == {ADDRESS: 3, DHCP: 1}
    for item in found.values():
        assert (item["node"], item["guest"], item["link"]) == ("cn:cn-1", "acme/web/c1", link)
        if firewall == "nftables":
            assert before - 1 <= item["since"] <= time.time()
        else:
            assert item["since"] is None
    table = host.snnet("show --drops").splitlines()
    assert table[0].split() == ["GUEST", "LINK", "PACKETS", "SINCE", "RULE"]
    assert "acme/web/c1" in table[2]
    host.snnet("verify")


@pytest.mark.parametrize("firewall", ["nftables", "iptables"])
def test_drops_of_groups_are_counted(make_netns: Callable[[], str], firewall: str) -> None:
    host = Host(make_netns())
    host.snnet("reset --yes")
    with plugged(host, firewall, groups=("web",)) as (raw, mac, link):
        raw.send(frame(mac, "10.1.0.7"))
        for _ in range(2):
            raw.send(frame(mac, "10.1.0.7", dport=2000))
    # What the bridge itself sends to its ports is dropped, and counted, too.
    rule = "from the guest, and no rule of its groups allows it"
    (found,) = [item for item in host.json("show --drops") if item["rule"] == rule]
    assert (found["guest"], found["link"], found["packets"]) == ("acme/web/c1", link, 2)
