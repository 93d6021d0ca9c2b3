"""Stored documents that cannot be read: each is named, hides no other, and can be deleted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import snnet
from snnet import Cluster
from snnet.cluster import NodeInfo, keys
from snnet.cluster.documents import Wanted
from snnet.cluster.stored import Unreadable
from snnet.contract import Delete, Put

KEYS = {
    "network": keys.network("acme", "web"),
    "group": keys.group("acme", "g"),
    "vnic": keys.vnic("cn-1", "acme", "v1"),
    "forward": keys.forward("acme", "tcp-80"),
    "public-ip": keys.public_ip("acme", "203.0.113.5"),
}
GETS: dict[str, Callable[[Cluster], Wanted]] = {
    "network": lambda cluster: cluster.get_network("acme", "web"),
    "group": lambda cluster: cluster.get_group("acme", "g"),
    "vnic": lambda cluster: cluster.get_vnic("acme", "v1"),
    "forward": lambda cluster: cluster.get_forward("acme", "tcp-80"),
    "public-ip": lambda cluster: cluster.get_public_ip("acme", "203.0.113.5"),
}
CHANGES: dict[str, Callable[[Cluster], object]] = {
    "network": lambda cluster: cluster.update_network("acme", "web", mtu=1300),
    "group": lambda cluster: cluster.update_group("acme", "g", rules=["out"]),
    "vnic": lambda cluster: cluster.update_vnic("acme", "v1", mtu=1300),
    "forward": lambda cluster: cluster.update_forward("acme", "tcp-80", to="v2"),
    "public-ip": lambda cluster: cluster.update_public_ip("acme", "203.0.113.5", to="v2"),
}
DELETES: dict[str, Callable[[Cluster], None]] = {
    "network": lambda cluster: cluster.delete_network("acme", "web", force=True),
    "group": lambda cluster: cluster.delete_group("acme", "g"),
    "vnic": lambda cluster: cluster.delete_vnic("acme", "v1", force=True),
    "forward": lambda cluster: cluster.delete_forward("acme", "tcp-80"),
    "public-ip": lambda cluster: cluster.delete_public_ip("acme", "203.0.113.5"),
}
DAMAGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "later": lambda document: {**document, "later": 1},
    "wrong": lambda document: {key: {"not": ["this"]} for key in document},
    "empty": lambda document: {},
}


PREFIXES = (
    *keys.PREFIXES.values(), keys.MEMBERS, keys.ADDRESSES, keys.NODES, keys.ALIVE, keys.STATUS,
    keys.CONCENTRATORS, keys.TUNNELS, keys.DOCKER, keys.QUESTIONS, keys.ANSWERS, keys.TUNNEL_KEYS,
    keys.NODE_NUMBERS, keys.CONCENTRATOR_ADDRESSES, f"{keys.ROOT}later/",
)  # fmt: skip
ODD = [prefix + rest for prefix in PREFIXES for rest in ("", "x", "acme/", "a/b/c/d/e/f/")]
"""Keys that no object has."""


@pytest.fixture
def full(cluster: Cluster) -> Cluster:
    """One object of each kind, and another of most."""
    cluster.create_group("g", tenant="acme", rules=["in tcp 80", "in tcp 81 from group:g"])
    cluster.create_group("h", tenant="acme", rules=["out"])
    for name in ("v1", "v2"):
        groups = ["h"] if name == "v1" else []
        cluster.create_vnic(name, tenant="acme", network="web", node="cn-1", groups=groups)
    cluster.create_forward(tenant="acme", network="web", protocol="tcp", port=80, to="v1")
    cluster.create_public_ip("203.0.113.5", tenant="acme", to="v1")
    return cluster


@pytest.fixture
def reported(full: Cluster) -> Cluster:
    """With all that agents say about the objects."""
    said = [keys.status("cn-1", kind, *KEYS[kind].split("/")[-3:-1]) for kind in KEYS]
    status = {"state": "ready", "of": 999, "error": "no", "retry_at": 1, "details": {"mtu": 1500}}
    node = NodeInfo(name="cn-1", roles=("compute", "network"), number=1)
    full.registry.commit(
        [
            *(Put(key, status) for key in said),
            Put(keys.node("cn-1"), node.document()),
            Put(keys.node_number(1), {"node": "cn-1"}),
            Put(keys.concentrator("acme"), {"node": "cn-1", "address": "192.0.2.9"}),
            Put(keys.tunnel("cn-1", "acme", "web"), {"address": "192.0.2.1", "port": 4789}),
        ]
    )
    return full


def use(cluster: Cluster) -> None:
    """Read everything that can be read, and create and delete something of another tenant."""
    for listed in (
        cluster.list_networks(), cluster.list_groups(), cluster.list_vnics(),
        cluster.list_forwards(), cluster.list_public_ips(), cluster.nodes(),
    ):  # fmt: skip
        assert [item.to_dict()["name"] for item in listed]
    for get in GETS.values():
        assert get(cluster).to_dict()
    cluster.placements()
    cluster.create_network("web", tenant="other", subnet="10.1.0.0/24")
    cluster.create_group("g", tenant="other", rules=["out"])
    cluster.create_vnic("v1", tenant="other", network="web", node="cn-1", groups=["g"])
    cluster.create_forward(tenant="other", network="web", protocol="tcp", port=80, to="v1")
    cluster.create_public_ip("203.0.113.6", tenant="other", to="v1")
    cluster.delete_network("other", "web", force=True)
    cluster.delete_group("other", "g")


@pytest.mark.parametrize("how", [*DAMAGES, "other"])
def test_no_document_hides_another(reported: Cluster, how: str) -> None:
    """Whichever it is: also claims, and what agents say."""
    registry = reported.registry
    for key, entry in registry.read("").entries.items():
        damaged: Any = (
            dict.fromkeys(entry.document, 7)
            if how == "other"
            else DAMAGES[how](dict(entry.document))
        )
        registry.commit([Put(key, damaged)])
        use(reported)
        registry.commit([Put(key, entry.document)])


@pytest.mark.parametrize("key", ODD)
def test_a_key_that_no_object_has_hides_nothing(reported: Cluster, key: str) -> None:
    before = reported.export()
    reported.registry.commit([Put(key, {"node": "cn-1", "groups": ["g"]})])
    events = reported.watch(timeout=0)
    use(reported)
    assert reported.export() == before
    reported.registry.commit([Put(key, {})])
    assert list(events) == []
    reported.delete_group("acme", "g")


@pytest.mark.parametrize("damaged", [{}, {"node": 7, "network": 7}, {"node": "cn-9"}], ids=str)
def test_a_vnic_whose_claim_is_damaged(full: Cluster, damaged: dict[str, object]) -> None:
    """It is found, nothing new can lead to it, and its deletion repairs that."""
    full.registry.commit([Put(keys.vnic_name("acme", "v1"), damaged)])
    assert full.get_vnic("acme", "v1").node == "cn-1"
    with pytest.raises(Unreadable, match="the claim of the name of vnic 'v1' cannot be read: del"):
        full.create_forward(tenant="acme", network="web", protocol="tcp", port=81, to="v1")
    full.delete_vnic("acme", "v1", force=True)
    full.create_vnic("v1", tenant="acme", network="web", node="cn-2", groups=["h"])
    full.create_forward(tenant="acme", network="web", protocol="tcp", port=81, to="v1")


def damage(cluster: Cluster, kind: str, how: str) -> None:
    key = KEYS[kind]
    document = dict(cluster.registry.read(key).entries[key].document)
    cluster.registry.commit([Put(key, DAMAGES[how](document))])  # type: ignore[arg-type]


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("kind", KEYS)
def test_it_is_listed_as_failed_beside_the_others(full: Cluster, kind: str, how: str) -> None:
    damage(full, kind, how)
    objects: list[Wanted] = [
        *full.list_networks("acme"), *full.list_groups("acme"), *full.list_vnics("acme"),
        *full.list_forwards("acme"), *full.list_public_ips("acme"),
    ]  # fmt: skip
    failed = [item for item in objects if item.state == "failed"]
    assert [item.kind for item in failed] == [kind]
    assert [item.name for item in failed] == [GETS[kind](full).name]
    for item in (*failed, GETS[kind](full)):
        assert "its document cannot be read: " in str(item.error)
        assert item.to_dict()["name"] == item.name
    assert len(objects) == 7


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("kind", KEYS)
def test_what_needs_all_of_it_names_it(full: Cluster, kind: str, how: str) -> None:
    damage(full, kind, how)
    before = full.registry.read("").entries
    name = GETS[kind](full).name
    match = f"the stored document of {kind} '{name}' of tenant 'acme' cannot be read: .* delete"
    for call in (CHANGES[kind], Cluster.export):
        with pytest.raises(Unreadable, match=match):
            call(full)
    assert full.registry.read("").entries == before


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("kind", KEYS)
def test_it_can_be_deleted_with_its_claims(full: Cluster, kind: str, how: str) -> None:
    """As if it could be read, so that the same can be created again."""
    damage(full, kind, how)
    DELETES[kind](full)
    after = set(full.registry.read("").entries)
    assert KEYS[kind] not in after
    full.export()
    if kind == "network":
        assert not any("acme/web" in key or "/tunnel-keys/" in key for key in after)
        full.create_network("web", tenant="acme", subnet="10.1.0.0/24")
    if kind in ("network", "vnic"):
        assert keys.vnic_name("acme", "v1") not in after
        assert keys.member("acme", "v1") not in after
        made = full.create_vnic("v9", tenant="acme", network="web", ip="10.1.0.2")
        assert made.name == "v9", "its address is free"
    full.create_vnic("v1", tenant="acme", network="web", node="cn-1")
    full.create_forward(tenant="acme", network="web", protocol="tcp", port=80, to="v1")
    full.create_public_ip("203.0.113.5", tenant="acme", to="v1")


@pytest.mark.parametrize("kind", ["forward", "public-ip"])
def test_it_hinders_nobody_else(full: Cluster, kind: str) -> None:
    damage(full, kind, "later")
    full.create_forward(tenant="acme", network="web", protocol="tcp", port=81, to="v2")
    full.delete_vnic("acme", "v2", force=True)
    full.delete_vnic("acme", "v1", force=True)
    assert KEYS[kind] not in full.registry.read("").entries, "it led to the VNIC"


def test_a_refused_deletion_changes_nothing(full: Cluster) -> None:
    damage(full, "network", "later")
    before = full.registry.read(KEYS["network"]).entries[KEYS["network"]].document
    with pytest.raises(Exception, match="has the VNICs v1, v2"):
        full.delete_network("acme", "web")
    assert full.registry.read(KEYS["network"]).entries[KEYS["network"]].document == before


@pytest.mark.parametrize("how", DAMAGES)
def test_what_a_node_does_not_say_hides_no_other(full: Cluster, how: str) -> None:
    said = [
        NodeInfo(name=name, roles=("network",), compute_ip=f"192.0.2.{number}")
        for number, name in enumerate(("net-1", "net-2"), 1)
    ]
    document: Any = DAMAGES[how](said[0].document())
    full.registry.commit([Put(keys.node("net-1"), document)])
    full.registry.commit([Put(keys.node("net-2"), said[1].document())])
    first, second = full.nodes()
    assert first == (said[0] if how == "later" else NodeInfo(name="net-1", roles=()))
    assert second == said[1]


def test_what_is_left_of_a_vnic_that_somebody_deleted_is_named(cluster: Cluster) -> None:
    """Its claims stay in the way of another one of its name, until they are deleted."""

    def make() -> object:
        return cluster.create_vnic("v1", tenant="acme", network="web", node="cn-1")

    before = {*cluster.registry.read("").entries}
    make()
    claims = {*cluster.registry.read("").entries} - before - {KEYS["vnic"]}
    cluster.registry.commit([Delete(KEYS["vnic"])])
    with pytest.raises(snnet.Conflict, match="left of an object that is gone") as caught:
        make()
    cluster.registry.commit([Delete(key) for key in claims if key in str(caught.value)])
    make()
