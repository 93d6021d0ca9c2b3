"""The verbs for VNICs."""

from __future__ import annotations

import threading
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

import pytest

from snnet import Cluster, Conflict, InvalidRequest, Missing, VnicRole
from snnet.cluster import keys
from snnet.cluster.rehearsal import Rehearsal
from snnet.contract import Put, Reading, RegistryWatch
from snnet.registries.memory import MemoryRegistry


def register(cluster: Cluster, name: str, *, alive: bool = True, **fields: object) -> None:
    """Register a node as its agent does."""
    document = {"name": name, "roles": ["compute", "network"], **fields}
    writes = [Put(keys.node(name), document)]
    if alive:
        writes.append(Put(keys.alive(name), {}))
    cluster.registry.commit(writes)


def test_addresses_and_macs_are_chosen(cluster: Cluster) -> None:
    """The lowest free address, after the gateway; the MAC belongs to the address."""
    cluster.create_vnic("taken", tenant="acme", network="web", ip="10.1.0.3")
    first, second = (cluster.create_vnic(n, tenant="acme", network="web") for n in ("v1", "v2"))
    assert first.ips == (ip_address("10.1.0.2"),)
    assert first.guest_mac == "02:00:0a:01:00:02"
    assert second.ips == (ip_address("10.1.0.4"),)
    assert first.state == "pending"


def test_extra_addresses_are_kept_and_exported(cluster: Cluster) -> None:
    extra = ["10.1.0.200", "172.17.0.0/16"]
    made = cluster.create_vnic(
        "v1", tenant="acme", network="web", extra_addresses=extra, anti_spoofing=False
    )
    assert list(map(str, made.extra_addresses)) == extra
    (document,) = [item for item in cluster.export("acme") if item["kind"] == "vnic"]
    assert document["extra_addresses"] == extra
    assert document["anti_spoofing"] is False
    assert [item.action for item in cluster.apply(cluster.export("acme"))] == ["kept", "kept"]
    changed = cluster.update_vnic("acme", "v1", extra_addresses=["10.1.0.201"], anti_spoofing=None)
    assert changed.document()["extra_addresses"] == ["10.1.0.201"]
    assert "anti_spoofing" not in changed.document()


def test_rates_are_kept_as_numbers_and_exported(cluster: Cluster) -> None:
    made = cluster.create_vnic(
        "v1", tenant="acme", network="web", rate_to_guest="50mbit", rate_from_guest=10**7
    )
    assert (made.rate_to_guest, made.rate_from_guest) == (50_000_000, 10_000_000)
    (document,) = [item for item in cluster.export("acme") if item["kind"] == "vnic"]
    assert document["rate_to_guest"] == 50_000_000
    assert [item.action for item in cluster.apply(cluster.export("acme"))] == ["kept", "kept"]
    written = {**document, "rate_to_guest": "0.05gbit", "rate_from_guest": "1gbit"}
    assert [item.action for item in cluster.apply([written])] == ["updated"]
    changed = cluster.update_vnic("acme", "v1", rate_from_guest=None)
    assert changed.document()["rate_to_guest"] == 50_000_000
    assert "rate_from_guest" not in changed.document()


def test_a_freed_address_is_used_again(cluster: Cluster) -> None:
    cluster.create_vnic("v1", tenant="acme", network="web")
    cluster.delete_vnic("acme", "v1")
    assert cluster.create_vnic("v2", tenant="acme", network="web").ips == (ip_address("10.1.0.2"),)


def test_a_full_network() -> None:
    with Cluster("memory:") as cluster:
        cluster.create_network("small", subnet="10.1.0.0/29")
        made = [cluster.create_vnic(f"v{n}", network="small").ips[0] for n in range(5)]
        assert [str(ip) for ip in made] == [f"10.1.0.{n}" for n in range(2, 7)]
        with pytest.raises(Conflict, match=r"network 'small' has no free address in 10.1.0.0/29"):
            cluster.create_vnic("v9", network="small")
        cluster.delete_vnic("default", "v3")
        assert str(cluster.create_vnic("v9", network="small").ips[0]) == "10.1.0.5"


def test_what_others_deleted_is_free(cluster: Cluster) -> None:
    """Although this client remembers that the network was full."""
    cluster.create_network("small", subnet="10.2.0.0/29")
    for number in range(5):
        cluster.create_vnic(f"v{number}", network="small")
    with Cluster(cluster.registry) as other:
        other.delete_vnic("default", "v3")
    assert str(cluster.create_vnic("v9", network="small").ips[0]) == "10.2.0.5"


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"ip": "10.1.0.9"}, Conflict, "10.1.0.9 belongs to vnic 'v1'"),
        ({"ip": "10.1.0.1"}, InvalidRequest, "ip: 10.1.0.1 is the gateway"),
        ({"ip": "10.2.0.1"}, InvalidRequest, "ip: 10.2.0.1 is outside 10.1.0.0/24"),
        ({"ip": "fd00::1"}, InvalidRequest, "ip: fd00::1 is outside"),
        ({"network": "nope"}, InvalidRequest, "network: tenant 'acme' has no network 'nope'"),
        ({"role": "data-center"}, InvalidRequest, "role: 'data-center' is not one of vm, cont"),
        ({"mtu": 0}, InvalidRequest, "mtu: 0 is not"),
        ({"extra_addresses": ["10.1.0.1"]}, InvalidRequest, "has the gateway 10.1.0.1"),
        ({"extra_addresses": ["0.0.0.0/0"]}, InvalidRequest, "which no guest can have"),
        ({"extra_addresses": "10.1.0.9"}, InvalidRequest, "extra_addresses: '10.1.0.9' is not a"),
        ({"rate_to_guest": "fast"}, InvalidRequest, "rate_to_guest: 'fast' is not a rate: give"),
        ({"rate_from_guest": 1}, InvalidRequest, "rate_from_guest: 1 is not from 8kbit to 100gbit"),
        ({"anti_spoofing": "no"}, InvalidRequest, "anti_spoofing: 'no' is neither"),
    ],
)
def test_refusals_write_nothing(
    cluster: Cluster, fields: dict[str, object], error: type[Exception], message: str
) -> None:
    cluster.create_vnic("v1", tenant="acme", network="web", ip="10.1.0.9")
    before = cluster.registry.read("")
    with pytest.raises(error, match=message):
        cluster.create_vnic("v2", **{"tenant": "acme", "network": "web", **fields})  # type: ignore[arg-type]
    assert cluster.registry.read("") == before


def test_the_same_again_changes_nothing(cluster: Cluster) -> None:
    made = cluster.create_vnic("v1", tenant="acme", network="web")
    assert cluster.create_vnic("v1", tenant="acme", network="web") == made
    with pytest.raises(
        Conflict,
        match=r"vnic 'v1' of tenant 'acme' is there already, and its role is .*: delete it",
    ):
        cluster.create_vnic("v1", tenant="acme", network="web", role="container")


def test_roles_have_short_names(cluster: Cluster) -> None:
    made = cluster.create_vnic("v1", tenant="acme", network="web", role="container")
    assert made.role is VnicRole.TENANT_CONTAINER
    assert made.document()["role"] == "container"


def test_nodes_are_chosen_among_those_with_an_agent(cluster: Cluster) -> None:
    """Without a node it is a compute node whose agent is alive, and all of them get some."""
    register(cluster, "cn-1")
    register(cluster, "cn-2")
    register(cluster, "cn-3", alive=False)
    register(cluster, "cn-4", draining=True)
    register(cluster, "net-1", roles=["network"])
    nodes = {cluster.create_vnic(f"v{n}", tenant="acme", network="web").node for n in range(40)}
    assert nodes == {"cn-1", "cn-2"}
    assert cluster.create_vnic("there", tenant="acme", network="web", node="cn-9").node == "cn-9"


def test_an_mtu_too_low_for_ipv6_is_refused() -> None:
    """Of a network and of its VNICs, when they are created and when they are changed."""
    with Cluster("memory:") as cluster:
        subnet = ["10.1.0.0/24", "fd00:1::/64"]
        low = pytest.raises(InvalidRequest, match="mtu: 1000 is not from 1280 to 65535")
        with low:
            cluster.create_network("web", subnet=subnet, mtu=1000)
        cluster.create_network("web", subnet=subnet)
        with low:
            cluster.update_network("default", "web", mtu=1000)
        with low:
            cluster.create_vnic("v1", network="web", mtu=1000)
        cluster.create_vnic("v1", network="web")
        with low:
            cluster.update_vnic("default", "v1", mtu=1000)
        cluster.create_network("four", subnet="10.2.0.0/24", mtu=1000)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"n1": {"roles": ["network"]}, "n2": {"roles": []}},
         r"no node has the role 'compute' \(n1, n2\): start an agent with it"),
        ({"cn-1": {"draining": True}, "cn-2": {"draining": True}, "n1": {"roles": ["network"]}},
         "all compute nodes are draining: cn-1, cn-2: use one again"),
    ],
)  # fmt: skip
def test_a_vnic_that_no_registered_node_may_take(
    cluster: Cluster, others: dict[str, dict[str, Any]], message: str
) -> None:
    """It is refused, not put on the host that happens to ask."""
    for name, fields in others.items():
        register(cluster, name, **fields)
    before = cluster.registry.read("")
    with pytest.raises(Conflict, match=message):
        cluster.create_vnic("v1", tenant="acme", network="web")
    assert cluster.registry.read("") == before
    # One that is named may be there by the time it is needed.
    assert cluster.create_vnic("v1", tenant="acme", network="web", node="cn-9").node == "cn-9"


def test_a_vnic_moves_to_another_node(cluster: Cluster) -> None:
    """Only its document moves; name and addresses stay claimed."""
    made = cluster.create_vnic("v1", tenant="acme", network="web", node="cn-1")
    moved = cluster.update_vnic("acme", "v1", node="cn-2")
    assert moved.ips == made.ips
    entries = cluster.registry.read(keys.VNICS).entries
    assert list(entries) == [keys.vnic("cn-2", "acme", "v1")]
    assert cluster.get_vnic("acme", "v1").node == "cn-2"


def test_a_vnic_moves_to_no_node_that_cannot_take_it(cluster: Cluster) -> None:
    """The node that it is on would let go of it at once."""
    cluster.create_vnic("v1", tenant="acme", network="web", node="cn-1")
    register(cluster, "cn-1")
    register(cluster, "cn-2")
    register(cluster, "net-1", roles=["network"])
    before = cluster.registry.read("")
    with pytest.raises(Conflict, match=r"no agent has registered node 'cn-22'.*cn-1, cn-2"):
        cluster.update_vnic("acme", "v1", node="cn-22")
    with pytest.raises(Conflict, match="'net-1' has not the role 'compute'"):
        cluster.update_vnic("acme", "v1", node="net-1")
    assert cluster.registry.read("") == before
    assert cluster.update_vnic("acme", "v1", node="cn-2").node == "cn-2"


@pytest.mark.parametrize("field", ["ip", "mac", "network", "role"])
def test_what_cannot_be_changed(cluster: Cluster, field: str) -> None:
    cluster.create_vnic("v1", tenant="acme", network="web")
    value = {
        "ip": "10.1.0.7", "mac": "02:00:00:00:00:07", "network": "db", "role": "container"
    }[field]  # fmt: skip
    with pytest.raises(Conflict, match=f"{field} of vnic 'v1'.*delete the vnic, and create it"):
        cluster.update_vnic("acme", "v1", **{field: value})


def test_a_target_is_not_deleted(cluster: Cluster) -> None:
    """A VNIC that a rule leads to goes only together with the rule."""
    cluster.create_vnic("v1", tenant="acme", network="web")
    cluster.create_forward(tenant="acme", network="web", protocol="tcp", port=80, to="v1")
    with pytest.raises(Conflict, match="is the target of forward 'tcp-80'"):
        cluster.delete_vnic("acme", "v1")
    cluster.delete_vnic("acme", "v1", force=True)
    cluster.delete_vnic("acme", "v1")
    assert cluster.list_forwards() == []
    with pytest.raises(Missing):
        cluster.get_vnic("acme", "v1")


@pytest.mark.parametrize("of", ["vnic", "network", "node", "dry run"])
def test_what_many_rules_lead_to_is_deleted(cluster: Cluster, of: str) -> None:
    """They are more than fit into one commit."""
    cluster.create_vnic("v1", tenant="acme", network="web", node="cn-1")
    for port in range(1, 91):
        cluster.create_forward(tenant="acme", network="web", protocol="tcp", port=port, to="v1")
    for number in range(1, 11):
        cluster.create_public_ip(f"203.0.113.{number}", tenant="acme", to="v1")
    match of:
        case "vnic":
            cluster.delete_vnic("acme", "v1", force=True)
        case "network":
            cluster.delete_network("acme", "web", force=True)
        case "node":
            cluster.forget_node("cn-1", force=True)
        case "dry run":
            real, before = cluster.registry, cluster.registry.read("")
            cluster = Cluster(Rehearsal(real))
            cluster.delete_vnic("acme", "v1", force=True)
            assert real.read("") == before
    cluster.delete_network("acme", "web")
    assert cluster.registry.read("").entries == {}


def test_a_dry_run_has_the_limits_of_a_commit(cluster: Cluster) -> None:
    with pytest.raises(InvalidRequest, match="a commit has at most 100 together"):
        Rehearsal(cluster.registry).commit([Put(f"k{number}", {}) for number in range(101)])


def test_the_status_is_that_of_the_latest_document(cluster: Cluster) -> None:
    """What an agent said about an older document does not make a newer one ready."""
    made = cluster.create_vnic("v1", tenant="acme", network="web", node="cn-1")
    ready = {"state": "ready", "of": made.revision, "details": {"link_name": "snv-1"}}
    cluster.registry.commit([Put(keys.status("cn-1", "vnic", "acme", "v1"), ready)])
    found = cluster.wait_vnic("acme", "v1", timeout=5)
    assert (found.state, found.link_name) == ("ready", "snv-1")
    assert cluster.list_vnics("acme") == [found]
    changed = cluster.update_vnic("acme", "v1", mtu=1300)
    assert cluster.get_vnic("acme", "v1").state == "pending"
    failed = {**ready, "state": "failed", "of": changed.revision, "error": "no tap", "retry_at": 1}
    cluster.registry.commit([Put(keys.status("cn-1", "vnic", "acme", "v1"), failed)])
    found = cluster.get_vnic("acme", "v1")
    assert (found.state, found.error) == ("failed", "no tap")
    assert found.to_dict()["retry_at"] == 1


def test_waiting_ends_in_time(cluster: Cluster) -> None:
    cluster.create_vnic("v1", tenant="acme", network="web")
    assert cluster.wait_vnic("acme", "v1", timeout=0.01).state == "pending"
    with pytest.raises(Missing):
        cluster.wait_vnic("acme", "v2", timeout=0.01)


@pytest.mark.parametrize("kind", ["vnic", "network"])
def test_waiting_ends_with_what_it_waits_for(cluster: Cluster, kind: str) -> None:
    """With its deletion, not with the time; the states of others cost no reading."""
    cluster.create_vnic("v1", tenant="acme", network="web")
    cluster.create_network("db", tenant="acme", subnet="10.2.0.0/24")
    wanted = cluster.get_vnic("acme", "v1") if kind == "vnic" else cluster.get_network("acme", "db")
    registry, begun, looked = cluster.registry, threading.Event(), []

    class Counting(MemoryRegistry):
        def read(self, *prefixes: str) -> Reading:
            looked.append(prefixes)
            return registry.read(*prefixes)

        def watch(self, *prefixes: str, after: int) -> RegistryWatch:
            found = registry.watch(*prefixes, after=after)
            begun.set()
            return found

    def change() -> None:
        assert begun.wait(10)
        for number in range(50):
            registry.commit([Put(keys.status("cn-1", kind, "acme", "another"), {"of": number})])
        cluster.delete_vnic("acme", "v1")
        cluster.delete_network("acme", "db")

    thread = threading.Thread(target=change)
    thread.start()
    with pytest.raises(Missing):
        Cluster(Counting()).wait(wanted, timeout=60)
    thread.join()
    assert len(looked) < 20


def test_what_is_ready_needs_no_watch(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    made = cluster.create_vnic("v1", tenant="acme", network="web", node="cn-1")
    ready = {"state": "ready", "of": made.revision}
    cluster.registry.commit([Put(keys.status("cn-1", "vnic", "acme", "v1"), ready)])
    monkeypatch.setattr(cluster.registry, "watch", None)
    assert cluster.wait(made, timeout=5).state == "ready"


def test_lists_are_sorted_as_people_count(cluster: Cluster) -> None:
    for name in ("v10", "v2", "v1"):
        cluster.create_vnic(name, tenant="acme", network="web")
    assert [vnic.name for vnic in cluster.list_vnics()] == ["v1", "v2", "v10"]


def test_a_mac_belongs_to_one_vnic_of_a_network(cluster: Cluster) -> None:
    """DHCP knows guests by it; a MAC that was derived from an address counts too."""
    first = cluster.create_vnic("v1", tenant="acme", network="web")
    cluster.create_vnic("v2", tenant="acme", network="web", mac="02:00:00:00:00:09")
    for mac, holder in ((first.guest_mac, "v1"), ("02:00:00:00:00:09", "v2")):
        with pytest.raises(Conflict, match=f"MAC {mac} belongs to vnic '{holder}': choose"):
            cluster.create_vnic("v3", tenant="acme", network="web", mac=mac)
    cluster.create_vnic("v2", tenant="acme", network="web", mac="02:00:00:00:00:09")
    cluster.create_network("db", tenant="acme", subnet="10.2.0.0/24")
    cluster.create_vnic("v3", tenant="acme", network="db", mac="02:00:00:00:00:09")
    cluster.delete_vnic("acme", "v2")
    cluster.create_vnic("v4", tenant="acme", network="web", mac="02:00:00:00:00:09")


def test_an_address_whose_mac_is_taken_is_not_chosen(cluster: Cluster) -> None:
    """It may be asked for with another MAC, and is free once the other one is gone."""
    cluster.create_vnic("v1", tenant="acme", network="web", mac="02:00:0a:01:00:03", ip="10.1.0.9")
    taken = pytest.raises(
        Conflict, match=r"MAC 02:00:0a:01:00:03, that of 10.1.0.3, belongs to vnic 'v1': choose"
    )
    with taken:
        cluster.create_vnic("v2", tenant="acme", network="web", ip="10.1.0.3")
    made = [cluster.create_vnic(name, tenant="acme", network="web") for name in ("v2", "v3")]
    assert [str(vnic.ip[0]) for vnic in made] == ["10.1.0.2", "10.1.0.4"]
    own = cluster.create_vnic("v4", tenant="acme", network="web", mac="02:00:00:00:00:07")
    assert str(own.ip[0]) == "10.1.0.3"
    cluster.delete_vnic("acme", "v4")
    with taken:
        cluster.create_vnic("v5", tenant="acme", network="web", ip="10.1.0.3")
    with Cluster(cluster.registry) as another:
        with pytest.raises(Conflict, match=r"^10.1.0.2 belongs to vnic 'v2': choose another"):
            another.create_vnic("v5", tenant="acme", network="web", ip="10.1.0.2")
        another.delete_vnic("acme", "v1")
    assert cluster.create_vnic("v5", tenant="acme", network="web", ip="10.1.0.3").ip


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"mac": "02:00:00:00:00:09"}, {"mac": "02:00:00:00:00:09"}),
        ({"mac": "02:00:0a:01:00:02", "ip": "10.1.0.9"}, {}),
        ({}, {"mac": "02:00:0a:01:00:02"}),
        ({"ip": "10.1.0.7"}, {"mac": "02:00:0a:01:00:07"}),
        ({"mac": "02:00:0a:01:00:07"}, {"ip": "10.1.0.7"}),
    ],
)
def test_clients_at_once_do_not_share_a_mac(
    cluster: Cluster, first: dict[str, Any], second: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one decides again when the first has committed in between."""
    commit = cluster.registry.commit

    def late(*arguments: Any) -> int:
        monkeypatch.setattr(cluster.registry, "commit", commit)
        with Cluster(cluster.registry) as another:
            another.create_vnic("v1", tenant="acme", network="web", **first)
        return commit(*arguments)

    cluster.create_vnic("v0", tenant="acme", network="web", ip="10.1.0.50")  # it knows the network
    monkeypatch.setattr(cluster.registry, "commit", late)
    with suppress(Conflict):
        cluster.create_vnic("v2", tenant="acme", network="web", **second)
    macs = [vnic.guest_mac for vnic in cluster.list_vnics("acme")]
    assert len({*macs}) == len(macs) >= 2
    cluster.delete_network("acme", "web", force=True)
    assert not [key for key in cluster.registry.read("").entries if "acme" in key]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mac": "FE:00:00:00:00:01"}, "mac: fe:00:00:00:00:01 is reserved: MACs that begin with"),
        ({"owner": "-1"}, "owner: -1 is not a whole number from 0 to 4294967294"),
        ({"owner": "4294967295"}, "owner: 4294967295 is not a whole number"),
        ({"owner": "9" * 5000}, "owner: 9+ is not a whole number"),
        ({"owner": "root", "role": "container"}, "owner: only the tap of a VM has an owner"),
    ],
)
def test_what_no_host_can_make_is_refused_at_once(
    cluster: Cluster, fields: dict[str, Any], message: str
) -> None:
    asked = {"tenant": "acme", "network": "web", **fields}
    with pytest.raises(InvalidRequest, match=message):
        cluster.create_vnic("v1", **asked)
    with pytest.raises(InvalidRequest, match=message):
        cluster.apply([{"kind": "vnic", "name": "v1", **asked}])
    cluster.create_vnic("v1", tenant="acme", network="web", role=fields.get("role", "vm"))
    if "mac" not in fields:
        with pytest.raises(InvalidRequest, match=message):
            cluster.update_vnic("acme", "v1", owner=fields["owner"])
    assert cluster.create_vnic("v2", tenant="acme", network="web", owner="1000").owner == 1000


@pytest.mark.parametrize("extra", ["10.1.0.1", "10.1.0.0/24", "0.0.0.0/0", "224.0.0.1"])
def test_an_update_refuses_what_a_creation_refuses(cluster: Cluster, extra: str) -> None:
    cluster.create_vnic("v1", tenant="acme", network="web")
    with pytest.raises(InvalidRequest, match=r"extra_addresses\[0\]: ") as created:
        cluster.create_vnic("v2", tenant="acme", network="web", extra_addresses=[extra])
    with pytest.raises(InvalidRequest) as updated:
        cluster.update_vnic("acme", "v1", extra_addresses=[extra])
    assert str(updated.value) == str(created.value)
    cluster.update_vnic("acme", "v1", extra_addresses=["10.1.0.77"])


def test_draining_a_node_changes_nothing_else(cluster: Cluster) -> None:
    """Not what a later version says of it, nor what cannot be read, which its agent says again."""
    register(cluster, "cn-1", rack="r7", number="seven", compute_ip="192.0.2.11")
    key = keys.node("cn-1")
    before = dict(cluster.registry.read(key).entries[key].document)
    for draining in (True, False):
        cluster.drain_node("cn-1", draining=draining)
        assert cluster.registry.read(key).entries[key].document == {**before, "draining": draining}
