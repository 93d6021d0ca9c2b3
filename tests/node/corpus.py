"""Frames of guests by name: hostile ones that must reach nobody, honest ones that must pass.

Formats: IEEE 802.1Q and 802.1ad (tags), 802.2 (LLC, SNAP), RFC 768, 791, 792, 793, 826, 903,
2131, 3376, 4861, 8415.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from snnet.conformance.real.frames import checksum

BROADCAST, BRIDGES = "ff:ff:ff:ff:ff:ff", "01:80:c2:00:00:00"
ALL_HOSTS, REPORTS = IPv4Address("224.0.0.1"), IPv4Address("224.0.0.22")
EVERYBODY, ANY = IPv4Address("255.255.255.255"), IPv4Address(0)
IP, ARP, RARP, TAG, OUTER_TAG, IP6 = 0x0800, 0x0806, 0x8035, 0x8100, 0x88A8, 0x86DD
ICMP, IGMP, TCP, UDP = 1, 2, 6, 17
MORE = 0x2000

Frames = dict[str, bytes]


@dataclass(frozen=True)
class Place:
    """A guest and who is around it; ``host_mac`` is what its frames to the host are for."""

    mac: str
    ip: IPv4Address
    neighbour_mac: str
    neighbour: IPv4Address
    host_mac: str
    host: IPv4Address
    gateway: IPv4Address

    @property
    def lies(self) -> dict[str, IPv4Address]:
        """Addresses that are not the guest's."""
        return {
            "a neighbour": self.neighbour,
            "the gateway": self.gateway,
            "the host": self.host,
            "nobody": self.ip + 50,
            "loopback": IPv4Address("127.0.0.1"),
            "multicast": ALL_HOSTS,
            "everybody": EVERYBODY,
            "elsewhere": IPv4Address("203.0.113.7"),
        }


def token(name: str) -> bytes:
    """What tells a frame in a capture."""
    return b"<" + name.encode() + b">"


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def ethernet(source: str, target: str, kind: int, payload: bytes) -> bytes:
    return (_mac(target) + _mac(source) + struct.pack("!H", kind) + payload).ljust(60, b"\0")


def packet(
    source: IPv4Address,
    target: IPv4Address,
    protocol: int,
    payload: bytes,
    *,
    fragment: int = 0,
    options: bytes = b"",
) -> bytes:
    words = 5 + len(options) // 4
    head = struct.pack("!BBHHHBBH", 0x40 | words, 0, words * 4 + len(payload), 4711, fragment, 64,
                       protocol, 0)  # fmt: skip
    head += source.packed + target.packed + options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def udp(source: int, target: int, data: bytes) -> bytes:
    return struct.pack("!HHHH", source, target, 8 + len(data), 0) + data


def tcp(source: int, target: int, flags: int, data: bytes) -> bytes:
    return struct.pack("!HHIIBBHHH", source, target, 1, 1, 5 << 4, flags, 1024, 0, 0) + data


def icmp(kind: int, data: bytes) -> bytes:
    body = struct.pack("!BBHI", kind, 0, 0, 1) + data
    return body[:2] + struct.pack("!H", checksum(body)) + body[4:]


def arp(
    op: int, mac: str, sender: IPv4Address, target: IPv4Address, mark: bytes, asked: str = ""
) -> bytes:
    body = struct.pack("!HHBBH", 1, IP, 6, 4, op) + _mac(mac) + sender.packed
    return body + _mac(asked or "00:00:00:00:00:00") + target.packed + mark


def dhcp(op: int, kind: int, client: str, mark: bytes, holds: IPv4Address = ANY) -> bytes:
    body = struct.pack("!BBBBI", op, 1, 6, 0, 1).ljust(12, b"\0") + holds.packed
    body = body.ljust(28, b"\0") + _mac(client)
    return body.ljust(236, b"\0") + bytes.fromhex("638253633501") + bytes([kind]) + mark


def _payloads(mark: bytes) -> dict[str, tuple[int, bytes]]:
    """Something of each protocol over IP."""
    return {
        "ping": (ICMP, icmp(8, mark)),
        "redirect": (ICMP, icmp(5, mark)),
        "udp": (UDP, udp(5000, 6000, mark)),
        "dns": (UDP, udp(53, 5000, mark)),
        "syn": (TCP, tcp(5000, 80, 2, mark)),
        "igmp": (IGMP, struct.pack("!BBHI", 0x16, 0, 0, 0) + mark),
        "gre": (47, bytes(4) + mark),
        "esp": (50, mark),
        "sctp": (132, struct.pack("!HHII", 1, 2, 3, 0) + mark),
    }


def _wrapped(frame: bytes) -> Iterator[tuple[str, bytes]]:
    """An untagged frame inside what hides it from a guard that looks at fixed places."""
    addresses, kind, payload = frame[:12], frame[12:14], frame[14:]
    for name, tags in {
        "vlan 0": [(TAG, 0)],
        "vlan 5": [(TAG, 5)],
        "priority 7": [(TAG, 0xE000)],
        "802.1ad": [(OUTER_TAG, 0)],
        "two tags": [(OUTER_TAG, 0), (TAG, 0)],
        "two 802.1q": [(TAG, 0), (TAG, 0)],
        "three tags": [(OUTER_TAG, 1), (TAG, 2), (TAG, 3)],
        "0x9100": [(0x9100, 0)],
    }.items():
        yield name, addresses + b"".join(struct.pack("!HH", *tag) for tag in tags) + kind + payload
    snap = bytes.fromhex("aaaa03000000") + kind + payload
    yield "snap", addresses + struct.pack("!H", len(snap)) + snap
    llc = bytes.fromhex("060603") + payload
    yield "llc", addresses + struct.pack("!H", len(llc)) + llc
    yield "pppoe", addresses + struct.pack("!HBBHHH", 0x8864, 0x11, 0, 1, 2, 0x21) + payload
    yield "mpls", addresses + struct.pack("!HI", 0x8847, 0x110) + payload
    yield "macsec", addresses + struct.pack("!HHI", 0x88E5, 0, 1) + kind + payload


def hostile(at: Place, *, bridged: bool = True) -> Frames:
    """Frames that must reach neither a neighbour, nor another tenant, nor the host."""
    return dict(_lies(at, bridged))


def _lies(at: Place, bridged: bool) -> Iterator[tuple[str, bytes]]:
    other, to = "06:66:66:66:66:66", at.neighbour_mac if bridged else at.host_mac
    for lie, address in at.lies.items():
        for kind in _payloads(b""):
            name = f"{kind} from {lie}"
            protocol, payload = _payloads(token(name))[kind]
            yield name, ethernet(at.mac, to, IP, packet(address, at.neighbour, protocol, payload))
    for kind in _payloads(b""):
        name = f"{kind} with another MAC"
        protocol, payload = _payloads(token(name))[kind]
        yield name, ethernet(other, to, IP, packet(at.ip, at.neighbour, protocol, payload))
    for lie, address in at.lies.items():
        for op, what in ((1, "request"), (2, "reply")):
            name = f"arp {what} as {lie}"
            yield name, ethernet(at.mac, BROADCAST, ARP,
                                 arp(op, at.mac, address, at.neighbour, token(name)))  # fmt: skip
    for op in (1, 2, 8, 9):
        name = f"arp {op} with another MAC inside"
        yield name, ethernet(at.mac, BROADCAST, ARP,
                             arp(op, other, at.ip, at.neighbour, token(name)))  # fmt: skip
        name = f"arp {op} with another MAC outside"
        yield name, ethernet(other, BROADCAST, ARP,
                             arp(op, at.mac, at.ip, at.neighbour, token(name)))  # fmt: skip
    for last in ("02", "03", "0e"):
        name = f"ping of the host in a frame for bridges, {last}"
        said = packet(at.ip, at.host, ICMP, icmp(8, token(name)))
        yield name, ethernet(at.mac, f"01:80:c2:00:00:{last}", IP, said)
        name = f"arp in a frame for bridges, {last}"
        yield name, ethernet(at.mac, f"01:80:c2:00:00:{last}", ARP,
                             arp(1, at.mac, at.ip, at.host, token(name)))  # fmt: skip
    yield from _servers(at)
    yield from _types(at)
    yield from _ipv6(at)


def _servers(at: Place) -> Iterator[tuple[str, bytes]]:
    """Answers of DHCP servers, open and hidden; leases of others given up."""
    for what, target, mac in (
        ("everybody", EVERYBODY, BROADCAST),
        ("a neighbour", at.neighbour, at.neighbour_mac),
    ):
        name = f"dhcp offer to {what}"
        offer = udp(67, 68, dhcp(2, 2, at.neighbour_mac, token(name)))
        yield name, ethernet(at.mac, mac, IP, packet(at.ip, target, UDP, offer))
    for name, how in {
        "dhcp offer in fragments": {"fragment": MORE},
        "dhcp offer with options": {"options": bytes([1, 1, 1, 1])},
        "dhcp offer with many options": {"options": bytes([1] * 40)},
    }.items():
        offer = udp(67, 68, dhcp(2, 2, at.neighbour_mac, token(name)))
        yield name, ethernet(at.mac, BROADCAST, IP,
                             packet(at.ip, EVERYBODY, UDP, offer, **how))  # type: ignore[arg-type]  # fmt: skip
    for way, _ in _wrapped(bytes(60)):
        name = f"dhcp offer in {way}"
        offer = udp(67, 68, dhcp(2, 2, at.neighbour_mac, token(name)))
        frame = ethernet(at.mac, BROADCAST, IP, packet(at.ip, EVERYBODY, UDP, offer))
        yield name, dict(_wrapped(frame))[way]
        name = f"arp of the gateway in {way}"
        frame = ethernet(at.mac, BROADCAST, ARP,
                         arp(2, at.mac, at.gateway, at.gateway, token(name)))  # fmt: skip
        yield name, dict(_wrapped(frame))[way]
    for kind, number in (("decline", 4), ("release", 7), ("request", 3), ("discover", 1)):
        name = f"dhcp {kind} for a neighbour"
        asked = udp(68, 67, dhcp(1, number, at.neighbour_mac, token(name), at.neighbour))
        source = at.ip if kind == "release" else ANY
        yield name, ethernet(at.mac, BROADCAST, IP, packet(source, EVERYBODY, UDP, asked))
    for name, protocol, payload in (
        ("udp from nowhere", UDP, udp(5000, 6000, token("udp from nowhere"))),
        ("ping from nowhere", ICMP, icmp(8, token("ping from nowhere"))),
        ("syn from nowhere", TCP, tcp(68, 67, 2, token("syn from nowhere"))),
    ):
        yield name, ethernet(at.mac, BROADCAST, IP, packet(ANY, EVERYBODY, protocol, payload))


def _types(at: Place) -> Iterator[tuple[str, bytes]]:
    """Frames that are neither IP nor ARP."""
    for number in (
        0x0600, 0x0805, 0x0842, 0x22F3, 0x6003, 0x8137, 0x814C, 0x8808, 0x8809, 0x8863, 0x886D,
        0x888E, 0x88B5, 0x88CC, 0x88F7, 0x8902, 0x8906, 0x9000, 0xFFFF,
    ):  # fmt: skip
        name = f"ethertype {number:#06x}"
        yield name, ethernet(at.mac, BROADCAST, number, token(name))
    for name, target in (("spanning tree", BRIDGES), ("pvst", "01:00:0c:cc:cc:cd")):
        body = bytes.fromhex("424203") + bytes(35) + token(name)
        yield name, (_mac(target) + _mac(at.mac) + struct.pack("!H", len(body)) + body)
    name = "rarp with another MAC"
    yield name, ethernet("06:66:66:66:66:66", BROADCAST, RARP,
                         arp(3, "06:66:66:66:66:66", ANY, ANY, token(name)))  # fmt: skip


def _ipv6(at: Place) -> Iterator[tuple[str, bytes]]:
    """IPv6, which a guest without an IPv6 address does not speak."""
    local, nodes = IPv6Address("fe80::66"), IPv6Address("ff02::1")
    for name, kind in (
        ("router advertisement", 134),
        ("router solicitation", 133),
        ("neighbour advertisement", 136),
        ("neighbour solicitation", 135),
        ("redirect of IPv6", 137),
        ("ping of IPv6", 128),
    ):
        payload = struct.pack("!BBHI", kind, 0, 0, 0) + bytes(16) + token(name)
        yield name, _six(at, local, nodes, 58, payload)
        hidden = f"{name} behind options"
        payload = struct.pack("!BBHI", kind, 0, 0, 0) + bytes(16) + token(hidden)
        yield hidden, _six(at, local, nodes, 0, bytes([58, 0, 1, 4, 0, 0, 0, 0]) + payload)
    name = "dhcpv6 advertise"
    yield name, _six(at, local, nodes, UDP, udp(547, 546, token(name)))


def _six(at: Place, source: IPv6Address, target: IPv6Address, header: int, payload: bytes) -> bytes:
    head = struct.pack("!IHBB", 6 << 28, len(payload), header, 255) + source.packed + target.packed
    return ethernet(at.mac, "33:33:00:00:00:01", IP6, head + payload)


def to_the_host(at: Place) -> Frames:
    """Frames with the guest's own addresses to those of the host: neighbours may see them."""
    made: Frames = {}
    targets = {
        "the host": at.host,
        "loopback": IPv4Address("127.0.0.1"),
        "everybody": EVERYBODY,
        "all hosts": ALL_HOSTS,
        "all routers": IPv4Address("224.0.0.2"),
    }
    for what, address in targets.items():
        for kind in _payloads(b""):
            name = f"{kind} to {what}"
            protocol, payload = _payloads(token(name))[kind]
            made[name] = ethernet(at.mac, at.host_mac, IP,
                                  packet(at.ip, address, protocol, payload))  # fmt: skip
    return made


def honest(at: Place) -> Frames:
    """Frames that must reach the neighbour."""
    made: Frames = {}

    def add(name: str, target: str, kind: int, payload: bytes) -> None:
        made[name] = ethernet(at.mac, target, kind, payload)

    for name, op, sender, asked in (
        ("arp request", 1, at.ip, at.neighbour),
        ("arp reply", 2, at.ip, at.neighbour),
        ("arp probe", 1, ANY, at.ip),
        ("gratuitous arp", 1, at.ip, at.ip),
        ("gratuitous arp reply", 2, at.ip, at.ip),
    ):
        add(name, BROADCAST, ARP, arp(op, at.mac, sender, asked, token(name)))
    name = "arp reply to one"
    add(name, at.neighbour_mac, ARP, arp(2, at.mac, at.ip, at.neighbour, token(name)))
    add("rarp", BROADCAST, RARP, arp(3, at.mac, ANY, ANY, token("rarp"), at.mac))
    for kind in _payloads(b""):
        for way, mac, target in (
            ("to a neighbour", at.neighbour_mac, at.neighbour),
            ("to everybody", BROADCAST, EVERYBODY),
            ("to a group", "01:00:5e:00:00:fb", IPv4Address("224.0.0.251")),
        ):
            name = f"{kind} {way}"
            protocol, payload = _payloads(token(name))[kind]
            add(name, mac, IP, packet(at.ip, target, protocol, payload))
    for size in (0, 1, 500, 1400):
        name = f"ping of {size} bytes"
        data = icmp(8, token(name) + bytes(size))
        add(name, at.neighbour_mac, IP, packet(at.ip, at.neighbour, ICMP, data))
    for name, place in (("first fragment", MORE), ("a fragment", MORE | 20), ("last fragment", 40)):
        data = udp(5000, 6000, token(name)) if name == "first fragment" else token(name)
        add(name, at.neighbour_mac, IP,
            packet(at.ip, at.neighbour, UDP, data.ljust(64, b"\0"), fragment=place))  # fmt: skip
    for name, flags in (("ack", 16), ("fin", 17), ("rst", 4), ("push", 24), ("syn-ack", 18)):
        data = tcp(80, 5000, flags, token(name))
        add(name, at.neighbour_mac, IP, packet(at.ip, at.neighbour, TCP, data))
    for name, options in (("a nop", bytes([1, 1, 1, 1])), ("router alert", bytes([148, 4, 0, 0]))):
        data = udp(5000, 6000, token(name))
        add(name, at.neighbour_mac, IP, packet(at.ip, at.neighbour, UDP, data, options=options))
    for name, number, source in (
        ("dhcp discover", 1, ANY),
        ("dhcp request", 3, ANY),
        ("dhcp decline", 4, ANY),
        ("dhcp renewal", 3, at.ip),
        ("dhcp release", 7, at.ip),
        ("dhcp inform", 8, at.ip),
    ):
        data = udp(68, 67, dhcp(1, number, at.mac, token(name)))
        add(name, BROADCAST, IP, packet(source, EVERYBODY, UDP, data))
    for name, source, group in (
        ("igmp report", at.ip, REPORTS),
        ("igmp report without address", ANY, REPORTS),
        ("igmp leave", at.ip, IPv4Address("224.0.0.2")),
    ):
        report = struct.pack("!BBHI", 0x22, 0, 0, 0) + token(name)
        add(name, "01:00:5e:00:00:16", IP, packet(source, group, IGMP, report))
    return made


def raw_socket(link: str) -> socket.socket:
    """A socket that sends and receives frames of a link."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    sock.bind((link, 0))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    sock.setblocking(False)
    return sock
