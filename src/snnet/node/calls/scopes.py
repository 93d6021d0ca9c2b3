"""The DHCP scope of one subnet: its entries, and whether its server runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from snnet.contract import DhcpScope, Operation, Plan
from snnet.core.addressing import Networks, written
from snnet.core.cnci_records import CnciRecords

from ..call import Call, Done, Draft
from ..claims import Claim, Held
from ..host import HostView
from ..results import Event
from .subnet_things import known_subnet, subnet_thing

Alter = Callable[[DhcpScope, Callable[[], bool]], list[Operation]]
"""Returns the operations on a scope, from its record and a check whether it runs."""


@dataclass(slots=True)
class ScopeDraft(Draft):
    state: DhcpScope = field(kw_only=True)


class ChangeScope(Call[CnciRecords, DhcpScope, ScopeDraft, None]):
    """Carry out the operations on a subnet's scope that ``alter`` returns."""

    def __init__(self, what: str, networks: Networks, alter: Alter) -> None:
        self.what = f"dhcp {what} {written(networks)}"
        self._networks = networks
        self._alter = alter

    def claim(self, records: CnciRecords, alone: bool, held: Held) -> Claim:
        return Claim(frozenset({subnet_thing(self._networks)}))

    def read(self, records: CnciRecords, claim: Claim) -> DhcpScope:
        return known_scope(records, self._networks)

    def draft(self, known: DhcpScope, host: HostView) -> ScopeDraft:
        operations = self._alter(known, partial(is_running, known, host))
        last = operations[-1].noun if operations else known
        assert isinstance(last, DhcpScope)
        scope = {subnet_thing(self._networks): {known.key}}
        return ScopeDraft(Plan(tuple(operations)), scope, state=last)

    def publish(
        self, records: CnciRecords, draft: ScopeDraft, done: Done
    ) -> tuple[None, list[Event]]:
        subnet = records.subnets[self._networks]
        records.subnets[self._networks] = replace(subnet, scope=draft.state)
        return None, []


def known_scope(records: CnciRecords, networks: Networks) -> DhcpScope:
    """Return the scope of a subnet; raise InvalidRequest if the node has no such subnet."""
    return known_subnet(records, networks).scope


def is_running(scope: DhcpScope, host: HostView) -> bool:
    """Whether the server of the scope runs now."""
    found = host.find([scope]).get(scope.key)
    return isinstance(found, DhcpScope) and found.running
