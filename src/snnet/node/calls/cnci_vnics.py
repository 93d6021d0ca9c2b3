"""Concentrators' NICs on a compute node: macvtaps on its compute uplink."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from snnet.contract import Link, Macvtap, Missing, Noun, keyed
from snnet.core import identity as ids
from snnet.core.cnci_ports import build_cnci_vnic
from snnet.core.compute_records import ComputeRecords
from snnet.core.conflicts import check_same_cnci_vnic
from snnet.core.held import keep_held
from snnet.core.planner import plan as make_plan
from snnet.core.requests import CnciVnicId, CnciVnicRequest
from snnet.core.vnics import CnciVnic

from ..call import Call, Done, Draft, Mode
from ..claims import Claim, Held, Thing
from ..host import HostView
from ..results import Event


def _thing(identity: CnciVnicId) -> Thing:
    return ("cnci-vnic", *identity)


@dataclass(slots=True)
class Known:
    vnic: CnciVnic | None
    strays: Mapping[tuple[str, ...], str]


@dataclass(slots=True)
class CnciVnicDraft(Draft):
    vnic: CnciVnic = field(kw_only=True)


class CreateCnciVnic(Call[ComputeRecords, Known, CnciVnicDraft, CnciVnic]):
    """Make a concentrator's NIC, or repair it."""

    inspects: ClassVar[bool] = True

    def __init__(self, request: CnciVnicRequest) -> None:
        self.what = f"create_cnci_vnic {request.vnic_id}"
        self._request = request

    def claim(self, records: ComputeRecords, alone: bool, held: Held) -> Claim:
        return Claim(frozenset({_thing(self._request.id), ("mac", self._request.mac)}))

    def read(self, records: ComputeRecords, claim: Claim) -> Known:
        records.check_cnci_mac(self._request.id, self._request.mac)
        return Known(records.cnci_vnics.get(self._request.id), records.strays)

    def draft(self, known: Known, host: HostView) -> CnciVnicDraft:
        identity, old = self._request.id, known.vnic
        name, link = host.locate(
            ids.CNCI_VNIC, identity, old.link if old else None, strays=known.strays
        )
        vnic = build_cnci_vnic(host.site, self._request, name)
        if old is not None:
            check_same_cnci_vnic(old, self._request, host.site)
            if old.link_name == name:
                vnic = old
        found: dict[tuple[str, ...], Noun] = {} if link is None else {link.key: link}
        wanted, _ = keep_held(found, keyed(vnic.nouns()))
        return CnciVnicDraft(
            make_plan(found, wanted), {_thing(identity): {*found, *wanted}}, vnic=vnic
        )

    def inspect(self, draft: CnciVnicDraft, host: HostView) -> None:
        """Learn the index that the kernel gave: it names the device."""
        link = host.link(draft.vnic.link_name)
        if not isinstance(link, Macvtap):
            raise Missing(f"{draft.vnic.link_name} was deleted as soon as it was made: try again")
        draft.vnic = replace(draft.vnic, link=replace(draft.vnic.link, index=link.index))

    def publish(
        self, records: ComputeRecords, draft: CnciVnicDraft, done: Done
    ) -> tuple[CnciVnic, list[Event]]:
        records.cnci_vnics[draft.vnic.id] = draft.vnic
        return draft.vnic, []


class DestroyCnciVnic(Call[ComputeRecords, Link | None, Draft, None]):
    """Remove a concentrator's NIC."""

    mode = Mode.PRESS_ON

    def __init__(self, identity: CnciVnicId) -> None:
        self.what = f"destroy_cnci_vnic {identity[1]}"
        self._identity = identity

    def claim(self, records: ComputeRecords, alone: bool, held: Held) -> Claim:
        return Claim(frozenset({_thing(self._identity)}))

    def read(self, records: ComputeRecords, claim: Claim) -> Link | None:
        known = records.cnci_vnics.get(self._identity)
        return known.link if known else None

    def draft(self, known: Link | None, host: HostView) -> Draft:
        link = host.locate(ids.CNCI_VNIC, self._identity, known)[1]
        strays = [] if link else host.listing.stray(ids.CNCI_VNIC, self._identity)
        found = keyed([link] if link is not None else [])
        return Draft(make_plan(found, {}), {_thing(self._identity): set(found)}, strays)

    def publish(
        self, records: ComputeRecords, draft: Draft, done: Done
    ) -> tuple[None, list[Event]]:
        if not done.left:
            records.cnci_vnics.pop(self._identity, None)
        return None, []
