"""The quick look: what no event of the kernel tells of, and nothing else."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest

import snnet
from snnet.backends.fake import FakeFirewall
from snnet.contract import AntiSpoof, Change, Noun, ProxyNeighbour, Remove, Sysctl
from snnet.firewall.iptables.driver import IptablesFirewall
from snnet.system.host import RealHost
from snnet.system.process import find_program, run
from tests.conftest import ip

from .world import FakeWorld, RealWorld, container, vm


class Silent(snnet.FakeKernel):
    """One that tells nothing of kernel parameters and proxy entries."""

    def unreported(self) -> Collection[type[Noun]]:
        return (Sysctl, ProxyNeighbour)


class SilentFirewall(FakeFirewall):
    """One that tells nothing of one kind of rules, and of which all rules are read at once."""

    def unreported(self) -> Collection[type[Noun]]:
        return (AntiSpoof,)

    def find(self, noun: Noun) -> Noun | None:
        assert not isinstance(noun, AntiSpoof), "a look for each rule"
        return super().find(noun)


def test_on_the_fake(fake: FakeWorld) -> None:
    fake.kernel = kernel = Silent()
    kernel.add_uplink("eth0", "192.0.2.11/24")
    firewall = SilentFirewall(kernel.host)
    config = fake.config(mode=snnet.NetworkMode.ROUTED)
    node = fake.node(config=config, firewall=firewall)
    made = node.create_vnic(container()).vnic
    assert node.verify(quick=True) == []
    spoof = next(noun for noun in made.nouns() if isinstance(noun, AntiSpoof))
    proxy = next(noun for noun in kernel.snapshot({ProxyNeighbour}).values())
    forward = Sysctl(name="net.ipv4.ip_forward", value="1")
    for driver, noun in ((firewall, spoof), (kernel, proxy)):
        assert driver.apply([Remove(noun)]).error is None
        assert node.verify(quick=True) == [f"missing: {noun}"]
        node.repair()
    assert kernel.apply([Change(replace(forward, value="0"), forward)]).error is None
    (line,) = node.verify(quick=True)
    assert line.startswith("different: sysctl net.ipv4.ip_forward=0")
    node.repair()
    fake.delete(made.link_name)
    assert all("missing: proxy" in line or "sysctl" in line for line in node.verify(quick=True))


def test_without_such_rules_the_firewall_is_not_asked(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = fake.node()
    node.create_vnic(container())

    def refuse(*_: object) -> None:
        raise AssertionError("asked")

    monkeypatch.setattr(node.drivers.firewall, "snapshot", refuse)
    assert node.verify(quick=True) == []


@pytest.mark.kernel
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


@pytest.mark.kernel
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
