"""Looks for what others changed on a host, and repairs it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from itertools import chain
from typing import Any

from snnet.contract import Alarm, SnnetError
from snnet.node.node import Node

LOOK_EVERY = 300.0
"""Seconds between complete looks."""

GLANCE_EVERY = 10.0
"""Seconds between looks for what no event tells, such as kernel parameters."""

GLANCE_SHARE = 100
"""A glance that took a second is followed by another after this many seconds at the earliest."""

SETTLE = 0.2
"""Seconds between the first event and the look: changes come in groups."""

SHARE = 10
"""A look that took a second is followed by another after this many seconds at the earliest."""

SHARE_REPAIRED = 1
"""The same after a look that repaired something: where one change was, the next may follow."""

_log = logging.getLogger("snnet.agent")


class Drift:
    """The differences between a host and its nodes' records, found and repaired.

    The alarms of each node's drivers tell of changes.  They tell of those of the node itself
    as well: the look that follows them finds nothing.
    """

    def __init__(self) -> None:
        self.repaired = 0
        """How many differences were repaired."""
        self._nodes: dict[Node[Any], list[Alarm]] = {}
        self._unrepaired: dict[Node[Any], list[str]] = {}
        self._due = 0.0
        self._glance = 0.0
        self._earliest = 0.0

    def watch(self, nodes: Iterable[Node[Any]]) -> None:
        """Watch exactly these nodes, as they are now.  A look is due soon for each new one."""
        before = self._nodes
        self._nodes = {node: _alarms(node) for node in nodes}
        for alarm in chain.from_iterable(before.values()):
            # What it still has to tell is not lost.
            if alarm.noticed():
                self._soon()
            alarm.close()
        if self._nodes.keys() - before.keys():
            self._due = 0.0

    @property
    def due_in(self) -> float:
        """Seconds until the next look is due."""
        return max(0.0, min(self._due, self._glance) - time.monotonic())

    def notice(self) -> None:
        """Take in what alarms told since the last call: a look is then due soon."""
        if True in [alarm.noticed() for alarm in chain.from_iterable(self._nodes.values())]:
            self._soon()

    def _soon(self) -> None:
        self._due = min(self._due, max(time.monotonic() + SETTLE, self._earliest))

    def look(self) -> None:
        """Compare each node with its host, and repair what differs.

        If nothing told of a change, only that is compared which nothing tells of.  What cannot
        be repaired is logged once.
        """
        began = time.monotonic()
        told = self._due <= began
        if told:
            self._due = began + LOOK_EVERY
        looked, repaired = told, self.repaired
        for node in self._nodes:
            try:
                if told or self._glances(node):
                    looked = True
                    self._look(node)
            except SnnetError as error:
                _log.warning("%s: cannot look for changes: %s", node.owner, error)
        ended = time.monotonic()
        # What an idle host costs is that of the glances.
        self._glance = ended + max(GLANCE_EVERY, 0 if looked else GLANCE_SHARE * (ended - began))
        if told:
            share = SHARE if self.repaired == repaired else SHARE_REPAIRED
            self._earliest = ended + share * (ended - began)

    def _glances(self, node: Node[Any]) -> bool:
        """Whether something differs that nothing tells of, and that can be repaired."""
        return not {*node.verify(quick=True)} <= {*self._unrepaired.get(node, ())}

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


def _alarms(node: Node[Any]) -> list[Alarm]:
    """The alarms of a node's drivers; one that cannot be opened is done without."""
    found = []
    for driver in node.drivers.all:
        try:
            alarm = driver.alarm()
        except (SnnetError, OSError) as error:
            _log.warning("%s: nothing tells of changes: %s", node.owner, error)
            continue
        if alarm is not None:
            found.append(alarm)
    return found
