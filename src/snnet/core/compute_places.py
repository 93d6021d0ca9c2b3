"""Reading a compute node's records back from the aliases of its links."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Protocol

from snnet.contract import Conflict, IPAddress, Link, Tap

from . import identity as ids
from .addressing import read_networks
from .building import DAMAGE, build_local_subnet, read_subnet, read_vnic
from .cnci_ports import read_cnci_vnic
from .concentrator_reading import subnet_of
from .concentrators import Concentrator
from .groups import Group, GroupId
from .meshing import Reaches
from .policies import NO_POLICIES, Policies
from .requests import CnciVnicId, SubnetId, VnicId
from .routed import build_routed_subnet, check_disjoint
from .site import Site
from .tunnels import check_key
from .vnics import CnciVnic, TenantSubnet, Vnic


class Places(Protocol):
    """The records that are filled; see :class:`snnet.core.compute_records.ComputeRecords`."""

    site: Site
    orphans: list[str]
    subnets: dict[SubnetId, TenantSubnet]
    cnci_vnics: dict[CnciVnicId, CnciVnic]
    groups: dict[GroupId, Group]

    def vnic(self, identity: VnicId) -> Vnic | None: ...
    def check_addresses(self, identity: VnicId, addresses: Iterable[IPAddress]) -> None: ...
    def check_subnet(self, subnet: TenantSubnet) -> None: ...
    def put_subnet(self, subnet: TenantSubnet) -> None: ...
    def put_vnic(self, vnic: Vnic) -> None: ...
    def put_concentrator(self, one: Concentrator) -> None: ...
    def vnics(self, subnet: SubnetId | None = None) -> Iterator[Vnic]: ...


def place(
    records: Places,
    links: Iterable[Link],
    concentrators: Iterable[Concentrator] = (),
    policies: Policies = NO_POLICIES,
    known: Mapping[str, Vnic] = MappingProxyType({}),
) -> None:
    """Fill the records from the aliases of links.  A link without a place is an orphan.

    ``known`` are VNICs by their links' names: what says the same is not read again.
    """
    site = records.site
    parts: dict[SubnetId, dict[str, tuple[Link, dict[str, str]]]] = {}
    vnics: list[tuple[Link, dict[str, str] | Vnic]] = []
    blocks: dict[VnicId, str] = {}
    for link in links:
        old = known.get(link.name)
        if old is not None and _says_the_same(link, old.link):
            vnics.append((link, old))
            continue
        fields = ids.claimed(link, site.owner)
        if fields is None:
            continue
        kind = fields[ids.KIND]
        try:
            if kind in (ids.BRIDGE, ids.TUNNEL):
                halves = parts.setdefault((fields[ids.TENANT], fields[ids.SUBNET]), {})
                if halves.setdefault(kind, (link, fields))[0] is not link:
                    records.orphans.append(f"{link}: a second {kind} of the same subnet")
            elif kind in (ids.VM, ids.CONTAINER):
                vnics.append((link, fields))
            elif kind == ids.RATE:
                blocks[fields[ids.TENANT], fields[ids.SUBNET], fields[ids.VNIC]] = link.name
            elif kind == ids.CNCI_VNIC:
                _place_cnci_vnic(records, read_cnci_vnic(site, link, fields))
        except DAMAGE as error:
            records.orphans.append(f"{link}: its alias is damaged ({error})")
    if site.routed:
        _place_routed_subnets(records, site, parts, vnics)
    else:
        for halves in parts.values():
            _place_subnet(records, site, halves.get(ids.BRIDGE), halves.get(ids.TUNNEL))
    for concentrator in concentrators:
        _place_concentrator(records, concentrator)
    for link, one in vnics:
        _place_vnic(records, site, link, one, policies, blocks)


_Claimed = tuple[Link, dict[str, str]]
"""A link of this owner, and the fields of its alias."""


def _place_cnci_vnic(records: Places, vnic: CnciVnic) -> None:
    if records.cnci_vnics.setdefault(vnic.id, vnic) is not vnic:
        records.orphans.append(f"{vnic.link}: a second link of the same CNCI VNIC")


def _place_routed_subnets(
    records: Places,
    site: Site,
    parts: Mapping[SubnetId, Mapping[str, _Claimed]],
    vnics: Iterable[tuple[Link, dict[str, str] | Vnic]],
) -> None:
    for halves in parts.values():
        for link, _ in halves.values():
            records.orphans.append(
                f"{link}: belongs to gre_tunnel mode; reset_network() in that mode removes it"
            )
    for link, one in vnics:
        fields = _fields(link, one)
        try:
            key = (fields[ids.TENANT], fields[ids.SUBNET])
            if key not in records.subnets:
                subnet = build_routed_subnet(site, *key, read_networks(fields[ids.NETWORK]))
                check_disjoint(records.subnets.values(), subnet)
                records.put_subnet(subnet)
        except (*DAMAGE, Conflict) as error:
            records.orphans.append(f"{link}: {error}")


def _place_subnet(
    records: Places, site: Site, bridge: _Claimed | None, tunnel: _Claimed | None
) -> None:
    # A half that is of no use must not make the other half, and its VNICs, orphans too.
    if bridge and not _is_of_use(records, site, bridge, None):
        bridge = None
    if tunnel and not _is_of_use(records, site, None, tunnel):
        tunnel = None
    if bridge or tunnel:
        records.put_subnet(read_subnet(site, bridge, tunnel))


def _is_of_use(
    records: Places, site: Site, bridge: _Claimed | None, tunnel: _Claimed | None
) -> bool:
    try:
        records.check_subnet(read_subnet(site, bridge, tunnel))
    except (*DAMAGE, Conflict) as error:
        link = (tunnel or bridge or (None,))[0]
        records.orphans.append(f"{link}: {error}")
        return False
    return True


def _place_concentrator(records: Places, one: Concentrator) -> None:
    """Add a concentrator of this host, and those of its subnets whose bridge is gone."""
    site = records.site
    try:
        for plug in one.plugs.values():
            fields = subnet_of(plug)
            key = (fields[ids.TENANT], fields[ids.SUBNET])
            if key not in records.subnets:
                networks = read_networks(fields[ids.NETWORK])
                number = check_key(site.tunnel, int(fields[ids.TUNNEL_KEY]))
                bridge = plug.master or ""
                records.put_subnet(build_local_subnet(site, key, networks, number, bridge))
        records.put_concentrator(one)
    except DAMAGE as error:
        records.orphans.append(f"{one.link}: its alias is damaged ({error})")


def _fields(link: Link, one: dict[str, str] | Vnic) -> dict[str, str]:
    return (ids.decode(link.alias) or {}) if isinstance(one, Vnic) else one


def _place_vnic(
    records: Places,
    site: Site,
    link: Link,
    one: dict[str, str] | Vnic,
    policies: Policies,
    blocks: Mapping[VnicId, str],
) -> None:
    """Add the VNIC of a link, from the fields of its alias, or as it is known by that alias."""
    try:
        if isinstance(one, Vnic):
            identity = one.id
        else:
            identity = (one[ids.TENANT], one[ids.SUBNET], one[ids.VNIC])
        subnet = records.subnets.get(identity[:2])
        if subnet is None:
            if not site.routed:  # in routed mode the link is already an orphan
                records.orphans.append(
                    f"{link}: neither bridge nor tunnel of subnet {identity[1]} is left; "
                    "destroy the VNIC, or create it again"
                )
            return
        block = blocks.get(identity, "")
        if isinstance(one, Vnic) and _is_of(one, subnet, policies, block):
            vnic = one
        else:
            vnic = read_vnic(site, link, _fields(link, one), subnet, policies, block)
        records.check_addresses(vnic.id, vnic.ips)
    except (*DAMAGE, Conflict) as error:
        records.orphans.append(f"{link}: {error}")
        return
    if records.vnic(vnic.id):
        records.orphans.append(f"{link}: a second link of the same VNIC")
        return
    records.put_vnic(vnic)


def _says_the_same(found: Link, known: Link) -> bool:
    """Whether a link that was found says of its VNIC what the known one says: by alias and name.

    A multi-queue tap also says how many queues are open.
    """
    if isinstance(found, Tap) and isinstance(known, Tap) and found.multi_queue | known.multi_queue:
        return False
    return (
        found.alias == known.alias
        and found.name == known.name
        and type(found) is type(known)
        and ids.grouped(found)
    )


def _is_of(vnic: Vnic, subnet: TenantSubnet, policies: Policies, block: str) -> bool:
    """Whether ``read_vnic`` would return this VNIC, whose link ``_says_the_same``."""
    bridge = subnet.bridge.name if subnet.bridge else None
    return (
        not block
        and not vnic.fds
        and vnic.link.master == bridge
        and vnic.subnets == subnet.networks
        and policies.of(vnic.id, vnic.link.name, vnic.ips) == vnic.policy
    )


def learn_peers(records: Places, reaches: Reaches) -> None:
    """Have the records know where guests elsewhere are."""
    for one in list(records.subnets.values()):
        if one.bridge and one.tunnel:
            known = replace(one, peers=reaches.of(one.id, one.bridge.name, one.tunnel.name))
            # A guest may have moved here, and the node been killed before it remembered that.
            for vnic in records.vnics(one.id) if known.peers.guests else ():
                known = known.with_guest(vnic.mac, vnic.ips)
            records.put_subnet(known)


def close_lost(records: Places) -> None:
    """Have groups without rules in place of those that VNICs are in and nothing knows."""
    named = [(vnic.tenant_id, name) for vnic in records.vnics() for name in vnic.groups]
    named += [other for group in records.groups.values() for other in group.named]
    for tenant, name in dict.fromkeys(named):
        if (tenant, name) not in records.groups:
            records.groups[tenant, name] = Group(tenant_id=tenant, name=name)
            records.orphans.append(
                f"group {name} of tenant {tenant} lost its rules, so that its members are closed: "
                "call set_group again"
            )


def without_tunnel(records: Places) -> Iterator[str]:
    """Yield a line for each subnet that should have a tunnel, and has none."""
    for subnet in records.subnets.values():
        if subnet.bridge and subnet.tunnel is None and not records.site.local:
            yield (
                f"{subnet.bridge.name}: subnet {subnet.subnet_id} of tenant "
                f"{subnet.tenant_id} lost its tunnel, and with it its concentrator; create "
                "one of its VNICs again to name it"
            )
