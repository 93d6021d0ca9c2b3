"""Networks and endpoints: what Docker asks for, and what becomes of it on the node."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

import snnet
from snnet.contract import Remove, Unavailable, Write
from tests.killed import Killed, MortalRegistry
from tests.node.test_killed import Mortal
from tests.node.world import vm

from .client import GATEWAY, Docker, Refused
from .conftest import ENDPOINT, IPAM_OPTIONS, NETWORK, OPTIONS, Host


def refused(docker: Docker, options: dict[str, str], network: str = NETWORK, **fields: Any) -> str:
    """What is said against a network."""
    with pytest.raises(Refused) as said:
        docker.create_network(network, options, **fields)
    return said.value.text


def test_a_container_from_start_to_end(host: Host) -> None:
    pool = host.network()
    assert host.kernel.to_text() == host.empty, "a network alone needs nothing"
    address = host.client.address(pool)
    interface = host.client.create_endpoint(NETWORK, ENDPOINT, address)
    assert interface == {"MacAddress": "02:00:0a:01:00:02"}
    joined = host.client.join(NETWORK, ENDPOINT)
    (vnic,) = host.node.topology().vnics
    assert joined["InterfaceName"] == {"SrcName": vnic.peer_name, "DstPrefix": "eth"}
    assert joined["Gateway"] == "10.1.0.1"
    assert joined["DisableGatewayService"] is True, "no second NIC, on Docker's own bridge"
    assert (str(vnic.ip), vnic.mac, vnic.tenant_id) == ("10.1.0.2", interface["MacAddress"], "t1")
    info = host.client.ask("NetworkDriver.EndpointOperInfo", NetworkID=NETWORK, EndpointID=ENDPOINT)
    assert info["Value"]["snnet.vnic_id"] == vnic.vnic_id == "bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb"
    host.client.leave(NETWORK, ENDPOINT)
    assert host.kernel.to_text() == host.empty
    host.client.release(pool, address)
    host.client.ask("NetworkDriver.DeleteNetwork", NetworkID=NETWORK)
    host.client.release(pool, "10.1.0.1")
    host.client.ask("IpamDriver.ReleasePool", PoolID=pool)
    assert [host.documents(table) for table in ("pools", "addresses", "networks")] == [{}] * 3


def test_what_was_given_is_not_given_back(host: Host) -> None:
    host.network()
    mac = "02:AA:BB:CC:DD:EE"
    assert host.client.create_endpoint(NETWORK, ENDPOINT, "10.1.0.9/24", mac) == {}
    (vnic,) = host.node.topology().vnics
    assert vnic.mac == mac.lower()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"snnet.tenant": ""}, "snnet.tenant"),
        ({"snnet.subnet_key": "seven"}, "snnet.subnet_key: 'seven' is not a whole number"),
        ({"snnet.subnet_key": "0"}, "subnet_key: "),
        ({"snnet.concentrator_ip": "nowhere"}, "snnet.concentrator_ip: "),
        ({"snnet.concentrator_ip": "2001:db8::1"}, "concentrator_ip: 2001:db8::1 is IPv6"),
        ({"snnet.mtu": "9000"}, "mtu: 9000 is not from"),
        ({"snnet.tennant": "t1"}, "snnet.tennant: unknown option; valid options: snnet.tenant"),
        ({"snnet.subnet_id": "a b"}, "snnet.subnet_id: "),
    ],
)
def test_options_that_are_wrong(host: Host, options: dict[str, str], said: str) -> None:
    pool = host.client.make_pool(**IPAM_OPTIONS)
    host.client.address(pool, **GATEWAY)
    before = host.text()
    assert said in refused(host.client, OPTIONS | options)
    assert host.text() == before


@pytest.mark.parametrize("missing", OPTIONS)
def test_options_that_are_missing(host: Host, missing: str) -> None:
    pool = host.client.make_pool(**IPAM_OPTIONS)
    host.client.address(pool, **GATEWAY)
    rest = {name: value for name, value in OPTIONS.items() if name != missing}
    said = refused(host.client, rest)
    assert missing.removeprefix("snnet.") in said
    assert "is needed" in said


def test_mtu_by_dockers_own_option(host: Host) -> None:
    host.network(**{"com.docker.network.driver.mtu": "1300"})
    host.client.create_endpoint(NETWORK, ENDPOINT, "10.1.0.9/24")
    assert host.node.topology().vnics[0].mtu == 1300


def test_where_the_subnet_id_comes_from(host: Host) -> None:
    assert "snnet.subnet_id: is needed" in refused(host.client, OPTIONS)
    for name in ("s1", "s2"):
        pool = host.client.make_pool(**IPAM_OPTIONS | {"snnet.subnet_id": name})
        host.client.address(pool, **GATEWAY)
    assert "snnet.subnet_id: may be any of s1, s2" in refused(host.client, OPTIONS)
    host.client.create_network(NETWORK, OPTIONS | {"snnet.subnet_id": "s2"})
    assert host.documents("pools")[pool]["network_id"] == NETWORK


def test_addresses_of_another_ipam_driver(host: Host) -> None:
    data = [{"AddressSpace": "LocalDefault", "Pool": "10.1.0.0/24", "Gateway": "10.1.0.254/24"}]
    host.client.ask(
        "NetworkDriver.CreateNetwork",
        NetworkID=NETWORK,
        Options={"com.docker.network.generic": OPTIONS | {"snnet.subnet_id": "s1"}},
        IPv4Data=data,
    )
    host.client.create_endpoint(NETWORK, ENDPOINT, "10.1.0.9/24")
    assert host.client.join(NETWORK, ENDPOINT)["Gateway"] == "10.1.0.254", "as people want it"
    assert host.documents("addresses") == {}
    host.client.leave(NETWORK, ENDPOINT)
    assert host.kernel.to_text() == host.empty


def test_an_internal_network_has_no_way_out(host: Host) -> None:
    host.client.ask(
        "NetworkDriver.CreateNetwork",
        NetworkID=NETWORK,
        Options={
            "com.docker.network.internal": True,
            "com.docker.network.generic": OPTIONS | {"snnet.subnet_id": "s1"},
        },
        IPv4Data=[{"AddressSpace": "x", "Pool": "10.1.0.0/24"}],
    )
    host.client.create_endpoint(NETWORK, ENDPOINT, "10.1.0.9/24")
    joined = host.client.join(NETWORK, ENDPOINT)
    assert "Gateway" not in joined
    assert joined["DisableGatewayService"] is True


def test_in_routed_mode_the_node_is_the_gateway() -> None:
    host = Host(mode=snnet.NetworkMode.ROUTED)
    pool = host.client.make_pool(**IPAM_OPTIONS)
    host.client.address(pool, **GATEWAY)
    host.client.create_network(NETWORK, {"snnet.tenant": "t1"})
    host.client.create_endpoint(NETWORK, ENDPOINT, host.client.address(pool))
    joined = host.client.join(NETWORK, ENDPOINT)
    assert joined["Gateway"] == "169.254.1.1"
    assert joined["StaticRoutes"] == [
        {"Destination": "169.254.1.1/32", "RouteType": 1, "NextHop": ""}
    ]
    host.stop()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([], "a network has exactly one subnet"),
        ([{"Pool": "10.1.0.0/24"}, {"Pool": "10.2.0.0/24"}], "a network has exactly one subnet"),
        ([{"Pool": "0.0.0.0/0"}], "Pool: 0.0.0.0/0 is too large"),
        ([{"Pool": "10.1.0.0/24", "Gateway": "10.1.0.1"}], ""),
        ([{"Pool": "10.1.0.0/24", "Gateway": "x"}], "Gateway: 'x' is not an address"),
    ],
)
def test_pools_that_fit_no_network(host: Host, data: list[dict[str, str]], said: str) -> None:
    options = {"com.docker.network.generic": OPTIONS | {"snnet.subnet_id": "s1"}}
    create = {"NetworkID": NETWORK, "Options": options, "IPv4Data": data}
    if not said:
        host.client.ask("NetworkDriver.CreateNetwork", **create)
        return
    with pytest.raises(Refused, match=said):
        host.client.ask("NetworkDriver.CreateNetwork", **create)
    assert host.documents("networks") == {}


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("", "Address: is needed"),
        ("10.1.0.9.1/24", "Address: '10.1.0.9.1/24' is not an address"),
        ("fd00::9/64", "outside 10.1.0.0/24"),
        ("10.2.0.9/24", "10.2.0.9 is outside 10.1.0.0/24"),
        ("10.1.0.1/24", "the gateway"),
        ("10.1.0.255/24", "the broadcast address"),
    ],
)
def test_addresses_that_fit_no_endpoint(host: Host, address: str, said: str) -> None:
    host.network()
    before = host.text()
    with pytest.raises(Refused) as refused:
        host.client.create_endpoint(NETWORK, ENDPOINT, address)
    assert said in refused.value.text
    assert host.text() == before


def test_ports_are_published_elsewhere(host: Host) -> None:
    host.network()
    options: dict[str, Any] = {
        "com.docker.network.portmap": [{"Proto": 6, "Port": 80, "HostPort": 80}]
    }
    with pytest.raises(Refused, match=r"leave out -p, .*add_port_forward"):
        host.client.create_endpoint(NETWORK, ENDPOINT, "10.1.0.9/24", **options)
    exposed: dict[str, Any] = {
        "com.docker.network.portmap": [],
        "com.docker.network.endpoint.exposedports": [{}],
    }
    host.client.create_endpoint(NETWORK, ENDPOINT, "10.1.0.9/24", **exposed)


def test_every_call_may_be_repeated(host: Host) -> None:
    pool = host.network()
    host.client.create_network(NETWORK, OPTIONS)
    address = host.client.address(pool)
    first = host.client.create_endpoint(NETWORK, ENDPOINT, address)
    host.now += 5
    assert host.client.create_endpoint(NETWORK, ENDPOINT, address) == first
    assert host.client.join(NETWORK, ENDPOINT) == host.client.join(NETWORK, ENDPOINT)
    assert len(host.node.topology().vnics) == 1
    with pytest.raises(Refused, match="already exists with other settings"):
        host.client.create_endpoint(NETWORK, ENDPOINT, "10.1.0.9/24")
    with pytest.raises(Refused, match="already exists with other settings"):
        host.client.create_network(NETWORK, OPTIONS | {"snnet.subnet_key": "8"})
    for _ in range(2):
        host.client.leave(NETWORK, ENDPOINT)
        host.client.release(pool, address)
    for _ in range(2):
        host.client.ask("NetworkDriver.DeleteNetwork", NetworkID=NETWORK)
        host.client.ask("IpamDriver.ReleasePool", PoolID=pool)
    assert host.kernel.to_text() == host.empty


def test_a_network_takes_forgotten_endpoints_along(host: Host) -> None:
    pool = host.network()
    host.client.create_endpoint(NETWORK, ENDPOINT, host.client.address(pool))
    host.client.join(NETWORK, ENDPOINT)
    host.client.ask("NetworkDriver.DeleteNetwork", NetworkID=NETWORK)
    assert host.endpoints == {}
    assert host.kernel.to_text() == host.empty


def test_a_daemon_started_again_has_forgotten_what_it_did_not_join(host: Host) -> None:
    pool = host.network()
    for name in ("b", "c"):
        host.client.create_endpoint(NETWORK, name * 64, host.client.address(pool))
    host.client.join(NETWORK, "c" * 64)
    host.move_away("10.1.0.3")
    host.client.ask("Plugin.Activate")
    assert len(host.endpoints) == 2, "no daemon is there again so soon"
    host.now += 3
    host.client.ask("Plugin.Activate")
    assert list(host.endpoints) == ["c" * 64]
    assert [str(vnic.ip) for vnic in host.node.topology().vnics] == ["10.1.0.3"]
    host.client.leave(NETWORK, "b" * 64)


@pytest.mark.parametrize("how", ["restart", "another container"])
def test_an_old_endpoint_that_no_container_has_goes(host: Host, how: str) -> None:
    pool = host.network()
    host.client.create_endpoint(NETWORK, ENDPOINT, host.client.address(pool))

    def later() -> None:
        if how == "restart":
            host.restart()
        else:
            host.client.create_endpoint(NETWORK, "c" * 64, host.client.address(pool))
            host.client.leave(NETWORK, "c" * 64)

    later()
    assert list(host.endpoints) == [ENDPOINT], "the daemon may be about to join it"
    host.now += 121
    later()
    assert host.endpoints == {}
    assert host.kernel.to_text() == host.empty


@pytest.mark.parametrize("how", ["the end came back", "it went along"])
def test_a_container_that_ended_while_the_plugin_was_down(host: Host, how: str) -> None:
    """Docker moved the veth's end back to the host, or destroyed it with the container."""
    pool = host.network()
    host.client.create_endpoint(NETWORK, ENDPOINT, host.client.address(pool))
    host.client.join(NETWORK, ENDPOINT)
    if how == "it went along":
        host.kernel.apply([Remove(host.node.topology().vnics[0].link)])
    host.restart()
    assert list(host.endpoints) == [ENDPOINT], "Docker may be about to move it"
    host.now += 121
    host.restart()
    assert host.endpoints == {}
    assert host.kernel.to_text() == host.empty


def test_an_endpoint_whose_namespace_vanished_goes(host: Host) -> None:
    """Its end went, and the host's end with it, while the plugin was running."""
    pool = host.network()
    address = host.client.address(pool)
    host.client.create_endpoint(NETWORK, ENDPOINT, address)
    host.client.join(NETWORK, ENDPOINT)
    host.move_away("10.1.0.2")
    host.kernel.apply([Remove(host.node.topology().vnics[0].link)])
    host.client.ask("Plugin.Activate")
    assert list(host.endpoints) == [ENDPOINT], "Docker may be about to move it"
    host.now += 121
    host.client.ask("Plugin.Activate")
    assert host.endpoints == {}
    assert host.kernel.to_text() == host.empty
    host.client.release(pool, address)
    assert host.client.address(pool, "10.1.0.2") == "10.1.0.2/24"


def test_two_networks_of_one_key(host: Host) -> None:
    """One key leads to one subnet of a concentrator, whether or not it has a container."""
    host.network()
    other = OPTIONS | {"snnet.tenant": "t2"}
    host.client.address(host.client.make_pool(**IPAM_OPTIONS | {"snnet.tenant": "t2"}), **GATEWAY)
    before = host.text()
    assert refused(host.client, other, network="c" * 64) == (
        "key 7 belongs to subnet 's1' of tenant 't1', Docker's network aaaaaaaaaaaa: give another "
        "key with -o snnet.subnet_key=, or remove that network first"
    )
    assert host.text() == before
    host.client.create_network("c" * 64, other | {"snnet.concentrator_ip": "192.0.2.13"})
    host.client.address(host.client.make_pool(**IPAM_OPTIONS), **GATEWAY)
    host.client.create_network("d" * 64, OPTIONS | {"snnet.subnet_id": "s1"})
    for network in ("c" * 64, NETWORK, "d" * 64):
        host.client.ask("NetworkDriver.DeleteNetwork", NetworkID=network)
    host.client.create_network("c" * 64, other)


def test_a_running_container_stays(host: Host) -> None:
    pool = host.network()
    host.client.create_endpoint(NETWORK, ENDPOINT, host.client.address(pool))
    host.client.join(NETWORK, ENDPOINT)
    host.move_away("10.1.0.2")
    host.now += 10_000
    host.restart()
    host.client.ask("Plugin.Activate")
    host.client.create_endpoint(NETWORK, "c" * 64, host.client.address(pool))
    assert ENDPOINT in host.endpoints


def test_another_networks_endpoint_is_left_alone(host: Host) -> None:
    pool = host.network()
    host.client.create_endpoint(NETWORK, ENDPOINT, host.client.address(pool))
    host.client.join(NETWORK, ENDPOINT)
    before = host.text()
    host.client.leave("n", ENDPOINT)
    assert host.text() == before


def test_a_network_goes_as_far_as_it_can(host: Host) -> None:
    """What is left goes later, and the network and its pool with it."""
    pool = host.network()
    for name in ("b", "c", "d"):
        host.client.create_endpoint(NETWORK, name * 64, host.client.address(pool))
        host.client.join(NETWORK, name * 64)
    host.kernel.fail(at=1, error="EBUSY")
    with pytest.raises(Refused, match=r"still has 1 endpoints: .*EBUSY"):
        host.client.ask("NetworkDriver.DeleteNetwork", NetworkID=NETWORK)
    assert len(host.endpoints) == 1
    with pytest.raises(Refused, match="no network"):
        host.client.create_endpoint(NETWORK, "e" * 64, "10.1.0.77/24")
    host.now += 121
    host.restart()
    assert host.kernel.to_text() == host.empty
    host.now += 121
    newest = host.client.make_pool()
    assert list(host.documents("pools")) == [newest]
    assert host.documents("networks") == host.documents("addresses") == {}


def test_what_a_failed_rollback_left_is_remembered(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = host.network()
    address = host.client.address(pool, "10.1.0.9")
    create = host.node.create_vnic

    def fail(cfg: snnet.VnicConfig) -> None:
        create(cfg)
        raise snnet.FatalError("the rollback failed")

    monkeypatch.setattr(host.node, "create_vnic", fail)
    with pytest.raises(Refused, match="the rollback failed"):
        host.client.create_endpoint(NETWORK, ENDPOINT, address)
    monkeypatch.undo()
    host.client.release(pool, address)
    assert host.kernel.to_text() == host.empty
    host.client.create_endpoint(NETWORK, "c" * 64, host.client.address(pool, "10.1.0.9"))


def test_join_recreates_a_deleted_vnic(host: Host) -> None:
    pool = host.network()
    host.client.create_endpoint(NETWORK, ENDPOINT, host.client.address(pool))
    name = host.client.join(NETWORK, ENDPOINT)["InterfaceName"]["SrcName"]
    host.node.reset_network()
    assert host.client.join(NETWORK, ENDPOINT)["InterfaceName"]["SrcName"] == name
    assert host.node.verify() == []


# -- VNICs that somebody else makes ----------------------------------------------------


def make(host: Host, number: int, **fields: Any) -> snnet.VnicConfig:
    cfg = snnet.VnicConfig(
        **{
            "role": snnet.VnicRole.TENANT_CONTAINER, "tenant_id": "t1", "subnet_id": "s1",
            "vnic_id": f"v{number}", "instance_id": f"i{number}", "concentrator_id": "cnci-1",
            "concentrator_ip": "192.0.2.10", "subnet": "10.1.0.0/24", "subnet_key": 7,
            "ip": f"10.1.0.{number}", **fields,
        }
    )  # fmt: skip
    host.node.create_vnic(cfg)
    return cfg


def test_mapped_and_never_made(host: Host) -> None:
    cfg = make(host, 9, mac="02:00:00:00:00:09")
    info = host.node.create_vnic(cfg).container_info
    assert info is not None
    before = host.kernel.to_text()
    pool = host.client.make_pool()
    host.client.address(pool, "10.1.0.1", **GATEWAY)
    host.client.create_network(NETWORK, {"bridge": str(info.bridge)})
    host.client.address(pool, "10.1.0.9")
    interface = host.client.create_endpoint(NETWORK, ENDPOINT, "10.1.0.9/24")
    assert interface == {"MacAddress": "02:00:00:00:00:09"}
    (vnic,) = host.node.topology().vnics
    assert host.client.join(NETWORK, ENDPOINT)["InterfaceName"]["SrcName"] == vnic.peer_name
    with pytest.raises(Refused, match=r"10.1.0.9 belongs to"):
        host.client.create_endpoint(NETWORK, "c" * 64, "10.1.0.9/24")
    host.client.leave(NETWORK, ENDPOINT)
    host.client.ask("NetworkDriver.DeleteNetwork", NetworkID=NETWORK)
    assert host.kernel.to_text() == before


def test_a_mapped_containers_end_is_noticed(host: Host) -> None:
    """It ended while nobody answered Docker: its VNIC stays, its place is free again."""
    make(host, 9)
    (subnet,) = host.node.topology().subnets
    pool = host.client.make_pool()
    host.client.address(pool, **GATEWAY)
    host.client.create_network(NETWORK, {"bridge": subnet.network_name})
    for name in ("b", "c"):
        host.client.create_endpoint(NETWORK, name * 64, host.client.address(pool, "10.1.0.9"))
        host.client.join(NETWORK, name * 64)
        host.now += 121
    assert list(host.endpoints) == ["c" * 64]
    assert len(host.node.topology().vnics) == 1


def test_what_cannot_be_mapped(host: Host) -> None:
    assert "no bridge 'nope': call create_vnic first" in refused(host.client, {"bridge": "nope"})
    make(host, 9, mac="02:00:00:00:00:09")
    make(host, 8, role=snnet.VnicRole.TENANT_VM)
    (subnet,) = host.node.topology().subnets
    bridge = {"bridge": subnet.network_name}
    assert "give --subnet 10.1.0.0/24" in refused(host.client, bridge, pool="10.2.0.0/24")
    host.client.address(
        host.client.make_pool(**IPAM_OPTIONS | {"snnet.subnet_id": "s2"}), **GATEWAY
    )
    assert refused(host.client, bridge) == (
        f"snnet.subnet_id: no pool belongs to subnet 's1' of tenant 't1', which bridge "
        f"{subnet.network_name} is of; --ipam-opt names subnet 's2' of tenant 't1': give "
        "--ipam-opt snnet.tenant=t1 --ipam-opt snnet.subnet_id=s1"
    )
    host.client.address(host.client.make_pool(), **GATEWAY)
    host.client.create_network(NETWORK, bridge)
    for address, mac, said in (
        ("10.1.0.7/24", "", "call create_vnic first"),
        ("10.1.0.8/24", "", "which is a VM's"),
        ("10.1.0.9/24", "02:00:00:00:00:01", "has the MAC 02:00:00:00:00:09"),
    ):
        with pytest.raises(Refused, match=said):
            host.client.create_endpoint(NETWORK, ENDPOINT, address, mac)
    assert host.endpoints == {}


# -- failures, and deaths -------------------------------------------------------------------


def test_a_create_that_fails_leaves_nothing(host: Host) -> None:
    pool = host.network()
    for at in count(1):
        address = host.client.address(pool)
        before = host.kernel.to_text()
        host.kernel.fail(at=at, error="ENOMEM")
        try:
            host.client.create_endpoint(NETWORK, ENDPOINT, address)
            break
        except Refused as error:
            said = error
        assert said.status == 500
        assert "ENOMEM" in said.text
        assert host.kernel.to_text() == before
        assert host.endpoints == {}
        host.client.release(pool, address)
        assert host.addresses == {"10.1.0.1": ":network"}
    assert at > 5


def test_a_destroy_that_fails_is_finished_by_the_next(host: Host) -> None:
    pool = host.network()
    address = host.client.address(pool)
    failed = 0
    for at in count(1):
        host.client.create_endpoint(NETWORK, ENDPOINT, address)
        host.kernel.fail(at=at, error="EBUSY")
        try:
            host.client.leave(NETWORK, ENDPOINT)
        except Refused:
            failed += 1
            assert host.addresses[address.partition("/")[0]] == ENDPOINT
            host.client.leave(NETWORK, ENDPOINT)
        else:
            break
        assert host.kernel.to_text() == host.empty
        assert host.endpoints == {}
    assert failed > 3


def story(host: Host) -> str:
    """Two containers come and go, each call repeated until it has an answer; their pool."""

    def call(method: str, **fields: Any) -> dict[str, Any]:
        dead = False
        while True:
            try:
                if dead:
                    if isinstance(host.registry, MortalRegistry):
                        host.registry.dead = False
                    host.restart()
                return host.client.ask(method, **fields)
            except Killed:
                dead = True

    pool = call("IpamDriver.RequestPool", Pool="10.1.0.0/24", Options=IPAM_OPTIONS)["PoolID"]
    call("IpamDriver.RequestAddress", PoolID=pool, Options=GATEWAY)
    network = {"NetworkID": NETWORK}
    call(
        "NetworkDriver.CreateNetwork",
        **network,
        Options={"com.docker.network.generic": OPTIONS},
        IPv4Data=[{"AddressSpace": "snnet", "Pool": "10.1.0.0/24", "Gateway": "10.1.0.1/24"}],
    )
    endpoints = []
    for name in ("b", "c"):
        address = call("IpamDriver.RequestAddress", PoolID=pool)["Address"]
        endpoint = {**network, "EndpointID": name * 64}
        call("NetworkDriver.CreateEndpoint", **endpoint, Interface={"Address": address})
        call("NetworkDriver.Join", **endpoint)
        endpoints.append((endpoint, address.partition("/")[0]))
    held = host.addresses
    assert len({address for _, address in endpoints}) == 2
    assert [held[address] for _, address in endpoints] == ["b" * 64, "c" * 64]
    assert len(host.node.topology().vnics) == 2
    assert host.node.verify() == []
    for endpoint, address in endpoints:
        call("NetworkDriver.Leave", **endpoint)
        call("NetworkDriver.DeleteEndpoint", **endpoint)
        call("IpamDriver.ReleaseAddress", PoolID=pool, Address=address)
    assert host.kernel.to_text() == host.empty
    call("NetworkDriver.DeleteNetwork", **network)
    call("IpamDriver.ReleaseAddress", PoolID=pool, Address="10.1.0.1")
    return str(pool)


def check_nothing_lost(host: Host, pool: str) -> None:
    """What was asked for twice, for want of an answer, is free again when its time is up."""
    host.now += 121
    for _ in range(253):
        host.client.address(pool)
    host.client.ask("IpamDriver.ReleasePool", PoolID=pool)
    host.client.make_pool()
    left = {table: len(host.documents(table)) for table in ("pools", "addresses", "networks")}
    assert left == {"pools": 1, "addresses": 0, "networks": 0}


def test_killed_before_and_after_every_write() -> None:
    for at in count():
        registry = MortalRegistry()
        host = Host()
        host.registry = registry
        host.restart()
        registry.die_at = at
        pool = story(host)
        alive, registry.die_at = registry.die_at >= 0, None
        check_nothing_lost(host, pool)
        host.stop()
        if alive:
            break
    assert at > 12


def test_killed_before_every_operation_on_the_kernel() -> None:
    for at in count():
        kernel = Mortal()
        host = Host(kernel)
        kernel.die_at = at
        pool = story(host)
        check_nothing_lost(host, pool)
        host.stop()
        if kernel.die_at is not None:
            break
    assert at > 6


def test_a_registry_that_fails_promises_nothing(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = host.network()
    before = host.text()

    def fail(writes: list[Write]) -> None:
        raise Unavailable("the disk is full", unwritten=True)

    monkeypatch.setattr(host.registry, "commit", fail)
    for call in (
        lambda: host.client.make_pool(),
        lambda: host.client.address(pool),
        lambda: host.client.create_endpoint(NETWORK, ENDPOINT, "10.1.0.9/24"),
        lambda: host.client.release(pool, "10.1.0.1"),
        lambda: host.client.ask("NetworkDriver.DeleteNetwork", NetworkID=NETWORK),
    ):
        with pytest.raises(Refused, match="the disk is full"):
            call()
    monkeypatch.undo()
    assert host.text() == before
    assert host.client.address(pool) == "10.1.0.2/24", "and nothing was noted in memory either"


def test_reconcile_leaves_vnics_of_containers_alone(host: Host) -> None:
    pool = host.network()
    host.client.create_endpoint(NETWORK, ENDPOINT, host.client.address(pool))
    host.client.join(NETWORK, ENDPOINT)
    (mine,) = host.node.topology().vnics
    controllers = vm(40, subnet_number=2)
    host.node.create_vnic(controllers)
    result = host.node.reconcile(vnics=[])
    assert [(item.key, item.action) for item in result.items] == [(("t1", "s2", "v40"), "removed")]
    assert host.node.topology().vnics == (mine,)
    host.restart()
    assert host.node.reconcile(vnics=[]).items == []
    assert [vnic.id for vnic in host.node.topology().vnics] == [mine.id]
