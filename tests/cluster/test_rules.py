"""The verbs for port forwards and public addresses."""

from __future__ import annotations

import pytest

from snnet import Cluster, Conflict, InvalidRequest
from snnet.cluster import Forward

from .test_vnics import register


@pytest.fixture
def guests(cluster: Cluster) -> Cluster:
    for name in ("v1", "v2"):
        cluster.create_vnic(name, tenant="acme", network="web")
    return cluster


def forward(cluster: Cluster, port: int | str, to: str = "v1", **fields: object) -> Forward:
    values = {"tenant": "acme", "network": "web", "protocol": "tcp", **fields}
    return cluster.create_forward(port=port, to=to, **values)  # type: ignore[arg-type]


def test_a_forward_is_named_by_its_ports(guests: Cluster) -> None:
    made = forward(guests, "8000-8010", to_port=80, sources=["192.0.2.0/24"])
    assert made.name == "tcp-8000-8010"
    assert guests.get_forward("acme", "tcp-8000-8010") == made
    assert made.document() == {
        "tenant": "acme", "network": "web", "protocol": "tcp", "port": "8000-8010", "to": "v1",
        "to_port": 80, "sources": ["192.0.2.0/24"],
    }  # fmt: skip
    assert forward(guests, "8000-8010", to_port=80, sources=["192.0.2.0/24"]) == made
    assert guests.update_forward("acme", "tcp-8000-8010", to="v2").to == "v2"
    guests.delete_forward("acme", "tcp-8000-8010")
    assert guests.list_forwards() == []


@pytest.mark.parametrize(
    ("port", "fields", "error", "message"),
    [
        (80, {"to": "v2"}, Conflict, "its to is v1, not v2"),
        ("79-81", {}, Conflict, "tcp-79-81 overlaps forward 'tcp-80'"),
        (81, {"to": "v9"}, InvalidRequest, "to: tenant 'acme' has no vnic 'v9'"),
        (81, {"network": "db"}, InvalidRequest, "to: vnic 'v1' is on network 'web', not 'db'"),
        (0, {}, InvalidRequest, "port: 0 is not a port"),
        (81, {"protocol": "tpc"}, InvalidRequest, "protocol: 'tpc' is not one of"),
        ("65000-65010", {"to_port": 65530}, InvalidRequest, "to_port: .*exceed 65535"),
    ],
)
def test_refusals_write_nothing(
    guests: Cluster,
    port: int | str,
    fields: dict[str, str],
    error: type[Exception],
    message: str,
) -> None:
    forward(guests, 80)
    before = guests.registry.read("")
    with pytest.raises(error, match=message):
        forward(guests, port, **{"to": "v1", **fields})
    assert guests.registry.read("") == before


def test_another_protocol_has_ports_of_its_own(guests: Cluster) -> None:
    forward(guests, 53)
    assert forward(guests, 53, protocol="udp").name == "udp-53"


@pytest.mark.parametrize("topology", ["hub", "local"])
def test_tenants_share_the_ports_of_a_host(guests: Cluster, topology: str) -> None:
    """On one host every forward opens a port of the host; else of the tenant's concentrator."""
    register(guests, "host", topology=topology)
    guests.create_network("web", tenant="b", subnet="10.1.0.0/24")
    guests.create_vnic("v1", tenant="b", network="web")
    forward(guests, 80)
    if topology == "hub":
        assert forward(guests, 80, tenant="b").tenant == "b"
        return
    with pytest.raises(Conflict, match="overlaps forward 'tcp-80' of tenant 'acme'"):
        forward(guests, 80, tenant="b")


@pytest.mark.parametrize(
    "address", ["0.0.0.0", "127.0.0.1", "224.0.0.5", "255.255.255.255", "::", "fe80::1", "ff02::1"]
)
def test_an_address_of_no_host_is_never_stored(guests: Cluster, address: str) -> None:
    """An agent could do nothing with it."""
    with pytest.raises(InvalidRequest, match=r"address: .* is not the unicast address of a host"):
        guests.create_public_ip(address, tenant="acme", to="v1")
    with pytest.raises(InvalidRequest, match=r"169.254.9.9 is known on one link alone"):
        guests.create_public_ip("169.254.9.9", tenant="acme", to="v1")
    assert guests.list_public_ips() == []


def test_public_addresses(guests: Cluster) -> None:
    """A public address has one tenant and one VNIC at a time."""
    made = guests.create_public_ip("203.0.113.5", tenant="acme", to="v1")
    assert guests.create_public_ip("203.0.113.5", tenant="acme", to="v1") == made
    with pytest.raises(Conflict, match="its to is v1, not v2"):
        guests.create_public_ip("203.0.113.5", tenant="acme", to="v2")
    with pytest.raises(Conflict, match=r"203.0.113.5 belongs to tenant 'acme'"):
        guests.create_public_ip("203.0.113.5", tenant="b", to="v1")
    with pytest.raises(InvalidRequest, match="address: 'x' is not an IP address"):
        guests.create_public_ip("x", tenant="acme", to="v1")
    assert guests.update_public_ip("acme", "203.0.113.5", to="v2").to == "v2"
    guests.delete_public_ip("acme", "203.0.113.5")
    assert guests.list_public_ips() == []
    guests.create_network("web", tenant="b", subnet="10.1.0.0/24")
    guests.create_vnic("v1", tenant="b", network="web")
    assert guests.create_public_ip("203.0.113.5", tenant="b", to="v1").tenant == "b"


def test_a_public_address_is_found_however_it_is_written(cluster: Cluster) -> None:
    cluster.create_network("six", tenant="acme", subnet="fd00:6::/64")
    cluster.create_vnic("s1", tenant="acme", network="six")
    cluster.create_public_ip("2001:DB8:0::5", tenant="acme", to="s1")
    assert cluster.get_public_ip("acme", "2001:0db8::5").name == "2001:db8::5"
    cluster.update_public_ip("acme", "2001:DB8::5", to="s1")
    cluster.delete_public_ip("acme", "2001:DB8::0:5")
    assert cluster.list_public_ips("acme") == []
    with pytest.raises(InvalidRequest, match="address: 'x' is not an IP address"):
        cluster.delete_public_ip("acme", "x")
