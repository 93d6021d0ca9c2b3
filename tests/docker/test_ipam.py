"""Pools and addresses: no two endpoints with the same, none lost."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from .client import GATEWAY, Refused
from .conftest import ENDPOINT, IPAM_OPTIONS, NETWORK, OPTIONS, Host

OTHER = {"snnet.tenant": "t2", "snnet.subnet_id": "s1"}


def test_a_pool_keeps_its_prefix_length(host: Host) -> None:
    for subnet in ("10.1.0.0/16", "10.1.0.0/24", "10.1.0.8/29"):
        pool = host.client.make_pool(subnet)
        length = subnet.partition("/")[2]
        assert host.client.address(pool, **GATEWAY).endswith(f"/{length}")
        assert host.client.address(pool).endswith(f"/{length}")


def test_every_request_is_a_new_pool(host: Host) -> None:
    pools = {host.client.make_pool(**options) for options in ({}, {}, IPAM_OPTIONS, OTHER)}
    assert len(pools) == 4
    assert [host.client.address(pool) for pool in pools] == ["10.1.0.2/24"] * 4


def test_pools_of_one_subnet_share_its_addresses(host: Host) -> None:
    first, second = (host.client.make_pool(**IPAM_OPTIONS) for _ in range(2))
    for pool in (first, second):
        assert host.client.address(pool, **GATEWAY) == "10.1.0.1/24"
    assert host.client.address(first) == "10.1.0.2/24"
    assert host.client.address(second) == "10.1.0.3/24"
    with pytest.raises(Refused, match=r"10.1.0.2 is in use"):
        host.client.address(second, "10.1.0.2")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"Pool": ""}, "Pool: is needed: give docker network create --subnet"),
        ({"Pool": "fd00::/47", "V6": True}, "Pool: fd00::/47 is too large"),
        ({"Pool": "fd00::/127", "V6": True}, "Pool: fd00::/127 is too small"),
        ({"Pool": "fd00::/64", "SubPool": "10.1.0.0/26"}, "SubPool: 10.1.0.0/26 is not inside"),
        ({"Pool": "10.1.0.0/30"}, "Pool: 10.1.0.0/30 is too small"),
        ({"Pool": "10.0.0.0/8"}, "Pool: 10.0.0.0/8 is too large"),
        ({"Pool": "10.1.0.7/24"}, "Pool: "),
        ({"Pool": "nonsense"}, "Pool: "),
        ({"SubPool": "10.2.0.0/26"}, "SubPool: 10.2.0.0/26 is not inside 10.1.0.0/24"),
        ({"SubPool": "10.0.0.0/8"}, "SubPool: "),
        ({"Options": {"snnet.tenant": "t1"}}, "give both"),
        ({"Options": {"snnet.subnet_id": "s1"}}, "give both"),
        ({"Options": {**IPAM_OPTIONS, "snnet.tenant": "a/b"}}, "snnet.tenant: "),
        ({"Options": {"snnet.subnet_key": "7"}}, "snnet.subnet_key: unknown option"),
    ],
)
def test_pools_that_cannot_be(host: Host, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused) as refused:
        host.client.ask("IpamDriver.RequestPool", **{"Pool": "10.1.0.0/24", **fields})
    assert said in refused.value.text
    assert refused.value.status == 400
    assert host.documents("pools") == {}


def test_the_range_is_what_containers_get(host: Host) -> None:
    pool = host.network(inner="10.1.0.252/30")
    found = [host.client.address(pool) for _ in range(3)]
    assert found == ["10.1.0.252/24", "10.1.0.253/24", "10.1.0.254/24"]
    with pytest.raises(Refused, match=r"no address of 10.1.0.252/30 is free") as refused:
        host.client.address(pool)
    assert refused.value.status == 500
    assert host.client.address(pool, "10.1.0.9") == "10.1.0.9/24", "asked for, it may be outside"


@pytest.mark.parametrize("restart", [Host.restart, lambda host: None])
def test_an_address_does_not_come_back_at_once(host: Host, restart: Callable[[Host], None]) -> None:
    pool = host.network(inner="10.1.0.0/29")
    for number in (2, 3, 4, 5, 6, 7, 2, 3):
        restart(host)
        address = host.client.address(pool)
        assert address == f"10.1.0.{number}/24"
        host.client.release(pool, address)
    assert host.addresses == {"10.1.0.1": ":network"}


def test_the_gateways_address_is_nobodys(host: Host) -> None:
    pool = host.client.make_pool()
    # Docker may be given another gateway; the concentrator has the first address all the same.
    assert host.client.address(pool, "10.1.0.254", **GATEWAY) == "10.1.0.254/24"
    assert host.client.address(pool) == "10.1.0.2/24"
    for address in ("10.1.0.254", "10.1.0.0", "10.1.0.255", "10.2.0.1", "fd00::1"):
        with pytest.raises(Refused):
            host.client.address(pool, address)


def test_a_guest_never_gets_the_gateways_address(host: Host) -> None:
    pool = host.network()
    with pytest.raises(Refused, match=r"10.1.0.1 is the gateway"):
        host.client.address(pool, "10.1.0.1")


def test_addresses_of_the_nodes_other_vnics_are_not_free(host: Host) -> None:
    pool = host.network()
    host.make_vm("10.1.0.2")
    assert host.client.address(pool) == "10.1.0.3/24"


def test_auxiliary_addresses_are_the_networks(host: Host) -> None:
    pool = host.client.make_pool(**IPAM_OPTIONS)
    host.client.address(pool, **GATEWAY)
    host.client.address(pool, "10.1.0.2")
    for address in ("10.1.0.3", "10.1.0.4"):
        host.client.create_network(NETWORK, OPTIONS, auxiliary={"router": "10.1.0.2/24"})
        assert host.client.address(pool) == f"{address}/24"
        assert host.addresses == {
            "10.1.0.1": ":network", "10.1.0.2": ":network", address: "",
        }  # fmt: skip
        host.client.release(pool, address)
        host.restart()
    host.now += 10_000
    with pytest.raises(Refused, match="in use"):
        host.client.address(pool, "10.1.0.2")


def test_asked_twice_for_want_of_an_answer(host: Host) -> None:
    pool = host.network()
    for _ in range(2):
        assert host.client.address(pool, **GATEWAY) == "10.1.0.1/24"
        assert host.client.address(pool, "10.1.0.9") == "10.1.0.9/24"
    host.client.create_endpoint(NETWORK, ENDPOINT, "10.1.0.9/24")
    with pytest.raises(Refused, match="in use"):
        host.client.address(pool, "10.1.0.9")


def test_two_that_ask_for_the_same(host: Host) -> None:
    """The first endpoint has it; the second is refused, and takes nothing from the first."""
    pool = host.network()
    for _ in range(2):
        host.client.address(pool, "10.1.0.9")
    host.client.create_endpoint(NETWORK, ENDPOINT, "10.1.0.9/24")
    host.client.join(NETWORK, ENDPOINT)
    with pytest.raises(Refused, match=r"10.1.0.9 belongs to"):
        host.client.create_endpoint(NETWORK, "c" * 64, "10.1.0.9/24")
    host.client.release(pool, "10.1.0.9")
    assert host.addresses["10.1.0.9"] == ENDPOINT
    assert list(host.endpoints) == [ENDPOINT]


def test_what_no_endpoint_takes_is_free_again(host: Host) -> None:
    """Docker asked, and was killed before it made the endpoint, or never had the answer."""
    pool = host.network(inner="10.1.0.2/32")
    assert host.client.address(pool) == "10.1.0.2/24"
    with pytest.raises(Refused, match="no address"):
        host.client.address(pool)
    host.now += 121
    assert host.client.address(pool) == "10.1.0.2/24"
    host.client.create_endpoint(NETWORK, ENDPOINT, "10.1.0.2/24")
    host.client.join(NETWORK, ENDPOINT)
    host.move_away("10.1.0.2")
    host.now += 10_000
    with pytest.raises(Refused, match="no address"):
        host.client.address(pool)


def test_of_another_network_driver_nothing_is_taken_back(host: Host) -> None:
    """We do not see its endpoints."""
    pool = host.client.make_pool(inner="10.1.0.2/32")
    host.client.address(pool)
    host.now += 10_000
    with pytest.raises(Refused, match="no address"):
        host.client.address(pool)
    host.client.release(pool, "10.1.0.2")
    assert host.client.address(pool) == "10.1.0.2/24"


def test_an_address_of_a_running_container_is_not_released(host: Host) -> None:
    """It is a repetition, or comes late, and the address is another's by then."""
    pool = host.network(inner="10.1.0.2/32")
    address = host.client.address(pool)
    host.client.create_endpoint(NETWORK, ENDPOINT, address)
    host.client.join(NETWORK, ENDPOINT)
    host.client.release(pool, address)
    assert host.addresses["10.1.0.2"] == ENDPOINT
    with pytest.raises(Refused, match="no address"):
        host.client.address(pool)


@pytest.mark.parametrize("ran", [True, False])
def test_an_endpoint_goes_with_its_address(host: Host, ran: bool) -> None:
    """Docker's DeleteEndpoint, or CreateEndpoint, had no answer: it does not ask again."""
    pool = host.network()
    address = host.client.address(pool)
    host.client.create_endpoint(NETWORK, ENDPOINT, address)
    if ran:
        host.client.join(NETWORK, ENDPOINT)
        host.client.ask("NetworkDriver.Leave", NetworkID=NETWORK, EndpointID=ENDPOINT)
    host.client.release(pool, address)
    assert host.endpoints == {}
    assert host.addresses == {"10.1.0.1": ":network"}
    assert host.kernel.to_text() == host.empty


def test_a_network_goes_with_its_pool(host: Host) -> None:
    """Docker's DeleteNetwork, or CreateNetwork, had no answer."""
    pool = host.network()
    host.client.create_endpoint(NETWORK, ENDPOINT, host.client.address(pool))
    host.client.release(pool, "10.1.0.1")
    host.client.ask("IpamDriver.ReleasePool", PoolID=pool)
    tables = ("pools", "addresses", "networks", "endpoints")
    assert [host.documents(table) for table in tables] == [{}] * 4
    assert host.kernel.to_text() == host.empty


def test_a_release_that_comes_late_is_not_the_next_ones(host: Host) -> None:
    """The address was given to another container before Docker released it."""
    pool = host.network()
    host.client.address(pool, "10.1.0.9")
    host.client.create_endpoint(NETWORK, ENDPOINT, "10.1.0.9/24")
    host.client.leave(NETWORK, ENDPOINT)
    host.client.address(pool, "10.1.0.9")
    host.client.create_endpoint(NETWORK, "c" * 64, "10.1.0.9/24")
    host.client.release(pool, "10.1.0.9")
    assert host.addresses["10.1.0.9"] == "c" * 64
    host.client.join(NETWORK, "c" * 64)
    host.client.leave(NETWORK, "c" * 64)
    host.client.release(pool, "10.1.0.9")
    assert host.addresses == {"10.1.0.1": ":network"}
    host.client.address(pool, "10.1.0.9")


def test_those_who_lose_an_address_take_nothing_from_who_has_it(host: Host) -> None:
    """Three were offered it; the others' endpoints are refused, and they give it back."""
    pool = host.network()
    assert host.client.address(pool) == "10.1.0.2/24"
    for _ in range(2):
        host.client.address(pool, "10.1.0.2")
    host.client.create_endpoint(NETWORK, ENDPOINT, "10.1.0.2/24")
    for name in ("c", "d"):
        with pytest.raises(Refused, match=r"10.1.0.2 belongs to"):
            host.client.create_endpoint(NETWORK, name * 64, "10.1.0.2/24")
        host.client.release(pool, "10.1.0.2")
    host.client.join(NETWORK, ENDPOINT)
    host.client.leave(NETWORK, ENDPOINT)
    host.client.release(pool, "10.1.0.2")
    assert host.addresses == {"10.1.0.1": ":network"}


def test_a_container_that_ended_soon_after_its_join_is_found(host: Host) -> None:
    """Nobody answered Docker, and the plugin was there again before two minutes were over."""
    pool = host.network(inner="10.1.0.2/32")
    host.client.create_endpoint(NETWORK, ENDPOINT, host.client.address(pool))
    host.client.join(NETWORK, ENDPOINT)
    host.now += 90
    host.restart()
    with pytest.raises(Refused, match="in use"):
        host.client.address(pool, "10.1.0.2")
    host.now += 90
    with pytest.raises(Refused, match="no address"):
        host.client.address(pool)
    assert host.kernel.to_text() == host.empty
    assert host.client.address(pool, "10.1.0.2") == "10.1.0.2/24", "who asks for it has it at once"
    host.now += 121
    assert host.client.address(pool) == "10.1.0.2/24"


@pytest.mark.parametrize("asked", ["", "10.1.0.2"])
def test_a_container_found_ended_before_docker_says_so(host: Host, asked: str) -> None:
    """Its release comes late, and takes nothing from who has the address by then."""
    pool = host.network(inner="10.1.0.2/32")
    host.client.create_endpoint(NETWORK, ENDPOINT, host.client.address(pool))
    host.client.join(NETWORK, ENDPOINT)
    host.now += 121  # its end is back on the host; Docker is about to call
    if asked:
        host.client.address(pool, asked)
    else:
        with pytest.raises(Refused, match="no address"):
            host.client.address(pool)
    assert host.endpoints == {}
    host.client.leave(NETWORK, ENDPOINT)
    if asked:
        host.client.create_endpoint(NETWORK, "c" * 64, "10.1.0.2/24")
    host.client.release(pool, "10.1.0.2")
    if not asked:
        host.client.create_endpoint(NETWORK, "c" * 64, host.client.address(pool))
    host.client.join(NETWORK, "c" * 64)
    assert host.addresses["10.1.0.2"] == "c" * 64


def test_an_address_of_an_endpoint_that_is_gone_is_free(host: Host) -> None:
    pool = host.network(inner="10.1.0.2/32")
    host.client.create_endpoint(NETWORK, ENDPOINT, host.client.address(pool))
    for _ in range(2):
        for asked in ("", "10.1.0.2"):
            with pytest.raises(Refused, match=r"no address|in use"):
                host.client.address(pool, asked)
    host.now += 121
    assert host.client.address(pool, "10.1.0.2") == "10.1.0.2/24"
    assert host.endpoints == {}
    assert host.kernel.to_text() == host.empty


# -- which pool is which network's -----------------------------------------------------------


def test_networks_of_one_subnet_made_side_by_side(host: Host) -> None:
    """Deleting one takes nothing of the other along."""
    pools = [host.client.make_pool(**IPAM_OPTIONS) for _ in range(2)]
    for pool in pools:
        host.client.address(pool, **GATEWAY)
    networks = ["1" * 64, "2" * 64]
    for network in networks:
        host.client.create_network(network, OPTIONS)
    for number, (network, pool) in enumerate(zip(networks, pools, strict=True)):
        endpoint = f"{number:032x}" * 2
        host.client.create_endpoint(network, endpoint, host.client.address(pool))
        host.client.join(network, endpoint)
    linked = host.documents("pools")
    assert [linked[pool]["network_id"] for pool in pools] == networks
    host.client.leave(networks[1], f"{1:032x}" * 2)
    host.client.ask("NetworkDriver.DeleteNetwork", NetworkID=networks[1])
    host.client.ask("IpamDriver.ReleasePool", PoolID=pools[1])
    assert list(host.endpoints) == [f"{0:032x}" * 2]
    assert len(host.node.topology().vnics) == 1


def test_tenants_that_share_a_cidr_and_do_not_name_it(host: Host) -> None:
    pools = [host.client.make_pool() for _ in range(2)]
    tenants = [
        OPTIONS | {"snnet.tenant": tenant, "snnet.subnet_id": "s1", "snnet.subnet_key": key}
        for tenant, key in (("t1", "7"), ("t2", "8"))
    ]
    networks = ["1" * 64, "2" * 64]
    for pool, network, tenant in zip(pools, networks, tenants, strict=True):
        host.client.address(pool, **GATEWAY)
        host.client.create_network(network, tenant)
    # Two with the same address: which pool is whose is not sure yet, and both work.
    addresses = [host.client.address(pool) for pool in pools]
    assert addresses == ["10.1.0.2/24"] * 2
    for number, (network, address) in enumerate(zip(networks, addresses, strict=True)):
        host.client.create_endpoint(network, f"{number:032x}" * 2, address)
    # The next one makes it sure, and the pool knows its subnet from now on.
    host.client.create_endpoint(networks[0], ENDPOINT, host.client.address(pools[0]))
    linked = host.documents("pools")[pools[0]]
    assert (linked["network_id"], linked["tenant_id"]) == (networks[0], "t1")
    assert host.client.address(pools[0]) == "10.1.0.4/24"


def test_addresses_given_before_it_was_sure_are_their_endpoints(host: Host) -> None:
    pools = [host.client.make_pool(**IPAM_OPTIONS) for _ in range(2)]
    for pool in pools:
        host.client.address(pool, **GATEWAY)
    for network in ("1" * 64, "2" * 64):
        host.client.create_network(network, OPTIONS)
    host.client.address(pools[1], "10.1.0.3")
    host.client.address(pools[0], "10.1.0.2")
    host.client.create_endpoint("1" * 64, ENDPOINT, "10.1.0.2/24")
    assert host.addresses["10.1.0.2"] == ENDPOINT
    assert host.documents("pools")[pools[1]]["network_id"] == ""


def test_a_network_on_dockers_own_ipam_has_no_pool_of_ours(host: Host) -> None:
    """A pool with the same CIDR is another network driver's: neither takes the other along."""
    data = [{"AddressSpace": "LocalDefault", "Pool": "10.1.0.0/24", "Gateway": "10.1.0.1/24"}]
    options = {"com.docker.network.generic": OPTIONS | {"snnet.subnet_id": "s1"}}
    host.client.ask(
        "NetworkDriver.CreateNetwork", NetworkID=NETWORK, Options=options, IPv4Data=data
    )
    pool = host.client.make_pool()
    host.client.address(pool, **GATEWAY)
    address = host.client.address(pool)
    host.client.create_endpoint(NETWORK, ENDPOINT, address)
    host.client.join(NETWORK, ENDPOINT)
    host.client.release(pool, address)
    host.client.ask("IpamDriver.ReleasePool", PoolID=pool)
    assert list(host.endpoints) == [ENDPOINT]
    assert len(host.node.topology().vnics) == 1


def test_options_that_name_different_subnets(host: Host) -> None:
    pool = host.client.make_pool(**IPAM_OPTIONS)
    host.client.address(pool, **GATEWAY)
    named = (
        "; --ipam-opt names subnet 's1' of tenant 't1': give the same ids with -o and --ipam-opt"
    )
    for options, whose in (
        ({"snnet.subnet_id": "s2"}, "subnet 's2' of tenant 't1'"),
        ({"snnet.subnet_id": "s1", "snnet.tenant": "t2"}, "subnet 's1' of tenant 't2'"),
        ({"snnet.tenant": "t2"}, "tenant 't2'"),
    ):
        with pytest.raises(Refused) as refused:
            host.client.create_network(NETWORK, OPTIONS | options)
        assert refused.value.text == f"snnet.subnet_id: no pool belongs to {whose}{named}"


def test_networks_of_one_subnet_may_name_the_same_router(host: Host) -> None:
    """So may one that is made again, for Docker died before it knew of the first."""
    for network in ("1" * 64, "2" * 64):
        pool = host.client.make_pool(**IPAM_OPTIONS)
        host.client.address(pool, **GATEWAY)
        host.client.address(pool, "10.1.0.2")
        host.client.create_network(network, OPTIONS, auxiliary={"router": "10.1.0.2/24"})
    assert host.client.address(pool) == "10.1.0.3/24"
    with pytest.raises(Refused, match="in use"):
        host.client.address(pool, "10.1.0.2")


def test_a_forgotten_pool_of_a_subnet_in_use_goes(host: Host) -> None:
    pool = host.network()
    died = host.client.make_pool(**IPAM_OPTIONS)
    host.client.address(died, **GATEWAY)
    host.client.address(died, "10.1.0.5")
    host.now += 121
    host.client.make_pool()
    assert died not in host.documents("pools")
    assert host.client.address(pool, "10.1.0.5") == "10.1.0.5/24"


def test_a_pool_learns_its_subnet_from_its_network(host: Host) -> None:
    pool = host.client.make_pool()
    host.client.address(pool, **GATEWAY)
    host.client.create_network(NETWORK, OPTIONS | {"snnet.subnet_id": "s1"})
    host.make_vm("10.1.0.2")
    assert host.client.address(pool) == "10.1.0.3/24"


def test_pools_that_docker_has_forgotten_go(host: Host) -> None:
    host.client.make_pool()  # it had no answer
    died = host.client.make_pool(**IPAM_OPTIONS)  # or died before it made the network
    host.client.address(died, **GATEWAY)
    host.client.address(died, "10.1.0.5")
    elsewhere = host.client.make_pool()  # or it is another network driver's
    host.client.address(elsewhere, **GATEWAY)
    host.now += 121
    newest = host.client.make_pool(**IPAM_OPTIONS)
    assert set(host.documents("pools")) == {elsewhere, newest}
    assert host.client.address(newest, "10.1.0.5") == "10.1.0.5/24"
    host.client.address(newest, **GATEWAY)
    host.client.create_network(NETWORK, OPTIONS)
    host.client.ask("NetworkDriver.DeleteNetwork", NetworkID=NETWORK)  # then it was away
    host.now += 121
    host.client.make_pool()
    assert newest not in host.documents("pools")
    assert len(host.documents("addresses")) == 1


def test_many_at_once(host: Host) -> None:
    pool = host.network()
    with ThreadPoolExecutor(20) as threads:
        found = list(threads.map(lambda _: host.client.address(pool), range(253)))
    assert len(set(found)) == 253
    with pytest.raises(Refused, match="no address"):
        host.client.address(pool)


@pytest.mark.parametrize("restart", [Host.restart, lambda host: None])
def test_all_of_it_outlives_the_process(host: Host, restart: Callable[[Host], None]) -> None:
    pool = host.network()
    first = host.client.address(pool)
    restart(host)
    second = host.client.address(pool)
    assert first != second
    for number, address in enumerate((first, second)):
        restart(host)
        host.client.create_endpoint(NETWORK, f"{number:032x}" * 2, address)
    restart(host)
    assert len(host.endpoints) == 2
