"""The quick look: what no event of the kernel tells of, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

import snnet
from snnet.firewall.iptables.driver import IptablesFirewall
from snnet.system.host import RealHost
from snnet.system.process import find_program, run
from tests.conftest import ip

from .world import RealWorld, vm

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("backend", ["netlink", "iproute_shell"])
def test_kernel_parameters(netns: str, backend: str) -> None:
    world = RealWorld("vxlan", netns, ip, backend=backend)
    node = world.node()
    made = node.create_vnic(vm()).vnic
    (subnet,) = node.topology().subnets
    assert node.verify(quick=True) == []
    names = (
        f"net/ipv6/conf/{subnet.network_name}/accept_ra",
        f"net/ipv6/conf/{made.link_name}/disable_ipv6",
    )
    for name, value in zip(names, "20", strict=True):
        world.run("sysctl", "-qw", f"{name}={value}")
    found = node.verify(quick=True)
    assert len(found) == 2
    assert sorted(found) == sorted(node.verify())
    node.repair()
    assert node.verify(quick=True) == []
    ip("link", "delete", made.link_name, netns=netns)
    assert node.verify(quick=True) == [], "the kernel told of that"
    assert node.verify() != []
    node.repair()
    world.close()


@pytest.fixture(params=["nft", "legacy"])
def variant(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if find_program(f"iptables-{name}") is None:
        pytest.skip(f"iptables-{name} is not installed")
    return name


def test_rules(netns: str, variant: str, tmp_path: Path) -> None:
    """The kernel tells of rules in nf_tables, but not of those of legacy iptables."""
    world = RealWorld("vxlan", netns, ip)
    host = RealHost(netns, owner="cnci:cnci-1", runtime=tmp_path)
    firewall = IptablesFirewall(host, variant=variant)
    with snnet.Cnci(
        "cnci-1",
        world.config(),
        tenant_id="t1",
        backend="netlink",
        firewall=firewall,
        dhcp="dnsmasq",
        netns=netns,
    ) as cnci:
        cnci.init()
        cnci.add_remote_subnet("10.1.0.0/24", 7, "192.0.2.10")
        cnci.enable_nat(["eth0"])
        cnci.add_public_ip("192.0.2.50", to="10.1.0.9", device="eth0")
        assert cnci.verify(quick=True) == []
        run([f"iptables-{variant}", "-t", "nat", "-F"], netns=host.netns.fd)
        assert any("192.0.2.50" in line for line in cnci.verify())
        assert bool(cnci.verify(quick=True)) == (variant == "legacy")
        cnci.repair()
        assert cnci.verify() == cnci.verify(quick=True) == []
        cnci.shutdown()
    firewall.close()
    host.close()
    world.close()
