"""The index of a concentrator's subnets agrees with a look at all of them."""

from __future__ import annotations

import copy
from ipaddress import IPv4Network, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snnet.contract import IPNetwork
from snnet.core.addressing import Networks, overlapping
from snnet.core.subnet_index import SubnetIndex

V4, V6 = 0x0A000000, 0xFD00 << 112
offsets = st.integers(0, 2**18)
fours = st.builds(
    lambda offset, prefix: IPv4Network((V4 + offset, prefix), strict=False),
    offsets,
    st.integers(16, 29),
)
sixes = st.builds(lambda offset: IPv6Network((V6 + (offset % 8 << 64), 64)), offsets)
subnets = st.one_of(st.tuples(fours), st.tuples(sixes), st.tuples(fours, sixes))
addresses = st.builds(lambda base, offset: ip_address(base + offset), st.just(V4), offsets)


def index_of(wanted: list[Networks]) -> tuple[SubnetIndex, dict[Networks, int]]:
    """Those of the subnets that fit beside the ones before them, with keys of their own."""
    index, held = SubnetIndex(), dict[Networks, int]()
    for key, networks in enumerate(wanted, 1):
        if not any(overlapping(networks, other) for other in held):
            assert list(index.near(networks, key)) == []
            index.add(networks, key, f"b{key}")
            held[networks] = key
    return index, held


@given(st.lists(subnets, max_size=12), subnets, addresses)
def test_it_finds_what_a_look_at_all_finds(
    wanted: list[Networks], asked: Networks, address: object
) -> None:
    index, held = index_of(wanted)
    at = ip_address(str(address))
    assert index.of(at) == next((one for one in held if any(at in part for part in one)), None)
    overlapped = {other for other in held if overlapping(asked, other)}
    near = list(index.near(asked, 999))
    assert set(near) <= overlapped
    assert bool(near) == bool(overlapped)
    for other, key in held.items():
        assert list(index.near(asked, key)).count(other) == 1
        assert index.on(f"b{key}") == other


@given(st.lists(subnets, min_size=1, max_size=12))
def test_what_is_removed_is_forgotten_and_a_copy_is_apart(wanted: list[Networks]) -> None:
    index, held = index_of(wanted)
    before = copy.copy(index)
    for networks, key in held.items():
        index.remove(networks, key, f"b{key}")
        assert index.on(f"b{key}") is None
        assert index.of(networks[0].network_address) is None
        assert list(index.near(networks, key)) == []
    for networks, key in held.items():
        assert before.of(networks[0][1]) == before.on(f"b{key}") == networks


def test_the_cost_does_not_grow_with_the_subnets(monkeypatch: pytest.MonkeyPatch) -> None:
    index, compared = SubnetIndex(), list[object]()
    overlaps = IPv4Network.overlaps

    def counted(one: IPv4Network, other: IPNetwork) -> bool:
        compared.append(other)
        return overlaps(one, other)

    for number in range(1000):
        index.add((IPv4Network((V4 + number * 256, 24)),), number, f"b{number}")
    monkeypatch.setattr(IPv4Network, "overlaps", counted)
    assert list(index.near((IPv4Network("10.200.0.0/24"),), 5000)) == []
    assert len(compared) <= 1
