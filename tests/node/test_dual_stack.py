"""A tenant of IPv4, of IPv6, or of both, from a guest's lease to the way out."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

import snnet
from snnet.backends.fake import FakeKernel, Guest
from snnet.contract import Add, Route
from tests.backends.fake.steps import add, address, do

SUBNETS = {
    "ipv4": ("10.1.0.0/24",),
    "ipv6": ("fd00:1::/64",),
    "both": ("10.1.0.0/24", "fd00:1::/64"),
}
OUTSIDE = {4: "192.0.2.99", 6: "2001:db8::99"}
CONFIG = snnet.NetworkConfig(compute_nets=["192.0.2.0/28"], tunnel="vxlan", node_number=1)


class Tenant:
    """Two guests on a compute node, their concentrator, and a host outside."""

    def __init__(self, family: str) -> None:
        self.subnets = SUBNETS[family]
        self.fabric = snnet.Fabric()
        node = self.fabric.add_host("cn-1", "192.0.2.11/24")
        self.router = self.fabric.add_host("net-1", "192.0.2.10/24")
        self.outside = self.fabric.add_host("outside", "192.0.2.99/24")
        add(self.router, address("2001:db8::10/64", "eth0"))
        add(self.outside, address("2001:db8::99/64", "eth0"))
        self._lead_to_guests()
        self.compute = snnet.ComputeNode("cn-1", CONFIG, backend=node, firewall="fake")
        self.cnci = snnet.Cnci(
            "cnci-1", CONFIG, tenant_id="t1", backend=self.router, firewall="fake", dhcp="fake"
        )
        self.compute.init()
        self.cnci.init()
        self.guests = [self._guest(node, number) for number in (9, 10)]

    def _lead_to_guests(self) -> None:
        """Outside, IPv6 is routed: somebody has to know the way back."""
        back = Route(
            destination=ip_network("fd00::/16"), link="eth0", gateway=ip_address("2001:db8::10")
        )
        do(self.outside, Add(back))

    def _guest(self, node: FakeKernel, number: int) -> Guest:
        made = self.compute.create_vnic(
            snnet.VnicConfig(
                vnic_id=f"v{number}",
                instance_id=f"i{number}",
                tenant_id="t1",
                subnet_id="s1",
                concentrator_id="cnci-1",
                concentrator_ip="192.0.2.10",
                subnet=self.subnets,
                subnet_key=7,
                ip=tuple(str(ip_network(subnet)[number]) for subnet in self.subnets),
            )
        )
        if event := made.tunnel_event:
            self.bridge = self.cnci.add_remote_subnet(
                event.subnets, 7, event.cn_ip, port=event.port
            )
        self.cnci.dhcp(self.subnets[0]).add_entries(made.vnic.dhcp_entries)
        return self.fabric.attach(node, made.vnic, dhcp=True)

    def ips(self, number: int = 9) -> list[str]:
        return [str(ip_network(subnet)[number]) for subnet in self.subnets]


@pytest.fixture(params=SUBNETS)
def tenant(request: pytest.FixtureRequest) -> Tenant:
    return Tenant(request.param)


def test_guests_reach_each_other_and_their_gateway(tenant: Tenant) -> None:
    one, two = tenant.guests
    leases = [lease for lease in (one.lease, one.lease6) if lease]
    assert [str(lease.address) for lease in leases] == tenant.ips()
    for ip in (*tenant.ips(10), *tenant.ips(1)):
        assert tenant.fabric.ping(one, ip), tenant.fabric.explain(one, ip)
    for ip in tenant.ips():
        assert tenant.fabric.connect(two, ip, "tcp", 22)


@pytest.mark.parametrize("nat66", [False, True])
def test_guests_get_out_and_nobody_gets_in(tenant: Tenant, nat66: bool) -> None:
    one, _ = tenant.guests
    tenant.fabric.listen(tenant.outside, "tcp", 80)
    ways = [(ip, OUTSIDE[ip_address(ip).version]) for ip in tenant.ips()]
    for _, outside in ways:
        assert not tenant.fabric.ping(one, outside)
    tenant.cnci.enable_nat(["eth0"], nat66=nat66)
    tenant.cnci.allow_external("eth0", tenant.bridge)
    for ip, outside in ways:
        seen = tenant.fabric.connected(one, outside, "tcp", 80)
        assert seen is not None, tenant.fabric.explain(one, outside, protocol="tcp", port=80)
        host = "192.0.2.10" if "." in ip else "2001:db8::10"
        assert str(seen.source) == (ip if ":" in ip and not nat66 else host)
        assert not tenant.fabric.ping(tenant.outside, ip)


def test_a_forward_leads_to_a_guest_of_each_family(tenant: Tenant) -> None:
    tenant.cnci.enable_nat(["eth0"])
    for ip in tenant.ips():
        tenant.cnci.add_port_forward(protocol="tcp", device="eth0", port=33022, to=ip, to_port=22)
        host = "192.0.2.10" if "." in ip else "2001:db8::10"
        assert tenant.fabric.connect(tenant.outside, host, "tcp", 33022)
    assert len(tenant.cnci.port_forwards) == len(tenant.subnets)


def test_a_guest_speaks_for_itself_alone(tenant: Tenant) -> None:
    """Another address on its NIC does not get it anywhere."""
    one, _ = tenant.guests
    for network in map(ip_network, tenant.subnets):
        foreign = address(f"{network[77]}/{network.prefixlen}", "eth0")
        # Packets of its own do not come from it, as those from the newest IPv6 address would.
        add(one.kernel, replace(foreign, deprecated=network.version == 6))
        assert tenant.fabric.ping(one, network[10])
        assert not tenant.fabric.ping(tenant.guests[1], network[77])
