"""Pings seen at both ends, over real namespaces."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from snnet.lab.probes import Pings
from snnet.system.namespaces import Namespace

pytestmark = pytest.mark.kernel

ADDRESSES = {
    "a": IPv4Address("192.0.2.1"),
    "b": IPv4Address("192.0.2.2"),
    "twin": IPv4Address("192.0.2.2"),
}


@pytest.fixture
def guests() -> Iterator[dict[str, Namespace]]:
    """``a`` and ``b`` share a wire; ``twin`` has b's address and no wire."""
    guests = {name: Namespace(name) for name in ADDRESSES}
    a, b, twin = guests.values()
    a.ip([f"link add eth0 type veth peer name eth0 netns {b.path}"])
    twin.ip(["link add eth0 type veth peer name eth1", "link set eth1 up"])
    for name, namespace in guests.items():
        namespace.ip(
            ["link set lo up", "link set eth0 up", f"address add {ADDRESSES[name]}/24 dev eth0"]
        )
    yield guests
    for namespace in guests.values():
        namespace.close()


def test_only_who_heard_the_request_counts_as_reached(guests: dict[str, Namespace]) -> None:
    pairs = [(source, target) for source in guests for target in guests if source != target]
    with Pings(guests) as pings:
        for _ in range(10):  # the first packets may be lost on links that have just come up
            pings.send(pairs, ADDRESSES)
            if pings.listen(2, {("a", "b"), ("b", "a")}):
                break
        pings.listen(0.1)
    assert pings.reached == {("a", "b"), ("b", "a")}
    # b answered the request that was meant for its twin; that proves nothing.
    assert ("a", "twin") in pings.answered
    assert ("a", "twin") not in pings.requested


def test_another_run_does_not_take_these_for_its_own(guests: dict[str, Namespace]) -> None:
    with Pings(guests) as mine, Pings(guests) as other:
        for _ in range(10):
            mine.send([("a", "b")], ADDRESSES)
            if mine.listen(2, {("a", "b")}):
                break
        assert mine.reached == {("a", "b")}
        assert not other.listen(0.1, {("a", "b")})


def test_a_guest_without_address_reaches_nobody(guests: dict[str, Namespace]) -> None:
    guests["a"].ip(["address flush dev eth0"])
    with Pings(guests) as pings:
        pings.send([("a", "b"), ("b", "a")], ADDRESSES)
        pings.listen(0.2)
    assert pings.reached == set()
