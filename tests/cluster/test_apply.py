"""``apply`` and ``export``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from snnet import Cluster, Conflict, InvalidRequest, Unavailable
from snnet.cluster import Applied, Problems, keys
from snnet.contract import Put

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
        assert [problem.split(": ")[:2] for problem in caught.value.problems] == [
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
        ({"kind": "vnic", "name": "v3", "network": "db"}, "there is no network 'db'"),
        ({"kind": "public-ip", "address": "203.0.113.6", "to": "v9"}, "there is no vnic 'v9'"),
        ({"kind": "network", "name": "wide", "subnet": "10.0.0.0/8"}, "too large"),
        ({"kind": "network", "name": "wide", "subnet": "10.1.0.0/16"}, "overlaps 10.1.0.0/16"),
        ({"kind": "vnic", "name": "v3", "network": "web", "ip": "10.2.0.9"}, "is outside"),
        ({"kind": "vnic", "name": "v1", "network": "web"}, "is there twice"),
    ],
)
def test_contradictions_within_a_file(extra: dict[str, Any], message: str) -> None:
    with Cluster("memory:") as cluster:
        with pytest.raises(InvalidRequest, match=message):
            cluster.apply([*FILE, {"tenant": "acme", **extra}])
        assert cluster.registry.read("").entries == {}


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


def test_a_mark_of_the_cluster_cannot_be_changed(cluster: Cluster) -> None:
    with pytest.raises(InvalidRequest, match="closing: a network has no such field to change"):
        cluster.update_network("acme", "web", closing=True)
