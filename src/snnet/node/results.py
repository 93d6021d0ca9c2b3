"""The results of a node's calls."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from snnet.contract import Exists, Operation, Outcome, Plan, Route, SnnetError
from snnet.contract.network import MAIN_TABLE
from snnet.core.events import ContainerInfo, TunnelEvent
from snnet.core.vnics import Vnic

Event = TunnelEvent | ContainerInfo


@dataclass(frozen=True, slots=True)
class CreatedVnic:
    """The VNIC, and the events that the caller must pass on (None: nothing to do)."""

    vnic: Vnic
    tunnel_event: TunnelEvent | None = None
    container_info: ContainerInfo | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"vnic": self.vnic.to_dict(), **_passed_on(self)}


@dataclass(frozen=True, slots=True)
class DestroyedVnic:
    """The events that the caller must pass on (None: nothing to do)."""

    tunnel_event: TunnelEvent | None = None
    container_info: ContainerInfo | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return _passed_on(self)


@dataclass(frozen=True, slots=True)
class VnicResult:
    """The result of one VNIC of ``create_vnics``: it has ``vnic`` or ``error``."""

    vnic: Vnic | None = None
    error: SnnetError | None = None
    tunnel_event: TunnelEvent | None = None
    container_info: ContainerInfo | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "vnic": self.vnic.to_dict() if self.vnic else None,
            "error": str(self.error) if self.error else None,
            **_passed_on(self),
        }


def _passed_on(result: CreatedVnic | DestroyedVnic | VnicResult) -> dict[str, Any]:
    event, info = result.tunnel_event, result.container_info
    return {
        "tunnel_event": event.to_dict() if event else None,
        "container_info": info.to_dict() if info else None,
    }


@dataclass(frozen=True, slots=True)
class ReconciledItem:
    """What ``reconcile`` did about one object.

    ``key`` identifies the object; if the call has several kinds, the kind is first.
    ``action`` is "created", "updated", "removed", "kept" or "failed"; a failed item has
    ``error``.
    """

    key: tuple[str, ...]
    action: str
    error: SnnetError | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "key": list(self.key),
            "action": self.action,
            "error": str(self.error) if self.error else None,
        }


@dataclass(slots=True)
class Reconciled:
    """What ``reconcile`` did: an item for each object, and the events of the changes."""

    items: list[ReconciledItem] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    @property
    def failed(self) -> list[ReconciledItem]:
        """The items that have an error."""
        return [item for item in self.items if item.error is not None]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "items": [item.to_dict() for item in self.items],
            "events": [event.to_dict() for event in self.events],
        }


@dataclass(slots=True)
class Report:
    """What a rebuild, repair or reset found and did.

    ``tunnel_events``: ADD for every tunnel, DEL for removed ones.
    ``healed``: operations that repaired or removed objects of ours.
    ``orphans``: objects of ours that have no place in the topology.
    ``others``: nodes of the same role that have links here, if this node has none: then its
    id may be wrong.
    """

    tunnel_events: list[TunnelEvent] = field(default_factory=list)
    healed: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def account(self, plan: Plan, outcome: Outcome) -> None:
        """Add what a plan did, and what failed."""
        for number, operation in enumerate(plan):
            if number in outcome.done:
                self.healed.append(str(operation))
            elif number in outcome.errors:
                self.orphans.append(_left(operation, outcome.errors[number]))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "tunnel_events": [event.to_dict() for event in self.tunnel_events],
            "healed": list(self.healed),
            "orphans": list(self.orphans),
            "others": list(self.others),
        }


def _left(operation: Operation, error: SnnetError) -> str:
    """What could not be done, and the command that makes room for it, if there is one."""
    noun = operation.noun
    if not (isinstance(error, Exists) and isinstance(noun, Route)):
        return f"{noun}: {error}"
    table = "" if noun.table == MAIN_TABLE else f" table {noun.table}"
    command = f"ip route delete {noun.destination}{table}"
    return f"{noun}: {error}; somebody's route has its place: {command}"
