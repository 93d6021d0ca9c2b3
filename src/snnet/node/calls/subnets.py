"""Subnets of a concentrator: added with their tunnels, detached, removed."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from snnet.checks import shown
from snnet.contract import (
    Add,
    Announcement,
    Attached,
    Bridge,
    Conflict,
    InvalidRequest,
    IPAddress,
    Key,
    Link,
    Noun,
    Nouns,
    SharedSysctl,
    Tunnel,
    keyed,
)
from snnet.core import identity as ids
from snnet.core.addressing import Networks, written
from snnet.core.announcing import of_subnet
from snnet.core.cnci_records import CnciRecords, rule_thing
from snnet.core.far_ends import check_not_public
from snnet.core.fitting import check_unmeshed, guests_by_public, with_addresses
from snnet.core.forwarding import versions_of
from snnet.core.planner import plan as make_plan
from snnet.core.requests import RemoteSubnet
from snnet.core.rules import Rule, rules_about
from snnet.core.subnets import (
    SHARED,
    CnciSubnet,
    Scoping,
    build_cnci_subnet,
    build_tunnel,
    kept_from,
    sysctls,
)
from snnet.core.surroundings import check_forwards, check_remote_outside

from ..call import Call, Done, Draft, Mode
from ..claims import Claim, Held, Thing
from ..host import HostView
from ..results import Event
from .subnet_things import FORWARDING, SUBNETS, far_things, subnet_thing, things_of, tunnel_thing

_NOT_ITS_OWN = (*SHARED, SharedSysctl, Attached)
"""What may be there although the subnet is new."""


@dataclass(slots=True)
class Known:
    """A subnet, and what the node knows of links under other names."""

    subnet: CnciSubnet | None
    strays: Mapping[tuple[str, ...], str]
    rules: Sequence[Rule]
    epoch: Hashable | None
    """The firewall's epoch in which other subnets had their rules; None: there is no other."""
    led: bool
    """Whether something else leads to the compute node."""


@dataclass(slots=True)
class SubnetDraft(Draft):
    subnet: CnciSubnet = field(kw_only=True)
    tunnel: Tunnel | None = field(kw_only=True)
    epoch: Hashable | None = field(kw_only=True)


class AddSubnet(Call[CnciRecords, Known, SubnetDraft, str]):
    """Add a compute node's part of a subnet; the first one brings the subnet itself.

    Without a compute node it adds only the subnet itself.
    """

    trusts: ClassVar[bool] = True

    def __init__(self, tenant_id: str, scoping: Scoping, request: RemoteSubnet) -> None:
        scoping.check(request.networks)
        kind = "remote" if request.link is None else "local"
        self.what = f"add_{kind}_subnet {written(request.networks)}"
        self._tenant_id = tenant_id
        self._scoping = scoping
        self._networks = request.networks
        self._key = request.key
        self._remote = request.remote
        self._port = request.port
        self._versions = versions_of(request.networks) | {4}
        self._link = request.link
        self._mtu = request.mtu

    def claim(self, records: CnciRecords, alone: bool, held: Held) -> Claim:
        mine, subnet = set[Thing](), subnet_thing(self._networks)
        if self._remote is not None:
            mine.add(tunnel_thing(self._networks, self._remote))
            mine |= far_things(records, self._remote)
        if alone:
            return Claim(frozenset({*mine, SUBNETS, FORWARDING, subnet}))
        if self._networks in records.subnets:
            return Claim(frozenset(mine), frozenset({subnet, FORWARDING}))
        return Claim(frozenset({*mine, SUBNETS, subnet}))

    def read(self, records: CnciRecords, claim: Claim) -> Known:
        records.check_subnet(self._networks, self._key)
        if self._remote is not None:
            records.check_tunnel(self._networks, self._key, self._remote, self._port)
            check_remote_outside(self._remote, records.networks())
            check_not_public([self._remote], guests_by_public(records.rules.values()))
        if self._link is not None:
            records.check_link(self._networks, self._link)
        known = records.subnets.get(self._networks)
        if known is None:
            check_unmeshed(records.mesh, self._networks)
        epoch = records.epoch if records.subnets else None
        led = self._remote is not None and records.leads_to(self._remote)
        return Known(known, records.strays, [*records.rules.values()], epoch, led)

    def draft(self, what: Known, host: HostView) -> SubnetDraft:
        networks, known = self._networks, what.subnet
        if known is None:
            around = host.listing.surroundings
            for network in networks:
                around.check_network(network, f"subnet {network}")
            if self._remote is not None:
                check_remote_outside(self._remote, networks)
            if self._link is not None:
                _check_link(self._link, host)
        name, bridge = host.locate(
            ids.BRIDGE, (written(networks),), known.bridge if known else None, strays=what.strays
        )
        base = known
        if base is None or base.bridge.name != name:
            base = build_cnci_subnet(
                host.site,
                self._tenant_id,
                self._scoping,
                networks,
                self._key,
                name,
                link=known.link if known else self._link,
                mtu=known.mtu if known else self._mtu,
            )
            if known is not None:
                base = base.with_the_rest_of(known)
        tunnel, there = self._tunnel(base, what, host)
        # Only this node's tunnel is looked at: the others are other calls' business.
        own = replace(base, tunnels=_by_remote(tunnel))
        wanted = host.carried((*sysctls(host.site, self._versions), *own.nouns()))
        # Of a new subnet without links there is nothing else, or a driver will say so.
        fresh = not host.looking and (known, bridge, there) == (None, None, None)
        # What hung on a bridge deleted behind our back died with it.
        others = [noun for noun in wanted.values() if not isinstance(noun, Link)]
        kinds = _NOT_ITS_OWN if fresh else (Noun,)
        looked = [noun for noun in others if isinstance(noun, kinds)]
        epoch = host.epoch() if fresh else None
        found: dict[Key, Noun] = {}
        if epoch is not None and epoch == what.epoch:
            far = keyed(kept_from(host.site, own.tunnels)) if not what.led else {}
            zone = [noun for noun in wanted.values() if isinstance(noun, SHARED)]
            found = keyed(noun for noun in zone if noun.key not in far)
            looked = [noun for noun in looked if not isinstance(noun, SHARED)]
        found |= host.find(looked)
        found |= keyed(noun for noun in (bridge, there) if noun is not None)
        return SubnetDraft(
            make_plan(found, wanted),
            things_of(own, (*found.values(), *wanted.values())),
            subnet=base if tunnel is None else base.with_tunnel(tunnel),
            tunnel=tunnel,
            epoch=epoch,
        )

    def _tunnel(
        self, base: CnciSubnet, known: Known, host: HostView
    ) -> tuple[Tunnel | None, Link | None]:
        """The tunnel to the compute node as wanted, and as found."""
        if self._remote is None:
            return None, None
        old = known.subnet.tunnels.get(self._remote) if known.subnet else None
        identity = (written(self._networks), str(self._remote))
        name, link = host.locate(ids.TUNNEL, identity, old, strays=known.strays)
        if old is not None and self._port in (None, old.wire_port):
            return old, link
        host.check_path(self._remote)
        tunnel = build_tunnel(host.site, self._tenant_id, base, self._remote, name, port=self._port)
        check_forwards(known.rules, tunnel, host.site.uplink.link_name)
        return tunnel, link

    def publish(
        self, records: CnciRecords, draft: SubnetDraft, done: Done
    ) -> tuple[str, list[Event]]:
        records.forwarding |= self._versions
        if draft.epoch is not None and not records.subnets and records.mesh is None:
            records.epoch = draft.epoch  # it is the whole zone
        known = records.subnets.get(self._networks)
        if known is not None and known.bridge == draft.subnet.bridge:
            # Others may have added tunnels to the same subnet meanwhile.
            if draft.tunnel is not None:
                records.put_tunnel(self._networks, draft.tunnel)
        else:
            records.put_subnet(draft.subnet)
        return draft.subnet.bridge.name, []

    def announces(self, records: CnciRecords, draft: SubnetDraft) -> list[Announcement]:
        new = [
            operation.noun
            for operation in draft.plan
            if isinstance(operation, Add) and isinstance(operation.noun, Link)
        ]
        tunnel = any(isinstance(noun, Tunnel) for noun in new)
        return [*of_subnet(draft.subnet, renew=tunnel)] if new else []


def _check_link(name: str, host: HostView) -> None:
    """Raise InvalidRequest for a link that cannot lead to a subnet of this host."""
    link, owner = host.link(name), host.site.owner
    if link is None or not link.ethernet or link.kind in ("loopback", *Bridge.kinds):
        raise InvalidRequest(f"{shown(name)} is not a link in this namespace", field="link")
    if ids.is_ours(link, owner) or name == host.site.uplink.link_name:
        raise InvalidRequest(f"{name} is in use by this node", field="link")
    if link.master is not None:
        raise Conflict(f"link {name} is a port of {link.master} already")


def _by_remote(tunnel: Tunnel | None) -> dict[IPAddress, Tunnel]:
    return {} if tunnel is None or tunnel.remote is None else {tunnel.remote: tunnel}


@dataclass(slots=True)
class Detached:
    """A subnet, and whether anything else leads to the node."""

    subnet: CnciSubnet | None
    shared: bool


class DetachNode(Call[CnciRecords, Detached, Draft, None]):
    """Remove a compute node's tunnel from a subnet, which stays."""

    mode = Mode.PRESS_ON

    def __init__(self, request: RemoteSubnet) -> None:
        assert request.remote is not None
        self.what = f"del_remote_subnet {written(request.networks)} {request.remote}"
        self._networks = request.networks
        self._key = request.key
        self._remote = request.remote

    def claim(self, records: CnciRecords, alone: bool, held: Held) -> Claim:
        return Claim(
            frozenset(
                {tunnel_thing(self._networks, self._remote), *far_things(records, self._remote)}
            ),
            frozenset({subnet_thing(self._networks)}),
        )

    def read(self, records: CnciRecords, claim: Claim) -> Detached:
        known = records.subnets.get(self._networks)
        return Detached(known, records.leads_to(self._remote, but=self._networks))

    def draft(self, what: Detached, host: HostView) -> Draft:
        known = what.subnet
        old = known.tunnels.get(self._remote) if known and known.key == self._key else None
        if known is not None and old is None:
            return Draft()
        identity = (written(self._networks), str(self._remote))
        link = host.locate(ids.TUNNEL, identity, old)[1]
        strays = [] if link else host.listing.stray(ids.TUNNEL, identity)
        found = keyed([link] if link is not None else [])
        if known is not None and old is not None:
            found |= host.find(host.carried(known.beside(old)).values())
        scope: dict[Thing, set[Key]] = {tunnel_thing(self._networks, self._remote): set(found)}
        if old is not None and not what.shared:
            far = host.find(host.carried(kept_from(host.site, [self._remote])).values())
            found |= far
            scope[SUBNETS] = set(far)
        return Draft(make_plan(found, {}), scope, strays)

    def publish(self, records: CnciRecords, draft: Draft, done: Done) -> tuple[None, list[Event]]:
        known = records.subnets.get(self._networks)
        if not done.left and known is not None and known.key == self._key:
            records.drop_tunnel(self._networks, self._remote)
        return None, []


@dataclass(slots=True)
class Whole:
    """A subnet, its rules, and whether others stay in the tenant's zone."""

    subnet: CnciSubnet | None
    rules: list[Rule]
    others: bool
    leaving: Sequence[IPAddress]
    """The compute nodes that nothing else leads to."""


class RemoveSubnet(Call[CnciRecords, Whole, Draft, None]):
    """Remove a subnet with its tunnels, its DHCP server and the rules about it."""

    mode = Mode.PRESS_ON

    def __init__(self, networks: Networks) -> None:
        self.what = f"remove_subnet {written(networks)}"
        self._networks = networks

    def claim(self, records: CnciRecords, alone: bool, held: Held) -> Claim:
        things = {SUBNETS, subnet_thing(self._networks)}
        subnet = records.subnets.get(self._networks)
        if subnet is not None:
            things |= {tunnel_thing(self._networks, remote) for remote in subnet.tunnels}
            rules = rules_about(subnet, records.rules.values())
            things |= {rule_thing(rule.key) for rule in rules}
        return Claim(frozenset(things))

    def read(self, records: CnciRecords, claim: Claim) -> Whole:
        subnet = records.subnets.get(self._networks)
        rules = list(rules_about(subnet, records.rules.values())) if subnet else []
        others = any(networks != self._networks for networks in records.subnets)
        remotes = subnet.tunnels if subnet else ()
        leaving = [one for one in remotes if not records.leads_to(one, but=self._networks)]
        return Whole(subnet, rules, others or records.mesh is not None, leaving)

    def draft(self, known: Whole, host: HostView) -> Draft:
        if known.subnet is None:
            link = host.locate(ids.BRIDGE, (written(self._networks),))[1]
            found = keyed([link] if link is not None else [])
            scope: dict[Thing, set[Key]] = {subnet_thing(self._networks): set(found)}
        else:
            far = keyed(kept_from(host.site, known.leaving))
            nouns = [
                noun
                for noun in host.carried(known.subnet.nouns()).values()
                if not (known.others and isinstance(noun, SHARED) and noun.key not in far)
            ]
            found = host.find_ours(nouns)
            scope = things_of(known.subnet, found.values())
        for rule in known.rules:
            there = host.find(with_addresses(rule))
            found |= there
            scope[rule_thing(rule.key)] = set(there)
        return Draft(make_plan(found, {}), scope, self._strays(known.subnet, found, host))

    def _strays(self, subnet: CnciSubnet | None, found: Nouns, host: HostView) -> list[Link]:
        name, tunnels = written(self._networks), subnet.tunnels if subnet else {}
        gone = [(name, str(remote)) for remote in tunnels if tunnels[remote].key not in found]
        left = [link for identity in gone for link in host.listing.stray(ids.TUNNEL, identity)]
        if not any(isinstance(noun, Bridge) for noun in found.values()):
            left += host.listing.stray(ids.BRIDGE, (name,))
        return left

    def publish(self, records: CnciRecords, draft: Draft, done: Done) -> tuple[None, list[Event]]:
        left = done.left
        subnet = records.subnets.get(self._networks)
        if subnet is None:
            return None, []
        for rule in list(rules_about(subnet, records.rules.values())):
            if left.isdisjoint(noun.key for noun in with_addresses(rule)):
                del records.rules[rule.key]
        for remote, tunnel in subnet.tunnels.items():
            # The tunnel leads a repeated call to what is left beside it.
            if left.isdisjoint(noun.key for noun in (tunnel, *subnet.beside(tunnel))):
                records.drop_tunnel(self._networks, remote)
        # The subnet leads a repeated call to the rules that are left.
        rules = any(True for _ in rules_about(subnet, records.rules.values()))
        if not rules and left.isdisjoint(noun.key for noun in subnet.nouns()):
            records.drop_subnet(self._networks)
        return None, []
