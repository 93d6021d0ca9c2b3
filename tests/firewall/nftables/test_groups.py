"""Security groups on the wire: answers, errors about them, and what only looks like one."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator

import pytest

from snnet.conformance import RealRig
from snnet.conformance.endpoints import A1, A2, PORT, Endpoint
from snnet.conformance.firewall.base import add, remove_all
from snnet.conformance.firewall.groups import group, port
from snnet.conformance.real import frames6
from snnet.conformance.real.probes import token
from snnet.contract import Rule
from snnet.firewall.nftables import NftablesFirewall
from snnet.system.process import run
from tests.node import corpus

pytestmark = pytest.mark.kernel

TCP, UDP, GRE, ESP, FRAGMENT, ICMP6, OPTIONS = 6, 17, 47, 50, 44, 58, 60
REPLY, UNREACHABLE, TOO_BIG = 0, 3, 2
EPHEMERAL = 40000


@pytest.fixture(scope="module", params=[True, False], ids=["br_netfilter", "plain"])
def wire(request: pytest.FixtureRequest) -> Iterator[RealRig]:
    with RealRig(NftablesFirewall, br_netfilter=request.param) as rig:
        yield rig


@pytest.fixture
def rig(wire: RealRig) -> Iterator[RealRig]:
    yield wire
    remove_all(wire)
    wire.reset()


def sent(rig: RealRig, source: Endpoint, target: Endpoint, frame: bytes, mark: bytes) -> bool:
    """Whether the frame arrives."""
    return rig._frames.hears(source, frame, mark, target)


def four(
    rig: RealRig, source: Endpoint, target: Endpoint, protocol: int, head: bytes, fragment: int = 0
) -> bool:
    """Whether an IPv4 packet with this at its beginning arrives."""
    mark = token()
    packet = corpus.packet(source.ip, target.ip, protocol, head + mark, fragment=fragment)
    frame = corpus.ethernet(source.mac, target.mac, corpus.IP, packet)
    return sent(rig, source, target, frame, mark)


def six(rig: RealRig, source: Endpoint, target: Endpoint, protocol: int, head: bytes = b"") -> bool:
    mark = token()
    packet = frames6.packet6(source.ip6, target.ip6, protocol, head + mark)
    return sent(rig, source, target, frames6.ethernet6(source.mac, target.mac, packet), mark)


def ports(source: int, target: int, protocol: int = UDP) -> bytes:
    if protocol == TCP:
        return corpus.tcp(source, target, 0x18, b"")
    return struct.pack("!HHHH", source, target, 24, 0)


def acknowledgement(source: int, target: int) -> bytes:
    """One with nothing else, as keepalive probes and their answers are."""
    return corpus.tcp(source, target, 0x10, b"")


def error(source: Endpoint, target: Endpoint, protocol: int, head: bytes) -> bytes:
    """The message that an IPv4 packet from ``source`` did not get to ``target``."""
    about = corpus.packet(source.ip, target.ip, protocol, head)
    return struct.pack("!BBHI", UNREACHABLE, 4, 0, 1300) + about


def error6(source: Endpoint, target: Endpoint, protocol: int, head: bytes) -> bytes:
    about = frames6.packet6(source.ip6, target.ip6, protocol, head)
    return struct.pack("!BBHI", TOO_BIG, 0, 0, 1280) + about


@pytest.mark.parametrize("asks", [True, False], ids=["of its own", "of others"])
def test_errors_are_about_connections_that_passed(rig: RealRig, asks: bool) -> None:
    """About questions of the guest and about its answers: else large answers would be lost."""
    rule = Rule("out", "udp", PORT) if asks else Rule("in", "udp", PORT)
    add(rig, *group(rig, [rule]), port(rig, A1))
    there, back = ports(EPHEMERAL, PORT), ports(PORT, EPHEMERAL)
    asking, asked = (A1, A2) if asks else (A2, A1)
    said = there if asks else back
    assert not four(rig, A2, A1, corpus.ICMP, error(A1, A2, UDP, said))
    assert not six(rig, A2, A1, ICMP6, error6(A1, A2, UDP, said))
    for send in (four, six):
        assert send(rig, asking, asked, UDP, there)
        assert send(rig, asked, asking, UDP, back)
    assert four(rig, A2, A1, corpus.ICMP, error(A1, A2, UDP, said))
    assert six(rig, A2, A1, ICMP6, error6(A1, A2, UDP, said))
    # About others, and another protocol.
    assert not four(rig, A2, A1, corpus.ICMP, error(A1, A2, TCP, ports(EPHEMERAL, PORT, TCP)))
    assert not six(rig, A2, A1, ICMP6, error6(A1, A2, TCP, ports(EPHEMERAL, PORT, TCP)))


def test_further_headers_are_no_protocol(rig: RealRig) -> None:
    """Who got fragments, or options, may answer the same, and not by other protocols."""
    add(rig, *group(rig, [Rule("out", "udp")]), port(rig, A1))
    for following in (FRAGMENT, OPTIONS):

        def behind(kind: int, number: int = following) -> bytes:
            return frames6.fragment(kind, 0, 0) if number == FRAGMENT else frames6.header(kind)

        assert six(rig, A1, A2, following, behind(UDP) + ports(EPHEMERAL, PORT))
        assert six(rig, A2, A1, following, behind(UDP) + ports(PORT, EPHEMERAL))
        for other in (GRE, ESP):
            assert not six(rig, A2, A1, following, behind(other) + bytes(8))


def test_other_protocols_are_answered(rig: RealRig) -> None:
    """By addresses and protocol; nobody opens them from outside."""
    add(rig, *group(rig, [Rule("out", GRE)]), port(rig, A1))
    for send in (four, six):
        assert not send(rig, A2, A1, GRE, bytes(4))
        assert send(rig, A1, A2, GRE, bytes(4))
        assert send(rig, A2, A1, GRE, bytes(4))
        assert not send(rig, A2, A1, ESP, bytes(8))


@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_an_answer_that_comes_too_late_is_dropped(rig: RealRig, protocol: int) -> None:
    """When it is forgotten, until the guest says something again."""
    add(rig, *group(rig, [Rule("out")]), port(rig, A1))
    there, back = ports(EPHEMERAL, PORT, protocol), ports(PORT, EPHEMERAL, protocol)
    for send, s in ((four, ""), (six, "6")):
        assert send(rig, A1, A2, protocol, there)
        assert send(rig, A2, A1, protocol, back)
        for name in ("flows", "talks"):  # as time does
            run(["nft", "flush", "set", "bridge", "snnet-cnci-kit", f"{name}{s}-{A1.link}"],
                netns=rig._hub.fd)  # fmt: skip
        assert not send(rig, A2, A1, protocol, back)
        assert send(rig, A1, A2, protocol, there)
        assert send(rig, A2, A1, protocol, back)


@pytest.mark.parametrize("direction", ["in", "out"])
def test_keepalives_keep_a_connection(rig: RealRig, direction: str) -> None:
    """A probe that a rule lets pass is answered, however long the connection was idle."""
    add(rig, *group(rig, [Rule(direction, "tcp", PORT)]), port(rig, A1))
    client, server = (A1, A2) if direction == "out" else (A2, A1)
    probe, answer = acknowledgement(EPHEMERAL, PORT), acknowledgement(PORT, EPHEMERAL)
    for send, s in ((four, ""), (six, "6")):
        assert send(rig, client, server, TCP, ports(EPHEMERAL, PORT, TCP))
        assert send(rig, server, client, TCP, answer)
        run(["nft", "flush", "set", "bridge", "snnet-cnci-kit", f"flows{s}-{A1.link}"],
            netns=rig._hub.fd)  # fmt: skip
        assert not send(rig, server, client, TCP, answer)
        assert send(rig, client, server, TCP, probe)
        assert send(rig, server, client, TCP, answer)


def test_the_last_acknowledgement_keeps_nothing(rig: RealRig) -> None:
    """It comes after the end of its connection, which is forgotten soon."""
    add(rig, *group(rig, [Rule("out", "tcp", PORT)]), port(rig, A1))

    def left(s: str) -> int:
        """The seconds for which the answer is still expected."""
        name = ["bridge", "snnet-cnci-kit", f"flows{s}-{A1.link}"]
        listed = run(["nft", "--json", "list", "set", *name], netns=rig._hub.fd).stdout
        found = next(item["set"] for item in json.loads(listed)["nftables"] if "set" in item)
        (element,) = found["elem"]
        return int(element["elem"]["expires"])

    for send, s in ((four, ""), (six, "6")):
        assert send(rig, A1, A2, TCP, ports(EPHEMERAL, PORT, TCP))
        assert left(s) > 2 * 3600
        assert send(rig, A1, A2, TCP, corpus.tcp(EPHEMERAL, PORT, 0x11, b""))
        assert send(rig, A1, A2, TCP, acknowledgement(EPHEMERAL, PORT))
        assert left(s) <= 240


def test_an_answer_is_of_its_connection(rig: RealRig) -> None:
    """Of no other port, protocol or host; and it opens nothing itself."""
    add(rig, *group(rig, [Rule("out", "tcp", PORT)]), port(rig, A1))
    assert four(rig, A1, A2, TCP, ports(EPHEMERAL, PORT, TCP))
    assert four(rig, A2, A1, TCP, ports(PORT, EPHEMERAL, TCP))
    for head in (ports(PORT + 1, EPHEMERAL, TCP), ports(PORT, EPHEMERAL + 1, TCP)):
        assert not four(rig, A2, A1, TCP, head)
    assert not four(rig, A2, A1, UDP, ports(PORT, EPHEMERAL))
    assert not six(rig, A2, A1, TCP, ports(PORT, EPHEMERAL, TCP))
    assert not four(rig, A1, A2, TCP, ports(EPHEMERAL, PORT + 1, TCP))
    # A fragment at byte 8 would bring other flags, or another port's data.
    assert not four(rig, A2, A1, TCP, bytes(16), fragment=1)


def test_an_open_connection_lets_nothing_else_through(rig: RealRig) -> None:
    """Neither a tag nor what stands in the padding makes an answer of a frame."""
    there, back = ports(EPHEMERAL, PORT), ports(PORT, EPHEMERAL)

    def tagged() -> bool:
        mark = token()
        packet = frames6.packet6(A2.ip6, A1.ip6, UDP, back + mark)
        frame = frames6.ethernet6(A2.mac, A1.mac, packet, tags=b"\x81\0\0\0")
        return sent(rig, A2, A1, frame, mark)

    def padded() -> bool:
        mark = token()
        options = frames6.header(UDP, b"\1\x0c" + mark.ljust(12, b"\0"))
        packet = frames6.packet6(
            A2.ip6, A1.ip6, FRAGMENT, frames6.fragment(OPTIONS, 0, 1) + options
        )
        return sent(rig, A2, A1, frames6.ethernet6(A2.mac, A1.mac, packet + back), mark)

    assert tagged()
    assert padded()
    add(rig, *group(rig, [Rule("out", "udp", PORT)]), port(rig, A1))
    assert six(rig, A1, A2, UDP, there)
    assert six(rig, A2, A1, UDP, back)
    assert not tagged()
    assert not padded()


def test_what_a_port_learned_can_be_listed(rig: RealRig) -> None:
    """Where nft does not know the size of a key it aborts, and with it the process."""
    add(rig, *group(rig, [Rule("out", "udp")]), port(rig, A1))

    def listed(*options: str) -> str:
        return run(["nft", *options, "list", "ruleset"], netns=rig._hub.fd).stdout

    types = {line.strip() for line in listed("--terse").splitlines() if "\ttype " in line}
    assert not [line for line in types if "integer" in line]
    for send in (four, six):
        for number in range(3):
            assert send(rig, A1, A2, UDP, ports(EPHEMERAL + number, PORT))
    assert listed().count("expires") == 2 * (3 + 1)
    add(rig, port(rig, A2))  # reads all sets
