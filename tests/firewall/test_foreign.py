"""Others' rules that drop our traffic, as nft's JSON shows them (nft 1.0.6 printed these)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from snnet.contract import (
    BridgeAccept,
    ExternalForward,
    Noun,
    PortForward,
    TranslatedSource,
    Zone,
    ZoneLink,
)
from snnet.firewall import foreign
from snnet.firewall.foreign import Flow, Item, drops, flows, unaccepted
from snnet.system.process import Completed
from snnet.system.reach import Reach

O = "cnci:c-1"  # noqa: E741
NET1, NET2 = IPv4Network("10.1.0.0/24"), IPv4Network("10.2.0.0/24")
FLOW = Flow("br1", "eth0", sources=(NET1,))
BRIDGED = Flow("br9", "br9", bridged=True)


def chain(name: str = "forward", **values: Any) -> Item:
    base = {"type": "filter", "hook": "forward", "prio": 0, "policy": "accept"}
    return {"chain": {"family": "inet", "table": "theirs", "name": name, **base, **values}}


def inner(name: str) -> Item:
    return {"chain": {"family": "inet", "table": "theirs", "name": name, "handle": 1}}


def rule(*expressions: Item, of: str = "forward") -> Item:
    return {"rule": {"family": "inet", "table": "theirs", "chain": of, "expr": [*expressions]}}


def match(key: str, right: Any, op: str = "==") -> Item:
    return {"match": {"op": op, "left": {"meta": {"key": key}}, "right": right}}


def payload(field: str, right: Any, op: str = "==") -> Item:
    left = {"payload": {"protocol": "ip", "field": field}}
    return {"match": {"op": op, "left": left, "right": right}}


def prefix(address: str, length: int) -> Item:
    return {"prefix": {"addr": address, "len": length}}


DROP: Item = {"drop": None}
REJECT: Item = {"reject": {"type": "icmp", "expr": "port-unreachable"}}
ACCEPT: Item = {"accept": None}
RETURN: Item = {"return": None}
INLINE: Any = "jump {\n\t\t\ttcp dport 22 accept\n\t\t}"
COUNTER: Item = {"counter": {"packets": 0, "bytes": 0}}
ANSWERS: Item = {
    "match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "established"},
}


def test_a_line_names_the_chain_the_flow_and_what_to_do() -> None:
    ruleset = [
        {"metainfo": {"version": "1.0.6", "json_schema_version": 1}},
        {"table": {"family": "inet", "name": "theirs", "handle": 1}},
        chain(),
        rule(match("iifname", "br1"), COUNTER, DROP),
    ]
    other = Flow("br1", "eth1", sources=(NET1,))
    assert drops(ruleset, [Flow("br2", "eth0"), FLOW, other]) == [
        "table inet theirs, chain forward (hook forward) drops what snnet lets through: "
        "from br1 to eth0 (and 1 more), by a rule that says drop in chain forward; "
        "have its owner accept them there, or: nft insert rule inet theirs forward iifname br1 "
        "oifname eth0 accept"
    ]


STOPS: dict[str, list[Item]] = {
    "by its policy": [chain(policy="drop")],
    "by its policy, after answers": [chain(policy="drop"), rule(ANSWERS, ACCEPT)],
    "by its policy, after a chain within a rule": [chain(policy="drop"), rule(INLINE)],
    "by its policy, after a return": [chain(policy="drop"), rule(match("iifname", "br1"), RETURN)],
    "by name": [chain(), rule(match("iifname", "br1"), DROP)],
    "by index": [chain(), rule(match("iif", "br1"), DROP)],
    "by one of several names": [chain(), rule(match("oifname", {"set": ["eth1", "eth0"]}), DROP)],
    "by a wildcard": [chain(), rule(match("iifname", "br*"), REJECT)],
    "by not being another": [chain(), rule(match("iifname", "x*", "!="), COUNTER, DROP)],
    "by source": [chain(), rule(payload("saddr", prefix("10.0.0.0", 8)), DROP)],
    "by an address of the source": [chain(), rule(payload("saddr", "10.1.0.9"), DROP)],
    "before routing": [chain(hook="prerouting"), rule(match("iifname", "br1"), DROP)],
    "after routing": [chain(hook="postrouting"), rule(match("oifname", "eth0"), DROP)],
    "in a chain it jumps to": [
        inner("refuse"),
        rule(REJECT, of="refuse"),
        chain(),
        rule(payload("saddr", prefix("10.1.0.0", 24)), {"jump": {"target": "refuse"}}),
    ],
    "in a chain it goes to": [
        inner("refuse"),
        rule(DROP, of="refuse"),
        chain(),
        rule({"goto": {"target": "refuse"}}),
    ],
    "after a chain that decides nothing": [
        inner("count"),
        rule(COUNTER, of="count"),
        chain(),
        rule({"jump": {"target": "count"}}),
        rule(DROP),
    ],
    "in table ip": [
        {"chain": {**chain(policy="drop")["chain"], "family": "ip", "name": "FORWARD"}},
    ],
}


@pytest.mark.parametrize("name", STOPS)
def test_what_drops_a_flow_or_a_part_of_it_is_reported(name: str) -> None:
    (line,) = drops(STOPS[name], [FLOW])
    assert line.startswith("table i")


PASSES: dict[str, list[Item]] = {
    "nothing is there": [],
    "the policy accepts": [chain()],
    "a rule accepts first": [chain(policy="drop"), rule(match("iifname", "br1"), ACCEPT)],
    "another link": [chain(), rule(match("iifname", "br2"), DROP)],
    "not this link": [chain(), rule(match("iifname", "br1", "!="), DROP)],
    "another source": [chain(), rule(payload("saddr", prefix("10.9.0.0", 16)), DROP)],
    "not this source": [chain(), rule(payload("saddr", prefix("10.0.0.0", 8), "!="), DROP)],
    "a target that nobody knows": [chain(), rule(payload("daddr", "192.0.2.1"), DROP)],
    "a set that is not shown": [chain(), rule(match("iifname", "@closed"), DROP)],
    "a source of IPv6": [chain(), rule(payload("saddr", "fd00::9"), DROP)],
    "answers alone": [chain(), rule(ANSWERS, DROP)],
    "a match of another kind": [chain(), rule({"match": {"left": 1, "right": 1}}, DROP)],
    "an extension of iptables": [chain(), rule({"xt": {"type": "match", "name": "tcp"}}, DROP)],
    "no base chain": [inner("forward"), rule(DROP)],
    "another hook": [chain(hook="input", policy="drop")],
    "another type": [chain(type="nat"), rule(DROP)],
    "another family": [{"chain": {**chain(policy="drop")["chain"], "family": "ip6"}}],
    "a bridge's chain, for what is routed": [
        {"chain": {**chain(policy="drop")["chain"], "family": "bridge"}},
    ],
    "the way out, before it is known": [
        chain(hook="prerouting"),
        rule(match("oifname", "eth0"), DROP),
    ],
    "a return before the drop": [chain(), rule(match("iifname", "br1"), RETURN), rule(DROP)],
    "a chain that accepts": [
        inner("friends"),
        rule(ACCEPT, of="friends"),
        chain(policy="drop"),
        rule({"jump": {"target": "friends"}}),
    ],
    "a chain gone to, whose end is the policy": [
        inner("friends"),
        chain(),
        rule({"goto": {"target": "friends"}}),
        rule(DROP),
    ],
    "a chain that is not shown": [chain(), rule({"jump": {"target": "hidden"}})],
    "a circle": [
        inner("round"),
        rule({"jump": {"target": "round"}}, of="round"),
        chain(),
        rule({"jump": {"target": "round"}}),
    ],
}


@pytest.mark.parametrize("name", PASSES)
def test_what_may_pass_is_not_reported(name: str) -> None:
    assert drops(PASSES[name], [FLOW]) == []


def test_frames_through_a_bridge_meet_its_own_chains_too() -> None:
    ruleset = [{"chain": {**chain(policy="drop")["chain"], "family": "bridge"}}]
    (line,) = drops(ruleset, [BRIDGED])
    assert line.startswith("table bridge theirs, chain forward (hook forward) drops ")
    assert "through br9, by its policy" in line
    assert drops([chain(), rule(match("ibrname", "br9"), DROP)], [BRIDGED])


# -- what ours let through -------------------------------------------------------------


def link(name: str, zone: str, network: IPv4Network | None = None) -> ZoneLink:
    return ZoneLink(owner=O, link=name, zone=zone, networks=(network,) if network else ())


@pytest.mark.parametrize("seen", [True, False])
def test_flows_are_what_the_rules_let_through(monkeypatch: pytest.MonkeyPatch, seen: bool) -> None:
    monkeypatch.setattr(foreign, "_bridged_is_seen", lambda netns: seen)
    ours: list[Noun] = [
        BridgeAccept(owner=O, bridge="br9"),
        link("br1", "t1", NET1),
        link("br2", "t1", NET2),
        link("br3", "t2"),
        ExternalForward(owner=O, device="eth0", bridge="br1"),
    ]
    routed = [
        Flow("br1", "br2", False, (NET1,), (NET2,)),
        Flow("br1", "eth0", False, (NET1,), ()),
        Flow("eth0", "br1", False, (), (NET1,)),
    ]
    assert flows(0, ours) == [replace(BRIDGED, in_ip=seen), *routed]


def test_bridges_drop_frames_that_ip_does_not_see() -> None:
    """As ``ebtables -P FORWARD DROP`` does: no frame passes, whatever br_netfilter is."""
    frames = replace(BRIDGED, in_ip=False)
    stop = chain(policy="drop")
    bridge = {"chain": {**stop["chain"], "family": "bridge"}}
    (line,) = drops([stop, bridge], [frames])
    assert line.startswith("table bridge")
    assert "through br9, by its policy" in line
    assert "bridge-nf-call" not in line
    assert len(drops([stop, bridge], [BRIDGED])) == 2
    assert unaccepted([], [frames, BRIDGED]) == [BRIDGED]


def test_a_zone_of_one_link_has_no_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "_bridged_is_seen", lambda netns: True)
    assert flows(0, [link("br1", "t1", NET1)]) == []


@pytest.mark.parametrize("version", [4, 6])
def test_a_rule_may_name_the_uplink_of_the_host(
    monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    """What stands for the outside is the device of forwards, or the way to anywhere.

    A host may have one family alone to go there.
    """
    monkeypatch.setattr(foreign, "_bridged_is_seen", lambda netns: False)
    monkeypatch.setattr(Reach, "__init__", lambda self, netns: None)
    monkeypatch.setattr(Reach, "close", lambda self: None, raising=False)
    way = {version: "eth0"}
    monkeypatch.setattr(Reach, "way", lambda self, remote: way.get(remote.version))
    ours: list[Noun] = [
        Zone(owner=O, zone="z", outbound=True), link("w0", "z"),
        TranslatedSource(owner=O, source=IPv4Address("169.254.7.7")),
    ]  # fmt: skip
    by_name = [chain(hook="prerouting"), rule(match("iifname", "eth0"), DROP)]
    (line,) = drops(by_name, flows(0, ours))
    assert "from outside to w0, by a rule that says drop" in line
    open_ = [chain(policy="drop"), *(rule(match(f"{key}ifname", "eth0"), ACCEPT) for key in "io")]
    assert drops(open_, flows(0, ours)) == []
    way.clear()
    assert drops(by_name, flows(0, ours)) == []
    door = PortForward(
        owner=O, protocol="tcp", device="eth0", port=80, target=IPv4Address("169.254.7.7"),
        target_port=80,
    )  # fmt: skip
    assert drops(by_name, flows(0, [*ours, door])) == [line]


# -- iptables' old tables --------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "saved", "reported"),
    [
        ("nat\nfilter\n", ":INPUT ACCEPT [0:0]\n:FORWARD DROP [3:180]\n", True),
        ("nat\nfilter\n", ":INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n", False),
        ("nat\n", ":FORWARD DROP [0:0]\n", False),
        ("filter\n", ":FORWARD DROP [0:0]\n-A FORWARD -i br1 -o br2 -j ACCEPT\n", False),
        ("filter\n", ":FORWARD DROP [0:0]\n-A DOCKER-USER -i br1 -j ACCEPT\n", False),
        ("filter\n", ":FORWARD DROP [0:0]\n-A FORWARD -i br2 -o br1 -j ACCEPT\n", True),
        ("filter\n", ":FORWARD DROP [0:0]\n-A FORWARD -i br1 -p udp -j ACCEPT\n", True),
    ],
)
def test_the_policy_of_the_old_tables_is_reported(
    monkeypatch: pytest.MonkeyPatch, names: str, saved: str, reported: bool
) -> None:
    asked: list[list[str]] = []

    def run(argv: list[str], *, netns: int) -> Completed:
        asked.append(argv)
        return Completed(0, f"*filter\n{saved}COMMIT\n", "")

    monkeypatch.setattr(foreign, "in_netns", lambda netns, function: names)
    monkeypatch.setattr(foreign, "find_program", lambda name: f"/usr/sbin/{name}")
    monkeypatch.setattr(foreign, "run", run)
    lines = foreign.legacy_drops(0, [Flow("br1", "br2")])
    assert asked == ([["iptables-legacy-save", "-t", "filter"]] if "filter" in names else [])
    assert bool(lines) is reported
    for line in lines:
        assert line.startswith("legacy iptables, table filter, chain FORWARD drops")
        assert line.endswith(", or: iptables-legacy -t filter -I FORWARD -i br1 -o br2 -j ACCEPT")


def test_a_kernel_without_old_tables_has_none_that_drop(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(netns: int, function: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(foreign, "in_netns", gone)
    assert foreign.legacy_drops(0, [Flow("br1", "br2")]) == []


THROUGH = Flow("br1", "br1", bridged=True)
NAT = {"chain": {**chain(hook="postrouting")["chain"], "type": "nat", "name": "post"}}
REWRITES: dict[str, Item] = {
    "masquerade": rule(match("oifname", "lo", "!="), {"masquerade": None}, of="post"),
    "snat": rule({"snat": {"addr": "192.0.2.1"}}, of="post"),
    "a target of iptables": rule({"xt": {"type": "target", "name": "MASQUERADE"}}, of="post"),
}


@pytest.mark.parametrize("name", REWRITES)
def test_nat_of_bridged_frames_is_named_with_the_cure(name: str) -> None:
    ruleset = [NAT, REWRITES[name]]
    (line,) = drops(ruleset, [THROUGH])
    assert "translates frames through br1" in line
    assert "net.bridge.bridge-nf-call-iptables to 0" in line
    assert drops(ruleset, [FLOW]) == []
    assert drops(ruleset, [Flow("br1", "br1", bridged=True, untracked=True)]) == []


def test_nat_of_other_links_is_not_mentioned() -> None:
    only = rule(match("oifname", "eth0"), {"masquerade": None}, of="post")
    assert drops([NAT, only], [THROUGH]) == []


def test_a_drop_of_bridged_frames_is_named_with_the_cure() -> None:
    (line,) = drops([chain(policy="drop")], [THROUGH])
    assert "net.bridge.bridge-nf-call-iptables to 0" in line
