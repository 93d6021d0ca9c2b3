"""The MTUs and MACs of tunnels, and kernels without some kind.  Measured on Linux 6.1."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest

from snnet.backends.fake import FakeKernel
from snnet.contract import Add, Change, Geneve, Gre, Gretap, Link, Vxlan

from .steps import add, do, link, refusal

LOCAL, REMOTE, OTHER = (IPv4Address(f"192.0.2.{number}") for number in (11, 10, 12))
LOCAL6, REMOTE6 = IPv6Address("2001:db8::11"), IPv6Address("2001:db8::10")

GRETAP = Gretap(name="g0", local=LOCAL, remote=REMOTE, tunnel_key=7)
GRETAP6 = Gretap(name="h0", local=LOCAL6, remote=REMOTE6, tunnel_key=7)
GRE = Gre(name="m0", local=LOCAL, tunnel_key=7)
VXLAN = Vxlan(name="x0", vni=7, local=LOCAL, remote=REMOTE, port=17000)
GENEVE = Geneve(name="n0", vni=7, remote=REMOTE)


@pytest.fixture
def kernel() -> FakeKernel:
    kernel = FakeKernel()
    kernel.add_uplink("eth0", "192.0.2.11/24")
    return kernel


@pytest.mark.parametrize(
    ("tunnel", "mtu"), [(GRETAP, 1458), (GRETAP6, 1438), (GRE, 1472), (VXLAN, 1500), (GENEVE, 1450)]
)
def test_mtu_left_to_the_kernel(kernel: FakeKernel, tunnel: Link, mtu: int) -> None:
    add(kernel, tunnel)
    assert link(kernel, tunnel.name).mtu == mtu


def test_mtu_left_to_the_kernel_follows_the_way_to_the_remote(kernel: FakeKernel) -> None:
    kernel.add_uplink("eth1", "198.51.100.1/24", mtu=9000)
    far = IPv4Address("198.51.100.2")
    add(kernel, replace(GRETAP, remote=far), replace(GENEVE, remote=far))
    assert link(kernel, "g0").mtu == 9000 - 42
    assert link(kernel, "n0").mtu == 9000 - 50


def test_ipv4_gre_clamps_the_mtu_it_is_made_with_and_refuses_one_set_later(
    kernel: FakeKernel,
) -> None:
    add(kernel, replace(GRETAP, mtu=65535))
    found = link(kernel, "g0")
    assert found.mtu == 65493
    assert refusal(kernel, Change(replace(found, mtu=65494), found)) == "EINVAL"
    assert refusal(kernel, Add(replace(GRETAP, name="g1", mtu=67))) == "EINVAL"
    add(kernel, replace(GRE, mtu=67))
    assert link(kernel, "m0").mtu == 68


def test_ip6gretap_passes_over_a_mtu_too_large(kernel: FakeKernel) -> None:
    add(kernel, replace(GRETAP6, mtu=65514))
    found = link(kernel, "h0")
    assert found.mtu == 1438
    assert refusal(kernel, Change(replace(found, mtu=65514), found)) == "EINVAL"
    do(kernel, Change(replace(found, mtu=65513), found))


def test_multipoint_gre_has_no_mac(kernel: FakeKernel) -> None:
    add(kernel, GRE)
    found = link(kernel, "m0")
    assert found.mac is None
    wanted = replace(found, mac="02:00:00:00:00:01")
    assert refusal(kernel, Change(wanted, found)) == "EOPNOTSUPP"


@pytest.mark.parametrize(("tunnel", "most"), [(VXLAN, 65535), (GENEVE, 65485)])
def test_udp_tunnels_refuse_a_mtu_too_large(kernel: FakeKernel, tunnel: Link, most: int) -> None:
    assert refusal(kernel, Add(replace(tunnel, mtu=most + 1))) == "EINVAL"
    add(kernel, replace(tunnel, mtu=most))


def test_a_kernel_with_gaps_says_what_to_do() -> None:
    kernel = FakeKernel(gaps={"gretap", "geneve"})
    assert kernel.missing(GRETAP) == (
        "this kernel has no gretap: load ip_gre or set tunnel 'vxlan'"
    )
    assert kernel.missing(GENEVE) == (
        "this kernel has no geneve: load geneve or set tunnel 'vxlan'"
    )
    assert kernel.missing(VXLAN) is None
    assert refusal(kernel, Add(GRETAP)) == "EOPNOTSUPP"
    kernel.gaps.clear()
    assert kernel.missing(GRETAP) is None


def test_multipoint_gre_is_ipv4_only() -> None:
    reason = FakeKernel().missing(replace(GRE, local=LOCAL6))
    assert reason is not None
    assert "vxlan" in reason
