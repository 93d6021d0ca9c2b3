"""A compute node's topology: records that carry the nouns they stand for.

A record is built from a request or read back from a link alias, by the same
functions, so that what a restarted agent wants is what the first one made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from snnet.config import VnicRole, check_mac, check_mtu
from snnet.contract import (
    Address,
    AntiSpoof,
    Bridge,
    BridgeAccept,
    HostIsolation,
    IPAddress,
    Key,
    Link,
    Macvtap,
    Noun,
    ProxyNeighbour,
    Route,
    Tap,
    Tunnel,
    Veth,
    ZoneLink,
    link_key,
)
from snnet.contract.dhcp import mac_of

from . import identity as ids
from .addressing import check_subnet, gateway_of
from .encapsulation import check_key, overhead, tunnel_link
from .events import ContainerEvent, ContainerInfo, TunnelEvent, TunnelEventType
from .identity import Owner
from .requests import (
    GuestRequest,
    PortId,
    PortRequest,
    SubnetId,
    TenantRequest,
    VnicId,
    check_remote,
)
from .uplinks import Uplink

ROUTED_GATEWAY = IPv4Address("169.254.1.1")
"""Every guest's gateway in routed mode: its own node, whichever that is."""


@dataclass(frozen=True, slots=True)
class Site:
    """What all of a node's records depend on: who, over what, by which tunnel."""

    owner: Owner
    uplink: Uplink
    tunnel: str
    mtu_cap: int | None
    macvtap_mode: str
    routed: bool = False
    anti_spoofing: bool = True
    mtu: int = field(init=False)
    """Default and upper limit of tenant MTUs, in bytes."""

    @property
    def uplink_key(self) -> Key:
        """Identity of the uplink's link."""
        return link_key(self.uplink.link_name)

    def __post_init__(self) -> None:
        outer = 0 if self.routed else overhead(self.tunnel, self.uplink.ip.version)
        limit = self.uplink.mtu - outer
        object.__setattr__(self, "mtu", min(limit, self.mtu_cap or limit))


@dataclass(frozen=True, slots=True)
class Subnet:
    """A tenant subnet present on this node.

    ``tunnel`` is None for one found without it: only its tunnel told which
    concentrator it belongs to, so it waits for the next create to say so.  In
    routed mode there is neither bridge nor tunnel nor key, but perhaps the
    ``route`` to those of the subnet that are on other nodes.
    """

    owner: str
    tenant_id: str
    subnet_id: str
    network: IPv4Network
    key: int | None = None
    bridge: Bridge | None = None
    tunnel: Tunnel | None = None
    concentrator_id: str = ""
    route: Route | None = None

    @property
    def id(self) -> SubnetId:
        return (self.tenant_id, self.subnet_id)

    @property
    def rules(self) -> tuple[Noun, ...]:
        """Guests' frames pass the bridge, and go nowhere else; the host is out of reach."""
        if self.bridge is None:
            return ()
        return (
            BridgeAccept(owner=self.owner, bridge=self.bridge.name),
            HostIsolation(owner=self.owner, link=self.bridge.name),
        )

    @property
    def concentrator_ip(self) -> IPAddress | None:
        return self.tunnel.remote if self.tunnel else None

    def nouns(self) -> Iterator[Noun]:
        """What the kernel and the firewall hold for it."""
        if self.bridge:
            yield self.bridge
        yield from self.rules
        if self.tunnel:
            yield self.tunnel
        if self.route:
            yield self.route

    @property
    def network_name(self) -> str:
        """What a container network for it is called, unique on the host: its bridge's name."""
        if self.bridge:
            return self.bridge.name
        role, _, node = self.owner.partition(":")
        return next(ids.names(Owner(role, node), ids.BRIDGE, *self.id))


@dataclass(frozen=True, slots=True)
class Vnic:
    """A tenant's virtual NIC on this node.

    ``link_name`` is the host's end; ``peer_name`` a container's end as it was
    created.  ``mac``, ``ip`` and ``mtu`` (bytes) are the guest's.  ``fds`` are
    the queues of a multi-queue tap, owned by the caller that got them.
    """

    role: VnicRole
    tenant_id: str
    subnet_id: str
    vnic_id: str
    instance_id: str
    ip: IPv4Address
    mac: str
    subnet: IPv4Network
    link: Tap | Veth
    beside: tuple[Noun, ...] = ()
    """What comes and goes with the link: its rules and, in routed mode, its routes."""
    fds: tuple[int, ...] = ()

    @property
    def id(self) -> VnicId:
        return (self.tenant_id, self.subnet_id, self.vnic_id)

    @property
    def link_name(self) -> str:
        return self.link.name

    @property
    def peer_name(self) -> str | None:
        return self.link.peer if isinstance(self.link, Veth) else None

    @property
    def global_id(self) -> str:
        """The link alias: it fully qualifies the VNIC, here and everywhere."""
        return self.link.alias

    @property
    def mtu(self) -> int:
        return self.link.mtu or 0

    @property
    def bridge(self) -> str | None:
        return self.link.master

    @property
    def gateway(self) -> IPv4Address:
        """The subnet's first host address; in routed mode the node itself, link-local."""
        return gateway_of(self.subnet) if self.link.master else ROUTED_GATEWAY

    @property
    def queues(self) -> int:
        return self.link.queues if isinstance(self.link, Tap) else 1

    def nouns(self) -> Iterator[Noun]:
        """What the kernel and the firewall hold for it."""
        yield self.link
        yield from self.beside


@dataclass(frozen=True, slots=True)
class CnciVnic:
    """A concentrator's NIC: a macvtap on the compute uplink.

    Its VM opens ``device``; the node is /dev/tap and the ifindex, and is
    shared by all network namespaces.
    """

    tenant_id: str
    vnic_id: str
    instance_id: str
    link: Macvtap

    @property
    def id(self) -> PortId:
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
        # A new macvtap gets a new index; the old one may be somebody's by now.
        yield replace(self.link, index=0)


# -- building records ------------------------------------------------------


def build_subnet(site: Site, request: TenantRequest, bridge: str, tunnel: str) -> Subnet:
    """The subnet of a request; ``bridge`` and ``tunnel`` are the link names to use."""
    where = {ids.TENANT: request.tenant_id, ids.SUBNET: request.subnet_id}
    what = {ids.NETWORK: str(request.subnet), ids.TUNNEL_KEY: str(request.subnet_key)}
    towards = {
        ids.CONCENTRATOR: request.concentrator_id,
        ids.REMOTE: str(request.concentrator_ip),
    }
    return _subnet(
        site,
        tenant_id=request.tenant_id,
        subnet_id=request.subnet_id,
        network=request.subnet,
        key=request.subnet_key,
        bridge=bridge,
        bridge_alias=ids.encode(site.owner, ids.BRIDGE, where | what),
        concentrator_id=request.concentrator_id,
        remote=request.concentrator_ip,
        tunnel=tunnel,
        tunnel_alias=ids.encode(site.owner, ids.TUNNEL, where | what | towards),
    )


def _subnet(
    site: Site,
    *,
    tenant_id: str,
    subnet_id: str,
    network: IPv4Network,
    key: int,
    bridge: str,
    bridge_alias: str,
    concentrator_id: str,
    remote: IPAddress | None,
    tunnel: str,
    tunnel_alias: str,
) -> Subnet:
    return Subnet(
        owner=str(site.owner),
        tenant_id=tenant_id,
        subnet_id=subnet_id,
        network=network,
        key=key,
        bridge=Bridge(name=bridge, alias=bridge_alias, mac=ids.link_mac(bridge), mtu=site.mtu),
        tunnel=None
        if remote is None
        else tunnel_link(
            site.tunnel,
            name=tunnel,
            alias=tunnel_alias,
            key=key,
            local=site.uplink.ip,
            remote=remote,
            master=bridge,
            mac=ids.link_mac(tunnel),
            mtu=site.mtu,
        ),
        concentrator_id=concentrator_id,
    )


def build_vnic(site: Site, request: GuestRequest, subnet: Subnet, name: str) -> Vnic:
    """The VNIC of a request on the subnet, by the link name to use."""
    fields = {
        ids.TENANT: request.tenant_id,
        ids.SUBNET: request.subnet_id,
        ids.VNIC: request.vnic_id,
        ids.INSTANCE: request.instance_id,
        ids.ADDRESS: str(request.ip),
    }
    if request.mac != mac_of(request.ip):
        fields[ids.MAC] = request.mac
    if request.mtu is not None:
        fields[ids.MTU] = str(request.mtu)
    if site.routed:  # nothing else tells
        fields[ids.NETWORK] = str(request.subnet)
    kind = ids.VM if request.role is VnicRole.TENANT_VM else ids.CONTAINER
    return _vnic(
        site,
        fields | {ids.KIND: kind},
        subnet,
        ip=request.ip,
        mac=request.mac,
        name=name,
        alias=ids.encode(site.owner, kind, fields),
        queues=request.queues,
    )


def _vnic(
    site: Site,
    fields: dict[str, str],
    subnet: Subnet,
    *,
    ip: IPv4Address,
    mac: str,
    name: str,
    alias: str,
    queues: int,
) -> Vnic:
    mtu = check_mtu(int(fields[ids.MTU]), "mtu") if ids.MTU in fields else site.mtu
    master = subnet.bridge.name if subnet.bridge else None
    link: Tap | Veth
    if fields[ids.KIND] == ids.VM:
        role = VnicRole.TENANT_VM
        link = Tap(
            name=name, alias=alias, mac=ids.host_mac(mac), mtu=mtu, master=master,
            multi_queue=queues > 1, queues=queues, proxy_arp=site.routed,
        )  # fmt: skip
    else:
        role = VnicRole.TENANT_CONTAINER
        link = Veth(
            name=name, alias=alias, mac=ids.host_mac(mac), mtu=mtu, master=master,
            peer=ids.peer_name(name), peer_mac=mac, peer_mtu=mtu, proxy_arp=site.routed,
        )  # fmt: skip
    return Vnic(
        role=role,
        tenant_id=fields[ids.TENANT],
        subnet_id=fields[ids.SUBNET],
        vnic_id=fields[ids.VNIC],
        instance_id=fields[ids.INSTANCE],
        ip=ip,
        mac=mac,
        subnet=subnet.network,
        link=link,
        beside=_beside(site, link.name, mac, ip, fields[ids.TENANT]),
    )


def beside_unknown(site: Site, name: str, link: Link | None) -> tuple[Noun, ...]:
    """What may stand beside the link of this name whose VNIC nobody knows: for looking it up."""
    fields = ids.decode(link.alias) if link else None
    ip = IPv4Address((fields or {}).get(ids.ADDRESS, "0.0.0.0"))
    return _beside(site, name, "", ip, "")


def _beside(site: Site, link: str, mac: str, ip: IPv4Address, zone: str) -> tuple[Noun, ...]:
    """What comes and goes with a VNIC's link."""
    owner = str(site.owner)
    if site.routed:
        return (
            ZoneLink(owner=owner, link=link, zone=zone),
            HostIsolation(owner=owner, link=link, arp=False),
            AntiSpoof(owner=owner, link=link, mac=mac, addresses=(ip,), bridged=False),
            Address(link=link, address=IPv4Interface((ROUTED_GATEWAY, 32))),
            Route(destination=IPv4Network(ip), link=link),
            ProxyNeighbour(link=site.uplink.link_name, address=ip),
        )
    if site.anti_spoofing:
        return (AntiSpoof(owner=owner, link=link, mac=mac, addresses=(ip,)),)
    return ()


def build_port(site: Site, request: PortRequest, name: str) -> CnciVnic:
    """The CNCI VNIC of a request, by the link name to use."""
    fields = {
        ids.TENANT: request.tenant_id,
        ids.VNIC: request.vnic_id,
        ids.INSTANCE: request.instance_id,
        ids.MAC: request.mac,
    }
    if request.mtu is not None:
        fields[ids.MTU] = str(request.mtu)
    return _port(site, fields, name=name, alias=ids.encode(site.owner, ids.PORT, fields))


def _port(site: Site, fields: dict[str, str], *, name: str, alias: str, index: int = 0) -> CnciVnic:
    return CnciVnic(
        tenant_id=fields[ids.TENANT],
        vnic_id=fields[ids.VNIC],
        instance_id=fields[ids.INSTANCE],
        link=Macvtap(
            name=name,
            alias=alias,
            mac=check_mac(fields[ids.MAC], "mac"),
            mtu=check_mtu(int(fields[ids.MTU]), "mtu") if ids.MTU in fields else site.uplink.mtu,
            lower=site.uplink.link_name,
            mode=site.macvtap_mode,
            index=index,
        ),
    )


# -- reading records back: the alias has all that a request had --------------


def read_subnet(
    site: Site,
    bridge: tuple[Link, dict[str, str]] | None,
    tunnel: tuple[Link, dict[str, str]] | None,
) -> Subnet:
    """A subnet from the identities of its bridge, its tunnel, or both.

    Raises KeyError, ValueError or InvalidRequest where an alias is damaged.
    """
    found = tunnel or bridge
    assert found is not None
    fields = found[1]
    where = {key: fields[key] for key in (ids.TENANT, ids.SUBNET)}
    what = {key: fields[key] for key in (ids.NETWORK, ids.TUNNEL_KEY)}
    key = (fields[ids.TENANT], fields[ids.SUBNET])
    return _subnet(
        site,
        tenant_id=fields[ids.TENANT],
        subnet_id=fields[ids.SUBNET],
        network=check_subnet(IPv4Network(fields[ids.NETWORK])),
        key=check_key(site.tunnel, int(fields[ids.TUNNEL_KEY])),
        bridge=bridge[0].name if bridge else next(ids.names(site.owner, ids.BRIDGE, *key)),
        bridge_alias=(
            bridge[0].alias if bridge else ids.encode(site.owner, ids.BRIDGE, where | what)
        ),
        concentrator_id=tunnel[1][ids.CONCENTRATOR] if tunnel else "",
        remote=check_remote(tunnel[1][ids.REMOTE], site.uplink.ip, "remote") if tunnel else None,
        tunnel=tunnel[0].name if tunnel else "",
        tunnel_alias=tunnel[0].alias if tunnel else "",
    )


def read_vnic(site: Site, link: Link, fields: dict[str, str], subnet: Subnet) -> Vnic:
    """A VNIC from the identity of its link; raises as ``read_subnet`` does."""
    # How many queues a tap has is a matter of who holds it open; that it has
    # several is all that lasts.
    queues = max(2, link.queues) if isinstance(link, Tap) and link.multi_queue else 1
    ip = IPv4Address(fields[ids.ADDRESS])
    return _vnic(
        site,
        fields,
        subnet,
        ip=ip,
        mac=check_mac(fields[ids.MAC], "mac") if ids.MAC in fields else mac_of(ip),
        name=link.name,
        alias=link.alias,
        queues=queues,
    )


def read_port(site: Site, link: Link, fields: dict[str, str]) -> CnciVnic:
    """A CNCI VNIC from the identity of its link; raises as ``read_subnet`` does."""
    return _port(site, fields, name=link.name, alias=link.alias, index=link.index)


# -- what is told ----------------------------------------------------------------


def container_info(subnet: Subnet, event: ContainerEvent) -> ContainerInfo:
    return ContainerInfo(
        event=event,
        subnet_id=subnet.network_name,
        subnet=subnet.network,
        gateway=gateway_of(subnet.network) if subnet.bridge else ROUTED_GATEWAY,
        bridge=subnet.bridge.name if subnet.bridge else None,
    )


def tunnel_event(site: Site, subnet: Subnet, kind: TunnelEventType) -> TunnelEvent:
    """The event for the subnet's tunnel, which must be there."""
    assert subnet.tunnel is not None
    assert subnet.tunnel.remote is not None
    assert subnet.key is not None
    return TunnelEvent(
        type=kind,
        cnci_ip=subnet.tunnel.remote,
        cn_ip=site.uplink.ip,
        subnet=subnet.network,
        tenant_id=subnet.tenant_id,
        subnet_id=subnet.subnet_id,
        concentrator_id=subnet.concentrator_id,
        cn_id=site.owner.id,
        subnet_key=subnet.key,
    )
