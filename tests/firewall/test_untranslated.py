"""Whatever a guest sends, nothing leaves with its private address by a device that translates."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface

import pytest

from snnet.conformance import RealRig
from snnet.conformance.endpoints import A1, OUT
from snnet.conformance.firewall.base import PUBLIC, PUBLIC6, add, exit_by, remove_all, zone
from snnet.conformance.real import frames6
from snnet.conformance.real.frames import checksum
from snnet.contract import Driver, IPAddress, Noun, PublicIp, TranslatedSource, Zone
from snnet.firewall.iptables import IptablesFirewall
from snnet.firewall.nftables import NftablesFirewall
from snnet.system.host import RealHost
from snnet.system.process import run
from tests.node.corpus import ethernet, icmp, packet, tcp, udp

pytestmark = pytest.mark.kernel

ICMP, TCP, UDP, SCTP, ICMP6 = 1, 6, 17, 132, 58
OPENING, MARK = "udp to open", b"?" * 16
OWNER = "cnci:kit"

# -- what a guest sends ----------------------------------------------------------------


def frames(source: IPAddress, target: IPAddress) -> dict[str, bytes]:
    """Frames from the guest to the host outside, by name."""
    if isinstance(source, IPv4Address) and isinstance(target, IPv4Address):
        made = _of_ipv4(source, target)
        return {name: ethernet(A1.mac, A1.gateway_mac, 0x0800, body) for name, body in made}
    assert isinstance(source, IPv6Address)
    assert isinstance(target, IPv6Address)
    return {
        name: frames6.ethernet6(A1.mac, A1.gateway_mac, frames6.packet6(source, target, kind, body))
        for name, kind, body in _of_ipv6(source, target)
    }


def _of_ipv4(source: IPv4Address, target: IPv4Address) -> Iterator[tuple[str, bytes]]:
    asked = udp(5001, 6001, MARK)
    quoted = {
        "nothing known": packet(target, source, UDP, udp(1, 2, bytes(16))),
        "what came back": packet(target, source, UDP, udp(6001, 5001, bytes(16))),
        "what it sent": packet(source, target, UDP, asked),
        "a stranger's": packet(target, source + 1, TCP, tcp(1, 2, 18, b"")),
        "half a header": packet(target, source, UDP, b"")[:12],
        "nothing": b"",
    }
    yield OPENING, packet(source, target, UDP, asked)
    for kind in (3, 4, 5, 11, 12):
        for what, quote in quoted.items():
            yield f"icmp {kind} about {what}", packet(source, target, ICMP, icmp(kind, quote))
    for kind in (0, 1, 2, 6, 7, 9, 10, 14, 16, 18, 30, 37, 40, 41, 42, 255):
        yield f"icmp {kind}", packet(source, target, ICMP, icmp(kind, b"x" * 8))
    broken = bytearray(icmp(8, b"x" * 8))
    broken[2] ^= 0xFF
    yield "echo with a wrong checksum", packet(source, target, ICMP, bytes(broken))
    yield "half an echo", packet(source, target, ICMP, b"\x08\0")
    for flags in (0, 1, 2, 3, 4, 6, 8, 16, 17, 18, 20, 24, 25, 32, 41, 63, 255):
        body = _summed(source, target, TCP, tcp(4000 + flags, 80, flags, b""), 16)
        yield f"tcp flags {flags:#x}", packet(source, target, TCP, body)
    yield "tcp with a wrong checksum", packet(source, target, TCP, tcp(4999, 80, 2, b""))
    yield "half a tcp header", packet(source, target, TCP, tcp(4998, 80, 2, b"")[:10])
    short = bytearray(tcp(4997, 80, 2, b""))
    short[12] = 0x20
    yield "tcp with a short header", packet(source, target, TCP, bytes(short))
    wrong = udp(4996, 80, b"x" * 8)
    wrong = wrong[:6] + b"\x12\x34" + wrong[8:]
    yield "udp with a wrong checksum", packet(source, target, UDP, wrong)
    yield "udp with a wrong length", packet(source, target, UDP, struct.pack("!HHHH", 4, 5, 99, 0))
    yield "half a udp header", packet(source, target, UDP, b"\0\1\0\2")
    yield "udp from port 0", packet(source, target, UDP, udp(0, 80, b"x" * 8))
    yield "sctp with a wrong checksum", packet(source, target, SCTP, bytes(12) + b"\1\0\0\4")
    for number in (
        0,
        2,
        4,
        33,
        41,
        46,
        47,
        50,
        51,
        59,
        60,
        88,
        89,
        94,
        103,
        108,
        115,
        136,
        253,
        255,
    ):
        yield f"protocol {number}", packet(source, target, number, b"\x45" + b"x" * 31)
    for name, place in (("first", 0x2000), ("middle", 0x2001), ("last", 3), ("far", 0x1FFF)):
        yield f"the {name} fragment", packet(source, target, UDP, asked, fragment=place)
    for name, options in {
        "record route": bytes([7, 7, 4, 0, 0, 0, 0, 0]),
        "timestamp": bytes([68, 8, 5, 0, 0, 0, 0, 0]),
        "router alert": bytes([148, 4, 0, 0]),
        "source route": bytes([131, 7, 4, *target.packed, 0]),
        "security": bytes([130, 11, *bytes(9), 0]),
        "rubbish": bytes([77, 99, 1, 1]),
    }.items():
        yield f"udp with {name}", packet(source, target, UDP, udp(4995, 80, b"x"), options=options)


def _of_ipv6(source: IPv6Address, target: IPv6Address) -> Iterator[tuple[str, int, bytes]]:
    def said(kind: int, body: bytes) -> tuple[int, bytes]:
        return ICMP6, frames6.icmp6(source, target, kind, body)

    asked = frames6.udp(source, target, (5001, 6001), MARK)
    unknown, answer = (
        frames6.udp(target, source, ports, bytes(16)) for ports in ((1, 2), (6001, 5001))
    )
    quoted = {
        "nothing known": frames6.packet6(target, source, UDP, unknown),
        "what came back": frames6.packet6(target, source, UDP, answer),
        "what it sent": frames6.packet6(source, target, UDP, asked),
        "half a header": bytes(20),
        "nothing": b"",
    }
    yield OPENING, UDP, asked
    for kind in (1, 2, 3, 4, 100, 127):
        for what, quote in quoted.items():
            yield f"icmp {kind} about {what}", *said(kind, bytes(4) + quote)
    about = source.packed + bytes(16)
    for kind in (129, *range(130, 144), *range(144, 156), 200, 201, 255):
        yield f"icmp {kind}", *said(kind, bytes(4) + about)
    for kind in (129, 133, 135, 136, 143):
        padding = frames6.header(ICMP6)
        yield f"icmp {kind} behind options", 0, padding + said(kind, bytes(4) + about)[1]
        yield f"icmp {kind} behind more", 60, padding + said(kind, bytes(4) + about)[1]
        whole = frames6.fragment(ICMP6, 0, 0) + said(kind, bytes(4) + about)[1]
        yield f"icmp {kind} in one fragment", 44, whole
    broken = bytearray(said(128, bytes(12))[1])
    broken[2] ^= 0xFF
    yield "echo with a wrong checksum", ICMP6, bytes(broken)
    yield "half an echo", ICMP6, b"\x80\0"
    for flags in (0, 1, 2, 3, 4, 16, 17, 18, 20, 41, 63):
        body = tcp(4000 + flags, 80, flags, b"")
        yield f"tcp flags {flags:#x}", TCP, _summed(source, target, TCP, body, 16)
    yield "tcp with a wrong checksum", TCP, tcp(4999, 80, 2, b"")
    yield "half a tcp header", TCP, tcp(4998, 80, 2, b"")[:10]
    yield "udp without a checksum", UDP, udp(4996, 80, b"x" * 8)
    yield "half a udp header", UDP, b"\0\1\0\2"
    for number in (4, 33, 41, 46, 47, 50, 59, 88, 89, 103, 132, 135, 136, 139, 140, 253, 255):
        yield f"next header {number}", number, bytes(32)
    for name, place, flags in (("first", 0, 1), ("middle", 16, 1), ("last", 16, 0)):
        yield f"the {name} fragment", 44, frames6.fragment(UDP, place, flags, 9) + asked[:16]


def _summed(source: IPAddress, target: IPAddress, kind: int, body: bytes, at: int) -> bytes:
    """The segment with its checksum, which is at this place."""
    length = struct.pack("!I", len(body)) if source.version == 6 else struct.pack("!H", len(body))
    last = struct.pack("!I", kind) if source.version == 6 else struct.pack("!H", kind)
    pseudo = (
        source.packed + target.packed + (length + last if source.version == 6 else last + length)
    )
    total = checksum(pseudo + body)
    return body[:at] + struct.pack("!H", total) + body[at + 2 :]


# -- where it goes ---------------------------------------------------------------------


class Wire:
    """The wire outside, and what has arrived there."""

    def __init__(self, rig: RealRig) -> None:
        self._frames = rig._frames
        self._ear = rig._frames._sockets[OUT]
        self._ear.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)

    def sources(self, sent: Iterable[bytes]) -> list[tuple[IPAddress, bytes]]:
        """Whom the packets are from that arrive of these, and the packets."""
        self._heard()
        for frame in sent:
            self._frames.send(A1, frame)
        time.sleep(0.2)
        return self._heard()

    def _heard(self) -> list[tuple[IPAddress, bytes]]:
        found: list[tuple[IPAddress, bytes]] = []
        with suppress(BlockingIOError):
            while True:
                frame = self._ear.recv(4096)
                if frame[12:14] == b"\x08\0":
                    found.append((ip_address(frame[26:30]), frame[14:]))
                elif frame[12:14] == b"\x86\xdd":
                    found.append((ip_address(frame[22:38]), frame[14:]))
        return found


DRIVERS: dict[str, Callable[[RealHost], Driver]] = {
    "nftables": NftablesFirewall,
    "iptables": IptablesFirewall,
}
FAMILIES = pytest.mark.parametrize(
    ("own", "target"), [(A1.ip, OUT.ip), (A1.ip6, OUT.ip6)], ids=["ip", "ip6"]
)


@pytest.fixture(params=DRIVERS, scope="module")
def network(request: pytest.FixtureRequest) -> Iterator[RealRig]:
    with RealRig(DRIVERS[request.param], OWNER) as rig:
        yield rig


@pytest.fixture
def rig(network: RealRig) -> Iterator[RealRig]:
    yield network
    remove_all(network)
    network.reset()
    forget(network)


def forget(rig: RealRig) -> None:
    """Forget connections: one that was tracked before there were rules keeps its addresses."""
    run(["conntrack", "-F"], netns=rig._hub.fd)


def ways(rig: RealRig, source: IPAddress) -> dict[str, list[Noun]]:
    """Rules that translate what the guest sends, and the address that outsiders see."""
    public = PUBLIC if source.version == 4 else PUBLIC6
    rig.add_address("ext0", ip_interface(public))
    return {
        "masquerade": exit_by(rig, nat66=True),
        "public address": [
            PublicIp(owner=rig.owner, public=public, internal=source, device="ext0")
        ],
        "translated source": [TranslatedSource(owner=rig.owner, source=source)],
    }


@FAMILIES
def test_nothing_leaves_with_a_private_address(
    rig: RealRig, own: IPAddress, target: IPAddress
) -> None:
    sent, wire = frames(own, target), Wire(rig)
    assert len(sent) >= 90
    before = wire.sources(sent.values())
    assert sum(source == own for source, _ in before) >= 60  # they do leave a host without rules
    forget(rig)
    for way, rules in ways(rig, own).items():
        add(rig, *_tenant(rig, way), *rules)
        heard = wire.sources(sent.values())
        leaked = [seen for source, seen in heard if source == own]
        assert [_named(seen, sent) for seen in leaked] == [], way
        assert [source != own for source, seen in heard if MARK in seen]  # it opens a connection
        remove_all(rig)


@FAMILIES
def test_nor_does_what_others_do_not_track(rig: RealRig, own: IPAddress, target: IPAddress) -> None:
    """Administrators set ``notrack`` for DNS, say."""
    wire, sent = Wire(rig), {OPENING: frames(own, target)[OPENING]}
    for way, rules in ways(rig, own).items():
        run(["nft", "-f", "-"], netns=rig._hub.fd, input=_NOTRACK)
        add(rig, *_tenant(rig, way), *rules)
        assert not [seen for _, seen in wire.sources(sent.values()) if MARK in seen], way
        run(["nft", "delete", "table", "inet", "others"], netns=rig._hub.fd)
        heard = wire.sources(sent.values())
        assert {source == own for source, seen in heard if MARK in seen} == {False}, way
        remove_all(rig)


_NOTRACK = """
table inet others {
  chain c { type filter hook prerouting priority raw; udp dport 6001 notrack; }
}
"""


def _tenant(rig: RealRig, way: str) -> list[Noun]:
    """The guest's zone; where its source is translated, everything outside is open to it."""
    return [
        replace(noun, outbound=way == "translated source") if isinstance(noun, Zone) else noun
        for noun in zone(rig, "ta", "in-a", "in-b")
    ]


def _named(seen: bytes, sent: dict[str, bytes]) -> str:
    """The name of the frame that this packet was sent in."""
    head = 20 if seen[0] >> 4 == 4 else 40
    return next(
        (name for name, frame in sent.items() if frame[14 + head :] == seen[head:]), seen.hex()
    )
