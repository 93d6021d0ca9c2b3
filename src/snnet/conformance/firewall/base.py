"""What the firewall tests share: the rig, the rules they add, and how they probe."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_interface
from typing import Any, TypeVar

import pytest

from snnet.conformance.endpoints import A1, EXT0, PORT, Endpoint
from snnet.conformance.rig import Answer, Rig
from snnet.contract import (
    Add,
    ExternalForward,
    IPAddress,
    Masquerade,
    Noun,
    Operation,
    PortForward,
    PublicIp,
    Remove,
    Unsupported,
    Zone,
    ZoneLink,
)

PATIENCE = 15.0
"""Seconds within which a packet that may pass must get through."""

DOOR = 8022
"""The port that the tests forward."""

PUBLIC = IPv4Address("203.0.113.5")
PUBLIC6 = IPv6Address("2001:db8:1::5")

T = TypeVar("T")


class FirewallTests:
    """A rig without rules for each test."""

    @pytest.fixture
    def rig(self) -> Iterator[Rig]:
        raise NotImplementedError("give your class a fixture 'rig': see snnet.conformance")

    @pytest.fixture(autouse=True)
    def _clean(self, rig: Rig) -> Iterator[None]:
        yield
        try:
            remove_all(rig)
        finally:
            rig.reset()


def remove_all(rig: Rig) -> None:
    """Remove every rule that the driver finds, of any owner."""
    found = sorted(rig.driver.snapshot().values(), key=lambda noun: -noun.rank)
    outcome = rig.driver.apply([Remove(noun) for noun in found], keep_going=True)
    assert not outcome.errors, f"cannot clean up: {outcome.error}"


# -- operations ----------------------------------------------------------------------


def add(rig: Rig, *nouns: Noun) -> None:
    """Add the nouns; end the test as an expected failure if the driver declares one missing."""
    for noun in nouns:
        gap = rig.driver.missing(noun)
        if gap is not None:
            outcome = rig.driver.apply([Add(noun)])
            assert isinstance(outcome.error, Unsupported), (
                f"{type(noun).__name__} is declared missing ({gap}), so Add must be Unsupported"
            )
            assert not outcome.done, f"a gap that works: {noun}"
            pytest.xfail(f"declared gap: {gap}")
    do(rig, *map(Add, nouns))


def remove(rig: Rig, *nouns: Noun) -> None:
    do(rig, *map(Remove, nouns))


def do(rig: Rig, *operations: Operation) -> None:
    """Apply the operations; all must succeed."""
    outcome = rig.driver.apply(operations)
    assert outcome.error is None, outcome.error
    assert outcome.done == set(range(len(operations)))


def refused(rig: Rig, operation: Operation) -> type[Exception]:
    """Return the class of the error that the driver refuses with; nothing may change."""
    before = rig.driver.snapshot()
    outcome = rig.driver.apply([operation])
    assert outcome.error is not None, f"should have been refused: {operation}"
    assert outcome.done == set()
    assert rig.driver.snapshot() == before
    return type(outcome.error)


# -- rules ---------------------------------------------------------------------------


def zone(rig: Rig, name: str, *links: str, **values: Any) -> list[Noun]:
    """Return a zone and its links."""
    return [
        Zone(owner=rig.owner, zone=name, **values),
        *(ZoneLink(owner=rig.owner, link=link, zone=name) for link in links),
    ]


def tenants(rig: Rig) -> list[Noun]:
    """Return two tenants: one with in-a and in-b, another with in-c."""
    return [*zone(rig, "ta", "in-a", "in-b"), *zone(rig, "tc", "in-c")]


def exit_by(
    rig: Rig, device: str = "ext0", bridge: str = "in-a", *, nat66: bool = False
) -> list[Noun]:
    """Return the rules that let a bridge out by the device."""
    return [
        Masquerade(owner=rig.owner, device=device, nat66=nat66),
        ExternalForward(owner=rig.owner, device=device, bridge=bridge),
    ]


def forward(rig: Rig, target: Endpoint = A1, **values: Any) -> PortForward:
    """Return a forward of tcp/8022 on ext0 to a guest."""
    return PortForward(
        **{
            "owner": rig.owner,
            "protocol": "tcp",
            "device": "ext0",
            "port": DOOR,
            "target": target.ip,
            "target_port": PORT,
            "addresses": (EXT0.address.ip,),
            **values,
        }
    )


def forward6(rig: Rig, target: Endpoint = A1, **values: Any) -> PortForward:
    """Return the same for IPv6."""
    given = {"addresses": (EXT0.address6.ip,), **values}
    return replace(forward(rig, target, **given), target=target.ip6)


def publish(rig: Rig, internal: Endpoint = A1, address: IPAddress = PUBLIC) -> PublicIp:
    """Return the rule of a public address on ext0, and give the hub the address."""
    rig.add_address("ext0", ip_interface(address))
    return public(rig, internal, address)


def public(rig: Rig, internal: Endpoint = A1, address: IPAddress = PUBLIC) -> PublicIp:
    own = internal.ip if address.version == 4 else internal.ip6
    return PublicIp(owner=rig.owner, public=address, internal=own, device="ext0")


# -- probing -------------------------------------------------------------------------


def passes(probe: Callable[..., bool], *args: Any, **values: Any) -> bool:
    """Whether the probe gets through within ``PATIENCE``."""
    return patiently(lambda: probe(*args, **values) or None) is not None


def stopped(probe: Callable[..., bool], *args: Any, **values: Any) -> bool:
    """Whether the probe does not get through, tried once."""
    return not probe(*args, **values)


def answer(
    rig: Rig, source: Endpoint, address: IPAddress, protocol: str = "tcp", port: int = PORT
) -> Answer | None:
    """Return the answer, waiting up to ``PATIENCE``."""
    return patiently(lambda: rig.connect(source, address, protocol, port))


def silent(
    rig: Rig, source: Endpoint, address: IPAddress, protocol: str = "tcp", port: int = PORT
) -> bool:
    """Whether no endpoint answers, tried once."""
    return rig.connect(source, address, protocol, port) is None


def patiently(probe: Callable[[], T | None]) -> T | None:
    end = time.monotonic() + PATIENCE
    while True:
        found = probe()
        if found is not None or time.monotonic() >= end:
            return found


def by_rank(nouns: Iterable[Noun]) -> list[Noun]:
    return sorted(nouns, key=lambda noun: noun.rank)
