"""Reading a concentrator's records from its objects on the host and its record of intents."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from snnet.checks import check_mtu
from snnet.contract import (
    Conflict,
    DhcpScope,
    ExternalForward,
    InvalidRequest,
    IPAddress,
    IPNetwork,
    Key,
    Link,
    Masquerade,
    Noun,
    Nouns,
    PortForward,
    PublicIp,
)

from . import identity as ids
from .addressing import Networks, read_networks, written
from .building import DAMAGE
from .far_ends import check_remote
from .fitting import check_fits, check_mesh
from .mesh import Mesh, read_mesh
from .rules import Rule, check_rule
from .site import Site
from .subnets import CnciSubnet, Scoping, build_cnci_subnet, build_tunnel
from .tunnels import check_key


class Filled(Protocol):
    """The records that are filled: those of a concentrator."""

    site: Site
    tenant_id: str
    scoping: Scoping
    orphans: list[str]
    subnets: dict[Networks, CnciSubnet]
    mesh: Mesh | None
    rules: dict[Key, Rule]

    def subnet_of(self, address: IPAddress) -> CnciSubnet | None: ...
    def subnet_on(self, bridge: str) -> CnciSubnet | None: ...
    def networks(self) -> tuple[IPNetwork, ...]: ...
    def check_subnet(self, networks: Networks, key: int) -> None: ...
    def check_tunnel(
        self, networks: Networks, key: int, remote: IPAddress, port: int | None = None
    ) -> None: ...
    def put_subnet(self, subnet: CnciSubnet) -> None: ...


_Claimed = tuple[Link, dict[str, str]]
"""A link of this owner, and the fields of its alias."""


def place(records: Filled, ours: list[Noun]) -> None:
    """Fill the records by what the objects say; what has no place is an orphan."""
    parts: dict[str, list[_Claimed]] = {ids.BRIDGE: [], ids.TUNNEL: []}
    for link in ours:
        if isinstance(link, Link) and (fields := ids.claimed(link, records.site.owner)):
            if fields.get(ids.TENANT) != records.tenant_id:
                records.orphans.append(f"{link}: of tenant {fields.get(ids.TENANT)}")
            else:
                parts.setdefault(fields[ids.KIND], []).append((link, fields))
    for kind, place in ((ids.BRIDGE, _place_bridge), (ids.TUNNEL, _place_tunnel)):
        for link, fields in parts[kind]:
            try:
                place(records, link, fields)
            except (*DAMAGE, Conflict) as error:
                records.orphans.append(f"{link}: {error}")
    scopes = {noun.link: noun for noun in ours if isinstance(noun, DhcpScope)}
    for networks, subnet in records.subnets.items():
        if scope := scopes.get(subnet.bridge.name):
            # Added entries are recorded nowhere else.
            kept = replace(subnet.scope, entries=scope.entries)
            records.subnets[networks] = replace(subnet, scope=kept)
    records.rules = {
        noun.key: noun
        for noun in ours
        if isinstance(noun, (Masquerade, ExternalForward, PortForward, PublicIp))
    }


def place_remembered(records: Filled, missing: Nouns) -> None:
    """Add what was asked for and is not on the host; what fits no more is an orphan."""
    owner = str(records.site.owner)
    for noun in missing.values():
        if isinstance(noun, Rule) and noun.owner == owner:
            try:
                check_fits(noun, records)
                check_rule(noun, records.rules)
            except (InvalidRequest, Conflict) as error:
                records.orphans.append(f"{noun}: it was asked for, but {error}")
            else:
                records.rules[noun.key] = noun


def place_mesh(records: Filled, ours: Nouns, remembered: Nouns) -> Key | None:
    """Add the mesh; returns its link's identity if what it has to be is remembered.

    What is on the host alone may be half of it, after a flush or a killed call.
    """
    for nouns in (remembered, ours):
        for link in nouns.values():
            if not isinstance(link, Link):
                continue
            fields = ids.claimed(link, records.site.owner) or {}
            # Another tenant's is reported as an orphan where it is on the host.
            if fields.get(ids.KIND) != ids.MESH or fields.get(ids.TENANT) != records.tenant_id:
                continue
            try:
                mesh = read_mesh(records.site, link, fields, nouns.values())
                check_mesh(mesh, records.networks())
            except (*DAMAGE, Conflict) as error:
                records.orphans.append(f"{link}: {error}")
                continue
            records.mesh = mesh
            return link.key if nouns is remembered else None
    return None


def _networks_and_key(site: Site, fields: dict[str, str]) -> tuple[Networks, int]:
    networks = read_networks(fields[ids.NETWORK])
    return networks, check_key(site.tunnel, int(fields[ids.TUNNEL_KEY]))


def _place_bridge(records: Filled, link: Link, fields: dict[str, str]) -> None:
    networks, key = _networks_and_key(records.site, fields)
    if networks in records.subnets:
        raise Conflict("a second bridge of the same subnet")
    records.check_subnet(networks, key)
    mtu = check_mtu(int(fields[ids.MTU]), "mtu") if ids.MTU in fields else None
    whose = records.site, records.tenant_id, records.scoping
    bridge = link.name, link.alias, fields.get(ids.LINK)
    records.put_subnet(build_cnci_subnet(*whose, networks, key, *bridge, mtu))


def _place_tunnel(records: Filled, link: Link, fields: dict[str, str]) -> None:
    site = records.site
    networks, key = _networks_and_key(site, fields)
    remote = check_remote(fields[ids.REMOTE], site.ip, "remote")
    records.check_subnet(networks, key)
    subnet = records.subnets.get(networks)
    if subnet is None:
        # Another program deleted the bridge; the alias of the tunnel has the subnet too.
        name = next(ids.names(site.owner, ids.BRIDGE, written(networks)))
        whose = site, records.tenant_id, records.scoping
        subnet = build_cnci_subnet(*whose, networks, key, name)
    if remote in subnet.tunnels:
        raise Conflict("a second tunnel to the same node")
    port = int(fields[ids.PORT]) if ids.PORT in fields else None
    records.check_tunnel(networks, key, remote, port)
    tunnel = build_tunnel(site, records.tenant_id, subnet, remote, link.name, link.alias, port)
    records.put_subnet(subnet.with_tunnel(tunnel))
