"""The records of a compute node: tenant subnets, VNICs and CNCI VNICs with their nouns.

``building.py`` builds them from requests and from link aliases.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Interface, IPv6Interface
from typing import Any

from snnet.config import VnicRole
from snnet.contract import (
    Bridge,
    BridgeAccept,
    DhcpEntry,
    HostIsolation,
    InvalidRequest,
    IPAddress,
    IPInterface,
    IPNetwork,
    Macvtap,
    Noun,
    Route,
    Tap,
    Tunnel,
    Veth,
)
from snnet.contract.addresses import gateway_of, mac_of
from snnet.contract.frozen import frozen

from . import identity as ids
from .addressing import Addresses, Networks, written
from .guards import port_rules
from .identity import Owner
from .meshing import NO_PEERS, SubnetPeers
from .policies import NO_POLICY, Policy
from .qemu import qemu_args
from .requests import CnciVnicId, SubnetId, VnicId

ROUTED_GATEWAYS: dict[int, IPInterface] = {
    4: IPv4Interface("169.254.1.1/32"),
    6: IPv6Interface("fe80::1/64"),
}
"""By IP version, the gateway of every guest in routed mode: the node of the guest."""


def gateways_of(networks: Networks, *, routed: bool) -> Addresses:
    """Return the gateways of the guests of a subnet: first host addresses, or the node itself."""
    return tuple(
        ROUTED_GATEWAYS[network.version].ip if routed else gateway_of(network)
        for network in networks
    )


@dataclass(frozen=True, slots=True, repr=False)
class TenantSubnet:
    """A tenant subnet on this node.

    ``tunnel`` is None for a subnet that was found without its tunnel: only the tunnel has
    the concentrator, so the next create must name it.  In routed mode there is no bridge,
    no tunnel and no key, but there may be ``routes`` to the guests of the subnet on other
    nodes.
    """

    owner: str
    tenant_id: str
    subnet_id: str
    networks: Networks
    key: int | None = None
    bridge: Bridge | None = None
    tunnel: Tunnel | None = None
    concentrator_id: str = ""
    routes: tuple[Route, ...] = ()
    peers: SubnetPeers = NO_PEERS
    """Where its other guests are, in topology "mesh"."""
    stale: tuple[Noun, ...] = ()
    """Rules about a tunnel that could not be removed when the tunnel was."""

    # All VNICs of the subnet need these: they are made once.
    id: SubnetId = field(init=False, compare=False)
    beside_tunnel: tuple[Noun, ...] = field(init=False, compare=False)
    """The rules that come and go with its tunnel."""
    rules: tuple[Noun, ...] = field(init=False, compare=False)
    """The rules: guests' frames pass the bridge only, and do not reach the host."""
    reach: tuple[Noun, ...] = field(init=False, compare=False)
    """What leads to guests on other nodes."""

    def __post_init__(self) -> None:
        beside: tuple[Noun, ...] = ()
        if self.tunnel is not None:
            beside = tuple(port_rules(self.owner, self.tunnel, members=self.peers.nodes))
        rules: tuple[Noun, ...] = ()
        if self.bridge is not None:
            accept = BridgeAccept(owner=self.owner, bridge=self.bridge.name)
            isolation = HostIsolation(owner=self.owner, link=self.bridge.name)
            rules = (accept, isolation, *beside, *self.stale)
        put = object.__setattr__
        put(self, "id", (self.tenant_id, self.subnet_id))
        put(self, "beside_tunnel", beside)
        put(self, "rules", rules)
        reach: tuple[Noun, ...] = ()
        if self.bridge and self.tunnel and self.peers.nodes:
            reach = tuple(self.peers.nouns(self.bridge.name, self.tunnel.name))
        put(self, "reach", reach)

    @property
    def network(self) -> IPNetwork:
        """Its first network: IPv4 where there is one."""
        return self.networks[0]

    @property
    def concentrator_ip(self) -> IPAddress | None:
        return self.tunnel.remote if self.tunnel else None

    def with_guest(self, mac: str, ips: Iterable[IPAddress]) -> TenantSubnet:
        """Return the subnet with a guest that is on this node, and so nowhere else."""
        peers = self.peers.without(mac, ips)
        return self if peers is self.peers else replace(self, peers=peers)

    def nouns(self) -> tuple[Noun, ...]:
        """What the kernel and the firewall hold for it, beside ``reach``."""
        links: tuple[Noun | None, ...] = (self.bridge, *self.rules, self.tunnel, *self.routes)
        return tuple(filter(None, links))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "subnet": str(self.network),
            "subnets": [str(network) for network in self.networks],
            "subnet_key": self.key,
            "bridge": self.bridge.name if self.bridge else None,
            "tunnel": self.tunnel.name if self.tunnel else None,
            "concentrator_id": self.concentrator_id,
            "concentrator_ip": str(self.concentrator_ip or "") or None,
            **({"peers": self.peers.to_list()} if self.peers.nodes else {}),
        }

    def __repr__(self) -> str:
        return f"<TenantSubnet {self.tenant_id}/{self.subnet_id} {written(self.networks)}>"

    @property
    def network_name(self) -> str:
        """The name for a container network: the name of the bridge, unique on the host."""
        if self.bridge:
            return self.bridge.name
        role, _, node = self.owner.partition(":")
        return ids.name(Owner(role, node), ids.BRIDGE, *self.id)


@frozen(kw_only=False, repr=False)
class Vnic:
    """A tenant's virtual NIC on this node.

    ``link_name`` is the host end; ``peer_name`` is the end for the container, as it was
    created.  ``mac``, ``ips`` and ``mtu`` (bytes) are those of the guest.  ``ips`` and
    ``subnets`` have one value, or one of each family; ``ip``, ``subnet`` and ``gateway`` are
    the first ones: IPv4 where there is one.  ``fds`` are the
    queues of a multi-queue tap; the caller that receives them owns them.
    """

    id: VnicId
    role: VnicRole
    instance_id: str
    ips: Addresses
    mac: str
    subnets: Networks
    link: Tap | Veth
    dependents: tuple[Noun, ...] = ()
    """Nouns that are added and removed with the link: rules, and routes in routed mode."""
    fds: tuple[int, ...] = ()
    policy: Policy = NO_POLICY

    @property
    def tenant_id(self) -> str:
        return self.id[0]

    @property
    def subnet_id(self) -> str:
        return self.id[1]

    @property
    def vnic_id(self) -> str:
        return self.id[2]

    @property
    def thing(self) -> tuple[str, ...]:
        """What calls on it claim."""
        return ("vnic", *self.id)

    @property
    def link_name(self) -> str:
        return self.link.name

    @property
    def peer_name(self) -> str | None:
        return self.link.peer if isinstance(self.link, Veth) else None

    @property
    def global_id(self) -> str:
        """The link alias, which identifies the VNIC on any node."""
        return self.link.alias

    @property
    def mtu(self) -> int:
        return self.link.mtu or 0

    @property
    def bridge(self) -> str | None:
        return self.link.master

    @property
    def ip(self) -> IPAddress:
        return self.ips[0]

    @property
    def subnet(self) -> IPNetwork:
        return self.subnets[0]

    @property
    def gateways(self) -> Addresses:
        """The subnet's first host addresses; in routed mode the node itself, link-local."""
        return gateways_of(self.subnets, routed=self.link.master is None)

    @property
    def gateway(self) -> IPAddress:
        return self.gateways[0]

    @property
    def dhcp_entries(self) -> tuple[DhcpEntry, ...]:
        """What its concentrator must be told, or the guest gets no lease.

        They are for ``cnci.dhcp(subnet).add_entries``.  The lease of an IPv4 address whose
        MAC is ``mac_for(ip)`` is not among them: every concentrator knows it.
        """
        return tuple(
            DhcpEntry(mac=self.mac, address=ip)
            for ip in self.ips
            if ip.version != 4 or self.mac != mac_of(ip)
        )

    @property
    def dhcp_entry(self) -> DhcpEntry | None:
        """The first of ``dhcp_entries``, or None."""
        return next(iter(self.dhcp_entries), None)

    def qemu_args(self, netdev: str = "net0") -> list[str]:
        """Return the arguments that give a VM this NIC in QEMU, with its MAC and its MTU.

        ``netdev`` is a name that is unique in the VM.  QEMU's own default MAC would be that
        of no VNIC: the guest's frames would be dropped, and it would get no lease.  Raises
        InvalidRequest for the VNIC of a container.
        """
        if not isinstance(self.link, Tap):
            raise InvalidRequest(f"VNIC {self.vnic_id} is for a container, not for a VM")
        if self.fds:
            return qemu_args(netdev, self.mac, self.mtu, fds=self.fds)
        return qemu_args(netdev, self.mac, self.mtu, tap=self.link_name)

    @property
    def user(self) -> int | None:
        """The uid that may open the tap of a VM, beside privileged processes."""
        return self.link.user if isinstance(self.link, Tap) else 0

    @property
    def extra_addresses(self) -> tuple[IPAddress | IPNetwork, ...]:
        """Addresses and networks that the guest may use beside ``ips``."""
        return self.policy.extra

    @property
    def anti_spoofing(self) -> bool | None:
        """Whether the guest's addresses are checked; None: as the node's configuration has it."""
        return self.policy.anti_spoofing

    @property
    def groups(self) -> tuple[str, ...]:
        """The tenant's security groups that it is in."""
        return self.policy.groups

    @property
    def rate_to_guest(self) -> int | None:
        return self.policy.rate_to_guest

    @property
    def rate_from_guest(self) -> int | None:
        return self.policy.rate_from_guest

    @property
    def queues(self) -> int:
        return self.link.queues if isinstance(self.link, Tap) else 1

    def on_bridge(self, bridge: Bridge | None) -> Vnic:
        """Return the VNIC as a port of its subnet's bridge, which may have another name now."""
        if bridge is None or self.link.master == bridge.name:
            return self
        return replace(self, link=replace(self.link, master=bridge.name))

    def nouns(self) -> tuple[Noun, ...]:
        """What the kernel and the firewall hold for it."""
        return (self.link, *self.dependents)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "vnic_id": self.vnic_id,
            "role": self.role.value,
            "instance_id": self.instance_id,
            "link_name": self.link_name,
            "ip": str(self.ip),
            "ips": [str(ip) for ip in self.ips],
            "subnets": [str(subnet) for subnet in self.subnets],
            "gateways": [str(gateway) for gateway in self.gateways],
            "mac": self.mac,
            "mtu": self.mtu,
            **self.policy.to_plain(),
            "dhcp_entry": self.dhcp_entry.to_dict() if self.dhcp_entry else None,
            "dhcp_entries": [entry.to_dict() for entry in self.dhcp_entries],
        }

    def __repr__(self) -> str:
        identity = "/".join(self.id)
        return f"<Vnic {identity} {written(self.ips)} {self.mac} {self.link.kind} {self.link_name}>"


@dataclass(frozen=True, slots=True, repr=False)
class CnciVnic:
    """The VNIC of a concentrator: a macvtap on the compute uplink.

    Its VM opens ``device``, which is /dev/tap<ifindex>; all network namespaces share
    these devices.
    """

    tenant_id: str
    vnic_id: str
    instance_id: str
    link: Macvtap

    @property
    def id(self) -> CnciVnicId:
        return (self.tenant_id, self.vnic_id)

    @property
    def link_name(self) -> str:
        return self.link.name

    @property
    def global_id(self) -> str:
        return self.link.alias

    @property
    def index(self) -> int:
        return self.link.index

    @property
    def device(self) -> str:
        return f"/dev/tap{self.link.index}"

    @property
    def mac(self) -> str:
        return self.link.mac or ""

    @property
    def mtu(self) -> int:
        return self.link.mtu or 0

    def nouns(self) -> Iterator[Noun]:
        # A new macvtap gets a new index: the old one may be in use now.
        yield replace(self.link, index=0)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "vnic_id": self.vnic_id,
            "instance_id": self.instance_id,
            "link_name": self.link_name,
            "device": self.device,
            "mac": self.mac,
            "mtu": self.mtu,
        }

    def __repr__(self) -> str:
        return f"<CnciVnic {'/'.join(self.id)} {self.mac} {self.link_name} {self.device}>"
