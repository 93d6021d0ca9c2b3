"""What chains of others do with a packet, as far as it can be told."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from snnet.backends.fake.fabric.others import IP, Seen
from snnet.explain.chains import HostChains

from .fakes import nft, saved

SEEN = Seen(
    layer=IP, hook="forward", version=4, protocol="tcp",
    source=ip_address("10.1.0.9"), target=ip_address("10.2.0.11"),
    source_port=40000, target_port=80, came="br0", goes="eth0",
    state="new", opens=True, flags=frozenset({"syn"}), local=lambda address: "unicast",
)  # fmt: skip

LOST, PASSES, UNKNOWN = "lost", "passes", "unknown"


def judged(gathered: Any, seen: Seen = SEEN) -> str:
    verdict, _ = HostChains(gathered).judge(seen, None, None)
    return PASSES if verdict is None else LOST if verdict.lost else UNKNOWN


def match(left: Any, right: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


def meta(key: str, right: Any, op: str = "==") -> dict[str, Any]:
    return match({"meta": {"key": key}}, right, op)


def field(protocol: str, name: str, right: Any, op: str = "==") -> dict[str, Any]:
    return match({"payload": {"protocol": protocol, "field": name}}, right, op)


DROP: dict[str, Any] = {"drop": None}
INLINE: Any = "jump {\n\t\t\ttcp dport 22 accept\n\t\t}"
"""A chain within a rule, as nft prints it."""


@pytest.mark.parametrize(
    ("expressions", "outcome"),
    [
        ([field("ip", "saddr", "10.1.0.9"), INLINE], UNKNOWN),
        ([field("ip", "saddr", "10.1.0.8"), INLINE], PASSES),
        ([DROP], LOST),
        ([{"counter": {"packets": 0, "bytes": 0}}, DROP], LOST),
        ([{"reject": {"type": "tcp reset"}}], LOST),
        ([{"accept": None}], PASSES),
        ([meta("iifname", "br0"), DROP], LOST),
        ([meta("iifname", "br*"), DROP], LOST),
        ([meta("iifname", "br0", "!="), DROP], PASSES),
        ([meta("oifname", {"set": ["eth0", "eth1"]}), DROP], LOST),
        ([meta("nfproto", "ipv6"), DROP], PASSES),
        ([meta("l4proto", {"set": ["udp", "icmp"]}), DROP], PASSES),
        ([field("tcp", "dport", {"range": [1, 1023]}), DROP], LOST),
        ([field("udp", "dport", 80), DROP], PASSES),
        ([field("udp", "dport", 80, "!="), DROP], PASSES),  # it has no such field
        ([field("th", "sport", 40000), DROP], LOST),
        ([field("ip", "saddr", {"prefix": {"addr": "10.1.0.0", "len": 24}}), DROP], LOST),
        ([field("ip", "daddr", "10.2.0.11", "!="), DROP], PASSES),
        ([field("ip6", "saddr", "fd00::9", "!="), DROP], PASSES),
        ([field("icmp", "type", "echo-request"), DROP], PASSES),
        ([field("ether", "saddr", "02:00:0a:01:00:09"), DROP], UNKNOWN),
        ([match({"ct": {"key": "state"}}, ["established", "related"], "in"), DROP], LOST),
        ([match({"ct": {"key": "state"}}, "invalid"), DROP], PASSES),
        ([match({"ct": {"key": "mark"}}, 1), DROP], UNKNOWN),
        ([match({"fib": {"result": "type", "flags": ["daddr"]}}, "local"), DROP], PASSES),
        ([{"limit": {"rate": 1, "per": "second"}}, DROP], UNKNOWN),
        ([meta("mark", 1), {"accept": None}], PASSES),
        ([{"notrack": None}], UNKNOWN),
        ([{"mangle": {"key": {"meta": {"key": "mark"}}, "value": 1}}], PASSES),
        ([{"mangle": {"key": {"payload": {"protocol": "ip"}}, "value": 1}}], UNKNOWN),
        ([{"queue": None}], UNKNOWN),
        (
            [match({"concat": [{"meta": {"key": "iifname"}}, {"meta": {"key": "oifname"}}]},
                   {"set": [{"concat": ["br1", "eth0"]}, {"concat": ["br0", "eth0"]}]}), DROP],
            LOST,
        ),
        (
            [match({"concat": [{"meta": {"key": "iifname"}}, {"meta": {"key": "oifname"}}]},
                   {"set": [{"concat": ["br1", "eth0"]}, {"concat": ["br0", "eth1"]}]}), DROP],
            PASSES,
        ),
    ],
)  # fmt: skip
def test_a_rule_of_nft(expressions: list[dict[str, Any]], outcome: str) -> None:
    assert judged(nft(expressions)) == outcome


@pytest.mark.parametrize(
    ("flags", "operator", "of", "outcome"),
    [
        # nft prints "tcp flags syn", which asks for that bit alone, with the operator "in".
        ("syn", "in", {"syn"}, LOST),
        ("syn", "in", {"syn", "ack"}, LOST),
        ("syn", "in", {"ack"}, PASSES),
        (["syn", "fin"], "in", {"fin", "ack"}, LOST),
        (["syn", "fin"], "in", {"ack"}, PASSES),
        ("syn", "==", {"syn"}, LOST),
        ("syn", "==", {"syn", "ack"}, PASSES),
        ("syn", "!=", {"syn", "ack"}, LOST),
        ("syn", "!", {"ack"}, UNKNOWN),
        (3, "in", {"ack"}, UNKNOWN),
    ],
)
def test_flags_of_tcp(flags: Any, operator: str, of: set[str], outcome: str) -> None:
    """Of the first packet alone: those that follow are accepted before."""
    follows = [match({"ct": {"key": "state"}}, "established"), {"accept": None}]
    seen = replace(SEEN, flags=frozenset(of))
    assert judged(nft(follows, [field("tcp", "flags", flags, operator), DROP]), seen) == outcome


def test_a_policy_drops_what_no_rule_accepts() -> None:
    accept = {"accept": None}
    assert judged(nft(policy="drop")) == LOST
    assert judged(nft([field("tcp", "dport", 80), accept], policy="drop")) == PASSES
    assert judged(nft([field("tcp", "dport", 22), accept], policy="drop")) == LOST
    assert judged(nft([{"limit": {}}, accept], policy="drop")) == UNKNOWN


def test_the_packets_that_follow_count_too() -> None:
    """A connection whose first packet alone passes is of no use."""
    opening = [match({"ct": {"key": "state"}}, "new"), {"accept": None}]
    assert judged(nft(opening, policy="drop")) == LOST
    assert judged(nft(opening, policy="drop"), replace(SEEN, protocol="udp")) == PASSES


def test_other_hooks_and_families_do_not_see_it() -> None:
    assert judged(nft([DROP], hook="input")) == PASSES
    assert judged(saved("-A FORWARD -j DROP", "ip6tables-nft-save", "ip6")) == PASSES


@pytest.mark.parametrize(
    ("rules", "outcome"),
    [
        ("-A FORWARD -j DROP", LOST),
        ("-A FORWARD -s 10.1.0.0/24 -i br+ -p tcp -m tcp --dport 80 -j REJECT", LOST),
        ("-A FORWARD ! -i br0 -j DROP", PASSES),
        ("-A FORWARD -p tcp -m multiport --dports 22,79:81 -j DROP", LOST),
        ("-A FORWARD -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j DROP", LOST),
        ("-A FORWARD -m conntrack --ctstate INVALID -j DROP", PASSES),
        ("-A FORWARD -m addrtype --dst-type LOCAL -j DROP", PASSES),
        ("-A FORWARD -m iprange --src-range 10.1.0.1-10.1.0.20 -j DROP", LOST),
        ("-A FORWARD -m recent --rcheck --name x --rsource -j DROP", UNKNOWN),
        ("-A FORWARD -j ODDTARGET", UNKNOWN),
        ("-A FORWARD -j ACCEPT\n-A FORWARD -j DROP", PASSES),
        (":A - [0:0]\n-A FORWARD -j A\n-A A -p udp -j DROP\n-A A -j RETURN", PASSES),
        (":A - [0:0]\n-A FORWARD -g A\n-A FORWARD -j DROP\n-A A -p udp -j DROP", PASSES),
        (":A - [0:0]\n-A FORWARD -j A\n-A A -o eth0 -j DROP", LOST),
        # What snnet's own chains accept, no later rule of this table sees.
        (":SNNET-x-fwd - [0:0]\n-A FORWARD -j SNNET-x-fwd\n-A FORWARD -j DROP\n"
         "-A SNNET-x-fwd -i br0 -j ACCEPT", PASSES),
        (":SNNET-x-fwd - [0:0]\n-A FORWARD -j SNNET-x-fwd\n-A SNNET-x-fwd -i br0 -j DROP", LOST),
    ],
)  # fmt: skip
def test_rules_of_iptables(rules: str, outcome: str) -> None:
    assert judged(saved(rules)) == outcome


@pytest.mark.parametrize(
    ("rules", "bypassed"),
    [
        ("-A FORWARD -j SNNET-x-fwd\n-A FORWARD -j ACCEPT", False),
        ("-A FORWARD -o eth0 -j ACCEPT\n-A FORWARD -j SNNET-x-fwd", True),
        ("-A FORWARD -o eth1 -j ACCEPT\n-A FORWARD -j SNNET-x-fwd", False),
        ("-A FORWARD -m mark --mark 0x1 -j ACCEPT\n-A FORWARD -j SNNET-x-fwd", False),
        (
            "-A FORWARD -m limit -j MARK --set-xmark 0x1/0x1\n"
            "-A FORWARD -m mark --mark 0x1 -j ACCEPT\n-A FORWARD -j SNNET-x-fwd",
            None,
        ),
        ("-A FORWARD -j ACCEPT", False),
    ],
)
def test_what_is_accepted_before_it_comes_to_snnet(rules: str, bypassed: bool | None) -> None:
    gathered = saved(f":SNNET-x-fwd - [0:0]\n{rules}")
    assert HostChains(gathered).bypassed(SEEN) is bypassed


def test_before_conntrack_a_packet_belongs_to_no_connection() -> None:
    gathered = nft([match({"ct": {"key": "state"}}, "invalid"), DROP], hook="prerouting")
    seen = replace(SEEN, hook="prerouting")
    assert judged(gathered, seen) == PASSES
    gathered["nft"][0]["chain"]["prio"] = -300
    assert judged(gathered, seen) == LOST


def test_only_the_first_packet_of_a_connection_is_translated() -> None:
    gathered = nft([{"masquerade": None}], hook="postrouting")
    gathered["nft"][0]["chain"]["type"] = "nat"
    seen = replace(SEEN, hook="postrouting")
    assert judged(gathered, seen) == UNKNOWN
    assert judged(gathered, replace(seen, opens=False, state="established")) == PASSES


def test_a_chain_of_a_link_sees_its_frames_alone() -> None:
    gathered = nft([DROP], hook="ingress")
    for item in gathered["nft"]:
        next(iter(item.values()))["family"] = "netdev"
    gathered["nft"][0]["chain"]["dev"] = "eth0"
    seen = replace(SEEN, layer="netdev", hook="ingress", goes="")
    assert judged(gathered, replace(seen, came="eth0")) == LOST
    assert judged(gathered, replace(seen, came="eth1")) == PASSES


MARK = {"meta": {"key": "mark"}}
LIMIT: dict[str, Any] = {"limit": {"rate": 1, "per": "second"}}


def mark(value: Any) -> dict[str, Any]:
    return {"mangle": {"key": MARK, "value": value}}


@pytest.mark.parametrize(
    ("rules", "outcome"),
    [
        # Nothing marks it: it has none (0).
        ([[meta("mark", 1), DROP]], PASSES),
        ([[meta("mark", 1, "!="), DROP]], LOST),
        ([[meta("mark", 0), DROP]], LOST),
        ([[mark(1)], [meta("mark", 1), DROP]], LOST),
        ([[mark(1)], [meta("mark", {"range": [2, 9]}), DROP]], PASSES),
        ([[mark(5)], [meta("mark", {"set": [4, 5]}), DROP]], LOST),
        ([[mark(0x105)], [match({"&": [MARK, 255]}, 5), DROP]], LOST),
        ([[mark(0x105)], [match({"&": [MARK, 255]}, 0, "!="), DROP]], LOST),
        # Bit by bit, as kube-proxy and Tailscale do.
        ([[mark({"|": [MARK, 0x4000]})], [match({"&": [MARK, 0x4000]}, 0x4000), DROP]], LOST),
        ([[mark(7)], [mark({"&": [MARK, 6]})], [meta("mark", 6), DROP]], LOST),
        ([[mark(7)], [mark({"^": [MARK, 2]})], [meta("mark", 5), DROP]], LOST),
        ([[mark({"|": [{"&": [MARK, 0xF0]}, 3]})], [meta("mark", 3), DROP]], LOST),
        # A mark is set where it stands in the rule, whatever the rest asks for.
        ([[mark(1), field("tcp", "dport", 22), DROP], [meta("mark", 1), DROP]], LOST),
        ([[field("tcp", "dport", 22), mark(1)], [meta("mark", 1), DROP]], PASSES),
        # What may match may mark.
        ([[LIMIT, mark(1)], [meta("mark", 1), DROP]], UNKNOWN),
        ([[LIMIT, mark(1)], [mark(2)], [meta("mark", 2), DROP]], LOST),
        ([[LIMIT, mark(0)], [meta("mark", 1), DROP]], PASSES),
        ([[mark({"ct": {"key": "mark"}})], [meta("mark", 1), DROP]], UNKNOWN),
        ([[{"mangle": {"key": {"ct": {"key": "mark"}}, "value": MARK}}], [meta("mark", 1), DROP]],
         PASSES),
        # What is accepted keeps its mark.
        ([[mark(1), {"accept": None}], [mark(2)]], PASSES),
    ],
)  # fmt: skip
def test_marks(rules: list[list[dict[str, Any]]], outcome: str) -> None:
    assert judged(nft(*rules)) == outcome


@pytest.mark.parametrize(
    ("rules", "outcome"),
    [
        ("-A FORWARD -m mark --mark 0x1 -j DROP", PASSES),
        ("-A FORWARD -m mark ! --mark 0x1/0xff -j DROP", LOST),
        ("-A FORWARD -j MARK --set-xmark 0x40000/0xff0000\n"
         "-A FORWARD -m mark --mark 0x40000/0xff0000 -j DROP", LOST),
        ("-A FORWARD -i tailscale0 -j MARK --set-xmark 0x40000/0xff0000\n"
         "-A FORWARD -m mark --mark 0x40000/0xff0000 -j DROP", PASSES),
        (":A - [0:0]\n-A FORWARD -j A\n-A FORWARD -m mark --mark 0x4000/0x4000 -j DROP\n"
         "-A A -p udp -j RETURN\n-A A -j MARK --set-xmark 0x4000/0x4000", LOST),
        (":A - [0:0]\n-A FORWARD -j A\n-A FORWARD -m mark --mark 0x4000/0x4000 -j DROP\n"
         "-A A -m limit -j RETURN\n-A A -j MARK --set-xmark 0x4000/0x4000", UNKNOWN),
        ("-A FORWARD -j CONNMARK --restore-mark --nfmask 0xff --ctmask 0xff\n"
         "-A FORWARD -m mark --mark 0x1 -j DROP", UNKNOWN),
        ("-A FORWARD -j CONNMARK --save-mark --nfmask 0xff --ctmask 0xff\n"
         "-A FORWARD -m mark --mark 0x1 -j DROP", PASSES),
    ],
)  # fmt: skip
def test_marks_of_iptables(rules: str, outcome: str) -> None:
    assert judged(saved(rules)) == outcome


def test_marks_go_with_each_packet() -> None:
    """The first one of a connection may have another than those that follow it."""
    opening = [match({"ct": {"key": "state"}}, "new"), mark(1)]
    chains = HostChains(nft(opening))
    assert chains.judge(SEEN, None, None) == (None, (1, 0, 0))
    assert chains.judge(replace(SEEN, marks=(7, 7, None)), None, None)[1] == (1, 7, None)
    assert chains.judge(replace(SEEN, redirected=True), None, None)[1] == (1, None, None)
    lost = [meta("mark", 1, "!="), DROP]
    assert judged(nft(opening, lost)) == LOST, "what follows has no mark"
    assert judged(nft(opening, lost), replace(SEEN, protocol="udp")) == PASSES


def test_lower_priorities_come_first() -> None:
    gathered = nft([meta("mark", 1), DROP])
    table = {"family": "inet", "table": "first", "name": "one", "handle": 1}
    chain = {**table, "type": "filter", "hook": "forward", "prio": -150, "policy": "accept"}
    rule = {"family": "inet", "table": "first", "chain": "one", "handle": 2, "expr": [mark(1)]}
    gathered["nft"] += [{"chain": chain}, {"rule": rule}]
    assert judged(gathered) == LOST


PAIR = [{"payload": {"protocol": "ip", "field": name}} for name in ("saddr", "daddr")]


@pytest.mark.parametrize(
    ("source", "target", "outcome"),
    [
        ("10.1.0.9", "10.2.0.11", PASSES),
        ("10.1.0.9", "10.2.0.12", LOST),
        ("fd00:1::9", "fd00:2::11", PASSES),
    ],
)
def test_fields_that_a_packet_does_not_have_are_not_different(
    source: str, target: str, outcome: str
) -> None:
    """Nft asks for the version first, also where the fields have to differ from all values."""
    values = {"set": [{"concat": ["10.1.0.9", "10.2.0.11"]}, {"concat": ["10.1.0.9", "10.9.9.9"]}]}
    seen = replace(
        SEEN, source=ip_address(source), target=ip_address(target),
        version=ip_address(target).version,
    )  # fmt: skip
    assert judged(nft([match({"concat": PAIR}, values, "!="), DROP]), seen) == outcome


@pytest.mark.parametrize(
    ("expression", "outcome"),
    [
        ({"xt": {"type": "target", "name": "dnat"}}, UNKNOWN),
        ({"xt": {"type": "target", "name": "mangle"}}, UNKNOWN),
        ({"xt": {"type": "target", "name": "LOG"}}, PASSES),
        ({"xt": {"type": "watcher", "name": "log"}}, PASSES),
    ],
)
def test_targets_of_ebtables_and_arptables_may_change_addresses(
    expression: dict[str, Any], outcome: str
) -> None:
    assert judged(nft([expression])) == outcome
