"""Which connections a change of forwards concerns, and which of them continue."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_network

import pytest

from snnet.contract import Add, PortForward, Remove
from snnet.firewall.connections import Forwards, of_forwards
from snnet.system.conntrack import Connection, Match

HOST, SECOND, THIRD = (IPv4Address(f"203.0.113.{number}") for number in (1, 2, 3))
CLIENT, GUEST, OTHER = (IPv4Address(a) for a in ("198.51.100.9", "10.1.0.9", "10.1.0.10"))

ANY = PortForward(
    owner="cnci:c-1", protocol="udp", device="eth0", port=53, target=GUEST, target_port=5353,
    addresses=(HOST, SECOND),
)  # fmt: skip
ONE = replace(ANY, address=HOST, target=OTHER)


def connection(
    to: IPv4Address = HOST,
    answers: IPv4Address = GUEST,
    port: int = 5353,
    source: IPv4Address = CLIENT,
) -> Connection:
    return Connection(17, to.packed, 53, answers.packed, source.packed, source.packed, port, b"")


def test_an_address_of_its_own_narrows_what_is_forgotten() -> None:
    assert list(of_forwards([Remove(ONE)])) == [Match("udp", HOST, 53, reply_source=OTHER)]
    assert list(of_forwards([Remove(ANY)])) == [Match("udp", None, 53, reply_source=GUEST)]
    assert list(of_forwards([Add(ONE)])) == [Match("udp", HOST, 53)]
    assert list(of_forwards([Add(ANY)])) == [Match("udp", HOST, 53), Match("udp", SECOND, 53)]
    assert list(of_forwards([Add(replace(ANY, protocol="tcp"))])) == []


@pytest.mark.parametrize(
    ("rules", "found", "same"),
    [
        ([], connection(), False),
        ([], connection(answers=HOST, port=53), True),
        ([ANY], connection(), True),
        ([ANY], connection(to=THIRD), False),
        ([ANY], connection(answers=HOST, port=53), False),
        ([ANY], connection(port=1), False),
        ([ANY, ONE], connection(), False),
        ([ANY, ONE], connection(answers=OTHER), True),
        ([ANY, ONE], connection(to=SECOND), True),
        ([replace(ANY, device="eth1", addresses=(THIRD,))], connection(to=THIRD), True),
        ([replace(ANY, sources=(ip_network("10.0.0.0/8"),))], connection(), False),
        ([replace(ANY, sources=(ip_network("10.0.0.0/8"),))], connection(source=OTHER), True),
        ([ANY, replace(ONE, sources=(ip_network("10.0.0.0/8"),))], connection(), True),
        ([replace(ANY, protocol="tcp")], connection(), False),
    ],
)
def test_what_the_rules_that_are_left_would_do_alike_continues(
    rules: list[PortForward], found: Connection, same: bool
) -> None:
    assert Forwards(rules).translate(found) is same
