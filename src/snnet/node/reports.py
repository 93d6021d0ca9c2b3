"""What a node's calls give back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from snnet.core.vnics import Vnic
from snnet.core.events import ContainerInfo, TunnelEvent


@dataclass(frozen=True, slots=True)
class CreatedVnic:
    """The VNIC, and what the caller has to pass on (None: nothing)."""

    vnic: Vnic
    tunnel_event: TunnelEvent | None = None
    container_info: ContainerInfo | None = None


@dataclass(frozen=True, slots=True)
class DestroyedVnic:
    """What the caller has to pass on (None: nothing)."""

    tunnel_event: TunnelEvent | None = None
    container_info: ContainerInfo | None = None


@dataclass(slots=True)
class Report:
    """What a rebuild, repair or reset found and did.

    ``tunnel_events``: every tunnel again as ADD, removed ones as DEL.
    ``healed``: operations that mended or removed something of ours.
    ``orphans``: objects of ours that have no place in the topology.
    """

    tunnel_events: list[TunnelEvent] = field(default_factory=list)
    healed: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "tunnel_events": [event.to_dict() for event in self.tunnel_events],
            "healed": list(self.healed),
            "orphans": list(self.orphans),
        }
