"""Looks for what others changed on a host, and repairs it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import Any

from snnet.contract import SnnetError
from snnet.node.node import Node
from snnet.system.changes import KernelChanges

LOOK_EVERY = 300.0
"""Seconds between complete looks, for what no event tells."""

SETTLE = 0.2
"""Seconds between the first event and the look: changes come in groups."""

SHARE = 10
"""A look that took a second is followed by another after this many seconds at the earliest."""

_log = logging.getLogger("snnet.agent")


class Drift:
    """The differences between a host and its nodes' records, found and repaired.

    The kernel tells of changes of the links, addresses, routes, neighbours and rules of
    each node's namespace.  Changes that the nodes themselves make are told of as well: the
    look that follows them finds nothing.
    """

    def __init__(self) -> None:
        self.repaired = 0
        """How many differences were repaired."""
        self._nodes: dict[Node[Any], KernelChanges | None] = {}
        self._unrepaired: dict[Node[Any], list[str]] = {}
        self._due = 0.0
        self._earliest = 0.0

    def watch(self, nodes: Iterable[Node[Any]]) -> None:
        """Watch the namespaces of exactly these nodes from now on."""
        nodes = list(nodes)
        for gone in self._nodes.keys() - set(nodes):
            if (changes := self._nodes.pop(gone)) is not None:
                changes.close()
            self._unrepaired.pop(gone, None)
        for node in nodes:
            if node not in self._nodes:
                fd = node.backend.host.netns.fd
                self._nodes[node] = KernelChanges(fd) if fd >= 0 else None
                self._due = 0.0

    @property
    def due_in(self) -> float:
        """Seconds until the next look is due."""
        return max(0.0, self._due - time.monotonic())

    def notice(self) -> None:
        """Take in what the kernel told since the last call: a look is then due soon."""
        if True in [changes.noticed() for changes in self._nodes.values() if changes]:
            soon = max(time.monotonic() + SETTLE, self._earliest)
            self._due = min(self._due, soon)

    def look(self) -> None:
        """Compare each node with its host, and repair what differs.

        What cannot be repaired is logged once.
        """
        began = time.monotonic()
        self._due = began + LOOK_EVERY
        for node in self._nodes:
            try:
                self._look(node)
            except SnnetError as error:
                _log.warning("%s: cannot look for changes: %s", node.owner, error)
        ended = time.monotonic()
        self._earliest = ended + SHARE * (ended - began)

    def _look(self, node: Node[Any]) -> None:
        found = node.verify()
        known = self._unrepaired.get(node, [])
        if found and found != known:
            for line in found:
                if line not in known:
                    _log.warning("%s: changed by others: %s", node.owner, line)
            node.repair()
            left = node.verify()
            self.repaired += len(set(found) - set(left))
            found = left
        self._unrepaired[node] = found

    def close(self) -> None:
        """Stop watching."""
        self.watch([])
