"""Building the records of a compute node: from a request, or back from link aliases.

The same functions do both, so a restarted node wants exactly what the first one created.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, ip_network

from snnet.checks import check_mac, check_mtu, check_uid
from snnet.config import VnicRole
from snnet.contract import (
    Address,
    AntiSpoof,
    ArpGuard,
    Bridge,
    DhcpGuard,
    HostIsolation,
    InvalidRequest,
    IPAddress,
    Link,
    Noun,
    PortGroups,
    ProxyNeighbour,
    Route,
    Tap,
    Untracked,
    Veth,
    Vxlan,
    ZoneLink,
)
from snnet.contract.addresses import mac_of

from . import identity as ids
from .addressing import Addresses, Networks, check_guests, read_addresses, read_networks, written
from .far_ends import check_remote
from .meshing import mesh_links
from .policies import NO_POLICIES, Policies, Policy
from .requests import GuestRequest, SubnetId, TenantRequest, VnicId
from .shaping import shaping
from .site import Site
from .tunnels import check_key, tunnel_link
from .vnics import ROUTED_GATEWAYS, TenantSubnet, Vnic

DAMAGE = (KeyError, ValueError, InvalidRequest)
"""The exceptions for an alias with a missing, malformed or impossible field."""

# -- from a request --------------------------------------------------------


def build_subnet(site: Site, request: TenantRequest, bridge: str, tunnel: str) -> TenantSubnet:
    """Return the subnet of a request; ``bridge`` and ``tunnel`` are the link names to use."""
    where = {ids.TENANT: request.tenant_id, ids.SUBNET: request.subnet_id}
    what = {ids.NETWORK: written(request.subnets), ids.TUNNEL_KEY: str(request.subnet_key)}
    towards = {
        ids.CONCENTRATOR: request.concentrator_id,
        ids.REMOTE: str(request.concentrator_ip),
    }
    return _subnet(
        site,
        tenant_id=request.tenant_id,
        subnet_id=request.subnet_id,
        networks=request.subnets,
        key=request.subnet_key,
        bridge=bridge,
        bridge_alias=ids.encode(site.owner, ids.BRIDGE, where | what),
        concentrator_id=request.concentrator_id,
        remote=request.concentrator_ip,
        tunnel=tunnel,
        tunnel_alias=ids.encode(site.owner, ids.TUNNEL, where | what | towards),
    )


def build_local_subnet(
    site: Site, subnet: SubnetId, networks: Networks, key: int, bridge: str, tunnel: str = ""
) -> TenantSubnet:
    """Return a subnet without a tunnel to a concentrator; ``bridge`` is the link name to use.

    In a mesh it has a vxlan, called ``tunnel`` or by its first name.
    """
    if site.mesh:
        links = mesh_links(site, subnet, networks, key, bridge, tunnel)
        return _meshed(site, subnet, networks, links)
    fields = {
        ids.TENANT: subnet[0],
        ids.SUBNET: subnet[1],
        ids.NETWORK: written(networks),
        ids.TUNNEL_KEY: str(key),
    }
    return _subnet(
        site,
        tenant_id=subnet[0],
        subnet_id=subnet[1],
        networks=networks,
        key=key,
        bridge=bridge,
        bridge_alias=ids.encode(site.owner, ids.BRIDGE, fields),
        concentrator_id="",
        remote=None,
        tunnel="",
        tunnel_alias="",
    )


def _meshed(
    site: Site, subnet: SubnetId, networks: Networks, links: tuple[Bridge, Vxlan]
) -> TenantSubnet:
    return TenantSubnet(
        owner=site.owner.name,
        tenant_id=subnet[0],
        subnet_id=subnet[1],
        networks=networks,
        key=links[1].vni,
        bridge=links[0],
        tunnel=links[1],
    )


def _subnet(
    site: Site,
    *,
    tenant_id: str,
    subnet_id: str,
    networks: Networks,
    key: int,
    bridge: str,
    bridge_alias: str,
    concentrator_id: str,
    remote: IPAddress | None,
    tunnel: str,
    tunnel_alias: str,
) -> TenantSubnet:
    return TenantSubnet(
        owner=site.owner.name,
        tenant_id=tenant_id,
        subnet_id=subnet_id,
        networks=networks,
        key=key,
        bridge=Bridge(name=bridge, alias=bridge_alias, mac=ids.link_mac(bridge), mtu=site.mtu),
        tunnel=None
        if remote is None
        else tunnel_link(
            site.tunnel,
            name=tunnel,
            alias=tunnel_alias,
            key=key,
            local=site.ip,
            remote=remote,
            master=bridge,
            mac=ids.link_mac(tunnel),
            mtu=site.mtu,
            port=site.port,
        ),
        concentrator_id=concentrator_id,
    )


def build_vnic(
    site: Site, request: GuestRequest, subnet: TenantSubnet, name: str, block: str = ""
) -> Vnic:
    """Return the VNIC of a request on the subnet, with the names to use of its link and ifb."""
    fields = {
        ids.TENANT: request.tenant_id,
        ids.SUBNET: request.subnet_id,
        ids.VNIC: request.vnic_id,
        ids.INSTANCE: request.instance_id,
        ids.ADDRESS: written(request.ips),
    }
    if request.mac != request.default_mac:
        fields[ids.MAC] = request.mac
    if request.mtu is not None:
        fields[ids.MTU] = str(request.mtu)
    if request.user:
        fields[ids.USER] = str(request.user)
    if site.routed:  # no bridge and no tunnel has it
        fields[ids.NETWORK] = written(request.subnets)
    kind = ids.VM if request.role is VnicRole.TENANT_VM else ids.CONTAINER
    return _vnic(
        site,
        subnet,
        request.role,
        request.id,
        instance_id=request.instance_id,
        ips=request.ips,
        mac=request.mac,
        mtu=request.mtu,
        user=request.user,
        queues=request.queues,
        name=name,
        alias=ids.encode(site.owner, kind, fields),
        policy=request.policy,
        block=block,
    )


def change_vnic(site: Site, old: Vnic, request: GuestRequest, block: str = "") -> Vnic:
    """Return the VNIC with what a request changes in place; its alias keeps everything else."""
    link, mtu = old.link, site.mtu if request.mtu is None else request.mtu
    own = None if request.mtu is None else str(request.mtu)
    link = replace(link, alias=ids.with_field(site.owner, link.alias, ids.MTU, own))
    if mtu != link.mtu:
        link = replace(link, mtu=mtu)
        if isinstance(link, Veth):
            link = replace(link, peer_mtu=mtu)
    return replace(
        old,
        link=link,
        policy=request.policy,
        dependents=_dependents(
            site, link.name, old.mac, old.ips, old.tenant_id, request.policy, block
        ),
    )


def _vnic(
    site: Site,
    subnet: TenantSubnet,
    role: VnicRole,
    identity: VnicId,
    *,
    instance_id: str,
    ips: Addresses,
    mac: str,
    mtu: int | None,
    user: int,
    queues: int,
    name: str,
    alias: str,
    policy: Policy,
    block: str,
) -> Vnic:
    mtu = site.mtu if mtu is None else mtu
    master = subnet.bridge.name if subnet.bridge else None
    link: Tap | Veth
    if role is VnicRole.TENANT_VM:
        link = Tap(
            name=name, alias=alias, mac=ids.host_mac(mac), mtu=mtu, master=master,
            multi_queue=queues > 1, queues=queues, proxy_arp=site.routed, user=user,
        )  # fmt: skip
    else:
        link = Veth(
            name=name, alias=alias, mac=ids.host_mac(mac), mtu=mtu, master=master,
            peer=ids.peer_name(name), peer_mac=mac, peer_mtu=mtu, proxy_arp=site.routed,
        )  # fmt: skip
    return Vnic(
        id=identity,
        role=role,
        instance_id=instance_id,
        ips=ips,
        mac=mac,
        subnets=subnet.networks,
        link=link,
        policy=policy,
        dependents=_dependents(site, name, mac, ips, identity[0], policy, block),
    )


def unknown_dependents(site: Site, name: str, link: Link | None) -> tuple[Noun, ...]:
    """Return the nouns to look up for a link that the records do not have."""
    fields = ids.decode(link.alias) if link else None
    try:
        ips = read_addresses((fields or {}).get(ids.ADDRESS, "0.0.0.0"))
    except DAMAGE:
        ips = ()
    return _dependents(site, name, "", ips, "", Policy(anti_spoofing=True, groups=("any",)), "")


def _dependents(
    site: Site, link: str, mac: str, ips: Addresses, zone: str, policy: Policy, block: str
) -> tuple[Noun, ...]:
    """Return the nouns that are added and removed with the link of a VNIC."""
    owner = site.owner.name
    rates: tuple[Noun, ...] = ()
    groups: tuple[Noun, ...] = ()
    if policy.rate_to_guest or policy.rate_from_guest:
        rates = shaping(site.owner, link, policy, block)
    if policy.groups:
        port = PortGroups(owner=owner, link=link, tenant=zone, groups=policy.groups, addresses=ips)
        groups = (replace(port, bridged=not site.routed),)
    if site.routed:
        return (
            *rates,
            *groups,
            ZoneLink(owner=owner, link=link, zone=zone),
            HostIsolation(owner=owner, link=link, arp=False),
            AntiSpoof(owner=owner, link=link, mac=mac, addresses=ips, bridged=False),
            *(
                ArpGuard(owner=owner, link=link, mac=mac, address=ip)
                for ip in ips
                if isinstance(ip, IPv4Address)
            ),
            *(noun for ip in ips for noun in _routed(site, link, ip)),
        )
    nouns = (Untracked(owner=owner, link=link), *rates, *groups)
    if policy.is_guarded(default=site.anti_spoofing):
        own = ips
        if policy.addresses:
            own = (*ips, *(address for address in policy.addresses if address not in ips))
        return (
            *nouns,
            AntiSpoof(owner=owner, link=link, mac=mac, addresses=own, networks=policy.networks),
            DhcpGuard(owner=owner, link=link, mac=mac),
        )
    return nouns


def _routed(site: Site, link: str, ip: IPAddress) -> Iterator[Noun]:
    """Yield the gateway's address on a guest's link, the route to the guest, and its proxy."""
    yield Address(link=link, address=ROUTED_GATEWAYS[ip.version])
    yield Route(destination=ip_network(ip), link=link)
    yield ProxyNeighbour(link=site.uplink.link_name, address=ip)


# -- back from aliases, which have everything that a request has -------------


def read_subnet(
    site: Site,
    bridge: tuple[Link, dict[str, str]] | None,
    tunnel: tuple[Link, dict[str, str]] | None,
) -> TenantSubnet:
    """Return a subnet from the identities of its bridge, its tunnel, or both.

    Raises KeyError, ValueError or InvalidRequest if an alias is damaged.
    """
    found = tunnel or bridge
    assert found is not None
    fields = found[1]
    where = {key: fields[key] for key in (ids.TENANT, ids.SUBNET)}
    what = {key: fields[key] for key in (ids.NETWORK, ids.TUNNEL_KEY)}
    key = (fields[ids.TENANT], fields[ids.SUBNET])
    if site.mesh:
        networks = read_networks(fields[ids.NETWORK])
        number = check_key(site.tunnel, int(fields[ids.TUNNEL_KEY]))
        names = [link[0].name if link else "" for link in (bridge, tunnel)]
        aliases = (bridge[0].alias if bridge else "", tunnel[0].alias if tunnel else "")
        own = names[0] or ids.name(site.owner, ids.BRIDGE, *key)
        links = mesh_links(site, key, networks, number, own, names[1], aliases)
        return _meshed(site, key, networks, links)
    return _subnet(
        site,
        tenant_id=fields[ids.TENANT],
        subnet_id=fields[ids.SUBNET],
        networks=read_networks(fields[ids.NETWORK]),
        key=check_key(site.tunnel, int(fields[ids.TUNNEL_KEY])),
        bridge=bridge[0].name if bridge else ids.name(site.owner, ids.BRIDGE, *key),
        bridge_alias=(
            bridge[0].alias if bridge else ids.encode(site.owner, ids.BRIDGE, where | what)
        ),
        concentrator_id=tunnel[1][ids.CONCENTRATOR] if tunnel else "",
        remote=check_remote(tunnel[1][ids.REMOTE], site.ip, "remote") if tunnel else None,
        tunnel=tunnel[0].name if tunnel else "",
        tunnel_alias=tunnel[0].alias if tunnel else "",
    )


def read_vnic(
    site: Site,
    link: Link,
    fields: dict[str, str],
    subnet: TenantSubnet,
    policies: Policies = NO_POLICIES,
    block: str = "",
) -> Vnic:
    """Return a VNIC from the identity of its link; raises like ``read_subnet``."""
    identity = (fields[ids.TENANT], fields[ids.SUBNET], fields[ids.VNIC])
    # The kernel reports the queues that are open now.  It only keeps whether a tap can
    # have several.
    queues = max(2, link.queues) if isinstance(link, Tap) and link.multi_queue else 1
    ips = check_guests(read_addresses(fields[ids.ADDRESS]), subnet.networks)
    return _vnic(
        site,
        subnet,
        VnicRole.TENANT_VM if fields[ids.KIND] == ids.VM else VnicRole.TENANT_CONTAINER,
        identity,
        instance_id=fields[ids.INSTANCE],
        ips=ips,
        mac=check_mac(fields[ids.MAC], "mac") if ids.MAC in fields else mac_of(ips[0]),
        mtu=check_mtu(int(fields[ids.MTU]), "mtu") if ids.MTU in fields else None,
        user=check_uid(int(fields.get(ids.USER, 0)), "owner"),
        queues=queues,
        name=link.name,
        alias=link.alias,
        policy=policies.of(identity, link.name, ips, block),
        block=block,
    )
