"""Tenant VNICs of a compute node: how a create and a destroy go, in either mode."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Generic, TypeVar

from snnet.config import VnicConfig, VnicRole
from snnet.contract import (
    FatalError,
    Key,
    Missing,
    Noun,
    Nouns,
    Plan,
)
from snnet.core import identity as ids
from snnet.core.building import beside_unknown
from snnet.core.compute import Subnet, Vnic, container_info
from snnet.core.events import ContainerEvent, ContainerInfo, TunnelEvent
from snnet.core.requests import GuestRequest, VnicId, tenant_identity

from .claims import Claim
from .deadline import Deadline
from .engine import Taken, Telling, incomplete, undone
from .reports import CreatedVnic, DestroyedVnic

if TYPE_CHECKING:
    from .compute import ComputeNode

R = TypeVar("R", bound=GuestRequest)


class Vnics(ABC, Generic[R]):
    """Creates and destroys the VNICs of one node, as its mode has it."""

    def __init__(self, node: ComputeNode) -> None:
        self._node = node

    # -- what a mode decides -----------------------------------------------------------

    @abstractmethod
    def request(self, cfg: VnicConfig) -> R:
        """The request, checked whole."""

    @abstractmethod
    def create_claim(self, request: R, alone: bool) -> Claim:
        """What a create needs; ``alone``, what others share is to be mended too."""

    @abstractmethod
    def plan(self, request: R, look: bool) -> tuple[Subnet, Vnic, Plan]:
        """The records of a request and the plan for them; Conflict where they contradict.

        Without ``look`` what the node knows is taken for granted: the driver will
        say if it is not so.
        """

    @abstractmethod
    def announced(self, known: Subnet | None, subnet: Subnet) -> TunnelEvent | None:
        """The event of a VNIC of ``subnet``, which was ``known`` so far."""

    @abstractmethod
    def destroy_claim(self, identity: VnicId, staying: bool) -> Claim:
        """What a destroy needs, with other VNICs of the subnet ``staying`` or without."""

    @abstractmethod
    def closing(self, subnet: Subnet) -> tuple[Nouns, Nouns]:
        """What is found of a subnet whose last VNIC goes, and what of it is to stay."""

    @abstractmethod
    def forget(self, subnet: Subnet, left: set[Key]) -> list[TunnelEvent]:
        """Drop a subnet without VNICs, but for what is left; the events that come of it."""

    # -- creating ----------------------------------------------------------------------

    def create(self, cfg: VnicConfig, deadline: Deadline) -> CreatedVnic:
        request = self.request(cfg)
        try:
            return self._create(request, deadline)
        except (Taken, Missing):
            # What was taken for granted is not so: a link in the way, or a bridge gone.
            return self._create(request, deadline, alone=True, look=True)

    def preview(self, cfg: VnicConfig, deadline: Deadline) -> Plan:
        """The plan of a create as it would be now."""
        request, node = self.request(cfg), self._node
        with node._claims.hold(lambda: self.create_claim(request, False), deadline):
            plan = self.plan(request, look=True)[2]
        node._drivers.require(plan)
        return node._drivers.preview(plan)

    def _create(
        self, request: R, deadline: Deadline, *, alone: bool = False, look: bool = False
    ) -> CreatedVnic:
        node = self._node
        with (
            node._telling() as told,
            node._claims.hold(lambda: self.create_claim(request, alone), deadline) as claim,
        ):
            subnet, vnic, plan = self.plan(request, look)
            own = {noun.key for noun in vnic.nouns()}
            on_subnet = any(operation.noun.key not in own for operation in plan)
            if not (on_subnet and claim.shared):
                return self._set_up(told, subnet, vnic, plan, deadline)
        # The subnet has to be mended, and others may be about to do it too.
        return self._create(request, deadline, alone=True, look=look)

    def _set_up(
        self, told: Telling, subnet: Subnet, vnic: Vnic, plan: Plan, deadline: Deadline
    ) -> CreatedVnic:
        node, topology = self._node, self._node._topology
        known = topology.subnets.get(subnet.id)
        try:
            outcome = node._set_up(told, plan, deadline, f"create_vnic {vnic.vnic_id}")
        except FatalError:
            if known is None:
                # What is left can be found again, and a destroy finishes it.
                with node._claims.lock:
                    topology.put_subnet(subnet)
            raise
        event = self.announced(known, subnet)
        info = None
        with node._claims.lock:
            if vnic.role is VnicRole.TENANT_CONTAINER:
                first = topology.containers(subnet.id) == 0
                info = container_info(subnet, ContainerEvent.ADD if first else ContainerEvent.INFO)
            if known is not subnet:
                topology.put_subnet(subnet)
            topology.put_vnic(vnic)
        if plan:
            told.add(event, info)
        fds = outcome.fds.get(vnic.link_name)
        return CreatedVnic(replace(vnic, fds=fds) if fds else vnic, event, info)

    # -- destroying --------------------------------------------------------------------

    def destroy(self, cfg: VnicConfig, deadline: Deadline) -> DestroyedVnic:
        identity, node = tenant_identity(cfg), self._node
        with (
            node._telling() as told,
            node._claims.hold(lambda: self._destroy_claim(identity), deadline) as claim,
        ):
            last = ("subnet", *identity[:2]) in claim.alone
            return self._destroy(told, identity, last)

    def _destroy_claim(self, identity: VnicId) -> Claim:
        node = self._node
        # Two last VNICs that go at once must not each take the other for staying.
        staying = any(
            vnic.id != identity and not node._claims.held(("leaving", *vnic.id))
            for vnic in node._topology.vnics(identity[:2])
        )
        return self.destroy_claim(identity, staying)

    def _destroy(self, told: Telling, identity: VnicId, last: bool) -> DestroyedVnic:
        node = self._node
        topology = node._topology
        subnet, vnic = topology.subnets.get(identity[:2]), topology.vnic(identity)
        found = self._found(identity, vnic)
        wanted: Nouns = {}
        if subnet is not None and last:
            closing, wanted = self.closing(subnet)
            found |= closing
        outcome = node._tear_down(told, found, wanted)
        left = undone(told.plan, outcome)
        event, info = self._forget(identity, subnet, left, last)
        told.add(event, info)
        if outcome.errors:
            raise incomplete(
                f"destroy_vnic {identity[2]}", told.plan, outcome, event=event, info=info
            )
        return DestroyedVnic(event, info)

    def _found(self, identity: VnicId, vnic: Vnic | None) -> dict[Key, Noun]:
        """What is there of a VNIC, known or not."""
        node = self._node
        found: dict[Key, Noun] = {}
        beside: list[Noun] = list(vnic.beside) if vnic else []
        for kind in (ids.VM, ids.CONTAINER):
            name, link = node._locate(kind, identity, vnic.link if vnic else None)
            if link is not None:
                found[link.key] = link
            if vnic is None:
                beside += beside_unknown(node.site, name, link)
        return found | node._drivers.find(node._carried(beside).values())

    def _forget(
        self, identity: VnicId, subnet: Subnet | None, left: set[Key], last: bool
    ) -> tuple[TunnelEvent | None, ContainerInfo | None]:
        """Drop from the topology what a destroy removed; say what that means to others."""
        topology = self._node._topology
        event = info = None
        with self._node._claims.lock:
            vnic = topology.vnic(identity)
            if vnic and left.isdisjoint(noun.key for noun in vnic.nouns()):
                topology.drop_vnic(identity)
                if (
                    subnet
                    and vnic.role is VnicRole.TENANT_CONTAINER
                    and not topology.containers(subnet.id)
                ):
                    info = container_info(subnet, ContainerEvent.DEL)
            if subnet and last:
                event = next(iter(self.forget(subnet, left)), None)
        return event, info
