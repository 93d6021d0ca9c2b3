"""What rules drop is counted: by guest, rule and time."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from snnet import Cnci, ComputeNode, NetworkMode, Rule, VnicConfig, VnicRole
from snnet.contract import Vxlan
from snnet.firewall import reasons
from snnet.system.netns import in_netns, open_netns
from tests.ports import wait_for_ports

from .test_host import CONFIG, Host

pytestmark = pytest.mark.kernel

FIREWALLS = pytest.mark.parametrize("firewall", ["nftables", "iptables"])
ALL = "ff:ff:ff:ff:ff:ff"
BRIDGES = "01:80:c2:00:00:0e"
HOST, OUTSIDE = "192.0.2.11", "192.0.2.66"

VNIC = VnicConfig(
    role=VnicRole.TENANT_CONTAINER, tenant_id="acme", subnet_id="web", vnic_id="c1",
    instance_id="c1", concentrator_id="c1", concentrator_ip="192.0.2.10",
    subnet="10.1.0.0/24", subnet_key=7, ip="10.1.0.7", anti_spoofing=True,
)  # fmt: skip


@pytest.fixture
def host(make_netns: Callable[[], str]) -> Host:
    """A host without nodes, with an uplink; nothing speaks at its far end."""
    host = Host(make_netns())
    host.snnet("reset --yes")
    host.do("ip link set far addrgenmode none")
    return host


class End:
    """A link of a host from which frames are sent."""

    def __init__(self, host: Host, link: str) -> None:
        self.host, self.link = host, link
        # What a guest's own IPv6 says is dropped too: it has no address of that family.
        host.do(f"ip link set {link} addrgenmode none up")
        wait_for_ports(host.netns)
        fd = open_netns(host.netns)
        self._raw = in_netns(fd, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
        self._raw.bind((link, 0))

    def send(self, times: int, frame: bytes) -> None:
        for _ in range(times):
            self._raw.send(frame)

    def close(self) -> None:
        self._raw.close()


def mac_of(host: Host, link: str) -> str:
    return host.do(f"ip -br link show {link}").split()[2]


@contextmanager
def plugged(
    host: Host, firewall: str, *vnics: VnicConfig, groups: tuple[str, ...] = (), **config: Any
) -> Iterator[tuple[ComputeNode, list[End]]]:
    """A node with this firewall, and the ends of its containers.

    A group lets them send to UDP port 1000 alone.
    """
    with ComputeNode(
        "cn-1", replace(CONFIG, **config), netns=host.netns, firewall=firewall, api_timeout=60
    ) as node:
        node.init()
        for group in groups:
            node.set_group("acme", group, rules=[Rule("out", "udp", "1000")])
        made = [node.create_vnic(replace(vnic, groups=groups)).vnic for vnic in vnics]
        ends = [End(host, vnic.peer_name or "") for vnic in made]
        try:
            yield node, ends
        finally:
            for end in ends:
                end.close()


def ethernet(source: str, to: str, kind: int) -> bytes:
    return bytes.fromhex(f"{to}{source}".replace(":", "")) + struct.pack("!H", kind)


def checked(data: bytes, at: int, pseudo: bytes = b"") -> bytes:
    """The data with the checksum of RFC 1071 at this place, where zeros are."""
    whole = pseudo + data
    total = sum(struct.unpack(f"!{len(whole) // 2}H", whole))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return data[:at] + struct.pack("!H", ~total & 0xFFFF) + data[at + 2 :]


def udp(
    mac: str, source: str, to: str = ALL, target: str = "10.1.0.255",
    sport: int = 1000, dport: int = 1000,
) -> bytes:  # fmt: skip
    return ipv4(mac, source, to, target, 17, struct.pack("!HHHH", sport, dport, 8, 0))


def reset(mac: str, source: str, to: str, target: str) -> bytes:
    """The end of a TCP connection that never began."""
    ends = socket.inet_aton(source) + socket.inet_aton(target) + struct.pack("!HH", 6, 20)
    data = struct.pack("!HHIIBBHHH", 1000, 1000, 1, 0, 0x50, 0x04, 0, 0, 0)
    return ipv4(mac, source, to, target, 6, checked(data, 16, ends))


def ipv4(mac: str, source: str, to: str, target: str, protocol: int, data: bytes) -> bytes:
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(data), 1, 0, 64, protocol, 0,
        socket.inet_aton(source), socket.inet_aton(target),
    )  # fmt: skip
    return ethernet(mac, to, 0x0800) + checked(head, 10) + data


def request(mac: str, source: str, target: str) -> bytes:
    """An ARP request."""
    words = bytes.fromhex("0001080006040001" + mac.replace(":", "")) + socket.inet_aton(source)
    return ethernet(mac, ALL, 0x0806) + words + bytes(6) + socket.inet_aton(target)


def advertisement(mac: str, source: str) -> bytes:
    """A router advertisement, as no guest may send it."""
    ends = ip_address(source).packed + ip_address("ff02::1").packed
    data = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
    data = checked(data, 2, ends + struct.pack("!II", len(data), 58))
    head = struct.pack("!IHBB", 6 << 28, len(data), 58, 255)
    return ethernet(mac, "33:33:00:00:00:01", 0x86DD) + head + ends + data


def dropped(host: Host) -> dict[tuple[str, str, str], int]:
    """What ``show --drops`` says: packets by rule, guest and link."""
    shown = host.json("show --drops")
    found = {(item["rule"], item["guest"], item["link"]): item["packets"] for item in shown}
    assert len(found) == len(shown)
    return found


@FIREWALLS
def test_drops_are_counted_by_guest_and_rule(host: Host, firewall: str) -> None:
    with plugged(host, firewall, VNIC) as (node, [guest]):
        (vnic,) = node.topology().vnics
        assert host.json("show --drops") == []
        before = time.time()
        guest.send(1, udp(vnic.mac, "10.1.0.7"))
        guest.send(3, udp(vnic.mac, "10.1.0.8"))
        guest.send(1, udp(vnic.mac, "10.1.0.7", sport=67))
    found = {item["rule"]: item for item in host.json("show --drops")}
    assert {rule: item["packets"] for rule, item in found.items()} == {
        "its address or MAC is not one of the guest's": 3,
        "DHCP as only servers send it, or for another client": 1,
    }
    for item in found.values():
        assert (item["node"], item["guest"]) == ("cn:cn-1", "acme/web/c1")
        assert item["link"] == vnic.link_name
        if firewall == "nftables":
            assert before - 1 <= item["since"] <= time.time()
        else:
            assert item["since"] is None
    table = host.snnet("show --drops").splitlines()
    assert table[0].split() == ["GUEST", "LINK", "PACKETS", "SINCE", "RULE"]
    assert "acme/web/c1" in table[2]
    host.snnet("verify")


@FIREWALLS
def test_drops_of_groups_are_counted(host: Host, firewall: str) -> None:
    with plugged(host, firewall, VNIC, groups=("web",)) as (node, [guest]):
        (vnic,) = node.topology().vnics
        host.do("ip link add q type veth peer name p")
        host.do(f"ip link set p addrgenmode none master {vnic.bridge} up")
        guest.send(1, udp(vnic.mac, "10.1.0.7"))
        guest.send(2, udp(vnic.mac, "10.1.0.7", dport=2000))
        other = End(host, "q")
        other.send(40, udp("02:00:00:00:00:99", "10.1.0.99", vnic.mac, "10.1.0.7"))
        other.close()
    found = dropped(host)
    assert found[reasons.OUT, "acme/web/c1", vnic.link_name] == 2
    # What the bridge itself sends to its ports is dropped, and counted, too.
    assert 40 <= found[reasons.IN, "acme/web/c1", vnic.link_name] < 80


@FIREWALLS
def test_what_evades_a_guests_bridge_is_counted(host: Host, firewall: str) -> None:
    with plugged(host, firewall, VNIC) as (node, [guest]):
        (vnic,), (subnet,) = node.topology().vnics, node.topology().subnets
        assert isinstance(subnet.tunnel, Vxlan)
        assert vnic.bridge is not None
        host.do("sysctl -qw net.ipv4.ip_forward=1")
        host.do(f"ip route add 10.1.0.0/24 dev {vnic.bridge}")
        bridge, eth0 = mac_of(host, vnic.bridge), mac_of(host, "eth0")
        guest.send(1, udp(vnic.mac, "10.1.0.7", bridge, HOST))
        guest.send(1, request(vnic.mac, "10.1.0.7", "10.1.0.1"))
        guest.send(3, udp(vnic.mac, "10.1.0.7", BRIDGES, HOST))
        guest.send(4, udp(vnic.mac, "10.1.0.7", bridge, OUTSIDE))
        far, outside = End(host, "far"), "02:00:00:00:00:66"
        far.send(5, udp(outside, OUTSIDE, eth0, "10.1.0.7"))
        far.send(6, udp(outside, OUTSIDE, eth0, HOST, dport=subnet.tunnel.port))
        far.close()
    assert dropped(host) == {
        (reasons.HOST, "acme/web", vnic.bridge): 2,
        (reasons.BRIDGE, "acme/web/c1", vnic.link_name): 3,
        (reasons.FROM, "acme/web", vnic.bridge): 4,
        (reasons.INTO, "acme/web", vnic.bridge): 5,
        (reasons.TUNNEL, "", "eth0"): 6,
    }


@FIREWALLS
def test_router_advertisements_of_guests_are_counted(host: Host, firewall: str) -> None:
    vnic = replace(VNIC, subnet=("10.1.0.0/24", "fd01::/64"), ip=("10.1.0.7", "fd01::7"))
    with plugged(host, firewall, vnic) as (node, [guest]):
        (made,) = node.topology().vnics
        guest.send(3, advertisement(made.mac, "fd01::7"))
    assert dropped(host) == {(reasons.DISCOVERY, "acme/web/c1", made.link_name): 3}


@FIREWALLS
def test_drops_of_routed_guests_are_counted(host: Host, firewall: str) -> None:
    first = replace(VNIC, concentrator_id=None, concentrator_ip=None, subnet_key=None)
    other = replace(
        first, tenant_id="beta", vnic_id="c2", instance_id="c2", subnet="10.2.0.0/24", ip="10.2.0.7"
    )
    with plugged(host, firewall, first, other, mode=NetworkMode.ROUTED) as (node, [guest, _]):
        here = next(vnic for vnic in node.topology().vnics if vnic.tenant_id == "acme")
        there = next(vnic for vnic in node.topology().vnics if vnic.tenant_id == "beta")
        port = mac_of(host, here.link_name)
        guest.send(1, udp(here.mac, "10.1.0.8", port, OUTSIDE))
        guest.send(2, request(here.mac, "10.1.0.8", "169.254.1.1"))
        guest.send(4, udp(here.mac, "10.1.0.7", port, HOST))
        guest.send(5, udp(here.mac, "10.1.0.7", port, "10.2.0.7"))
    assert dropped(host) == {
        (reasons.ADDRESS, "acme/web/c1", here.link_name): 3,
        (reasons.HOST, "acme/web/c1", here.link_name): 4,
        (reasons.INTO, "beta/web/c2", there.link_name): 5,
    }


@FIREWALLS
def test_drops_of_a_concentrator_are_counted(host: Host, firewall: str) -> None:
    host.do("ip link add out0 type veth peer name out1")
    for link in ("out0", "out1"):
        host.do(f"ip link set {link} addrgenmode none up")
    host.do("ip address add 198.51.100.1/24 dev out0")
    nets = {"10.2.0.0/24": 9, "10.3.0.0/24": 10}
    expected: dict[tuple[str, str, str], int] = {}
    with Cnci(
        "c1", CONFIG, tenant_id="acme", netns=host.netns, firewall=firewall, api_timeout=60
    ) as cnci:
        cnci.init()
        for net, key in nets.items():
            cnci.add_remote_subnet(net, key, "192.0.2.12")
        cnci.enable_nat(["out0"])
        eth0, outside, mac = mac_of(host, "eth0"), End(host, "far"), "02:00:00:00:00:05"
        for times, subnet in enumerate(cnci.topology().subnets, 1):
            bridge, who = subnet.bridge.name, f"acme/{subnet.network}"
            guest, gateway = (str(subnet.network[number]) for number in (5, 1))
            host.do(f"ip link add q{times} type veth peer name p{times}")
            host.do(f"ip link set p{times} addrgenmode none master {bridge} up")
            end, to = End(host, f"q{times}"), mac_of(host, bridge)
            end.send(10 + times, udp(mac, guest, to, gateway, dport=9))
            end.send(20 + times, udp(mac, guest, to, OUTSIDE))
            end.send(30 + times, udp(mac, guest, to, "198.51.100.9"))
            end.send(40 + times, reset(mac, guest, to, "198.51.100.9"))
            outside.send(50 + times, udp("02:00:00:00:00:66", OUTSIDE, eth0, guest))
            end.close()
            expected |= {
                (reasons.SERVICE, who, bridge): 10 + times,
                (reasons.PROTECTED, who, bridge): 20 + times,
                (reasons.FROM, who, bridge): 30 + times,
                (reasons.UNTRANSLATED, who, bridge): 40 + times,
                (reasons.INTO, who, bridge): 50 + times,
            }
        outside.close()
        assert len(expected) == 10
        assert dropped(host) == expected
        assert cnci.verify() == []
