"""``apply`` and ``export``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest

from snnet import Cluster, Conflict, InvalidRequest, Unavailable
from snnet.cluster import Applied, DocumentProblem, Problems, keys
from snnet.cluster.problems import each
from snnet.contract import Put

from .test_vnics import register

FILE: list[dict[str, Any]] = [
    {"kind": "forward", "tenant": "acme", "network": "web", "port": 33022, "to": "v1"},
    {"kind": "vnic", "tenant": "acme", "name": "v1", "network": "web"},
    {"kind": "vnic", "tenant": "acme", "name": "v2", "network": "web", "role": "container"},
    {"kind": "network", "tenant": "acme", "name": "web", "subnet": "10.1.0.0/24"},
    {"kind": "public-ip", "tenant": "acme", "address": "203.0.113.5", "to": "v2"},
]


def actions(applied: Sequence[Applied]) -> dict[str, str]:
    return {item.name: item.action for item in applied}


def everything(action: str) -> dict[str, str]:
    names = ("web", "v1", "v2", "tcp-33022", "203.0.113.5")
    return dict.fromkeys(names, action)


def test_the_order_of_documents_does_not_matter() -> None:
    """Networks are made first, whatever the file's order; the same again keeps all."""
    with Cluster("memory:") as cluster:
        assert actions(cluster.apply(FILE)) == everything("created")
        before = cluster.registry.read("")
        assert actions(cluster.apply(FILE)) == everything("kept")
        assert cluster.registry.read("") == before


def test_the_mark_of_an_interrupted_deletion_is_the_clusters_alone() -> None:
    """It is not exported; a file that has it would make a network that nothing can be put on."""
    with Cluster("memory:") as cluster:
        network = cluster.create_network("web", subnet="10.1.0.0/24")
        key = keys.network("default", "web")
        marked = {**network.document(), "closing": True}
        cluster.registry.commit([Put(key, marked)], {key: network.revision})
        assert cluster.get_network("default", "web").closing
        exported = cluster.export()
        assert exported == [{"kind": "network", **network.document()}]
        with pytest.raises(Conflict, match="is being deleted: delete it again"):
            cluster.create_vnic("v1", network="web", node="cn-1")
        with pytest.raises(InvalidRequest, match="closing: unknown field of a network"):
            cluster.apply([{"kind": "network", **marked}])
        cluster.delete_network("default", "web")
        assert actions(cluster.apply(exported)) == {"web": "created"}


def test_a_dry_run_writes_nothing_and_says_what_would_be_done() -> None:
    with Cluster("memory:") as cluster:
        assert actions(cluster.apply(FILE, dry_run=True)) == everything("created")
        assert cluster.registry.read("").entries == {}


def test_what_is_exported_can_be_applied() -> None:
    """An export has what the cluster chose, so that it makes the same elsewhere."""
    with Cluster("memory:") as cluster, Cluster("memory:") as other:
        cluster.apply(FILE)
        exported = cluster.export()
        assert actions(cluster.apply(exported)) == everything("kept")
        other.apply(exported)
        assert other.export() == exported


def test_changes_and_pruning() -> None:
    """Pruning deletes what the documents lack, but of no other tenant."""
    with Cluster("memory:") as cluster:
        cluster.apply(FILE)
        cluster.create_network("web", tenant="b", subnet="10.1.0.0/24")
        file = [dict(item) for item in FILE if item["kind"] in ("network", "vnic")]
        file[0]["mtu"] = 1300
        kept = actions(cluster.apply(file))
        assert kept == {"web": "kept", "v1": "updated", "v2": "kept"}
        pruned = cluster.apply(file, prune=True)
        assert actions(pruned)["tcp-33022"] == "deleted"
        assert actions(pruned)["203.0.113.5"] == "deleted"
        assert [network.tenant for network in cluster.list_networks()] == ["acme", "b"]
        assert actions(cluster.apply(file[2:], prune=True)) == {
            "web": "kept", "v1": "deleted", "v2": "deleted"
        }  # fmt: skip


def test_one_refusal_leaves_the_rest() -> None:
    """An object that contradicts what is stored fails alone, with its reason."""
    with Cluster("memory:") as cluster:
        cluster.create_network("web", tenant="acme", subnet="10.1.0.0/24")
        cluster.create_vnic("v1", tenant="acme", network="web", role="container")
        applied = cluster.apply([{**item, "role": "vm"} if item.get("name") == "v1" else item
                                 for item in FILE])  # fmt: skip
        failed = [item for item in applied if item.action == "failed"]
        assert [item.name for item in failed] == ["v1"]
        assert "role of vnic 'v1'" in str(failed[0].error)
        assert cluster.get_vnic("acme", "v2").state == "pending"


def test_every_problem_of_a_file_is_named_before_anything_is_written() -> None:
    bad: list[Any] = [
        {"kind": "network", "name": "web", "subnet": "10.1.0.1/24", "mtu": 5},
        {"kind": "vnic", "nome": "v1"},
        {"kind": "volume", "name": "x"},
        {"name": "y"},
        7,
        {"kind": "vnic", "network": "web"},
        {"kind": 10**5000, "name": 10**5000},
    ]
    with Cluster("memory:") as cluster:
        with pytest.raises(Problems) as caught:
            cluster.apply([*bad, FILE[3]])
        assert [str(problem).split(": ")[:2] for problem in caught.value.problems] == [
            ["network 'web' (document 1)", "subnet"],
            ["network 'web' (document 1)", "mtu"],
            ["document 2", "nome"],
            ["volume 'x' (document 3)", "kind"],
            ["document 'y' (document 4)", "kind"],
            ["document 5", "7 is not a mapping of fields"],
            ["document 6", "name"],
            ["document <int too long to print> (document 7)", "kind"],
        ]
        assert cluster.registry.read("").entries == {}


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"kind": "vnic", "name": "v3", "network": "no"}, "there is no network 'no'"),
        ({"kind": "public-ip", "address": "203.0.113.6", "to": "v8"}, "there is no vnic 'v8'"),
        ({"kind": "network", "name": "wide", "subnet": "10.0.0.0/8"}, "too large"),
        ({"kind": "network", "name": "wide", "subnet": "10.1.0.0/16"},
         "network 'wide' of tenant 'acme': subnet: 10.1.0.0/16 overlaps 10.1.0.0/24"),
        ({"kind": "vnic", "name": "v3", "network": "web", "ip": "10.2.0.9"}, "is outside"),
        ({"kind": "vnic", "name": "v1", "network": "web"}, "is there twice"),
        ({"kind": "vnic", "name": "v3", "network": "web", "ip": "10.1.0.1"}, "is the gateway of"),
        ({"kind": "vnic", "name": "v3", "network": "web", "extra_addresses": ["10.1.0.1"]},
         "has the gateway"),
        ({"kind": "vnic", "name": "v3", "network": "web", "ip": "10.1.0.9"},
         "vnic 'v3' of tenant 'acme': ip: 10.1.0.9 is that of vnic 'v9' of tenant 'acme'"),
        ({"kind": "vnic", "name": "v3", "network": "web", "mac": "02:00:00:00:00:99"},
         "vnic 'v3' of tenant 'acme': mac: 02:00:00:00:00:99 is that of vnic 'v9'"),
        ({"kind": "forward", "network": "db", "port": 80, "to": "v1"},
         "to: vnic 'v1' is on network 'web', not 'db'"),
        ({"kind": "forward", "network": "web", "port": "33000-33100", "to": "v1"},
         "port: (33022|33000-33100) overlaps forward 'tcp-33"),
        ({"kind": "network", "name": "n", "subnet": "10.3.0.0/24", "key": 77},
         "key: 77 is that of network 'db'"),
        ({"kind": "public-ip", "tenant": "default", "address": "203.0.113.5", "to": "v1"},
         "203.0.113.5 is that of public-ip '203.0.113.5' of tenant 'acme'"),
        ({"kind": "network", "name": "n", "subnet": "fd00:3::/64", "mtu": 1000},
         "mtu: 1000 is not from 1280 to 65535"),
    ],
)  # fmt: skip
def test_contradictions_within_a_file(extra: dict[str, Any], message: str) -> None:
    more: list[dict[str, Any]] = [
        {"kind": "network", "name": "db", "subnet": "10.2.0.0/24", "key": 77},
        {"kind": "vnic", "name": "v9", "network": "web", "ip": "10.1.0.9",
         "mac": "02:00:00:00:00:99"},
        {"kind": "network", "tenant": "default", "name": "web", "subnet": "10.2.0.0/24"},
        {"kind": "vnic", "tenant": "default", "name": "v1", "network": "web"},
    ]  # fmt: skip
    with Cluster("memory:") as cluster:
        for dry_run in (True, False):
            file = [*FILE, *({"tenant": "acme", **item} for item in [*more, extra])]
            with pytest.raises(InvalidRequest, match=message) as caught:
                cluster.apply(file, dry_run=dry_run)
            for problem in each(caught.value):
                assert isinstance(problem, DocumentProblem)
                found = file[problem.number - 1]
                assert str(found.get("name") or found.get("address") or found["port"]) in str(
                    problem
                )
                field = (problem.field or "").partition("[")[0]
                assert field in found or "is there twice" in str(problem)
        assert cluster.registry.read("").entries == {}
        cluster.apply([*FILE, *({"tenant": "acme", **item} for item in more)])
        with pytest.raises(InvalidRequest, match=message):
            cluster.apply([{"tenant": "acme", **extra}, *([FILE[1]] if "twice" in message else [])])


WEB = {"kind": "network", "name": "web", "subnet": "10.1.0.0/24"}
OLD: list[dict[str, Any]] = [
    WEB,
    {"kind": "vnic", "name": "v1", "network": "web", "ip": "10.1.0.5"},
    {"kind": "vnic", "name": "v0", "network": "web"},
    {"kind": "forward", "network": "web", "port": 80, "to": "v1", "sources": ["192.0.2.0/24"]},
    {"kind": "public-ip", "address": "203.0.113.5", "to": "v1"},
]


def leading(to: str) -> list[dict[str, Any]]:
    """The rules as a later file has them: what it leaves out stays."""
    return [
        {"kind": "forward", "network": "web", "port": 80, "to": to},
        {"kind": "public-ip", "address": "203.0.113.5", "to": to},
    ]


LATER: dict[str, list[dict[str, Any]]] = {
    "the address of the one that goes": [
        WEB, {"kind": "vnic", "name": "v2", "network": "web", "ip": "10.1.0.5"}, *leading("v2"),
    ],
    "its MAC": [
        WEB, {"kind": "vnic", "name": "v2", "network": "web", "mac": "02:00:0a:01:00:05"},
        *leading("v2"),
    ],
    "any address": [WEB, {"kind": "vnic", "name": "v2", "network": "web"}, *leading("v2")],
    "one that was there": [WEB, {"kind": "vnic", "name": "v0", "network": "web"}, *leading("v0")],
    "another network of the same addresses": [
        {**WEB, "name": "new"}, {"kind": "vnic", "name": "v2", "network": "new", "ip": "10.1.0.5"},
        leading("v2")[1],
    ],
}  # fmt: skip


@pytest.mark.parametrize("what", LATER)
def test_rules_of_a_vnic_that_goes_are_given_to_another(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one run, as the dry run says, and whichever commit of it fails first."""
    file = LATER[what]
    failing = -1
    while True:
        with Cluster("memory:") as cluster:
            cluster.apply(OLD)
            said = [item.to_dict() for item in cluster.apply(file, prune=True, dry_run=True)]
            if failing < 0:
                done = cluster.apply(file, prune=True)
                assert [item.to_dict() for item in done] == said
                assert not [item for item in done if item.action == "failed"]
                exported = cluster.export()
                rules = [item for item in exported if item["kind"] == "forward"]
                assert [rule["sources"] for rule in rules] in ([], [["192.0.2.0/24"]])
            else:
                with monkeypatch.context() as patch, suppress(Unavailable):
                    patch.setattr(cluster.registry, "commit", failing_after(failing, cluster))
                    cluster.apply(file, prune=True)
                    break
                cluster.apply(file, prune=True)
                assert cluster.export() == exported
            assert set(actions(cluster.apply(file, prune=True)).values()) == {"kept"}
        failing += 1


def test_a_vnic_stays_while_its_rule_cannot_be_changed() -> None:
    """The dry run says so, too."""
    with Cluster("memory:") as cluster:
        cluster.apply(OLD)
        file = [
            {**WEB, "name": "new", "subnet": "10.2.0.0/24"}, WEB,
            {"kind": "vnic", "name": "v2", "network": "new"},
            {**leading("v2")[0], "network": "new"},
        ]  # fmt: skip
        said = actions(cluster.apply(file, prune=True, dry_run=True))
        assert said["v1"] == said["tcp-80"] == "failed"
        assert actions(cluster.apply(file, prune=True)) == said
        assert cluster.get_vnic("default", "v1").ip


def test_what_a_later_document_asks_for_is_left_to_it() -> None:
    """Whatever asks for nothing, or for less, gets something else."""
    file: list[dict[str, Any]] = [
        {"kind": "network", "name": "n1", "subnet": "10.9.0.0/24"},
        {"kind": "network", "name": "n2", "subnet": ["10.1.0.0/24", "fd00:1::/64"], "key": 1},
        {"kind": "vnic", "name": "a", "network": "n2"},
        {"kind": "vnic", "name": "b", "network": "n2", "ip": "10.1.0.2"},
        {"kind": "vnic", "name": "c", "network": "n2", "ip": "fd00:1::2"},
    ]
    with Cluster("memory:") as cluster:
        assert set(actions(cluster.apply(file)).values()) == {"created"}
        assert cluster.get_network("default", "n1").key == 2
        found = {vnic.name: [*map(str, vnic.ip)] for vnic in cluster.list_vnics()}
        assert found == {
            "a": ["10.1.0.3", "fd00:1::3"],
            "b": ["10.1.0.2", "fd00:1::4"],
            "c": ["10.1.0.4", "fd00:1::2"],
        }


def test_a_dry_run_says_what_fails() -> None:
    with Cluster("memory:") as cluster:
        register(cluster, "cn-1", draining=True)
        assert actions(cluster.apply(FILE, dry_run=True)) == {
            "web": "created", "v1": "failed", "v2": "failed", "tcp-33022": "failed",
            "203.0.113.5": "failed",
        }  # fmt: skip
        assert cluster.export() == []


def test_two_that_had_one_mac_before_are_kept() -> None:
    """Clients that created them at once wrote them; the network says that, not the file."""
    with Cluster("memory:") as cluster:
        cluster.apply(OLD)
        twin = cluster.create_vnic("twin", network="web", node="cn-1", mac="02:00:00:00:00:07")
        key = keys.vnic("cn-1", "default", "twin")
        cluster.registry.commit([Put(key, {**twin.document(), "mac": "02:00:0a:01:00:05"})])
        assert set(actions(cluster.apply(cluster.export())).values()) == {"kept"}


def test_an_interrupted_apply_is_finished_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever commit fails first, the objects before it are whole and the next call goes on."""
    with Cluster("memory:") as whole:
        whole.apply(FILE)
        commits = whole.registry.read("").revision
        exported = whole.export()
    for failing in range(commits):
        with Cluster("memory:") as cluster:
            with monkeypatch.context() as patch:
                patch.setattr(cluster.registry, "commit", failing_after(failing, cluster))
                with pytest.raises(Unavailable):
                    cluster.apply(FILE)
            done = actions(cluster.apply(FILE))
            assert list(done.values()).count("kept") == failing
            assert cluster.export() == exported


def failing_after(count: int, cluster: Cluster) -> Callable[..., int]:
    """A ``commit`` that works ``count`` times, and then finds the disk full."""
    commit, calls = cluster.registry.commit, iter(range(count))

    def counted(*arguments: Any) -> int:
        for _ in calls:
            return commit(*arguments)
        raise Unavailable("the disk is full", unwritten=True)

    return counted


def test_null_leaves_the_choice_to_the_cluster(cluster: Cluster) -> None:
    """As an empty value of YAML: what was chosen once stays."""
    documents = [
        {"kind": "network", "tenant": "acme", "name": "db", "subnet": "10.2.0.0/24", "key": None},
        {"kind": "vnic", "tenant": "acme", "name": "v1", "network": "db", "node": None, "ip": None},
    ]
    assert [one.action for one in cluster.apply(documents)] == ["created", "created"]
    assert [one.action for one in cluster.apply(documents)] == ["kept", "kept"]
    vnic = cluster.get_vnic("acme", "v1")
    assert cluster.update_vnic("acme", "v1", node=None).node == vnic.node
    assert cluster.update_vnic("acme", "v1", ip=None).ip == vnic.ip


def test_a_file_cannot_say_who_manages_a_vnic(cluster: Cluster) -> None:
    file = [{"kind": "vnic", "tenant": "acme", "name": "v1", "network": "web", "managed_by": "x"}]
    with pytest.raises(InvalidRequest, match="managed_by: unknown field of a vnic"):
        cluster.apply(file)


def test_a_mark_of_the_cluster_cannot_be_changed(cluster: Cluster) -> None:
    with pytest.raises(InvalidRequest, match="closing: a network has no such field to change"):
        cluster.update_network("acme", "web", closing=True)
