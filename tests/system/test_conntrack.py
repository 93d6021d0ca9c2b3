"""Forgetting tracked connections."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from snnet.system.conntrack import Conntrack, Match
from snnet.system.namespaces import Namespace
from snnet.system.process import run

pytestmark = pytest.mark.kernel

CLIENT, HUB, GUEST = (IPv4Address(a) for a in ("198.51.100.9", "203.0.113.1", "10.1.0.9"))


def track(space: Namespace, protocol: str, port: int, client_port: int = 4000) -> None:
    """A connection from the client to the hub's port, which leads to the guest's port 22."""
    words = ["conntrack", "-I", "-p", protocol, "--timeout", "300"]
    words += ["--src", str(CLIENT), "--dst", str(HUB)]
    words += ["--sport", str(client_port), "--dport", str(port)]
    words += ["--reply-src", str(GUEST), "--reply-dst", str(CLIENT)]
    words += ["--reply-port-src", "22", "--reply-port-dst", str(client_port)]
    words += ["--state", "ESTABLISHED"] if protocol == "tcp" else []
    run(words, netns=space.fd)


def tracked(space: Namespace) -> set[str]:
    """What is there, by protocol and port asked for."""
    lines = run(["conntrack", "-L"], netns=space.fd).stdout.splitlines()
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
