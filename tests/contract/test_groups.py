"""Rules of security groups: what is given is checked and normalised."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

from snnet import Group, InvalidRequest, Rule


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (("in",), ("in", None, None, None)),
        (("out", "tcp", 22), ("out", "tcp", "22", None)),
        (("in", "6", " 90, 80-89,22"), ("in", "tcp", "22,80-90", None)),
        (("in", 17, "1-65535", "10.0.0.0/8"), ("in", "udp", "1-65535", ip_network("10.0.0.0/8"))),
        (("in", "icmp", "0,8"), ("in", "icmp", "0,8", None)),
        (("in", 58, "128-129", "::/0"), ("in", "icmpv6", "128-129", ip_network("::/0"))),
        (("in", 47, None, "group:web-1.x"), ("in", 47, None, "group:web-1.x")),
        (("in", 0, None, "10.1.0.9"), ("in", 0, None, ip_network("10.1.0.9/32"))),
        (("in", 0, None, ip_address("fd00::9")), ("in", 0, None, ip_network("fd00::9/128"))),
    ],
)
def test_a_rule_is_kept_in_one_form(given: tuple[Any, ...], kept: tuple[Any, ...]) -> None:
    rule = Rule(*given)
    assert (rule.direction, rule.protocol, rule.ports, rule.remote) == kept
    assert Rule(*kept) == rule
    assert Rule.read(str(rule)) == rule


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("out", Rule("out")),
        ("in from group:web", Rule("in", remote="group:web")),
        ("in  icmp 8 ", Rule("in", "icmp", 8)),
        ("out tcp to 10.0.0.0/8", Rule("out", "tcp", remote="10.0.0.0/8")),
        ("in anything from anybody", Rule("in")),
    ],
)
def test_what_a_rule_leaves_out_is_any(text: str, rule: Rule) -> None:
    assert Rule.read(text) == rule


@pytest.mark.parametrize(
    "text", ["", " ", "in tcp 22 23", "in tcp 22 to 10.0.0.0/8", "in tcp 22 from"]
)
def test_other_text_is_no_rule(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"is not a rule like|is not a list of numbers"):
        Rule.read(text)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("direction", {"direction": "inward"}),
        ("direction", {"direction": None}),
        ("protocol", {"protocol": "gre"}),
        ("protocol", {"protocol": 256}),
        ("protocol", {"protocol": -1}),
        ("protocol", {"protocol": True}),
        ("protocol", {"protocol": 6.0}),
        ("ports", {"ports": 80}),
        ("ports", {"protocol": 47, "ports": 80}),
        *(
            ("ports", {"protocol": "tcp", "ports": ports})
            for ports in (0, 65536, "", "a", "80-", "90-80", "80,,90", True, 8.0, [80])
        ),
        ("ports", {"protocol": "icmp", "ports": 256}),
        *(
            ("remote", {"remote": remote})
            for remote in (
                "group:",
                "group:a b",
                "10.0.0.1/8",
                "x",
                5,
                "fe80::%e/64",
                True,
                ip_interface("10.0.0.1/8"),
                ip_address("fe80::1%e"),
            )
        ),
        ("remote", {"protocol": "icmp", "remote": "fd00::/8"}),
        ("remote", {"protocol": "icmpv6", "remote": "10.0.0.0/8"}),
        *(
            # Python refuses to print such a number.
            pytest.param(field, {"protocol": "tcp", field: 10**5000}, id=f"{field}-huge")
            for field in ("direction", "protocol", "ports", "remote")
        ),
    ],
)
def test_a_wrong_value_is_named(field: str, values: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Rule(**{"direction": "in", **values})
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("tenant_id", {"tenant_id": "a b"}),
        ("name", {"name": ""}),
        ("rules[1]", {"rules": [Rule("in"), "in"]}),
        ("rules", {"rules": Rule("in")}),
        ("rules", {"rules": [Rule("in")] * 1001}),
        ("rules", {"rules": [Rule("in", "tcp", ",".join(map(str, range(1, 21001, 2))))]}),
        ("members[0]", {"members": ["224.0.0.1"]}),
        ("members[1]", {"members": ["10.1.0.9", "10.1.0.0/24"]}),
    ],
)
def test_a_group_names_what_is_wrong(field: str, values: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Group(**{"tenant_id": "t1", "name": "web", **values})
    assert caught.value.field == field
