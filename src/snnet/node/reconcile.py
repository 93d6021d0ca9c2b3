"""``ComputeNode.reconcile``: the complete wanted set of a compute node in one call."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from snnet.checks import of_item
from snnet.config import VnicConfig
from snnet.contract import InvalidRequest, SnnetError
from snnet.core.compute_records import ComputeRecords
from snnet.core.conflicts import is_changeable, is_same_cnci_vnic, is_same_subnet, is_same_vnic
from snnet.core.groups import Group, GroupId
from snnet.core.local_requests import ConcentratorConfig, ConcentratorId
from snnet.core.requests import (
    CnciVnicId,
    CnciVnicRequest,
    GuestRequest,
    SubnetId,
    VnicId,
    cnci_vnic_identity,
    cnci_vnic_request,
    tenant_identity,
)
from snnet.core.site import Site
from snnet.core.vnics import TenantSubnet

from .bulk import listed
from .call import Mode
from .calls.cnci_vnics import CreateCnciVnic, DestroyCnciVnic
from .calls.layout import Layout
from .calls.vnics import Changed, ChangeVnics
from .deadline import Deadline
from .engine import Engine
from .reconcile_groups import listed_groups, remove_unwanted, set_wanted
from .reconcile_local import release_concentrators, set_concentrators, wanted_concentrators
from .results import Reconciled
from .steps import Steps, steps_of

Identity = TypeVar("Identity", bound=Hashable)
Q = TypeVar("Q")
T = TypeVar("T")


def reserves_none(identity: object) -> bool:
    """Nothing is left alone."""
    return False


@dataclass(frozen=True, slots=True)
class Reserved:
    """What a reconcile leaves alone, unless it is named."""

    vnics: Callable[[VnicId], bool] = reserves_none
    concentrators: Callable[[ConcentratorId], bool] = reserves_none
    groups: Callable[[GroupId], bool] = reserves_none


def reconcile_node(
    engine: Engine[ComputeRecords],
    layout: Layout[Any],
    vnics: Iterable[VnicConfig] | None,
    cnci_vnics: Iterable[VnicConfig] | None,
    concentrators: Iterable[ConcentratorConfig] | None,
    groups: Iterable[Group] | None,
    reserved: Reserved,
    deadline: Deadline,
    *,
    atomic: bool,
) -> Reconciled:
    """See :meth:`snnet.ComputeNode.reconcile`."""
    guests = _wanted(vnics, "vnics", tenant_identity, layout.request, atomic)
    site = engine.records.site
    ports = _wanted(
        cnci_vnics,
        "cnci_vnics",
        cnci_vnic_identity,
        lambda cfg: cnci_vnic_request(cfg, mtu_limit=site.uplink.mtu),
        atomic,
    )
    local = None
    if concentrators is not None:
        local = wanted_concentrators(site, concentrators, atomic=atomic)
    security = None if groups is None else listed_groups(groups)
    with steps_of(engine, deadline, atomic=atomic) as steps:
        # Removals free subnets, keys, addresses and ports that what is new may need.
        if local is not None:
            release_concentrators(steps, local, reserved.concentrators)
        if security is not None:
            set_wanted(steps, security)
        parts = list(_subnets(steps, layout, guests, reserved.vnics)) if guests is not None else []
        for part in parts:
            _leave_empty(steps, layout, part)
            if not part.adds:
                _reconcile_subnet(steps, layout, part)
        if local is not None:
            set_concentrators(steps, local)
        for part in parts:
            if part.adds:
                _reconcile_subnet(steps, layout, part)
        if ports is not None:
            _reconcile_cnci_vnics(steps, ports)
        if security is not None:
            remove_unwanted(steps, security, reserved.groups)
    return steps.result


def _wanted(
    cfgs: Iterable[VnicConfig] | None,
    field: str,
    identity_of: Callable[[VnicConfig], Identity],
    request_of: Callable[[VnicConfig], Q],
    atomic: bool,
) -> dict[Identity, Q | InvalidRequest] | None:
    """Return the requests by identity; for a wrong one its error, so that it is not removed."""
    if cfgs is None:
        return None
    wanted: dict[Identity, Q | InvalidRequest] = {}
    for number, cfg in enumerate(listed(cfgs, field)):
        where = f"{field}[{number}]"
        try:
            identity = identity_of(cfg)
        except InvalidRequest as error:
            raise of_item(error, where) from None
        if identity in wanted:
            raise InvalidRequest("is there twice", field=where)
        try:
            wanted[identity] = request_of(cfg)
        except InvalidRequest as error:
            if atomic:
                raise of_item(error, where) from None
            wanted[identity] = error
    return wanted


@dataclass(slots=True)
class _Part:
    """What to do about the VNICs of one subnet."""

    failed: dict[VnicId, InvalidRequest] = field(default_factory=dict)
    kept: list[VnicId] = field(default_factory=list)
    created: dict[VnicId, GuestRequest] = field(default_factory=dict)
    repaired: dict[VnicId, GuestRequest] = field(default_factory=dict)
    changed: dict[VnicId, GuestRequest] = field(default_factory=dict)
    """VNICs that differ only in what can be changed in place."""
    replaced: dict[VnicId, GuestRequest] = field(default_factory=dict)
    removed: list[VnicId] = field(default_factory=list)
    empty: SubnetId | None = None
    """The subnet if it has no VNIC, because a removal was not finished."""
    moved: bool = False
    """Whether the subnet itself differs, so that its VNICs must be removed first."""

    @property
    def adds(self) -> bool:
        return bool(self.created or self.repaired or self.changed or self.replaced)


def _subnets(
    steps: Steps[ComputeRecords],
    layout: Layout[Any],
    wanted: Mapping[VnicId, GuestRequest | InvalidRequest],
    reserved: Callable[[VnicId], bool],
) -> Iterator[_Part]:
    """Yield what to do, subnet by subnet."""
    engine = steps.engine
    with engine.claims.lock:
        known = {vnic.id: vnic for vnic in engine.records.vnics()}
        subnets = dict(engine.records.subnets)
        empty = [subnet.id for subnet in engine.records.empty_subnets()]
    parts: dict[SubnetId, _Part] = {key: _Part(empty=key) for key in empty}
    for identity in known:
        part = parts.setdefault(identity[:2], _Part())
        if identity not in wanted and not reserved(identity):
            part.removed.append(identity)
    for identity, request in wanted.items():
        part = parts.setdefault(identity[:2], _Part())
        old, subnet = known.get(identity), subnets.get(identity[:2])
        if isinstance(request, InvalidRequest):
            part.failed[identity] = request
        elif subnet is not None and not is_same_subnet(subnet, request):
            (part.created if old is None else part.replaced)[identity] = request
            part.moved = True
        elif subnet is None or old is None:
            part.created[identity] = request
        elif not is_changeable(old, request):
            part.replaced[identity] = request
        elif not is_same_vnic(old, request, layout.site):
            part.changed[identity] = request
        elif _has_tunnel(subnet, layout.site) and steps.intact((*subnet.nouns(), *old.nouns())):
            part.kept.append(identity)
        else:
            part.repaired[identity] = request
    yield from parts.values()


def _has_tunnel(subnet: TenantSubnet, site: Site) -> bool:
    """Whether the subnet has its tunnel; it was lost, or the node had another topology before."""
    return subnet.tunnel is not None or subnet.bridge is None or site.local


def _leave_empty(steps: Steps[ComputeRecords], layout: Layout[Any], part: _Part) -> None:
    """Remove the VNICs of a subnet that itself differs, and a subnet without VNICs."""
    gone = [*part.removed, *part.replaced] if part.moved else []
    left = [part.empty] if part.empty and (part.moved or not part.adds) else []
    if not gone and not left:
        return
    try:
        call = ChangeVnics("reconcile", layout, gone=gone, mode=Mode.PRESS_ON, left=left)
        _take(steps, steps.run(call))
    except SnnetError as error:
        if not part.moved:
            steps.failed((*left[0],), error)
        elif steps.atomic:
            raise
        # The rest is removed one by one.


def _reconcile_subnet(steps: Steps[ComputeRecords], layout: Layout[Any], part: _Part) -> None:
    """Change the VNICs of one subnet together; if one fails, change them one by one."""
    for identity in part.kept:
        steps.note(identity, "kept")
    for identity, error in part.failed.items():
        steps.failed(identity, error)
    made = part.created | part.repaired | part.changed | part.replaced
    gone = [*part.removed, *part.replaced]
    actions = (
        dict.fromkeys(part.removed, "removed")
        | dict.fromkeys(part.created, "created")
        | dict.fromkeys((*part.repaired, *part.changed, *part.replaced), "updated")
    )
    if not actions:
        return
    try:
        requests, updated = list(made.values()), part.changed
        changed = steps.run(ChangeVnics("reconcile", layout, requests, gone, updated=updated))
    except SnnetError:
        if steps.atomic:
            raise
        for identity, action in actions.items():
            _change_one(
                steps, layout, identity, action, made.get(identity), identity in gone, part.changed
            )
        return
    _take(steps, changed)
    for identity, action in actions.items():
        steps.note(identity, action)


def _change_one(
    steps: Steps[ComputeRecords],
    layout: Layout[Any],
    identity: VnicId,
    action: str,
    request: GuestRequest | None,
    gone: bool,
    updated: Collection[VnicId],
) -> None:
    call = ChangeVnics(
        f"reconcile {identity[2]}",
        layout,
        [] if request is None else [request],
        [identity] if gone else [],
        Mode.PRESS_ON if request is None else Mode.ALL_OR_NOTHING,
        updated=[identity] if identity in updated else [],
    )
    for changed in steps.attempt(identity, action, call) or ():
        _take(steps, changed)


def _take(steps: Steps[ComputeRecords], changed: Changed) -> None:
    """Take in what a call did; nobody asked for descriptors of queues."""
    steps.result.events += changed.events()
    for made in changed.made:
        for fd in made.vnic.fds:
            os.close(fd)


def _reconcile_cnci_vnics(
    steps: Steps[ComputeRecords],
    wanted: Mapping[CnciVnicId, CnciVnicRequest | InvalidRequest],
) -> None:
    with steps.engine.claims.lock:
        known = dict(steps.engine.records.cnci_vnics)
    # Remove all before adding any: a new one may have the MAC of an old one.
    site, replaced = steps.engine.records.site, set[CnciVnicId]()
    for identity, old in known.items():
        request = wanted.get(identity)
        if request is None:
            steps.attempt(identity, "removed", DestroyCnciVnic(identity))
        elif isinstance(request, CnciVnicRequest) and not is_same_cnci_vnic(old, request, site):
            try:
                steps.run(DestroyCnciVnic(identity))
            except SnnetError as error:
                steps.failed(identity, error)
            replaced.add(identity)
    failed = {item.key for item in steps.result.failed}
    for identity, request in wanted.items():
        if identity in failed:
            continue
        if isinstance(request, InvalidRequest):
            steps.failed(identity, request)
        elif (
            identity in known and identity not in replaced and steps.intact(known[identity].nouns())
        ):
            steps.note(identity, "kept")
        else:
            action = "updated" if identity in known else "created"
            steps.attempt(identity, action, CreateCnciVnic(request))
