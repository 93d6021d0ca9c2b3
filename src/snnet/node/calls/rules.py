"""A concentrator's rules, and the public addresses that come with them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Self

from snnet.checks import shown
from snnet.contract import (
    Address,
    Announcement,
    ExternalForward,
    InvalidRequest,
    IPAddress,
    Key,
    Noun,
    PortForward,
    PublicIp,
    keyed,
)
from snnet.core import identity as ids
from snnet.core.addressing import Networks
from snnet.core.announcing import of_rules
from snnet.core.cnci_records import CnciRecords, rule_thing
from snnet.core.fitting import check_fits, device_addresses, with_addresses
from snnet.core.planner import plan as make_plan
from snnet.core.rules import Rule, check_rule
from snnet.core.surroundings import check_forwards

from ..call import Call, Done, Draft, Mode
from ..claims import Claim, Held, Thing
from ..host import HostView
from ..results import Event
from .host_ports import check_rivals
from .subnet_things import SUBNETS, subnet_thing

Select = Callable[[CnciRecords], Sequence[Rule]]
"""Selects some of the rules that a node knows."""


@dataclass(slots=True)
class Known:
    """Which rules of a call the node knows, and all public addresses of the node."""

    rules: dict[Key, Rule]
    publics: frozenset[IPAddress]
    zone: Iterable[Noun]
    """The rules that isolate the tenant; every other rule needs them."""
    epoch: Hashable | None
    """The firewall's epoch in which the zone was seen to be complete."""


@dataclass(slots=True)
class RulesDraft(Draft):
    rules: dict[Key, Rule] = field(kw_only=True)
    epoch: Hashable | None = field(kw_only=True)


class SetRules(Call[CnciRecords, Known, RulesDraft, None]):
    """Set these rules and what comes with them; raise Conflict where two contradict.

    ``fields`` are the names of the caller's arguments for the devices, by default "device".
    """

    def __init__(
        self, what: str, rules: Sequence[Rule], fields: Mapping[str, str] | None = None
    ) -> None:
        self.what = what
        self._rules: dict[Key, Rule] = {rule.key: rule for rule in rules}
        self._fields = fields or {}
        for rule in rules:
            check_rule(rule, self._rules)

    def claim(self, records: CnciRecords, alone: bool, held: Held) -> Claim:
        things: set[Thing] = {rule_thing(key) for key in self._rules}
        shared: set[Thing] = set()
        for rule in self._rules.values():
            if isinstance(rule, PublicIp):
                things.add(("guest", rule.internal))
            # A subnet must not be removed while a rule about it is added.
            shared |= {subnet_thing(network) for network in _networks(rule, records)}
        if alone:
            things |= {SUBNETS, *map(subnet_thing, records.subnets)}
        return Claim(frozenset(things), frozenset(shared - things))

    def read(self, records: CnciRecords, claim: Claim) -> Known:
        for rule in self._rules.values():
            check_fits(rule, records)
            check_rule(rule, records.rules)
            if isinstance(rule, PortForward):
                for tunnel in records.tunnels():
                    check_forwards([rule], tunnel, records.site.uplink.link_name)
        return Known(
            {key: records.rules[key] for key in self._rules if key in records.rules},
            frozenset(rule.public for rule in records.rules.values() if isinstance(rule, PublicIp)),
            records.zone(),
            records.epoch,
        )

    def draft(self, known: Known, host: HostView) -> RulesDraft:
        epoch = host.epoch()
        self._check_devices(host)
        self._check_surroundings(known, host)
        rules = self._resolved(known, host)
        wanted: dict[Key, Noun] = {}
        found: dict[Key, Noun] = {}
        scope: dict[Thing, set[Key]] = {}
        for key, rule in rules.items():
            nouns = keyed(with_addresses(rule))
            wanted |= nouns
            scope[rule_thing(key)] = set(nouns)
            if key in known.rules:
                found |= host.find(nouns.values())
        if epoch is None or epoch != known.epoch:
            zone = host.carried(known.zone)
            wanted |= zone
            found |= host.rules(zone)
            scope[SUBNETS] = set(zone)
        return RulesDraft(make_plan(found, wanted), scope, rules=rules, epoch=epoch)

    def _check_devices(self, host: HostView) -> None:
        """Raise InvalidRequest where a device is not a link of the host, or is one of ours."""
        for device in dict.fromkeys(rule.device for rule in self._rules.values()):
            link = host.listing.link(device)
            owner = host.site.owner
            ours = link is not None and ids.ours_or_stray(link, owner)
            if link is None or ours or link.kind == "loopback":
                raise InvalidRequest(
                    f"{shown(device)} is not an external link of this host",
                    field=self._fields.get(device, "device"),
                )

    def _check_surroundings(self, known: Known, host: HostView) -> None:
        """Raise Conflict where a new rule takes what belongs to the host or to another owner."""
        new = [
            rule
            for key, rule in self._rules.items()
            if key not in known.rules and isinstance(rule, (PortForward, PublicIp))
        ]
        around = host.listing.surroundings
        for rule in new:
            if isinstance(rule, PortForward):
                around.check_port(rule, host.site.uplink.link_name)
            else:
                around.check_address(rule.public, f"public address {rule.public}")
        if new:
            check_rivals(new, host)

    def _resolved(self, known: Known, host: HostView) -> dict[Key, Rule]:
        """Return the rules, with the addresses by which guests reach what a device forwards.

        Raises InvalidRequest for a forward of an address that the host does not have.
        """
        listing, publics = host.listing, known.publics

        @cache
        def addresses(device: str) -> tuple[IPAddress, ...]:
            return device_addresses(listing.addresses(device), publics).get(device, ())

        @cache
        def all_addresses() -> set[IPAddress]:
            return set().union(*device_addresses(listing.of(Address), publics).values())

        rules = dict(self._rules)
        for rule in self._rules.values():
            if isinstance(rule, PortForward):
                if rule.address is None:
                    rules[rule.key] = replace(rule, addresses=addresses(rule.device))
                elif rule.address not in all_addresses():
                    raise InvalidRequest(
                        f"{rule.address} is not an address of this host", field="address"
                    )
        return rules

    def intents(self, draft: RulesDraft) -> dict[tuple[str, ...], Sequence[Noun]]:
        return {rule_thing(key): (rule,) for key, rule in draft.rules.items()}

    def publish(
        self, records: CnciRecords, draft: RulesDraft, done: Done
    ) -> tuple[None, list[Event]]:
        records.rules |= draft.rules
        records.epoch = draft.epoch
        return None, []

    def announces(self, records: CnciRecords, draft: RulesDraft) -> list[Announcement]:
        # On every call: a switch may have lost the address since the last one.
        return list(of_rules(draft.rules.values(), draft.rules.keys()))


@dataclass(slots=True)
class There:
    """Rules that the node knows, which nobody else changed as long as the epoch lasts."""

    rules: list[Rule]
    epoch: Hashable | None


class DropRules(Call[CnciRecords, There, Draft, None]):
    """Remove the node's rules that ``select`` returns, with what was added with them."""

    mode = Mode.PRESS_ON

    def __init__(self, what: str, select: Select) -> None:
        self.what = what
        self._select = select

    @classmethod
    def of(cls, what: str, keys: Sequence[Key]) -> Self:
        """Remove the rules with these identities; unknown ones are not an error."""
        return cls(
            what, lambda records: [records.rules[key] for key in keys if key in records.rules]
        )

    def claim(self, records: CnciRecords, alone: bool, held: Held) -> Claim:
        return Claim(frozenset(rule_thing(rule.key) for rule in self._select(records)))

    def read(self, records: CnciRecords, claim: Claim) -> There:
        return There([*self._select(records)], records.epoch)

    def draft(self, known: There, host: HostView) -> Draft:
        found: dict[Key, Noun] = {}
        scope: dict[Thing, set[Key]] = {}
        sure = known.epoch is not None and host.epoch() == known.epoch
        for rule in known.rules:
            there = host.find(noun for noun in with_addresses(rule) if noun != rule or not sure)
            if sure:
                there[rule.key] = rule
            found |= there
            scope[rule_thing(rule.key)] = set(there)
        return Draft(make_plan(found, {}), scope)

    def publish(self, records: CnciRecords, draft: Draft, done: Done) -> tuple[None, list[Event]]:
        for rule in self._select(records):
            if done.left.isdisjoint(noun.key for noun in with_addresses(rule)):
                del records.rules[rule.key]
        return None, []


def _networks(rule: Rule, records: CnciRecords) -> list[Networks]:
    """The subnets that a rule is about."""
    match rule:
        case ExternalForward(bridge=bridge):
            subnet = records.subnet_on(bridge)
        case PortForward(target=address) | PublicIp(internal=address):
            subnet = records.subnet_of(address)
        case _:
            subnet = None
    return [] if subnet is None else [subnet.networks]
