"""Documents that an agent cannot read, as those of a later version: what they are about stays."""

from __future__ import annotations

from typing import Any

import pytest

from snnet.cluster import keys
from snnet.contract import Delete, Put, Remove

from .cloud import Cloud
from .conftest import FakeHost

WEB, GROUP = keys.network("default", "web"), keys.group("default", "g")


def write(host: FakeHost, where: str, **fields: object) -> None:
    """Write fields into a stored document; None removes one."""
    document = {**host.registry.read(where).entries[where].document, **fields}
    kept = {name: value for name, value in document.items() if value is not None}
    host.registry.commit([Put(where, kept)])


def error(host: FakeHost, kind: str, name: str) -> str:
    key = keys.status("host-1", kind, "default", name)
    return str(host.registry.read(key).entries[key].document["error"])


@pytest.fixture
def peopled(host: FakeHost) -> FakeHost:
    """Two tenants with a network each, the first with a guest, a group and a forward."""
    cluster = host.cluster
    cluster.create_network("web", subnet="10.1.0.0/24")
    cluster.create_network("web", tenant="other", subnet="10.1.0.0/24")
    cluster.create_group("g", rules=["in tcp 80", "out"])
    cluster.create_vnic("v1", network="web", groups=["g"])
    cluster.create_forward(network="web", protocol="tcp", port=80, to="v1")
    cluster.create_public_ip("192.0.2.50", to="v1")
    host.settle()
    assert set(host.states().values()) == {"ready"}
    return host


@pytest.mark.parametrize("damage", [{"later": 1}, {"subnet": "x"}, {"key": None}], ids=str)
@pytest.mark.parametrize("restarts", [False, True])
def test_a_network_keeps_what_it_has(
    peopled: FakeHost, damage: dict[str, object], *, restarts: bool
) -> None:
    """Neither its gateway nor its guests suffer, and others go on."""
    host, good = peopled, dict(peopled.registry.read(WEB).entries[WEB].document)
    before = host.kernel.to_text()
    write(host, WEB, **damage)
    host.cluster.delete_public_ip("default", "192.0.2.50")
    if restarts:
        host.restart()
    host.settle()
    assert host.agent.status()["problem"] is None
    assert host.kernel.to_text() == before
    assert "its document cannot be read: " in error(host, "network", "web")
    waits = "waits for network 'web', whose document cannot be read"
    assert error(host, "forward", "tcp-80") == waits
    assert error(host, "vnic", "v1") == waits
    host.cluster.create_vnic("v1", tenant="other", network="web")
    host.settle()
    assert host.cluster.get_vnic("other", "v1").state == "ready"

    (cnci,) = (
        one for tenant, one in host.agent._network.running.items() if tenant == "default"
    )  # fmt: skip
    bridge = cnci.topology().subnets[0].bridge
    assert bridge is not None
    assert cnci.backend.apply([Remove(bridge)]).error is None
    for _ in range(100):
        host.agent.step(0.05)
        if not cnci.verify():
            break
    assert cnci.verify() == [], "drift is repaired all the same"

    host.registry.commit([Put(WEB, good)])
    host.settle()
    assert set(host.states().values()) == {"ready"}
    assert cnci.public_ips == {}


@pytest.mark.parametrize("damage", [{"address": "x"}, {"address": 7}, {"node": None}, {}], ids=str)
def test_a_damaged_place_is_given_anew(damage: dict[str, object]) -> None:
    """It hinders no other tenant, and the concentrator keeps its address."""
    cloud = Cloud.of_four()
    cloud.furnish()
    cloud.furnish("other", "10.2.0.0/24")
    places, key = cloud.places(), keys.concentrator("acme")
    document = dict(cloud.registry.read(key).entries[key].document)
    cloud.registry.commit([Put(key, {**document, **damage} if damage else {})])
    cloud.cluster.create_vnic("v3", tenant="other", network="web", node="cn-1")
    cloud.settle()
    assert [agent.status()["problem"] for agent in cloud.agents.values()] == [None] * 4
    assert cloud.states() == {"ready"}
    assert {tenant: address for tenant, (_, address) in cloud.places().items()} == {
        tenant: address for tenant, (_, address) in places.items()
    }
    cloud.close()


def test_a_group_keeps_what_it_has(peopled: FakeHost) -> None:
    """Its rules stay; who is to be in it waits, since nobody knows what it may send."""
    host, before = peopled, peopled.kernel.to_text()
    write(host, GROUP, later=1)
    host.settle()
    assert host.agent.status()["problem"] is None
    assert host.kernel.to_text() == before
    assert "its document cannot be read: later: unknown field" in error(host, "group", "g")
    host.cluster.create_vnic("v2", network="web", groups=["g"])
    host.cluster.create_vnic("v3", network="web")
    host.settle()
    assert error(host, "vnic", "v2") == "waits for group 'g', whose document cannot be read"
    assert host.cluster.get_vnic("default", "v3").state == "ready"
    assert {vnic.vnic_id for vnic in host.agent.node.topology().vnics} == {"v1", "v3"}
    write(host, GROUP, later=None, rules=["in tcp 81"])
    host.settle()
    assert set(host.states().values()) == {"ready"}
    assert [str(rule) for rule in host.agent.node.topology().groups[0].rules] == [
        "in tcp 81 from anybody"
    ]


GOOD = {"vnic": "v1", "mac": "02:00:0a:01:00:02", "node": "host-1"}
CLAIMS = {
    "no mac": ("10.1.0.2", {"vnic": "v1", "node": "host-1"}),
    "no such mac": ("10.1.0.2", {**GOOD, "mac": "zz"}),
    "no address": ("10.1.0.2x", GOOD),
    "address of another network": ("10.9.0.2", GOOD),
    "address of the gateway": ("10.1.0.1", GOOD),
}


@pytest.mark.parametrize(("address", "document"), CLAIMS.values(), ids=CLAIMS)
def test_a_damaged_claim_of_an_address_is_named_and_harms_its_guest_alone(
    peopled: FakeHost, address: str, document: Any
) -> None:
    """Its network says what to do, and so does what leads to the guest; others are served."""
    host, claim = peopled, f"{keys.addresses('default', 'web')}{address}/"
    host.registry.commit([Delete(f"{keys.addresses('default', 'web')}10.1.0.2/")])
    host.registry.commit([Put(claim, document)])
    host.cluster.create_vnic("v9", network="web", ip="10.1.0.9")
    host.settle()
    said = f"the claim of {address} in the registry is damaged ("
    assert error(host, "network", "web").startswith(said)
    assert "create it again" in error(host, "network", "web")
    assert host.agent.status()["problem"] is None
    assert host.cluster.get_vnic("default", "v9").state == "ready"
    (cnci,) = (one for tenant, one in host.agent._network.running.items() if tenant == "default")
    assert cnci.dhcp("10.1.0.0/24").running
    assert cnci.verify() == []
    assert error(host, "forward", "tcp-80").startswith(said)
    assert error(host, "public-ip", "192.0.2.50").startswith(said)
    host.cluster.delete_vnic("default", "v1", force=True)
    host.registry.commit([Delete(claim)])
    host.cluster.create_vnic("v1", network="web")
    host.settle()
    assert set(host.states().values()) == {"ready"}
