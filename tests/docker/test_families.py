"""Networks with ``--ipv6``: a pool, a gateway and an address of each family."""

from __future__ import annotations

from typing import Any

import pytest

import snnet
from snnet.docker.state import Endpoint, Network

from .client import GATEWAY, Refused
from .conftest import ENDPOINT, IPAM_OPTIONS, NETWORK, OPTIONS, Host

POOLS = {4: "10.1.0.0/24", 6: "fd00:1::/64"}
BOTH = pytest.mark.parametrize("versions", [(4, 6), (6,)], ids=["both", "ipv6"])
DATA = {4: "IPv4Data", 6: "IPv6Data"}
ADDRESS = {4: "Address", 6: "AddressIPv6"}


def create(host: Host, versions: tuple[int, ...]) -> dict[int, str]:
    """What ``docker network create --ipv6`` does; the pools by IP version."""
    pools: dict[int, str] = {}
    data: dict[str, Any] = {}
    for version in versions:
        asked = {"Pool": POOLS[version], "V6": version == 6, "Options": IPAM_OPTIONS}
        pools[version] = host.client.ask("IpamDriver.RequestPool", **asked)["PoolID"]
        gateway = host.client.address(pools[version], **GATEWAY)
        space = "snnet"
        data[DATA[version]] = [{"AddressSpace": space, "Pool": POOLS[version], "Gateway": gateway}]
    options = {"com.docker.network.generic": OPTIONS}
    host.client.ask("NetworkDriver.CreateNetwork", NetworkID=NETWORK, Options=options, **data)
    return pools


def attach(host: Host, pools: dict[int, str]) -> dict[int, str]:
    """What ``docker run`` does; the addresses by IP version."""
    given = {version: host.client.address(pool) for version, pool in pools.items()}
    interface = {ADDRESS[version]: address for version, address in given.items()}
    answer = host.client.ask(
        "NetworkDriver.CreateEndpoint",
        NetworkID=NETWORK, EndpointID=ENDPOINT, Interface=interface,
    )  # fmt: skip
    assert set(answer["Interface"]) == {"MacAddress"}
    return given


@BOTH
def test_a_container_has_an_address_of_each_family(host: Host, versions: tuple[int, ...]) -> None:
    pools = create(host, versions)
    given = attach(host, pools)
    assert given == {
        version: {4: "10.1.0.2/24", 6: "fd00:1::2/64"}[version] for version in versions
    }
    (vnic,) = host.node.topology().vnics
    assert [str(ip) for ip in vnic.ips] == [text.partition("/")[0] for text in given.values()]
    assert [str(one) for one in vnic.subnets] == [POOLS[version] for version in versions]
    joined = host.client.join(NETWORK, ENDPOINT)
    assert joined.get("Gateway", "") == ("10.1.0.1" if 4 in versions else "")
    assert joined["GatewayIPv6"] == "fd00:1::1"
    host.restart()
    assert host.client.join(NETWORK, ENDPOINT) == joined
    assert set(host.addresses.values()) == {ENDPOINT, ":network"}
    host.client.ask("NetworkDriver.DeleteEndpoint", NetworkID=NETWORK, EndpointID=ENDPOINT)
    for version, pool in pools.items():
        host.client.ask("IpamDriver.ReleaseAddress", PoolID=pool, Address=given[version][:-3])
    host.client.ask("NetworkDriver.DeleteNetwork", NetworkID=NETWORK)
    assert host.node.topology().vnics == ()


def test_in_routed_mode_the_node_is_the_gateway_of_both_families() -> None:
    host = Host(mode=snnet.NetworkMode.ROUTED)
    attach(host, create(host, (4, 6)))
    joined = host.client.join(NETWORK, ENDPOINT)
    assert (joined["Gateway"], joined["GatewayIPv6"]) == ("169.254.1.1", "fe80::1")
    assert joined["StaticRoutes"] == [
        {"Destination": "169.254.1.1/32", "RouteType": 1, "NextHop": ""},
        {"Destination": "fe80::1/128", "RouteType": 1, "NextHop": ""},
    ]
    host.stop()


def test_each_address_is_given_once(host: Host) -> None:
    pools = create(host, (4, 6))
    attach(host, pools)
    assert host.client.address(pools[6]) == "fd00:1::3/64"
    with pytest.raises(Refused, match="fd00:1::2 is in use"):
        host.client.address(pools[6], "fd00:1::2")
    with pytest.raises(Refused, match="belongs to endpoint"):
        host.client.ask(
            "NetworkDriver.CreateEndpoint",
            NetworkID=NETWORK,
            EndpointID="c" * 64,
            Interface={"Address": "10.1.0.9/24", "AddressIPv6": "fd00:1::2/64"},
        )


@pytest.mark.parametrize(
    ("interface", "said"),
    [
        ({"Address": "10.1.0.9/24"}, "AddressIPv6: is needed"),
        ({"AddressIPv6": "fd00:1::9/64"}, "Address: is needed"),
        ({"Address": "10.1.0.9/24", "AddressIPv6": "fd00:2::9/64"}, "outside fd00:1::/64"),
        ({"Address": "10.1.0.9/24", "AddressIPv6": "fd00:1::1/64"}, "the gateway"),
    ],
)
def test_addresses_that_fit_no_endpoint(host: Host, interface: dict[str, str], said: str) -> None:
    create(host, (4, 6))
    before = host.text()
    with pytest.raises(Refused) as refused:
        host.client.ask(
            "NetworkDriver.CreateEndpoint",
            NetworkID=NETWORK, EndpointID=ENDPOINT, Interface=interface,
        )  # fmt: skip
    assert said in refused.value.text
    assert host.text() == before


def test_documents_of_earlier_versions_are_read() -> None:
    network = Network.model_validate(
        {"id": "n", "tenant_id": "t1", "subnet_id": "s1", "subnet": "10.1.0.0/24",
         "gateway": "10.1.0.1", "own": ["10.1.0.1"]}
    )  # fmt: skip
    assert [str(subnet) for subnet in network.subnets] == ["10.1.0.0/24"]
    assert [str(gateway) for gateway in network.gateways] == ["10.1.0.1"]
    endpoint = Endpoint.model_validate(
        {"id": "e", "tenant_id": "t1", "subnet_id": "s1", "network_id": "n", "vnic_id": "v",
         "ip": "10.1.0.9", "mac": "02:00:0a:01:00:09", "made": True, "since": 1.0}
    )  # fmt: skip
    assert [str(ip) for ip in endpoint.ips] == ["10.1.0.9"]
    assert Endpoint.model_validate(endpoint.model_dump(mode="json")) == endpoint
