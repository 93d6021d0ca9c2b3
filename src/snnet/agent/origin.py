"""Which registry a host was made by: another one, or one that lost its documents, removes nothing.

A registry without documents looks like one whose users have deleted everything.  It is what a
mistyped URL leads to, a disk that is not mounted, and an etcd that starts again without its data.
"""

from __future__ import annotations

import contextlib
import uuid

from snnet.cluster import keys
from snnet.cluster.mirror import Mirror
from snnet.contract import Conflict, Put, Reading, Registry, SnnetError, Stale
from snnet.node import ComputeNode
from snnet.node.noted import note_registry, noted_registry


class Origin:
    """Compares the id of a registry with that which is noted on the host.

    The first agent that makes anything gives the registry its id.  A host notes it while it has
    anything of its node, and the note goes with a reboot, as all of that does.
    """

    def __init__(self, registry: Registry, node: ComputeNode) -> None:
        self._registry = registry
        self._node = node
        self._noted: str | None = None
        self._given = 0
        """The revision at which this agent gave the registry its id, until the mirror has it."""

    def reading(self, mirror: Mirror) -> Reading:
        """What the registry says.

        Raises ``Conflict`` if it is not the registry that the host was made by.
        """
        found = _id_in(mirror)
        if found is not None:
            self._given = 0
        elif mirror.revision < self._given:
            return mirror.reading()
        if found is None or found != self._noted:
            # "snnet host follow" may have removed the note.
            self._noted = noted_registry(self._node.backend.host, self._node.owner)
        if self._noted is not None and found != self._noted:
            raise Conflict(
                "this host was made by another registry, or this one has lost its documents; "
                "nothing is changed here: correct 'registry' in the settings, or restore its "
                "backup; 'snnet host follow' makes the host as this registry says"
            )
        return mirror.reading()

    def note(self, mirror: Mirror, *, has_any: bool) -> None:
        """Note that the host was made by this registry; without anything, by none."""
        made_by = _id_in(mirror) if has_any else None
        if has_any and made_by is None:
            if self._given:
                return
            made_by = self._give_id()
        if made_by != self._noted:
            # Without it the host works all the same, and is not protected.
            with contextlib.suppress(SnnetError, OSError):
                note_registry(self._node.backend.host, self._node.owner, made_by)
                self._noted = made_by

    def _give_id(self) -> str | None:
        """Give the registry an id and return it; None if another agent was faster."""
        new = uuid.uuid4().hex
        with contextlib.suppress(Stale):
            self._given = self._registry.commit(
                [Put(keys.REGISTRY, {"id": new})], {keys.REGISTRY: 0}
            )
            return new
        return None


def _id_in(mirror: Mirror) -> str | None:
    entry = mirror.get(keys.REGISTRY)
    return str(entry.document["id"]) if entry and "id" in entry.document else None
