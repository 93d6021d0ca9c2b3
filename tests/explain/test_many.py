"""What is said across hosts: their agents answer with snapshots of fake kernels."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any
from zlib import compress

import pytest

from snnet import InvalidRequest
from snnet.agent.answering import Answering
from snnet.backends.fake import FakeKernel
from snnet.cluster import keys
from snnet.contract import TTL_MIN, Document, Host, Link, Put, Remove, Session
from snnet.explain import gathering, reading
from snnet.explain.faked import snapshot_of
from snnet.explain.gathering import gather
from snnet.explain.packing import unpack
from snnet.explain.snapshot import Snapshot
from tests.agent.cloud import OUTSIDE, Cloud

from .asked import answered, ask


@pytest.fixture
def cloud(quick: None, blind: None) -> Iterator[Cloud]:
    """Two compute hosts and a network host, with a network, a forward and a public address."""
    cloud = Cloud()
    cloud.add("net-1", roles=["network"])
    cloud.add("cn-1", "cn-2", "cn-3", roles=["compute"])
    cloud.settle()
    cloud.cluster.create_network("web", tenant="acme", subnet="10.1.0.0/24")
    cloud.cluster.create_network("db", tenant="acme", subnet="10.2.0.0/24")
    for name, network, node in (("v1", "web", "cn-1"), ("v2", "web", "cn-2"), ("d1", "db", "cn-2")):
        cloud.cluster.create_vnic(name, tenant="acme", network=network, node=node)
    cloud.cluster.create_forward(
        tenant="acme", network="web", protocol="tcp", port=8080, to="v1", to_port=80
    )
    cloud.cluster.create_public_ip("192.0.2.77", tenant="acme", to="v2")
    cloud.settle()
    yield cloud
    cloud.close()


def vnic_link(cloud: Cloud, node: str, name: str) -> str:
    vnics = cloud.agents[node].node.topology().vnics
    return next(vnic.link_name for vnic in vnics if vnic.vnic_id == name)


def change(kernel: FakeKernel, name: str, **values: object) -> None:
    """Somebody changes a link, and the agent does not get to look at it."""
    link = kernel.state.link(name)
    assert isinstance(link, Link)
    kernel.state.put_link(replace(link, **values))  # type: ignore[arg-type]


@pytest.mark.parametrize("target", ["v2", "d1"])
def test_guests_on_two_hosts_reach_each_other(cloud: Cloud, target: str) -> None:
    told = ask(cloud, "v1", target)
    assert (told.explanation.outcome, told.explanation.why) == (
        "reached",
        f"{target} of acme answers",
    )
    passed = {hop.host.partition("/")[0] for hop in told.explanation.hops}
    assert passed == {"v1 of acme", "cn-1", "net-1", "cn-2", f"{target} of acme"}
    # Who is not concerned is not asked.
    assert sorted(told.hosts.ages) == ["cn-1", "cn-2", "net-1"]
    assert all(0 <= age < 5 for age in told.hosts.ages.values())


def test_to_the_outside_and_in_from_there(cloud: Cloud) -> None:
    out = ask(cloud, "v1", OUTSIDE).explanation
    assert out.outcome == "left"
    _, address = cloud.places()["acme"]
    assert any(f"SNAT to {address}" in hop.what for hop in out.hops)
    told = ask(cloud, "192.0.2.9", address, protocol="tcp", port=8080)
    assert (told.explanation.outcome, told.explanation.why) == ("reached", "v1 of acme answers")
    told = ask(cloud, "192.0.2.9", "192.0.2.77", protocol="tcp", port=22)
    assert (told.explanation.outcome, told.explanation.why) == ("reached", "v2 of acme answers")


def test_nothing_is_left_and_nothing_is_written_when_nobody_asks(cloud: Cloud) -> None:
    before = cloud.documents(keys.ROOT)
    ask(cloud, "v1", "v2")
    for agent in cloud.agents.values():
        agent.step(0.01)
    assert cloud.documents(keys.ROOT) == before
    revision = cloud.registry.read().revision
    cloud.settle()
    assert cloud.registry.read().revision == revision


def test_a_question_is_no_work_for_the_nodes(cloud: Cloud) -> None:
    for agent in cloud.agents.values():
        for gone in (False, True):
            assert not agent._news.concerns(keys.question("one"), gone=gone)


def test_a_tunnel_that_is_gone(cloud: Cloud) -> None:
    """On either side: it is the host without it that is named, whoever asks whom."""
    near = cloud.agents["cn-2"].node.topology().subnets
    far = cloud.host("net-1").namespace(next(iter(cloud.host("net-1").state.children)))
    tunnel = next(one.tunnel for one in near if one.subnet_id == "web")
    assert tunnel is not None
    kernel = cloud.host("cn-2")
    kernel.perform(Remove(kernel.state.nouns[tunnel.key]))
    found = ask(cloud, "v1", "v2").explanation
    assert (found.outcome, found.host) == ("dropped", "cn-2")
    assert found.why.startswith("host cn-2: no tunnel here for vxlan")
    found = ask(cloud, "v2", "v1").explanation
    assert (found.outcome, found.host) == ("dropped", "cn-2")
    cloud.agents["cn-2"].node.repair()
    theirs = {link.name for link in far.state.nouns.values() if isinstance(link, type(tunnel))}
    lost = next(one for one in map(far.state.link, theirs) if one and "192.0.4.3" in str(one))
    far.perform(Remove(lost))
    found = ask(cloud, "v1", "v2").explanation
    assert (found.outcome, found.host) == ("dropped", "net-1")
    (netns,) = cloud.host("net-1").state.children
    assert found.why.startswith(f"host net-1: {netns}: no tunnel here")


def test_a_port_that_is_down(cloud: Cloud) -> None:
    link = vnic_link(cloud, "cn-2", "v2")
    change(cloud.host("cn-2"), link, up=False)
    found = ask(cloud, "v1", "v2").explanation
    assert (found.outcome, found.host) == ("dropped", "cn-2")
    assert f"{link}: the link is down" in found.why
    assert found.fix == f"ip link set dev {link} up"


def test_a_network_host_that_does_not_forward(cloud: Cloud) -> None:
    kernel = cloud.host("net-1")
    for name in [name for name in kernel.state.sysctls if name.endswith("forwarding")]:
        kernel.state.sysctls[name] = "0"
    kernel.state.sysctls["net.ipv4.ip_forward"] = "0"
    found = ask(cloud, "v1", "v2").explanation
    assert (found.outcome, found.host) == ("dropped", "net-1")
    assert "it does not forward, and so does not answer others for" in found.why
    assert found.fix == "sysctl -w net.ipv4.ip_forward=1"


def test_groups(cloud: Cloud) -> None:
    cloud.cluster.set_group("acme", "quiet", rules=["out"])
    cloud.cluster.update_vnic("acme", "v2", groups=["quiet"])
    cloud.settle()
    found = ask(cloud, "v1", "v2").explanation
    assert (found.outcome, found.host) == ("dropped", "cn-2")
    assert "snnet group update" in found.fix
    assert ask(cloud, "v2", "v1").explanation.outcome == "reached"


def test_other_tenants_are_not_reached(cloud: Cloud) -> None:
    cloud.cluster.create_network("web", tenant="other", subnet="10.1.0.0/24")
    cloud.cluster.create_vnic("o1", tenant="other", network="web", node="cn-3", ip="10.1.0.40")
    cloud.settle()
    found = ask(cloud, "v1", "10.1.0.40").explanation
    assert found.outcome == "dropped"


@pytest.fixture
def both(cloud: Cloud) -> Cloud:
    """With a network of both families, with a guest of both, and two of IPv6 alone."""
    cluster = cloud.cluster
    cluster.create_network("both", tenant="acme", subnet=("10.3.0.0/24", "fd00:3::/64"))
    cluster.create_network("six", tenant="acme", subnet="fd00:6::/64")
    for name, network, node, ip in (
        ("b2", "both", "cn-3", ("10.3.0.10", "fd00:3::a")),
        ("s1", "six", "cn-1", ("fd00:6::b",)),
        ("s2", "six", "cn-3", ("fd00:6::a",)),
    ):
        cluster.create_vnic(name, tenant="acme", network=network, node=node, ip=ip)
    cloud.settle()
    return cloud


def test_an_address_however_it_is_typed(both: Cloud) -> None:
    for target in ("fd00:6::a", "FD00:6::A", "fd00:6:0:0::a", "fd00:6::0:a"):
        told = ask(both, "s1", target)
        assert (told.explanation.outcome, told.explanation.why) == ("reached", "s2 of acme answers")
        assert told.explanation.question == f"ping from s1 to {target} (fd00:6::a)"


def test_the_target_is_on_a_host_that_does_not_answer(both: Cloud) -> None:
    """It is asked about in the family that both have, and in no other."""
    both.stop("cn-3")
    for source, target, address in (
        ("s1", "b2", "fd00:3::a"),
        ("v1", "b2", "10.3.0.10"),
        ("s1", "fd00:3:0::A", "fd00:3::a"),
        ("FD00:6::b", "b2", "fd00:3::a"),
    ):
        found = ask(both, source, target).explanation
        assert (found.outcome, found.host) == ("unknown", "cn-3")
        assert found.why == "cannot tell: no answer from host cn-3, where it goes"
        assert found.question == f"ping from {source} to {target} ({address})"
        with pytest.raises(InvalidRequest, match=f"{source} and {target} do not both have IPv"):
            ask(both, source, target, version=4 if ":" in address else 6)


def test_who_is_meant_does_not_depend_on_who_answers(cloud: Cloud) -> None:
    """Another tenant's VNIC of the same name is not meant because its host answers."""
    cloud.cluster.create_network("web", tenant="other", subnet="10.1.0.0/24")
    cloud.cluster.create_vnic("v2", tenant="other", network="web", node="cn-1")
    cloud.settle()
    cloud.stop("cn-2")
    found = ask(cloud, "v1", "v2").explanation
    assert (found.outcome, found.host) == ("unknown", "cn-2")
    with pytest.raises(InvalidRequest, match=r"'v2' may be one of v2 of acme, v2 of other"):
        ask(cloud, "v2", "v1")
    assert ask(cloud, "v2", "v1", tenant="acme").explanation.host == "cn-2"


@pytest.mark.parametrize("gone", ["cn-2", "net-1"])
def test_a_host_that_does_not_answer_is_named(cloud: Cloud, gone: str) -> None:
    cloud.stop(gone)
    told = ask(cloud, "v1", "v2")
    assert (told.explanation.outcome, told.explanation.host) == ("unknown", gone)
    assert f"cannot tell: no answer from host {gone}" in told.explanation.why
    (silent,) = told.hosts.silent
    assert (silent.host, silent.why) == (gone, "its agent is not running")
    # Somebody who is not on the way matters to nobody.
    assert ask(cloud, "d1" if gone == "net-1" else "v1", OUTSIDE).explanation.host in ("", gone)


def test_the_one_who_asks_is_on_a_host_that_does_not_answer(cloud: Cloud) -> None:
    cloud.stop("cn-1")
    told = ask(cloud, "v1", "v2")
    assert told.explanation.outcome == "unknown"
    assert told.explanation.why == "cannot tell: no answer from host cn-1, where v1 is"


def test_nobody_answers(cloud: Cloud) -> None:
    for name in tuple(cloud.agents):
        cloud.stop(name)
    with pytest.raises(InvalidRequest, match=r"its agent is not running.*--here asks this host"):
        ask(cloud, "v1", "v2")
    hosts = gather(cloud.registry, ["cn-9"], 1)
    assert [(one.host, one.why) for one in hosts.silent] == [("cn-9", "it is not registered")]


def test_an_agent_that_hangs_is_waited_for_in_vain(cloud: Cloud) -> None:
    agent = cloud.agents.pop("cn-2")
    told = ask(cloud, "v1", "v2", timeout=0.5)
    agent.close()
    assert told.hosts.to_list()[-1]["error"].endswith("did not answer within 0.5 s")


def test_an_agent_that_cannot_read_its_host_says_so(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where that is a fault of ours; the agent goes on."""
    take_of = reading.take_of

    def fail(host: Host, name: str) -> Snapshot:
        if name == "cn-2":
            raise ZeroDivisionError("no reason")
        return take_of(host, name)

    monkeypatch.setattr(reading, "take_of", fail)
    told = ask(cloud, "v1", "v2")
    (silent,) = told.hosts.silent
    assert silent.why == "its agent cannot read it: no reason"
    assert cloud.agents["cn-2"].status()["state"] == "ready"


def altered(path: Sequence[object], value: object) -> Callable[[list[dict[str, Any]]], None]:
    """Return what puts something else into the snapshot of a single part."""

    def alter(parts: list[dict[str, Any]]) -> None:
        snapshot: Any = unpack(parts).to_dict()
        *inner, last = path
        found = snapshot["spaces"]
        for key in inner:
            found = found[key]
        found[last] = value
        data = b64encode(compress(json.dumps(snapshot).encode())).decode()
        parts[:] = [{"part": 0, "of": 1, "data": data}]

    return alter


BREAKS: dict[str, Callable[[list[dict[str, Any]]], None]] = {
    "part": lambda parts: parts[0].update(part="first"),
    "of": lambda parts: parts[0].update(of=None),
    "data": lambda parts: parts[0].update(data=7),
    "spaces": altered(("",), {}),
    "routes": altered(("", "routes"), [{"dst": "nowhere", "family": 4}]),
    "sysctls": altered(("", "sysctls"), 7),
    "far": altered(("", "far"), {"eth0": ["gone", "eth0"]}),
    "others": altered(("", "others"), {"nft": [{"chain": 7}], "saved": [], "unread": []}),
}


def test_a_damaged_answer_is_one_hosts_alone(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever an agent writes below its prefix: the other hosts are walked all the same."""
    answer = Answering._answer

    def broken(one: Answering, key: str, parts: Any, began: float) -> None:
        if one._node == "cn-2":
            parts = [dict(part) for part in parts]
            BREAKS[what](parts)
            cloud.registry.commit([Put(f"{keys.answers('cn-2')}1/", {})])
        answer(one, key, parts, began)

    monkeypatch.setattr(Answering, "_answer", broken)
    for what in BREAKS:
        told = ask(cloud, "v1", "v2")
        assert (told.explanation.outcome, told.explanation.host) == ("unknown", "cn-2"), what
        assert [one.host for one in told.hosts.silent] == ["cn-2"]
        assert sorted(told.hosts.ages) == ["cn-1", "net-1"]


def test_what_came_in_before_the_question_was_lost(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registry ends the session of the one who asks, as when its machine slept."""
    monkeypatch.setattr(gathering, "QUESTION_TTL", TTL_MIN)
    open_session, add = cloud.registry.session, gathering._Answers.add
    sessions: list[Session] = []

    def opened(ttl: float) -> Session:
        sessions.append(open_session(ttl))
        return sessions[-1]

    def added(answers: Any, node: str, document: Document) -> None:
        add(answers, node, document)
        sessions[0].close()

    monkeypatch.setattr(cloud.registry, "session", opened)
    monkeypatch.setattr(gathering._Answers, "add", added)
    hanging = cloud.agents.pop("cn-2")
    hosts = answered(cloud, lambda: gather(cloud.registry, ["cn-1", "cn-2"], 30))
    hanging.close()
    assert [one.host for one in hosts.snapshots] == ["cn-1"]
    (silent,) = hosts.silent
    assert silent.host == "cn-2"
    assert silent.why.endswith("did not answer before the registry forgot the question")


def test_lost_changes_are_read_anew(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no watch is left behind."""
    answer, feed = Answering._answer, cloud.registry._feed  # type: ignore[attr-defined]
    before = feed._all()

    def late(one: Answering, *rest: Any) -> None:
        answer(one, *rest)
        for watch in feed._all() - before:
            watch.end("the registry keeps few changes")

    monkeypatch.setattr(Answering, "_answer", late)
    hosts = answered(cloud, lambda: gather(cloud.registry, None, 30))
    assert len(hosts.snapshots) == 4
    assert feed._all() == before


def test_large_snapshots_come_in_parts(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snnet.explain.packing.PART", 1000)
    hosts = answered(cloud, lambda: gather(cloud.registry, None, 5))
    assert {one.host: one.to_dict() for one in hosts.snapshots} == {
        name: snapshot_of(cloud.host(name)).to_dict() for name in cloud.agents
    }


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([{"part": 0}], "not a snapshot: 'data'"),
        ([{"part": 0, "data": "x"}], "not a snapshot"),
        ([{"part": 0, "data": "eA=="}], "not a snapshot"),
        ([{"part": 0, "data": b64encode(compress(b"[]")).decode()}], "no JSON object"),
        ([{"part": 0, "data": b64encode(compress(b"[]")[:-3]).decode()}], "it is cut off"),
    ],
)
def test_damaged_answers(parts: list[dict[str, object]], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        unpack(parts)
