"""Security groups: what the registry keeps, and refuses."""

from __future__ import annotations

from typing import Any

import pytest

from snnet import Cluster, Conflict, InvalidRequest, Rule
from snnet.cluster import Problems
from snnet.contract import Delete, Missing, Put

WEB = ["in tcp 80,443 from anybody", "out anything to anybody"]


def rules_of(cluster: Cluster, name: str) -> list[str]:
    return list(map(str, cluster.get_group("acme", name).rules))


def members(cluster: Cluster) -> dict[str, Any]:
    entries = cluster.registry.read("v1/members/").entries
    return {key.split("/")[3]: entry.document for key, entry in entries.items()}


def test_a_group_is_set_and_set_again(cluster: Cluster) -> None:
    made = cluster.set_group("acme", "web", rules=[Rule("in", "tcp", "80,443"), Rule("out")])
    assert made.document()["rules"] == WEB
    assert cluster.set_group("acme", "web", rules=WEB).revision == made.revision
    mapping: Any = {"direction": "in", "protocol": "tcp", "ports": 22, "remote": "group:web"}
    cluster.set_group("acme", "web", rules=[mapping])
    assert rules_of(cluster, "web") == ["in tcp 22 from group:web"]
    cluster.update_group("acme", "web", rules=[])
    assert rules_of(cluster, "web") == []
    assert [group.name for group in cluster.list_groups("acme")] == ["web"]
    assert cluster.list_groups("other") == []
    cluster.delete_group("acme", "web")
    cluster.delete_group("acme", "web")
    with pytest.raises(Missing, match="there is no group 'web'"):
        cluster.get_group("acme", "web")


def test_creating_another_in_its_place_is_a_conflict(cluster: Cluster) -> None:
    made = cluster.create_group("web", tenant="acme", rules=WEB)
    assert cluster.create_group("web", tenant="acme", rules=WEB) == made
    with pytest.raises(Conflict, match=r"is there already, and its rules is .*: update it"):
        cluster.create_group("web", tenant="acme", rules=["out"])


def test_without_members_it_is_ready(cluster: Cluster) -> None:
    """No agent has to do anything about it."""
    cluster.set_group("acme", "web", rules=WEB)
    assert cluster.get_group("acme", "web").state == "ready"


def test_the_worst_that_an_agent_says_is_its_state(cluster: Cluster) -> None:
    made = cluster.set_group("acme", "web", rules=WEB)
    said = {"a": {"state": "failed", "error": "no room"}, "b": {"state": "ready"}}
    for node, document in said.items():
        key = f"v1/status/{node}/group/acme/web/"
        writes = [Put(f"v1/nodes/{node}/", {"name": node, "roles": []}),
                  Put(key, {**document, "of": made.revision})]  # fmt: skip
        cluster.registry.commit(writes)
    for found in (cluster.get_group("acme", "web"), *cluster.list_groups()):
        assert (found.state, found.error, found.status.node) == ("failed", "no room", "a")
    cluster.set_group("acme", "web", rules=[])
    assert cluster.get_group("acme", "web").state == "pending", "it is of the rules before"


def test_members_are_told_with_their_vnics(cluster: Cluster) -> None:
    for name in ("web", "db"):
        cluster.set_group("acme", name)
    made = cluster.create_vnic(
        "v1", tenant="acme", network="web", node="a", groups=["web", "db", "web"]
    )
    assert made.groups == ("db", "web")
    assert members(cluster) == {"v1": {"groups": ["db", "web"], "node": "a", "ips": ["10.1.0.2"]}}
    cluster.update_vnic("acme", "v1", node="b")
    assert members(cluster)["v1"]["node"] == "b"
    cluster.update_vnic("acme", "v1", groups=["db"])
    assert members(cluster)["v1"]["groups"] == ["db"]
    cluster.update_vnic("acme", "v1", groups=[])
    assert members(cluster) == {}
    assert "groups" not in cluster.get_vnic("acme", "v1").document()
    cluster.update_vnic("acme", "v1", groups=["web"])
    cluster.delete_network("acme", "web", force=True)
    assert members(cluster) == {}


def test_a_group_in_use_is_not_deleted(cluster: Cluster) -> None:
    cluster.set_group("acme", "db", rules=["in from group:db"])
    cluster.set_group("acme", "web", rules=["out to group:db"])
    cluster.create_vnic("v1", tenant="acme", network="web", groups=["db"])
    with pytest.raises(Conflict, match=r"'db' .* is used by group 'web', vnic 'v1': change or del"):
        cluster.delete_group("acme", "db")
    cluster.update_vnic("acme", "v1", groups=[])
    cluster.delete_group("acme", "web")
    cluster.delete_group("acme", "db")
    assert cluster.list_groups() == []


@pytest.mark.parametrize("late", ["vnic", "group"])
def test_a_use_that_comes_in_between_is_seen(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, late: str
) -> None:
    """Another client begins to use the group after the deletion looked, before it commits."""
    cluster.set_group("acme", "db")
    commit = cluster.registry.commit

    def after_another(writes: Any, expected: Any = None) -> int:
        if any(isinstance(write, Delete) for write in writes):
            monkeypatch.setattr(cluster.registry, "commit", commit)
            if late == "vnic":
                cluster.create_vnic("v1", tenant="acme", network="web", groups=["db"])
            else:
                cluster.set_group("acme", "web", rules=["out to group:db"])
        return commit(writes, expected or {})

    monkeypatch.setattr(cluster.registry, "commit", after_another)
    with pytest.raises(Conflict, match=f"is used by {late}"):
        cluster.delete_group("acme", "db")


def test_a_group_that_goes_in_between_is_missed(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.set_group("acme", "db")
    commit = cluster.registry.commit

    def after_another(writes: Any, expected: Any = None) -> int:
        monkeypatch.setattr(cluster.registry, "commit", commit)
        cluster.delete_group("acme", "db")
        return commit(writes, expected or {})

    monkeypatch.setattr(cluster.registry, "commit", after_another)
    with pytest.raises(InvalidRequest, match="has no group 'db'"):
        cluster.create_vnic("v1", tenant="acme", network="web", groups=["db"])


MANY = ",".join(map(str, range(1, 12000, 2)))
"""6000 ports, none next to another."""


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (["in tcp 0"], r"rules\[0\]: ports: '0' is not a list"),
        (["out", "in gre"], r"rules\[1\]: protocol: 'gre' is not tcp|icmp"),
        (["in tcp 80 to 10.0.0.0/8"], r"rules\[0\]: .* is not a rule like"),
        (["sideways"], r"rules\[0\]: direction: 'sideways' is not 'in' or 'out'"),
        ([""], r"rules\[0\]: '' is not a rule like"),
        ("out", "rules: 'out' is not a list"),
        ([7], r"rules\[0\]: 7 is not a rule"),
        ([{"direction": "in", "port": 80}], r"rules\[0\]: port: .*unknown field of a rule"),
        ([{"protocol": "tcp"}], r"rules\[0\]: direction: None is not 'in' or 'out'"),
        (["out"] * 1001, "rules: 1001 are too many: give at most 1000"),
        ([f"in tcp {MANY}", f"in udp {MANY}"], "rules: 12000 ports and ranges of ports are too"),
        (["out to group:nope"], "rules: tenant 'acme' has no group 'nope': create it first"),
        ([f"out to group:g{number}" for number in range(31)], "rules: 31 groups are too many"),
        (["in tcp 80 22 from anybody"], r"rules\[0\]: .* is not a rule like"),
    ],
)
def test_wrong_rules_write_nothing(cluster: Cluster, rules: Any, message: str) -> None:
    before = cluster.registry.read("")
    for call in (cluster.set_group, lambda tenant, name, rules: cluster.create_group(
        name, tenant=tenant, rules=rules
    )):  # fmt: skip
        with pytest.raises(InvalidRequest, match=message):
            call("acme", "web", rules=rules)
    assert cluster.registry.read("") == before


def test_all_problems_at_once(cluster: Cluster) -> None:
    with pytest.raises(Problems, match=r"tenant: .*; name: .*; rules\[0\]: "):
        cluster.set_group("?", "?", rules=["x"])
    with pytest.raises(InvalidRequest, match=r"groups\[0\]: '\?' is not an id"):
        cluster.create_vnic("v1", tenant="acme", network="web", groups=["?"])
    with pytest.raises(InvalidRequest, match="groups: tenant 'acme' has no group 'web'"):
        cluster.create_vnic("v1", tenant="acme", network="web", groups=["web"])


FILE: list[dict[str, Any]] = [
    {"kind": "vnic", "tenant": "acme", "name": "v1", "network": "web", "groups": ["a"]},
    {"kind": "group", "tenant": "acme", "name": "b", "rules": ["out to group:a"]},
    {"kind": "group", "tenant": "acme", "name": "a", "rules": ["in from group:b", "out"]},
    {"kind": "network", "tenant": "acme", "name": "web", "subnet": "10.1.0.0/24"},
]


def test_groups_of_a_file_may_name_each_other() -> None:
    with Cluster("memory:") as cluster, Cluster("memory:") as other:
        assert {item.action for item in cluster.apply(FILE, dry_run=True)} == {"created"}
        assert cluster.registry.read("").entries == {}
        assert {item.action for item in cluster.apply(FILE)} == {"created"}
        assert rules_of(cluster, "b") == ["out anything to group:a"]
        assert {item.action for item in cluster.apply(FILE)} == {"kept"}
        exported = cluster.export()
        assert {item.action for item in cluster.apply(exported)} == {"kept"}
        other.apply(exported)
        assert other.export() == exported
        new = [{**FILE[2], "rules": ["out"]}, FILE[0], FILE[3]]
        applied = {item.name: item for item in cluster.apply(new, prune=True)}
        assert {name: item.action for name, item in applied.items()} == {
            "web": "kept", "v1": "kept", "a": "updated", "b": "deleted"
        }  # fmt: skip
        assert applied["a"].changes == {
            "rules": (
                ["in anything from group:b", "out anything to anybody"],
                ["out anything to anybody"],
            )
        }
        assert {item.action for item in cluster.apply([FILE[3]], prune=True)} == {"kept", "deleted"}
        assert [item["name"] for item in cluster.export()] == ["web"]


def test_a_chain_of_groups_is_pruned_in_its_order() -> None:
    """Those that name others go first, whatever their names."""
    names = ["b", "c", "a"]
    chain = [
        {"kind": "group", "name": name, "rules": [f"out to group:{after}"] if after else []}
        for name, after in zip(names, [*names[1:], None], strict=True)
    ]
    with Cluster("memory:") as cluster:
        cluster.apply([*chain, {**FILE[3], "tenant": "default"}])
        applied = cluster.apply([{**FILE[3], "tenant": "default"}], prune=True)
        assert [(item.name, item.action) for item in applied] == [
            ("web", "kept"), ("b", "deleted"), ("c", "deleted"), ("a", "deleted")
        ]  # fmt: skip


def test_a_file_that_lacks_a_group_writes_nothing() -> None:
    with Cluster("memory:") as cluster:
        with pytest.raises(InvalidRequest) as caught:
            cluster.apply([FILE[0], FILE[1], FILE[3]])
        assert str(caught.value).count("there is no group 'a': add a document for it") == 2
        assert cluster.registry.read("").entries == {}
