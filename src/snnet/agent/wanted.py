"""From documents to what a host must have.  Pure: nothing here touches a host."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface
from typing import Any

from snnet.checks import check_mac
from snnet.cluster import Forward, Network, PublicIp, SecurityGroup, Vnic, keys
from snnet.cluster.claims import Id, id_of
from snnet.cluster.documents import Wanted
from snnet.cluster.problems import DAMAGED, check_document
from snnet.cluster.views import read_placements
from snnet.config import NetworkConfig, VnicConfig
from snnet.contract import DhcpEntry, Document, Entry, InvalidRequest, IPAddress, Reading
from snnet.contract.addresses import is_host_name
from snnet.contract.dhcp import is_guest_address
from snnet.core.concentrators import Concentrator
from snnet.core.far_ends import check_other
from snnet.core.groups import Group, GroupId
from snnet.core.wanted import Remote

from .groups import needed_groups
from .settings import ROLES

_log = logging.getLogger("snnet.agent")


@dataclass(slots=True)
class TenantWanted:
    """What the concentrator of one tenant must have."""

    tenant: str
    address: str | None = None
    """Its address on the compute network, in topology "hub"."""
    networks: list[Network] = field(default_factory=list)
    forwards: list[Forward] = field(default_factory=list)
    public_ips: list[PublicIp] = field(default_factory=list)
    entries: dict[str, list[DhcpEntry]] = field(default_factory=dict)
    """The DHCP entries of each network."""
    remotes: dict[str, list[Remote]] = field(default_factory=dict)
    """The nodes that have a part of each network."""
    guests: dict[str, dict[int, IPAddress]] = field(default_factory=dict)
    """The addresses of each VNIC, wherever it is, by their IP version."""
    macs: dict[tuple[str, str, int], tuple[int, str]] = field(default_factory=dict, compare=False)
    """Since when (revision) which VNIC has a MAC of a network and IP version."""
    missed: dict[str, str] = field(default_factory=dict)
    """The VNICs whose claims of addresses are damaged, and what is wrong."""
    clashes: dict[Id, str] = field(default_factory=dict)
    """What is wrong with networks that work for most of their guests."""
    refused: dict[Id, str] = field(default_factory=dict)
    """What cannot be had, and why."""
    waits_for: str | None = None
    """What must be repaired before anything of it is changed."""

    @property
    def versions(self) -> frozenset[int]:
        """The IP versions by which it can be reached from outside."""
        if self.address is not None:
            return frozenset({ip_address(self.address).version})
        return frozenset({4, *(part.version for item in self.networks for part in item.subnet)})

    def led_to(self, forward: Forward) -> list[IPAddress]:
        """The guest's addresses that a forward leads to: one of each family that may come."""
        guest = self.guests.get(forward.to, {})
        coming = {source.version for source in forward.sources} or guest.keys()
        return [guest[version] for version in sorted(self.versions & coming & guest.keys())]

    def fits(self, sides: Mapping[str, Concentrator]) -> bool:
        """Whether the host's side, if it is there, has the right address, or one of the host's."""
        side = sides.get(self.tenant)
        address = None if self.address is None else ip_address(self.address)
        return side is None or side.is_at(address)


@dataclass(slots=True)
class HostWanted:
    """What a host must have."""

    vnics: dict[Id, tuple[Vnic, VnicConfig]] = field(default_factory=dict)
    waiting: dict[Id, tuple[Vnic, str]] = field(default_factory=dict)
    """VNICs that cannot be tried yet, and what each waits for."""
    damaged: dict[Id, tuple[int, str]] = field(default_factory=dict)
    """Revision and error of documents that cannot be read.  What they are about stays as it is."""
    groups: list[tuple[SecurityGroup, Group]] = field(default_factory=list)
    """The groups that its VNICs need."""
    tenants: dict[str, TenantWanted] = field(default_factory=dict)
    """The tenants whose concentrators this host runs."""
    held: dict[str, TenantWanted] = field(default_factory=dict)
    """Those of them whose concentrators stay as they are, since a network cannot be read."""

    @property
    def served(self) -> set[str]:
        """The tenants whose concentrators are here."""
        return {*self.tenants, *self.held}

    def holds_group(self, group: GroupId) -> bool:
        """Whether a group stays as it is: which groups an unreadable one names, nobody knows."""
        return any(kind == "group" and tenant == group[0] for kind, tenant, _ in self.damaged)


def host_wanted(
    reading: Reading, node: str, config: NetworkConfig, roles: Collection[str] = ROLES
) -> HostWanted:
    """What the documents say about this node, which has these roles."""
    wanted = HostWanted()
    placed = {tenant: entry.document for tenant, entry in read_placements(reading).items()}
    networks: dict[str, Network | str] = {}
    here: list[Vnic] = []
    for id, entry in _objects(reading, f"{keys.VNICS}{node}/", Vnic):
        try:
            vnic = Vnic.read(entry.document, entry.revision)
            here.append(vnic)
            key = keys.network(vnic.tenant, vnic.network)
            if key not in networks:
                networks[key] = _network(reading, vnic)
            network = networks[key]
            concentrator = placed.get(vnic.tenant, {})
            if isinstance(network, str):
                wanted.waiting[id] = (vnic, network)
            elif config.topology == "hub" and not concentrator.get("address"):
                wanted.waiting[id] = (vnic, "a concentrator of its tenant with an address")
            else:
                wanted.vnics[id] = (vnic, vnic_config(vnic, network, concentrator))
        except DAMAGED as error:
            wanted.damaged[id] = (entry.revision, str(error))
    wanted.groups = needed_groups(reading, node, here, wanted.damaged)
    _wait_for_groups(wanted)
    if "network" in roles:
        for tenant, item in _tenants(reading, node, config, placed, wanted.damaged).items():
            (wanted.held if item.waits_for else wanted.tenants)[tenant] = item
    if config.topology != "hub":
        _refuse_shared_ports(wanted.tenants.values())
    return wanted


def _network(reading: Reading, vnic: Vnic) -> Network | str:
    """The network of a VNIC, or what the VNIC waits for."""
    entry = reading.entries.get(keys.network(vnic.tenant, vnic.network))
    if entry is None:
        return f"network {vnic.network!r}"
    try:
        return _read_network(entry)
    except DAMAGED:
        return _unreadable("network", vnic.network)


def _read_network(entry: Entry) -> Network:
    """A network as it is stored, which always has a key."""
    network = Network.read(entry.document, entry.revision)
    if network.key is None:
        raise InvalidRequest("is missing", field="key")
    return network


def _unreadable(kind: str, name: str) -> str:
    return f"{kind} {name!r}, whose document cannot be read"


def _wait_for_groups(wanted: HostWanted) -> None:
    """Leave VNICs as they are while a group that they are in cannot be read."""
    for id, (vnic, _) in tuple(wanted.vnics.items()):
        for name in vnic.groups:
            if ("group", vnic.tenant, name) in wanted.damaged:
                del wanted.vnics[id]
                wanted.waiting[id] = (vnic, _unreadable("group", name))
                break


def _objects(reading: Reading, prefix: str, kind: type[Wanted]) -> Iterator[tuple[Id, Entry]]:
    """Yield the documents of a kind under a prefix, with whose they are by their keys."""
    for key, entry in keys.objects(reading.entries, prefix):
        *_, tenant, name, _ = key.split("/")
        yield (kind.kind, tenant, name), entry


def _refuse_shared_ports(tenants: Iterable[TenantWanted]) -> None:
    """Refuse forwards of ports of this host that an older forward of another tenant has."""
    forwards = [(item, tenant) for tenant in tenants for item in tenant.forwards]
    forwards.sort(key=lambda pair: pair[0].revision)
    granted: list[Forward] = []
    for item, tenant in forwards:
        if id_of(item) in tenant.refused:
            continue
        rival = next((other for other in granted if other.overlaps(item)), None)
        if rival is None:
            granted.append(item)
        else:
            tenant.refused[id_of(item)] = f"the port of this host belongs to {rival.title}"


def refuse_publics(wanted: HostWanted, why: Callable[[IPAddress], str | None]) -> None:
    """Refuse public addresses, for what ``why`` says of them."""
    for tenant in wanted.tenants.values():
        for public in tenant.public_ips:
            if public.address and (reason := why(public.address)):
                tenant.refused.setdefault(id_of(public), reason)


def vnic_config(vnic: Vnic, network: Network, concentrator: Mapping[str, Any]) -> VnicConfig:
    """The VNIC as a compute node takes it."""
    limits = [mtu for mtu in (vnic.mtu, network.mtu) if mtu]
    address = concentrator.get("address")
    return VnicConfig(
        role=vnic.role,
        tenant_id=vnic.tenant,
        subnet_id=vnic.network,
        vnic_id=vnic.name,
        instance_id=vnic.name,
        concentrator_id=vnic.tenant if address else None,
        concentrator_ip=address,
        subnet=network.subnet,
        subnet_key=network.key,
        ip=vnic.ip,
        mac=vnic.guest_mac,
        mtu=min(limits, default=None),
        owner=vnic.owner,
        extra_addresses=vnic.extra_addresses,
        anti_spoofing=vnic.anti_spoofing,
        groups=vnic.groups,
        rate_to_guest=vnic.rate_to_guest,
        rate_from_guest=vnic.rate_from_guest,
    )


def _tenants(
    reading: Reading,
    node: str,
    config: NetworkConfig,
    placed: Mapping[str, Document],
    damaged: dict[Id, tuple[int, str]],
) -> dict[str, TenantWanted]:
    """The tenants with a network whose concentrators are placed on this node."""
    hub = config.topology == "hub"
    found = {
        tenant: TenantWanted(tenant, document.get("address") if hub else None)
        for tenant, document in placed.items()
        if document.get("node") == node
    }
    # Each key is looked at once, whatever the number of tenants.
    for key, entry in reading.entries.items():
        if key.startswith(keys.TUNNELS):
            if hub:
                _gather_remote(found, key, entry)
            continue
        _, kind, *names = key.rstrip("/").split("/")
        tenant = found.get(names[0]) if names else None
        prefix = f"{keys.ROOT}{kind}/"
        if tenant is None or (prefix in _KINDS and len(names) != 2):
            continue
        try:
            _gather(tenant, prefix, names, entry)
        except DAMAGED as error:
            if prefix not in _KINDS:
                _log.warning("%s is left out: %r", key, error)
                if prefix == keys.ADDRESSES and len(names) == 3:
                    reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
                    _miss(tenant, names, entry.document.get("vnic"), reason)
                continue
            damaged[_KINDS[prefix], names[0], names[-1]] = (entry.revision, str(error))
            if prefix == keys.NETWORKS:
                # Without it the gateway of its guests would be taken away.
                tenant.waits_for = _unreadable("network", names[-1])
    for item in found.values():
        _leave_out(item)
        item.refused = _refused(item, config)
    return {tenant: item for tenant, item in found.items() if item.networks or item.waits_for}


_KINDS = {
    keys.NETWORKS: Network.kind,
    keys.FORWARDS: Forward.kind,
    keys.PUBLIC_IPS: PublicIp.kind,
}


def _gather(tenant: TenantWanted, prefix: str, names: Sequence[str], entry: Entry) -> None:
    """Take in one document of a tenant."""
    document, revision = entry.document, entry.revision
    check_document(document)
    match prefix:
        case keys.NETWORKS:
            tenant.networks.append(_read_network(entry))
        case keys.FORWARDS:
            tenant.forwards.append(Forward.read(document, revision))
        case keys.PUBLIC_IPS:
            tenant.public_ips.append(PublicIp.read(document, revision))
        case keys.ADDRESSES if "vnic" in document:
            _, network, text = names
            address, name = ip_address(text), str(document["vnic"])
            hostname = name.lower() if is_host_name(name) and not name.isdigit() else None
            mac = check_mac(document["mac"], "mac")
            lease = DhcpEntry(mac=mac, address=address, hostname=hostname)
            _lend(tenant, network, lease, (revision, name))
            tenant.guests.setdefault(name, {})[address.version] = address


def _miss(tenant: TenantWanted, names: Sequence[str], vnic: object, reason: str) -> None:
    """Say on the network, and on what leads to the guest, that a guest's claim is damaged."""
    _, network, address = names
    whose = f"vnic {vnic!r}" if isinstance(vnic, str) else "the vnic that has it"
    said = (
        f"the claim of {address} in the registry is damaged ({reason}), so that its guest may get "
        f"no address by DHCP: delete {whose}, and create it again"
    )
    tenant.clashes.setdefault(("network", tenant.tenant, network), said)
    tenant.missed[str(vnic)] = said


def _leave_out(tenant: TenantWanted) -> None:
    """Leave out claims of addresses that are no guest's: with them no guest would be served."""
    for network in tenant.networks:
        entries = tenant.entries.get(network.name, [])
        for entry in tuple(entries):
            if any(is_guest_address(entry.address, subnet) for subnet in network.subnet):
                continue
            entries.remove(entry)
            place = (network.name, entry.mac, entry.address.version)
            names, name = (tenant.tenant, network.name, str(entry.address)), tenant.macs[place][1]
            _miss(tenant, names, name, f"it is no guest's address of {network.title}")
            tenant.guests.pop(name, None)


def _lend(tenant: TenantWanted, network: str, lease: DhcpEntry, holder: tuple[int, str]) -> None:
    """Give a guest a DHCP entry.  A MAC is the first one's: with two, nobody would be served."""
    entries = tenant.entries.setdefault(network, [])
    place = network, lease.mac, lease.address.version
    other = tenant.macs.get(place)
    if other is not None:
        first, later = sorted([other, holder])
        tenant.clashes["network", tenant.tenant, network] = (
            f"vnic {later[1]!r} has the MAC {lease.mac} of vnic {first[1]!r}, and gets no address "
            "by DHCP: delete it, and create it with another MAC"
        )
        if first == other:
            return
        entries[:] = [
            one
            for one in entries
            if (one.mac, one.address.version) != (lease.mac, lease.address.version)
        ]
    tenant.macs[place] = holder
    entries.append(lease)


def _gather_remote(tenants: Mapping[str, TenantWanted], key: str, entry: Entry) -> None:
    """Take in what a node announced of its part of a network.

    What no tunnel can lead to is left out, so that one node does not cut off the others.
    """
    node, tenant_id, network = keys.tunnel_names(key) or ("", "", "")
    tenant = tenants.get(tenant_id)
    if tenant is None or tenant.address is None:
        return
    try:
        remote = Remote(entry.document["address"], entry.document.get("port"))
        check_other(remote.cn_ip, ip_interface(tenant.address), "address")
    except DAMAGED as error:
        where = tenant_id, network
        _log.warning("what %s says of %s is left out: %r", node, where, error)
    else:
        tenant.remotes.setdefault(network, []).append(remote)


def _refused(tenant: TenantWanted, config: NetworkConfig) -> dict[Id, str]:
    """What of a tenant's rules cannot be had, and why."""
    rules: list[Forward | PublicIp] = [*tenant.forwards, *tenant.public_ips]
    refused = {
        id_of(item): tenant.missed.get(item.to, f"there is no vnic {item.to!r}")
        for item in rules
        if item.to not in tenant.guests
    }
    for forward in tenant.forwards:
        if forward.to in tenant.guests and not tenant.led_to(forward):
            refused[id_of(forward)] = (
                f"vnic {forward.to!r} has no address of a family by which packets can come"
            )
    ours, floating = set(config.concentrator_pool), set(config.floating_pool)
    for public in tenant.public_ips:
        address, guest = public.address, tenant.guests.get(public.to, {})
        if guest and address and address.version not in guest:
            refused[id_of(public)] = f"vnic {public.to!r} has no address of IPv{address.version}"
        elif address in ours:
            refused[id_of(public)] = f"{address} is in concentrator_pool"
        elif floating and address not in floating:
            refused[id_of(public)] = f"{address} is not in floating_pool"
    return refused
