"""Subnets of a concentrator: added with their tunnels, detached, removed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network

from snnet.contract import (
    DhcpScope,
    IPAddress,
    Key,
    Link,
    Noun,
    SharedSysctl,
    Tunnel,
    keyed,
)
from snnet.core import identity as ids
from snnet.core.cnci_records import CnciRecords, with_addresses
from snnet.core.planner import plan as make_plan
from snnet.core.requests import RemoteSubnet
from snnet.core.rules import Rule, rules_about
from snnet.core.subnets import SHARED, CnciSubnet, Scoping, build_cnci_subnet, build_tunnel, sysctls

from ..call import Call, Done, Draft, Mode
from ..claims import Claim, Held, Thing
from ..host import HostView
from ..results import Event

SUBNETS: Thing = ("subnets",)
"""The set of subnets: new ones come one at a time, for they may overlap or have one key."""

FORWARDING: Thing = ("forwarding",)
"""The kernel parameters that routing between subnets needs."""


def subnet_thing(network: IPv4Network) -> Thing:
    return ("subnet", network)


def rule_thing(key: Key) -> Thing:
    return ("rule", *key)


def _tunnel_thing(network: IPv4Network, remote: IPAddress) -> Thing:
    return ("tunnel", network, remote)


@dataclass(slots=True)
class SubnetDraft(Draft):
    subnet: CnciSubnet = field(kw_only=True)
    tunnel: Tunnel = field(kw_only=True)


class AddSubnet(Call[CnciRecords, CnciSubnet | None, SubnetDraft, str]):
    """Add a compute node's part of a subnet; the first one brings the subnet itself."""

    def __init__(self, tenant_id: str, scoping: Scoping, request: RemoteSubnet) -> None:
        self.what = f"add_remote_subnet {request.network}"
        self._tenant_id = tenant_id
        self._scoping = scoping
        self._network = request.network
        self._key = request.key
        self._remote = request.remote

    def claim(self, records: CnciRecords, alone: bool, held: Held) -> Claim:
        subnet, tunnel = subnet_thing(self._network), _tunnel_thing(self._network, self._remote)
        if alone:
            return Claim(frozenset({SUBNETS, FORWARDING, subnet, tunnel}))
        if self._network in records.subnets:
            return Claim(frozenset({tunnel}), frozenset({subnet, FORWARDING}))
        return Claim(frozenset({SUBNETS, subnet, tunnel}), frozenset({FORWARDING}))

    def read(self, records: CnciRecords, claim: Claim) -> CnciSubnet | None:
        records.check_subnet(self._network, self._key)
        records.check_tunnel(self._network, self._key, self._remote)
        return records.subnets.get(self._network)

    def draft(self, known: CnciSubnet | None, host: HostView) -> SubnetDraft:
        network, remote = self._network, self._remote
        old = known.tunnels.get(remote) if known else None
        bridge_name, bridge = host.locate(
            ids.BRIDGE, (str(network),), known.bridge if known else None
        )
        tunnel_name, tunnel = host.locate(ids.TUNNEL, (str(network), str(remote)), old)
        base = known
        if base is None or base.bridge.name != bridge_name:
            base = build_cnci_subnet(
                host.site, self._tenant_id, self._scoping, network, self._key, bridge_name
            )
        if old is None:
            host.check_path(remote)
        link = old or build_tunnel(host.site, self._tenant_id, base, remote, tunnel_name)
        # Only this node's tunnel is looked at: the others are other calls' business.
        wanted = host.carried((*sysctls(host.site), *replace(base, tunnels={remote: link}).nouns()))
        # What hung on a bridge deleted behind our back died with it.
        found = host.find(noun for noun in wanted.values() if not isinstance(noun, Link))
        found |= keyed(noun for noun in (bridge, tunnel) if noun is not None)
        scope = found.get(base.scope.key)
        if known is None and isinstance(scope, DhcpScope):
            # A server that still runs keeps the entries that were added to it.
            base = replace(base, scope=replace(base.scope, entries=scope.entries))
            wanted[base.scope.key] = base.scope
        return SubnetDraft(
            make_plan(found, wanted),
            _scope(base.with_tunnel(link), (*found.values(), *wanted.values())),
            subnet=base.with_tunnel(link),
            tunnel=link,
        )

    def publish(
        self, records: CnciRecords, draft: SubnetDraft, done: Done
    ) -> tuple[str, list[Event]]:
        records.forwarding = True
        known = records.subnets.get(self._network)
        if known is not None and known.bridge == draft.subnet.bridge:
            # Others may have added tunnels to the same subnet meanwhile.
            records.put_tunnel(self._network, draft.tunnel)
        else:
            records.put_subnet(draft.subnet)
        return draft.subnet.bridge.name, []


def _scope(subnet: CnciSubnet, nouns: Iterable[Noun]) -> dict[Thing, set[Key]]:
    """To which thing each noun of a subnet belongs."""
    whole = subnet_thing(subnet.network)
    things = {
        noun.key: _tunnel_thing(subnet.network, remote)
        for remote, tunnel in subnet.tunnels.items()
        for noun in (tunnel, *subnet.beside(tunnel))
    }
    scope: dict[Thing, set[Key]] = {}
    for noun in nouns:
        if isinstance(noun, SharedSysctl):
            thing = FORWARDING
        elif isinstance(noun, SHARED):
            thing = SUBNETS
        else:
            thing = things.get(noun.key, whole)
        scope.setdefault(thing, set()).add(noun.key)
    return scope


class DetachNode(Call[CnciRecords, CnciSubnet | None, Draft, None]):
    """Remove a compute node's tunnel from a subnet, which stays."""

    mode = Mode.PRESS_ON

    def __init__(self, request: RemoteSubnet) -> None:
        self.what = f"del_remote_subnet {request.network} {request.remote}"
        self._network = request.network
        self._key = request.key
        self._remote = request.remote

    def claim(self, records: CnciRecords, alone: bool, held: Held) -> Claim:
        return Claim(
            frozenset({_tunnel_thing(self._network, self._remote)}),
            frozenset({subnet_thing(self._network)}),
        )

    def read(self, records: CnciRecords, claim: Claim) -> CnciSubnet | None:
        return records.subnets.get(self._network)

    def draft(self, known: CnciSubnet | None, host: HostView) -> Draft:
        old = known.tunnels.get(self._remote) if known and known.key == self._key else None
        if known is not None and old is None:
            return Draft()
        link = host.locate(ids.TUNNEL, (str(self._network), str(self._remote)), old)[1]
        found = keyed([link] if link is not None else [])
        if known is not None and old is not None:
            found |= host.find(host.carried(known.beside(old)).values())
        return Draft(make_plan(found, {}), {_tunnel_thing(self._network, self._remote): set(found)})

    def publish(self, records: CnciRecords, draft: Draft, done: Done) -> tuple[None, list[Event]]:
        known = records.subnets.get(self._network)
        if not done.left and known is not None and known.key == self._key:
            records.drop_tunnel(self._network, self._remote)
        return None, []


@dataclass(slots=True)
class Whole:
    """A subnet, its rules, and whether others stay in the tenant's zone."""

    subnet: CnciSubnet | None
    rules: list[Rule]
    others: bool


class RemoveSubnet(Call[CnciRecords, Whole, Draft, None]):
    """Remove a subnet with its tunnels, its DHCP server and the rules about it."""

    mode = Mode.PRESS_ON

    def __init__(self, network: IPv4Network) -> None:
        self.what = f"remove_subnet {network}"
        self._network = network

    def claim(self, records: CnciRecords, alone: bool, held: Held) -> Claim:
        things = {SUBNETS, subnet_thing(self._network)}
        subnet = records.subnets.get(self._network)
        if subnet is not None:
            things |= {_tunnel_thing(self._network, remote) for remote in subnet.tunnels}
            rules = rules_about(subnet, records.rules.values())
            things |= {rule_thing(rule.key) for rule in rules}
        return Claim(frozenset(things))

    def read(self, records: CnciRecords, claim: Claim) -> Whole:
        subnet = records.subnets.get(self._network)
        rules = list(rules_about(subnet, records.rules.values())) if subnet else []
        others = any(network != self._network for network in records.subnets)
        return Whole(subnet, rules, others or records.mesh is not None)

    def draft(self, known: Whole, host: HostView) -> Draft:
        bridge = known.subnet.bridge if known.subnet else None
        link = host.locate(ids.BRIDGE, (str(self._network),), bridge)[1]
        found = keyed([link] if link is not None else [])
        scope: dict[Thing, set[Key]] = {subnet_thing(self._network): set(found)}
        if known.subnet is not None:
            nouns = [
                noun
                for noun in host.carried(known.subnet.nouns()).values()
                if not (known.others and isinstance(noun, SHARED))
            ]
            found |= {
                key: noun
                for key, noun in host.find(nouns).items()
                if not isinstance(noun, Link) or ids.is_ours(noun, host.site.owner)
            }
            scope |= _scope(known.subnet, found.values())
        for rule in known.rules:
            there = host.find(with_addresses(rule))
            found |= there
            scope[rule_thing(rule.key)] = set(there)
        return Draft(make_plan(found, {}), scope)

    def publish(self, records: CnciRecords, draft: Draft, done: Done) -> tuple[None, list[Event]]:
        left = done.left
        subnet = records.subnets.get(self._network)
        if subnet is None:
            return None, []
        for rule in list(rules_about(subnet, records.rules.values())):
            if left.isdisjoint(noun.key for noun in with_addresses(rule)):
                del records.rules[rule.key]
        for remote, tunnel in subnet.tunnels.items():
            if tunnel.key not in left:
                records.drop_tunnel(self._network, remote)
        if left.isdisjoint(noun.key for noun in subnet.nouns()):
            records.drop_subnet(self._network)
        return None, []
