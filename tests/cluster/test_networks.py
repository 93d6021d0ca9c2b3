"""The verbs for networks."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from snnet import Cluster, Conflict, InvalidRequest, Missing
from snnet.cluster import Problems, keys
from snnet.contract import Put


def test_a_network_gets_a_key_of_its_own(cluster: Cluster) -> None:
    """No two networks have one tunnel key, whatever their tenants."""
    made = cluster.create_network("db", tenant="b", subnet="10.1.0.0/24")
    assert made.subnet == (ip_network("10.1.0.0/24"),)
    assert {network.key for network in cluster.list_networks()} == {1, 2}
    assert cluster.create_network("c", tenant="c", subnet="10.1.0.0/24", key=9).key == 9
    assert cluster.create_network("d", tenant="d", subnet="10.1.0.0/24").key == 3


def test_the_same_again_changes_nothing(cluster: Cluster) -> None:
    before = cluster.registry.read("")
    again = cluster.create_network("web", tenant="acme", subnet="10.1.0.0/24")
    assert again.key == 1
    assert cluster.registry.read("") == before


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("web", {"subnet": "10.2.0.0/24"}, "its subnet is 10.1.0.0/24, not 10.2.0.0/24"),
        ("web", {"subnet": "10.1.0.0/24", "mtu": 1300}, "its mtu is None, not 1300"),
        ("db", {"subnet": "10.1.0.128/25"}, "overlaps 10.1.0.0/24 of network 'web'"),
        ("db", {"subnet": "10.2.0.0/24", "key": 1}, "key 1 belongs to network 'web'"),
    ],
)
def test_contradictions(
    cluster: Cluster, name: str, fields: dict[str, object], message: str
) -> None:
    """What differs from an object of the name, or takes what is another's, is a Conflict."""
    before = cluster.registry.read("")
    with pytest.raises(Conflict, match=message):
        cluster.create_network(name, tenant="acme", **fields)  # type: ignore[arg-type]
    assert cluster.registry.read("") == before


def test_other_tenants_may_use_the_same_addresses(cluster: Cluster) -> None:
    assert cluster.create_network("web", tenant="b", subnet="10.1.0.0/24").key == 2


def test_every_problem_is_named() -> None:
    with Cluster("memory:") as cluster, pytest.raises(Problems) as caught:
        cluster.create_network("?", tenant="", subnet="10.1.0.1/24", mtu=1)
    assert [str(problem).split(":")[0] for problem in caught.value.problems] == [
        "tenant", "name", "subnet", "mtu"
    ]  # fmt: skip


def test_only_the_mtu_can_be_changed(cluster: Cluster) -> None:
    assert cluster.update_network("acme", "web", mtu=1300).mtu == 1300
    assert cluster.get_network("acme", "web").mtu == 1300
    with pytest.raises(Conflict, match=r"subnet of network 'web'.*cannot be changed"):
        cluster.update_network("acme", "web", subnet="10.9.0.0/24")
    with pytest.raises(InvalidRequest, match="colour: a network has no such field"):
        cluster.update_network("acme", "web", colour="red")
    with pytest.raises(Missing, match="no network 'nope' of tenant 'acme'"):
        cluster.update_network("acme", "nope", mtu=1300)


def test_a_network_in_use_is_not_deleted(cluster: Cluster) -> None:
    """The refusal lists the VNICs and leaves the network open for more of them."""
    for name in ("v1", "v2"):
        cluster.create_vnic(name, tenant="acme", network="web")
    with pytest.raises(Conflict, match="has the VNICs v1, v2"):
        cluster.delete_network("acme", "web")
    cluster.create_vnic("v3", tenant="acme", network="web")


def test_a_refused_deletion_writes_nothing(cluster: Cluster) -> None:
    """So that clients who create VNICs at the same time notice nothing of it."""
    cluster.create_vnic("v1", tenant="acme", network="web")
    before = cluster.registry.read("")
    with pytest.raises(Conflict, match="has the VNICs v1"):
        cluster.delete_network("acme", "web")
    assert cluster.registry.read("") == before


def test_force_deletes_what_is_on_a_network(cluster: Cluster) -> None:
    cluster.create_vnic("v1", tenant="acme", network="web")
    cluster.create_forward(tenant="acme", network="web", protocol="tcp", port=80, to="v1")
    cluster.create_public_ip("203.0.113.5", tenant="acme", to="v1")
    cluster.delete_network("acme", "web", force=True)
    assert cluster.export() == []
    assert cluster.registry.read("").entries == {}


def test_nothing_of_a_tenant_is_left_when_its_last_objects_go(cluster: Cluster) -> None:
    """Not even what lets changes at the same time see each other: it goes with the last one."""
    cluster.create_network("db", tenant="acme", subnet="10.2.0.0/24")
    for name in ("g", "h"):
        cluster.create_group(name, tenant="acme", rules=["out to group:g"])
    cluster.create_vnic("v1", tenant="acme", network="web", groups=["h"])
    cluster.delete_network("acme", "db")
    cluster.delete_vnic("acme", "v1")
    cluster.delete_group("acme", "h")
    for key in (keys.fence("acme"), keys.group_uses("acme")):
        assert key in cluster.registry.read("").entries
    cluster.delete_group("acme", "g")
    cluster.delete_network("acme", "web")
    assert cluster.registry.read("").entries == {}


def test_deleting_twice_is_no_error(cluster: Cluster) -> None:
    cluster.delete_network("acme", "web")
    cluster.delete_network("acme", "web")
    assert cluster.create_network("db", tenant="b", subnet="10.1.0.0/24").key == 1


def test_nothing_is_put_on_a_network_that_is_being_deleted(cluster: Cluster) -> None:
    """A deletion that was interrupted keeps new VNICs out, and the next call finishes it."""
    from snnet.cluster import keys, networks
    from snnet.cluster.drafts import carry_out

    found = cluster.registry.read(keys.network("acme", "web"))
    carry_out(cluster.registry, lambda: networks.closing(found, "acme", "web"))
    with pytest.raises(Conflict, match="is being deleted"):
        cluster.create_vnic("v1", tenant="acme", network="web")
    with pytest.raises(Conflict, match="is being deleted"):
        cluster.create_network("web", tenant="acme", subnet="10.1.0.0/24")
    cluster.delete_network("acme", "web")
    assert keys.network("acme", "web") not in cluster.registry.read("").entries


def test_a_network_whose_deletion_was_interrupted_is_opened_by_a_refusal(cluster: Cluster) -> None:
    cluster.create_vnic("v1", tenant="acme", network="web")
    entry = cluster.registry.read(keys.network("acme", "web")).entries[keys.network("acme", "web")]
    cluster.registry.commit([Put(entry.key, {**entry.document, "closing": True})])
    with pytest.raises(Conflict, match="has the VNICs v1"):
        cluster.delete_network("acme", "web")
    cluster.create_vnic("v2", tenant="acme", network="web")
