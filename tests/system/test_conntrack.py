"""Forgetting tracked connections."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address

import pytest

from snnet.system.conntrack import Conntrack, Match, Sweep
from snnet.system.namespaces import Namespace
from snnet.system.process import run

pytestmark = pytest.mark.kernel

CLIENT, HUB, GUEST = (IPv4Address(a) for a in ("198.51.100.9", "203.0.113.1", "10.1.0.9"))
PORTS = 80, 81, 90, 91
CLIENT6, HUB6, GUEST6 = (ip_address(a) for a in ("2001:db8::9", "2001:db8::1", "fd00::9"))


def track(
    space: Namespace,
    protocol: str,
    port: int,
    client_port: int = 4000,
    *,
    six: bool = False,
    translated: bool = False,
) -> None:
    """A connection from the client to the hub's port, which leads to the guest's port 22."""
    client, hub, guest = (CLIENT6, HUB6, GUEST6) if six else (CLIENT, HUB, GUEST)
    words = ["conntrack", "-I", "-p", protocol, "--timeout", "300"]
    words += ["--src", str(client), "--dst", str(hub)]
    words += ["--sport", str(client_port), "--dport", str(port)]
    if translated:
        words += ["--dst-nat", f"{guest}:22"]
    else:
        words += ["--reply-src", str(guest), "--reply-dst", str(client)]
        words += ["--reply-port-src", "22", "--reply-port-dst", str(client_port)]
    words += ["--state", "ESTABLISHED"] if protocol == "tcp" else []
    run(words, netns=space.fd)


def tracked(space: Namespace) -> set[str]:
    """What is there, by protocol and port asked for."""
    listed = [run(["conntrack", "-L", "-f", ip], netns=space.fd).stdout for ip in ("ipv4", "ipv6")]
    lines = "".join(listed).splitlines()
    return {
        f"{line.split()[0]} {next(word for word in line.split() if word.startswith('dport='))}"
        for line in lines
    }


def forget(space: Namespace, matches: list[Match]) -> int:
    connections = Conntrack(space.fd)
    try:
        return connections.forget(matches)
    finally:
        connections.close()


@pytest.fixture
def space() -> Namespace:
    space = Namespace("tracking")
    for protocol, port in (("tcp", 80), ("tcp", 81), ("udp", 80)):
        track(space, protocol, port, 4000 + port)
    assert tracked(space) == {"tcp dport=80", "tcp dport=81", "udp dport=80"}
    return space


@pytest.mark.parametrize(
    ("match", "count"),
    [
        (Match(), 3),
        (Match("tcp"), 2),
        (Match("tcp", original_port=80), 1),
        (Match("udp", HUB, 80), 1),
        (Match("udp", GUEST, 80), 0),
        (Match(original_destination=HUB), 3),
        (Match(original_source=CLIENT), 3),
        (Match(original_source=HUB), 0),
        (Match(reply_source=GUEST), 3),
        (Match(reply_source=HUB), 0),
        (Match(reply_destination=CLIENT), 3),
        (Match("tcp", HUB, 81, GUEST, CLIENT, CLIENT), 1),
        (Match("tcp", HUB, 81, GUEST, CLIENT, HUB), 0),
    ],
)
def test_those_that_fit_and_no_others(space: Namespace, match: Match, count: int) -> None:
    assert forget(space, [match]) == count
    assert len(tracked(space)) == 3 - count
    assert forget(space, [match]) == 0


def test_many_matches_at_once(space: Namespace) -> None:
    assert forget(space, [Match("tcp", HUB, port) for port in range(1, 2000)]) == 2
    assert tracked(space) == {"udp dport=80"}


def test_no_match_touches_nothing(space: Namespace) -> None:
    assert forget(space, []) == 0
    assert len(tracked(space)) == 3


@pytest.mark.parametrize(
    ("match", "count"),
    [
        (Match(), 5),
        (Match("tcp"), 3),
        (Match("udp", HUB6, 90), 1),
        (Match("udp", GUEST6, 90), 0),
        (Match(original_destination=HUB6), 2),
        (Match(original_source=CLIENT6), 2),
        (Match(original_source=HUB6), 0),
        (Match(reply_source=GUEST6), 2),
        (Match(reply_destination=CLIENT6), 2),
        (Match("tcp", HUB6, 91, GUEST6, CLIENT6, CLIENT6), 1),
        (Match("tcp", HUB6, 91, GUEST6, CLIENT6, HUB6), 0),
        (Match("tcp", HUB, 91), 0),
    ],
)
def test_those_of_ipv6_that_fit_and_no_others(space: Namespace, match: Match, count: int) -> None:
    track(space, "udp", 90, six=True)
    track(space, "tcp", 91, six=True)
    assert forget(space, [match]) == count
    assert len(tracked(space)) == 5 - count
    assert forget(space, [match]) == 0


def test_matches_of_both_families_at_once(space: Namespace) -> None:
    track(space, "udp", 90, six=True)
    assert forget(space, [Match("udp", HUB6, 90), Match("udp", HUB, 80), Match("sctp")]) == 2
    assert tracked(space) == {"tcp dport=80", "tcp dport=81"}


@pytest.mark.parametrize(
    ("sweeps", "left"),
    [
        ([], {80, 81, 90, 91}),
        ([Sweep(Match(original_destination=HUB))], set()),
        ([Sweep(Match("tcp", HUB, 81))], {80, 90, 91}),
        ([Sweep(Match(original_destination=HUB), target_translated=True)], {80, 81}),
        ([Sweep(Match(original_destination=HUB), target_translated=False)], {90, 91}),
        ([Sweep(Match(original_source=CLIENT, reply_destination=CLIENT), False, True)], {*PORTS}),
        ([Sweep(Match("tcp", None, 90, reply_source=GUEST), True)], {80, 81, 91}),
        ([Sweep(Match("tcp", None, 90, reply_source=HUB), True)], {*PORTS}),
        ([Sweep(Match("tcp", HUB, 80)), Sweep(Match("tcp", HUB, 90))], {81, 91}),
    ],
)
def test_the_kernel_finds_them_by_itself(sweeps: list[Sweep], left: set[int]) -> None:
    space = Namespace("sweeping")
    for port in PORTS:
        track(space, "tcp", port, 4000 + port, translated=port >= 90)
    connections = Conntrack(space.fd)
    try:
        swept = connections.sweep(sweeps)
    finally:
        connections.close()
    # A kernel that cannot do it leaves them all.
    assert tracked(space) == {f"tcp dport={port}" for port in (left if swept else PORTS)}
