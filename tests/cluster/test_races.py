"""Several clients at once: nothing is given twice, nothing is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from snnet import Cluster, Conflict, SnnetError
from snnet.cluster import Event, keys


def at_once(*work: Callable[[], object]) -> list[Exception]:
    """Run the pieces of work in threads of their own; return the errors."""
    errors: list[Exception] = []
    start = threading.Barrier(len(work))

    def run(piece: Callable[[], object]) -> None:
        start.wait()
        try:
            piece()
        except SnnetError as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(piece,)) for piece in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_no_address_and_no_key_is_given_twice() -> None:
    name = "memory:races"
    with Cluster(name) as first, Cluster(name) as second, Cluster(name) as third:
        clusters = [first, second, third]
        for tenant in ("a", "b"):
            first.create_network("web", tenant=tenant, subnet="10.1.0.0/24")

        def work(number: int) -> None:
            cluster = clusters[number]
            for index in range(10):
                tenant = "ab"[index % 2]
                cluster.create_network(f"n{number}-{index}", tenant=tenant,
                                       subnet=f"10.{number + 2}.{index}.0/24")  # fmt: skip
                cluster.create_vnic(f"v{number}-{index}", tenant=tenant, network="web")

        assert at_once(*(lambda n=n: work(n) for n in range(3))) == []
        assert len({network.key for network in first.list_networks()}) == 32
        for tenant in ("a", "b"):
            vnics = first.list_vnics(tenant)
            assert len({vnic.ips for vnic in vnics}) == len(vnics) == 15


@pytest.mark.parametrize("what", ["name", "address", "subnet", "port", "public"])
def test_one_of_two_wins(what: str) -> None:
    """Of two clients that want the same for different things, one gets a Conflict."""
    name = f"memory:one-{what}"
    with Cluster(name) as first, Cluster(name) as second:
        first.create_network("web", subnet="10.1.0.0/24")
        for guest in ("v1", "v2"):
            first.create_vnic(guest, network="web")
        pairs: dict[str, Callable[[Cluster, str], object]] = {
            "name": lambda c, n: c.create_vnic("x", network="web", mtu=1300 + int(n[-1])),
            "address": lambda c, n: c.create_vnic(f"x{n}", network="web", ip="10.1.0.99"),
            "subnet": lambda c, n: c.create_network(f"x{n}", subnet="10.2.0.0/24"),
            "port": lambda c, n: c.create_forward(network="web", protocol="tcp", port=80, to=n),
            "public": lambda c, n: c.create_public_ip("203.0.113.5", to=n),
        }
        make = pairs[what]
        errors = at_once(lambda: make(first, "v1"), lambda: make(second, "v2"))
        assert [type(error) for error in errors] == [Conflict]


def test_a_vnic_and_the_end_of_its_network() -> None:
    """A VNIC is never left without its network."""
    for turn in range(30):
        with Cluster(f"memory:end-{turn}") as first, Cluster(f"memory:end-{turn}") as second:
            first.create_network("web", subnet="10.1.0.0/24")
            at_once(
                lambda: first.create_vnic("v1", network="web"),
                lambda: second.delete_network("default", "web"),
            )
            networks = {network.name for network in first.list_networks()}
            assert all(vnic.network in networks for vnic in first.list_vnics())
            if not networks:
                assert not first.registry.read(keys.addresses("default", "web")).entries


def test_changes_are_followed() -> None:
    with Cluster("memory:followed") as cluster, Cluster("memory:followed") as other:
        seen: list[Event] = []
        started = threading.Event()

        def follow() -> None:
            events = cluster.watch(timeout=5)
            started.set()
            for event in events:
                seen.append(event)
                if event.name == "v1":
                    return

        thread = threading.Thread(target=follow)
        thread.start()
        started.wait()
        while thread.is_alive():
            other.create_network("web", tenant="acme", subnet="10.1.0.0/24")
            other.create_vnic("v1", tenant="acme", network="web")
            other.delete_network("acme", "web", force=True)
            thread.join(0.01)
        assert Event("vnic", "acme", "v1") in seen
