"""Small data centres for the fabric's tests, built from nouns as the engine does."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, ip_address

from snnet.backends.fake import Fabric, FakeDhcp, FakeKernel, Guest
from snnet.contract import (
    Bridge,
    Change,
    DhcpScope,
    Geneve,
    Gretap,
    IPAddress,
    Sysctl,
    Tap,
    Tunnel,
    Veth,
    Vxlan,
)

from .steps import add, address, do

SUBNET = IPv4Network("10.1.0.0/24")
OVERHEAD = {"gre": 42, "vxlan": 50, "geneve": 50}


@dataclass(frozen=True)
class Vnic:
    """What the fabric reads of a VNIC."""

    link_name: str
    mac: str
    ip: IPv4Address | None = None
    mtu: int | None = None
    subnet: IPv4Network | None = None
    gateway: IPv4Address | None = None


def mac_of(ip: IPv4Address, first: int = 2) -> str:
    return f"{first:02x}:00:" + ip.packed.hex(":")


class DataCenter:
    """A concentrator ``cnci`` and compute nodes, with tenant subnets between them.

    ``tunnel`` is "gre", "vxlan" or "geneve"; ``version`` that of the underlay.
    """

    def __init__(self, tunnel: str = "gre", version: int = 4) -> None:
        self.fabric = Fabric()
        self.tunnel, self.version = tunnel, version
        self.mtu = 1500 - OVERHEAD[tunnel] - (20 if version == 6 else 0)
        self.cnci = self.host("cnci", 10)

    def underlay(self, number: int) -> IPAddress:
        return ip_address(f"192.0.2.{number}" if self.version == 4 else f"2001:db8::{number:x}")

    def host(self, name: str, number: int) -> FakeKernel:
        prefix = 24 if self.version == 4 else 64
        return self.fabric.add_host(name, f"{self.underlay(number)}/{prefix}")

    def subnet_at_cnci(self, key: int = 7, subnet: IPv4Network = SUBNET) -> str:
        """Add the concentrator's bridge with the gateway's address; return its name."""
        name = f"br{key}"
        gateway = subnet.network_address + 1
        mac = mac_of(gateway, first=6)
        add(self.cnci, Bridge(name=name, mac=mac, mtu=self.mtu))
        add(self.cnci, address(f"{gateway}/{subnet.prefixlen}", name))
        return name

    def spoke(
        self, node: FakeKernel, number: int, key: int = 7, far_key: int | None = None
    ) -> None:
        """Add the subnet's bridge and tunnel on a node, and the tunnel's other end."""
        name = f"br{key}"
        add(node, Bridge(name=name, mac=f"06:00:00:00:{number:02x}:{key:02x}", mtu=self.mtu))
        here, there = self.underlay(number), self.underlay(10)
        add(node, self._tunnel(f"to{key}", key, here, there, name))
        far_name = f"to{number}x{key}"
        far = self._tunnel(far_name, key if far_key is None else far_key, there, here, name)
        add(self.cnci, far)

    def serve(self, key: int = 7, subnet: IPv4Network = SUBNET) -> None:
        """Add a DHCP scope for the subnet."""
        scope = DhcpScope(link=f"br{key}", subnets=(subnet,), mtu=self.mtu)
        add(FakeDhcp(self.cnci), scope)

    def vm(self, node: FakeKernel, ip: str, key: int = 7, subnet: IPv4Network = SUBNET) -> Vnic:
        """Add a tap for a VM with this address."""
        vnic = self._vnic(f"t{key}x{ip.rpartition('.')[2]}", ip, subnet)
        mac = mac_of(IPv4Address(ip), first=0xFE)
        add(node, Tap(name=vnic.link_name, mac=mac, mtu=self.mtu, master=f"br{key}"))
        return vnic

    def container(self, node: FakeKernel, ip: str, key: int = 7) -> Vnic:
        """Add a veth for a container with this address."""
        vnic = self._vnic(f"v{key}x{ip.rpartition('.')[2]}", ip, SUBNET)
        add(
            node,
            Veth(
                name=vnic.link_name,
                mac=mac_of(IPv4Address(ip), first=0xFE),
                mtu=self.mtu,
                master=f"br{key}",
                peer=f"p{vnic.link_name}",
                peer_mac=vnic.mac,
                peer_mtu=self.mtu,
            ),
        )
        return vnic

    def guest(self, node: FakeKernel, ip: str, key: int = 7, *, dhcp: bool = False) -> Guest:
        return self.fabric.attach(node, self.vm(node, ip, key), dhcp=dhcp)

    def forward(self, kernel: FakeKernel) -> None:
        name = "net.ipv4.ip_forward"
        do(kernel, Change(Sysctl(name=name, value="1"), Sysctl(name=name, value="0")))

    def _vnic(self, name: str, ip: str, subnet: IPv4Network) -> Vnic:
        address = IPv4Interface(ip).ip
        gateway = subnet.network_address + 1
        return Vnic(name, mac_of(address), address, self.mtu, subnet, gateway)

    def _tunnel(
        self, name: str, key: int, local: IPAddress, remote: IPAddress, master: str
    ) -> Tunnel:
        values = {"name": name, "remote": remote, "master": master, "mtu": self.mtu}
        if self.tunnel == "gre":
            return Gretap(local=local, tunnel_key=key, **values)  # type: ignore[arg-type]
        if self.tunnel == "vxlan":
            port = 16384 + ((int(local) ^ int(remote)) & 0x3FFF)
            return Vxlan(local=local, vni=key, port=port, **values)  # type: ignore[arg-type]
        return Geneve(vni=key, **values)  # type: ignore[arg-type]


def two_nodes(tunnel: str = "gre", version: int = 4) -> tuple[DataCenter, FakeKernel, FakeKernel]:
    """A concentrator and two compute nodes, all with the subnet of key 7."""
    center = DataCenter(tunnel, version)
    nodes = center.host("cn-1", 11), center.host("cn-2", 12)
    center.subnet_at_cnci()
    for number, node in enumerate(nodes, 11):
        center.spoke(node, number)
    return center, *nodes
