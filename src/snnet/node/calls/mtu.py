"""The MTU of a concentrator's subnet: its cap is changed in place."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from snnet.core.addressing import Networks, written
from snnet.core.cnci_records import CnciRecords
from snnet.core.planner import plan as make_plan
from snnet.core.subnets import SHARED, CnciSubnet

from ..call import Call, Done, Draft
from ..claims import Claim, Held
from ..host import HostView
from ..results import Event
from .subnet_things import known_subnet, subnet_thing


@dataclass(slots=True)
class MtuDraft(Draft):
    subnet: CnciSubnet = field(kw_only=True)


class CapMtu(Call[CnciRecords, CnciSubnet, MtuDraft, None]):
    """Cap the MTU of a subnet's gateway, of its TCP segments and of what guests learn by DHCP."""

    def __init__(self, networks: Networks, mtu: int | None) -> None:
        self.what = f"cap mtu of {written(networks)}"
        self._networks = networks
        self._mtu = mtu

    def claim(self, records: CnciRecords, alone: bool, held: Held) -> Claim:
        return Claim(frozenset({subnet_thing(self._networks)}))

    def read(self, records: CnciRecords, claim: Claim) -> CnciSubnet:
        return known_subnet(records, self._networks)

    def draft(self, known: CnciSubnet, host: HostView) -> MtuDraft:
        new = known.with_mtu(self._mtu)
        own = [rule for rule in new.rules if not isinstance(rule, SHARED)]
        wanted = host.carried((new.bridge, *own, new.scope))
        found = host.find_ours((new.bridge, *own, new.scope))
        scope = {subnet_thing(self._networks): {*found, *wanted}}
        return MtuDraft(make_plan(found, wanted), scope, subnet=new)

    def publish(
        self, records: CnciRecords, draft: MtuDraft, done: Done
    ) -> tuple[None, list[Event]]:
        subnet, new = records.subnets[self._networks], draft.subnet
        records.subnets[self._networks] = replace(
            subnet, bridge=new.bridge, scope=new.scope, mtu=new.mtu
        )
        return None, []
