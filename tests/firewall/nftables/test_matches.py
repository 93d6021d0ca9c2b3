"""Rules of a group in nft's words: as few as can be, and none that overlap."""

from __future__ import annotations

import sys
from collections.abc import Callable
from ipaddress import IPv4Network

import pytest

from snnet import Rule
from snnet.firewall.nftables.families import Family
from snnet.firewall.nftables.matches import texts


def sets_of(of: Family, group: str) -> list[str]:
    return [f"here{of.s}-{group}", f"there{of.s}-{group}"]


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        ([], []),
        (["out", "in tcp 22"], ["tcp dport 22"]),
        (["in tcp 22", "in"], ["meta protocol { ip, ip6 }"]),
        (["in tcp 22", "in tcp 80,23", "in udp 53"], ["tcp dport { 22-23, 80 }", "udp dport 53"]),
        (["in tcp", "in tcp 80", "in 47"], ["meta l4proto { 6, 47 }"]),
        (["in icmp 8", "in icmp 0"], ["icmp type { 0, 8 }"]),
        (
            ["in tcp 22 from 10.0.0.0/9", "in tcp 22 from 10.128.0.0/9", "in tcp 22 from fd00::/8"],
            ["tcp dport 22 ip saddr 10.0.0.0/8", "tcp dport 22 ip6 saddr fd00::/8"],
        ),
        (
            [
                "in tcp 1-9 from 10.0.0.0/8",
                "in tcp 5-12 from 10.1.0.0/16",
                "in tcp 7 from 10.1.2.3",
            ],
            ["ip saddr . tcp dport { 10.0.0.0/8 . 1-9, 10.1.0.0/16 . 10-12 }"],
        ),
        (
            ["in tcp from 10.1.0.0/16", "in tcp 80 from 10.0.0.0/8", "in tcp 80 from 10.1.9.0/24"],
            ["meta l4proto 6 ip saddr 10.1.0.0/16", "tcp dport 80 ip saddr 10.0.0.0/8"],
        ),
        (
            ["in from 10.1.0.0/16", "in icmp 8 from 10.0.0.0/8", "in icmp 0 from 10.2.0.0/16"],
            [
                "ip saddr 10.1.0.0/16",
                "icmp type 8 ip saddr 10.0.0.0/8",
                "icmp type 0 ip saddr 10.2.0.0/16",
            ],
        ),
        (
            ["in tcp 80 from group:db", "in tcp 22 from group:db", "in icmp 8 from group:db"],
            [
                *(f"tcp dport {{ 22, 80 }} ip saddr @{name}-db" for name in ("here", "there")),
                *(f"icmp type 8 ip saddr @{name}-db" for name in ("here", "there")),
                *(f"tcp dport {{ 22, 80 }} ip6 saddr @{name}6-db" for name in ("here", "there")),
            ],
        ),
    ],
)
def test_few_rules_for_many(rules: list[str], found: list[str]) -> None:
    assert texts(map(Rule.read, rules), "in", sets_of) == found


def test_out_is_about_targets() -> None:
    rules = [Rule("out", "udp", 53, "10.0.0.0/8"), Rule("out", remote="group:db")]
    assert texts(rules, "out", sets_of)[:2] == [
        "udp dport 53 ip daddr 10.0.0.0/8",
        "ip daddr @here-db",
    ]


def test_a_thousand_rules_of_a_protocol_are_one() -> None:
    rules = [Rule("in", "tcp", port, f"10.{port % 250}.0.0/16") for port in range(1, 1001)]
    (text,) = texts(rules, "in", sets_of)
    assert text.count(" . ") == 1001


_MANY: dict[str, Callable[[int], Rule]] = {
    "ports": lambda number: Rule("in", "tcp", 2 * number + 1),
    "ports of a group": lambda number: Rule("in", "tcp", 2 * number + 1, "group:db"),
    "networks": lambda number: Rule("in", "tcp", 22, str(network(number))),
    "networks with ports": lambda number: Rule("in", "tcp", number + 1, str(network(number))),
    "networks and wider ones": lambda number: Rule(
        "in", "tcp", None if number % 2 else 22, str(network(number // 2, 16 if number % 2 else 24))
    ),
}


def network(number: int, prefix: int = 24) -> IPv4Network:
    return IPv4Network((number << 13 | 10 << 24, prefix), strict=False)


@pytest.mark.parametrize("what", _MANY)
def test_the_work_grows_as_the_rules_do(what: str) -> None:
    """In calls, which do not depend on the machine; 4.4 leaves room for sorting."""
    few, many = (work(list(map(_MANY[what], range(size)))) for size in (200, 800))
    assert many / few < 4.4


def work(rules: list[Rule]) -> int:
    """How many functions are called to make rules of nft from these."""
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        texts(rules, "in", sets_of)
    finally:
        sys.setprofile(before)
    return calls
