"""What is said of a host in memory, with nodes that set it up."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_interface
from typing import Any

import pytest

from snnet import ComputeNode, Fabric, FakeKernel, InvalidRequest, NetworkConfig, VnicConfig
from snnet.contract import Add, Address, Link
from snnet.explain.faked import snapshot_of
from snnet.explain.mending import advice
from snnet.explain.question import Explanation, Question, explain
from snnet.explain.snapshot import Snapshot
from snnet.explain.world import World
from tests.node.test_local import OneHost, config, vnic

from .fakes import nft, saved

DROP = {"drop": None}


def on(link: str) -> dict[str, Any]:
    match = {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": link}
    return {"match": match}


@pytest.fixture
def one() -> Iterator[OneHost]:
    host = OneHost()
    host.serve(config())
    host.serve(config("other", 33023))
    for number in (9, 10):
        host.cn.create_vnic(vnic(number))
    host.cn.create_vnic(vnic(9, "other"))
    yield host
    host._open.close()


def ask(host: OneHost, source: str, target: str, **options: Any) -> Explanation:
    changes = options.pop("changes", {})
    return explain(snapshot_of(host.kernel, **changes), Question(source, target, **options))


def test_guests_of_a_subnet_reach_each_other(one: OneHost) -> None:
    found = ask(one, "v10", "v9", tenant="acme")
    assert (found.outcome, found.why) == ("reached", "v9 of acme answers")
    assert found.hops[0].host == "v10 of acme"
    assert found.hops[-1].what == "echo reply arrived from 10.1.0.9"


def test_an_address_stands_for_whoever_answers(one: OneHost) -> None:
    """Two tenants have a guest with this address: that of the own tenant answers."""
    assert ask(one, "v10", "10.1.0.9").why == "v9 of acme answers"


def test_a_snapshot_can_be_handed_on(one: OneHost) -> None:
    snapshot = snapshot_of(one.kernel, others=nft([on("eth0"), DROP]))
    again = Snapshot.from_dict(json.loads(json.dumps(snapshot.to_dict())))
    assert again.to_dict() == snapshot.to_dict()
    for pair in (("v10", "10.1.0.9"), ("v10", "192.0.2.99")):
        assert explain(again, Question(*pair)) == explain(snapshot, Question(*pair))


@pytest.mark.parametrize(
    ("data", "said"),
    [({"version": 0}, "version 0"), ({"version": 1, "host": "h"}, "not a snapshot: 'spaces'")],
)
def test_something_else_is_no_snapshot(data: Any, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        Snapshot.from_dict(data)


def test_what_leaves_the_host_is_up_to_others(one: OneHost) -> None:
    found = ask(one, "v10", "192.0.2.99")
    assert found.outcome == "left"
    assert any("SNAT to 192.0.2.11" in hop.what for hop in found.hops)


def test_a_port_of_the_host_leads_to_a_guest(one: OneHost) -> None:
    found = ask(one, "192.0.2.99", "192.0.2.11", protocol="tcp", port=33022)
    assert (found.outcome, found.why) == ("reached", "v9 of acme answers")
    refused = ask(one, "192.0.2.99", "192.0.2.11", protocol="tcp", port=80)
    assert refused.outcome == "dropped"
    assert refused.fix == "start the program that listens there"


def test_a_rule_of_snnet_is_named(one: OneHost) -> None:
    found = ask(one, "v10", "192.0.2.11")
    assert found.outcome == "dropped"
    assert "host out of reach" in found.why
    assert found.fix.startswith("guests do not reach the host itself")


def test_a_rule_of_somebody_else_is_named(one: OneHost) -> None:
    made = one.cn.topology().concentrators[0]
    theirs = nft([on(made.link_name), DROP])
    found = ask(one, "v10", "192.0.2.99", changes={"others": theirs})
    assert found.outcome == "dropped"
    assert "table inet theirs, chain one: rule with handle 5" in found.why
    assert found.fix == "nft delete rule inet theirs one handle 5"
    assert ask(one, "v10", "10.1.0.9", changes={"others": theirs}).outcome == "reached"


def test_a_policy_of_somebody_else_is_named(one: OneHost) -> None:
    made = one.cn.topology().concentrators[0]
    text = f"-P FORWARD DROP\n-A FORWARD -i {made.link_name} -j ACCEPT"
    theirs = saved(text)
    theirs["saved"][0][2] = theirs["saved"][0][2].replace("FORWARD ACCEPT", "FORWARD DROP")
    found = ask(one, "v10", "192.0.2.99", changes={"others": theirs})
    assert found.outcome == "dropped"  # the answer, which nothing accepts
    assert "iptables-nft table filter, chain FORWARD: its policy" in found.why
    # A rule for these links: the policy protects the whole host.
    assert re.fullmatch(r"iptables-nft -t filter -I FORWARD -i (snb\S+) -o \1 -j ACCEPT", found.fix)


def test_what_is_not_understood_is_named(one: OneHost) -> None:
    made = one.cn.topology().concentrators[0]
    rate = {"limit": {"rate": 1, "per": "second"}}
    theirs = nft([on(made.link_name), rate, DROP], [on("another"), rate, DROP])
    found = ask(one, "v10", "192.0.2.99", changes={"others": theirs})
    assert found.outcome == "unknown"
    assert found.doubts == ("host: table inet theirs, chain one: rule with handle 5 (may match)",)


@pytest.mark.parametrize(
    ("rule", "hook"),
    [
        ([{"limit": {"rate": 1, "per": "second"}}, {"accept": None}], "forward"),
        ([{"limit": {"rate": 1, "per": "second"}}, {"log": None}], "forward"),
        ([on("docker0"), {"limit": {"rate": 1, "per": "second"}}, DROP], "forward"),
    ],
)
def test_what_is_not_understood_and_decides_nothing(one: OneHost, rule: Any, hook: str) -> None:
    """A limit without a drop, or on packets that this is none of, leaves the answer as it is."""
    found = ask(one, "v10", "192.0.2.99", changes={"others": nft(rule, hook=hook)})
    assert (found.outcome, found.doubts) == ("left", ())


def marked(match: list[Any], hook: str = "prerouting") -> dict[str, Any]:
    """Rules that mark what matches, and at last drop what has that mark."""
    mark = {"meta": {"key": "mark"}}
    theirs = nft([*match, {"mangle": {"key": mark, "value": {"|": [mark, 0x4000]}}}], hook=hook)
    asked = {"op": "==", "left": {"&": [mark, 0x4000]}, "right": 0x4000}
    more = nft([{"match": asked}, DROP], hook="postrouting")
    for item in more["nft"]:
        next(iter(item.values()))["table"] = "more"
    return {**theirs, "nft": theirs["nft"] + more["nft"]}


def test_a_mark_goes_from_hook_to_hook(one: OneHost) -> None:
    """And not to packets that others mark, nor out of another namespace."""
    made = one.cn.topology().concentrators[0]
    for hook in ("prerouting", "forward"):
        theirs = marked([on(made.link_name)], hook)
        found = ask(one, "v10", "192.0.2.99", changes={"others": theirs})
        assert (found.outcome, found.doubts) == ("dropped", ()), hook
        assert "table inet more, chain one" in found.why
        found = ask(one, "v10", "192.0.2.99", changes={"others": marked([on("docker0")], hook)})
        assert (found.outcome, found.doubts) == ("left", ()), hook
    found = ask(one, "eth0", "192.0.2.99", changes={"others": marked([], "output")})
    assert found.outcome == "dropped"
    found = ask(one, "eth0", "192.0.2.99", changes={"others": marked([], "input")})
    assert found.outcome == "left", "the answer alone has that mark"
    snapshot = snapshot_of(one.kernel).to_dict()
    theirs = marked([])
    snapshot["spaces"][""]["others"] = {**theirs, "nft": theirs["nft"][2:]}
    snapshot["spaces"][made.netns]["others"] = {**theirs, "nft": theirs["nft"][:2]}
    found = explain(Snapshot.from_dict(snapshot), Question("v10", "192.0.2.99"))
    assert (found.outcome, found.doubts) == ("left", ())


def test_copies_of_a_frame_have_marks_of_their_own(one: OneHost) -> None:
    """A request for a neighbour goes to all ports of the bridge, and is marked at one of them."""
    vnics = [vnic for vnic in one.cn.topology().vnics if vnic.tenant_id == "acme"]
    (first, second), mark = (vnic.link_name for vnic in vnics), {"meta": {"key": "mark"}}
    ports = one.kernel.state.ports[str(vnics[0].bridge)]
    assert len(ports) == 3
    for port in ports:
        out = {"match": {"op": "==", "left": {"meta": {"key": "oifname"}}, "right": port}}
        gathered = nft([out, {"mangle": {"key": mark, "value": 1}}])
        more = nft([{"match": {"op": "==", "left": mark, "right": 1}}, DROP], hook="postrouting")
        for item in more["nft"]:
            next(iter(item.values()))["table"] = "more"
        gathered["nft"] += more["nft"]
        for item in gathered["nft"]:
            next(iter(item.values()))["family"] = "bridge"
        found = ask(one, second, first, changes={"others": gathered})
        lost = port in (first, second)
        assert (found.outcome, found.doubts) == ("dropped" if lost else "reached", ()), port


def test_a_masquerade_of_others_for_other_addresses(one: OneHost) -> None:
    """As Docker has it: it cannot match what comes from a tenant."""
    theirs = saved("-P INPUT ACCEPT")
    theirs["saved"] = [
        [
            "iptables-nft-save",
            "ip",
            "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n"
            "-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE\nCOMMIT\n",
        ]
    ]
    found = ask(one, "v10", "192.0.2.99", changes={"others": theirs})
    assert (found.outcome, found.doubts) == ("left", ())


def test_a_command_is_for_the_namespace_of_the_rule(one: OneHost) -> None:
    made = one.cn.topology().concentrators[0]
    snapshot = snapshot_of(one.kernel).to_dict()
    theirs = nft([{"limit": {"rate": 1, "per": "second"}}, DROP])
    snapshot["spaces"][made.netns]["others"] = theirs
    found = explain(Snapshot.from_dict(snapshot), Question("v10", "192.0.2.99"))
    assert found.outcome == "unknown"
    command = f"ip netns exec {made.netns} nft delete rule inet theirs one handle 5"
    assert found.fix == f"to see whether it is this rule: {command}"


@pytest.mark.parametrize(
    ("changes", "said", "fix"),
    [
        ({"others": {"nft": [], "saved": [], "unread": ["no nft"]}}, "cannot be read: no nft", ""),
        (
            {"damage": ["rules of cn:host"]},
            "somebody changed rules of cn:host",
            "snnet host repair",
        ),
        (
            {"policies": [{"what": "ip rule 5", "fix": "ip rule delete pref 5", "missing": False}]},
            "ip rule 5",
            "to see whether it is this rule: ip rule delete pref 5",
        ),
    ],
)
def test_what_cannot_be_told(one: OneHost, changes: Any, said: str, fix: str) -> None:
    found = ask(one, "v10", "192.0.2.99", changes=changes)
    assert found.outcome == "unknown"
    assert said in found.why
    assert found.fix == fix


def test_a_setting_of_a_link_that_the_fakes_do_not_know(one: OneHost) -> None:
    snapshot = snapshot_of(one.kernel)
    link = one.cn.topology().vnics[0].link_name
    own = snapshot.spaces[""]
    nouns = [
        replace(noun, settings=(("bridge_slave isolated", 1),))
        if isinstance(noun, Link) and noun.name == link
        else noun
        for noun in own.nouns
    ]
    changed = Snapshot("host", {**snapshot.spaces, "": replace(own, nouns=nouns)})
    found = explain(changed, Question(link, "10.1.0.10"))
    assert found.outcome == "unknown"
    assert f"link {link} has bridge_slave isolated 1" in found.why


def test_a_link_that_is_down_has_a_command(one: OneHost) -> None:
    made = one.cn.topology().concentrators[0]
    inside = one.kernel.namespace(made.netns)
    plug = inside.state.link(made.links["web"])
    assert plug is not None
    inside.state.put_link(replace(plug, up=False))
    found = ask(one, "v10", "192.0.2.99")
    assert found.outcome == "dropped"
    assert found.fix == f"ip netns exec {made.netns} ip link set dev {plug.name} up"


def test_a_host_that_does_not_forward(one: OneHost) -> None:
    changes = {"sysctls": {"net.ipv4.ip_forward": "0", "net.ipv4.conf.default.forwarding": "0"}}
    snapshot = snapshot_of(one.kernel)
    kept = {
        name: value
        for name, value in snapshot.spaces[""].sysctls.items()
        if not name.endswith("forwarding")
    }
    changes["sysctls"] = kept | changes["sysctls"]
    found = ask(one, "v10", "192.0.2.99", changes=changes)
    assert found.outcome == "dropped"
    assert found.fix == "sysctl -w net.ipv4.ip_forward=1"


@pytest.mark.parametrize(
    ("source", "target", "options", "said"),
    [
        ("v9", "v10", {}, "from: 'v9' may be one of"),
        ("10.1.0.9", "v10", {}, "from: '10.1.0.9' may be one of"),
        ("nobody", "v10", {}, "from: 'nobody' is no VNIC, link or address of this host"),
        ("v10", "nobody", {"tenant": "acme"}, "to: 'nobody' is no VNIC of tenant acme"),
        ("v10", "10.1.0.9", {"version": 6}, "do not both have IPv6"),
        ("v10", "fd00::9", {}, "no version of IP in common"),
    ],
)
def test_who_is_not_known(one: OneHost, source: str, target: str, options: Any, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        ask(one, source, target, **options)


def test_a_link_stands_for_its_address(one: OneHost) -> None:
    one.kernel.perform(Add(Address(link="eth0", address=ip_interface("2001:db8::11/64"))))
    assert ask(one, "eth0", "192.0.2.99").question == "ping from eth0 to 192.0.2.99 (192.0.2.99)"
    found = ask(one, "192.0.2.99", "eth0")
    assert (found.outcome, found.why) == ("reached", "host answers")
    bridge = one.cn.topology().vnics[0].bridge
    with pytest.raises(InvalidRequest, match="has no address"):
        ask(one, str(bridge), "eth0")


def test_what_goes_into_a_tunnel_is_up_to_its_other_end() -> None:
    """On a hub's compute node: within the subnet it is known, beyond it is the concentrator's."""
    kernel = FakeKernel("host")
    kernel.add_uplink("eth0", "192.0.2.11/24")
    settings = NetworkConfig(compute_nets=["192.0.2.0/24"], tunnel="vxlan")
    with ComputeNode("host", settings, backend=kernel, firewall="fake") as cn:
        cn.init()
        for number in (9, 10):
            where = {"concentrator_id": "c1", "concentrator_ip": "192.0.2.10"}
            cn.create_vnic(VnicConfig(**{**vnic(number).to_dict(), **where}))
        snapshot = snapshot_of(kernel)
    assert explain(snapshot, Question("v9", "v10")).outcome == "reached"
    for target in ("10.1.0.77", "10.1.0.1", "198.51.100.7"):
        found = explain(snapshot, Question("v9", target))
        assert (found.outcome, found.why) == (
            "left",
            "it leaves this host, and the answer depends on others",
        ), target


def test_what_the_host_sends_to_itself_passes_every_hook(one: OneHost) -> None:
    for hook in ("output", "postrouting", "prerouting", "input"):
        found = ask(one, "eth0", "192.0.2.11", changes={"others": nft([DROP], hook=hook)})
        assert found.outcome == "dropped", hook
    found = ask(one, "eth0", "192.0.2.11", changes={"others": nft([DROP], hook="forward")})
    assert found.outcome == "reached"


def test_what_is_too_long_has_advice_wherever_it_is_lost(one: OneHost) -> None:
    """On the link that it comes by, and at the router that it cannot leave."""
    fabric = Fabric()
    a, b = fabric.add_host("a", "192.0.2.1/24"), fabric.add_host("b", "192.0.2.2/24", mtu=1400)
    world = World(snapshot_of(one.kernel))
    for source, target in ((a, b), (b, a)):
        lost = fabric.trace(source, target, size=1373).steps[-1]
        assert advice(world, lost) == "lower the guest's MTU to 1400", str(lost)
