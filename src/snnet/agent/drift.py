"""Looks for what others changed on a host, and repairs it."""

from __future__ import annotations

import contextlib
import logging
import select
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from snnet.contract import Alarm, SnnetError
from snnet.node.node import Node

LOOK_EVERY = 300.0
"""Seconds between complete looks."""

GLANCE_EVERY = 10.0
"""Seconds between looks for what no event reports, such as kernel parameters."""

TRY_AGAIN = 10.0
"""Seconds until a repair that left something is tried again, twice as many after each try."""

GLANCE_SHARE = 100
"""A glance that took a second is followed by another after this many seconds at the earliest."""

SETTLE = 0.1
"""Seconds between the first event and the look: changes come in groups."""

SHARE = 10
"""A look that took a second is followed by another after this many seconds at the earliest."""

SHARE_REPAIRED = 1
"""The same after a look that repaired something: where one change was, the next may follow."""

_log = logging.getLogger("snnet.agent")


class Drift:
    """The differences between a host and its nodes' records, found and repaired.

    The alarms of each node's drivers report changes, those of the node itself as well: the
    look that follows these finds nothing.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.repaired = 0
        """How many differences were repaired."""
        self._nodes: dict[Node[Any], list[Alarm]] = {}
        self._poll = select.epoll()
        self._readable: dict[int, tuple[Node[Any], Alarm]] = {}
        """The alarms that have descriptors, by descriptor."""
        self._asked: list[tuple[Node[Any], Alarm]] = []
        """The alarms without descriptors, which must be polled."""
        self._deaf: set[Node[Any]] = set()
        """The nodes of which an alarm could not be opened."""
        self._unrepaired: dict[Node[Any], list[str]] = {}
        self._retries: dict[Node[Any], tuple[float, float]] = {}
        """When a repair that left something is tried again, and after what wait (seconds)."""
        self._failed: dict[Node[Any], str] = {}
        """Why the last look at a node failed."""
        self._reported: set[Node[Any]] = set()
        """The nodes whose alarms reported a change since the last look at them."""
        self._due = 0.0
        self._glance = 0.0
        self._complete = 0.0
        self._earliest = 0.0

    def watch(self, nodes: Iterable[Node[Any]]) -> None:
        """Watch exactly these nodes, as they are now; the host's own is the first.

        A look is due soon for each new one.
        """
        wanted, before = list(nodes), set(self._nodes)
        for node in before - set(wanted):
            self._let_go(node)
        for node in wanted:
            if node not in before:
                node.rely_on(partial(self.follows, node))
                self._reported.add(node)
                self._due = 0.0
            if self._listen(node):
                self._soon(node)
        self._reported &= self._nodes.keys()
        self._register()

    def follows(self, node: Node[Any]) -> bool:
        """Whether alarms report what others change of a node, and the last look left nothing."""
        watched = bool(self._nodes.get(node)) and node not in self._deaf
        return watched and node not in self._failed and self._unrepaired.get(node) == []

    def _listen(self, node: Node[Any]) -> bool:
        """Have alarms that cover everything that the node has set by now.

        Return whether the earlier ones had reported something; the new ones report the rest.
        """
        before = self._nodes.get(node, [])
        if node not in self._nodes or node in self._deaf or not _extended(before):
            self._nodes[node] = self._opened(node)
        reported = True in [alarm.noticed() for alarm in before]
        if self._nodes[node] is not before:
            for alarm in before:
                alarm.close()
        return reported

    def _opened(self, node: Node[Any]) -> list[Alarm]:
        """Open alarms of a node's drivers; the next look tries again what cannot be opened."""
        found, deaf = [], False
        for driver in node.drivers.all:
            try:
                alarm = driver.alarm()
            except (SnnetError, OSError) as error:
                deaf = True
                if node not in self._deaf:
                    _log.warning("%s: changes are not reported: %s", node.owner, error)
                continue
            if alarm is not None:
                found.append(alarm)
        (self._deaf.add if deaf else self._deaf.discard)(node)
        return found

    def _let_go(self, node: Node[Any]) -> None:
        for alarm in self._nodes.pop(node, ()):
            alarm.close()
        self._deaf.discard(node)
        self._unrepaired.pop(node, None)
        self._retries.pop(node, None)
        self._failed.pop(node, None)

    def _register(self) -> None:
        """Register the descriptors of all alarms with one epoll: polling each alarm takes long."""
        before, self._readable, self._asked = self._readable, {}, []
        for node, alarm in ((node, one) for node, found in self._nodes.items() for one in found):
            descriptors = alarm.descriptors()
            if not descriptors:
                self._asked.append((node, alarm))
            for descriptor in descriptors:
                self._readable[descriptor] = node, alarm
                # The kernel removes a closed descriptor, whose number may be in use again.
                with contextlib.suppress(FileExistsError):
                    self._poll.register(descriptor, select.EPOLLIN)
        for descriptor in before.keys() - self._readable.keys():
            with contextlib.suppress(OSError):
                self._poll.unregister(descriptor)

    @property
    def due_in(self) -> float:
        """Seconds until the next look is due."""
        retries = (at for at, _ in self._retries.values())
        return max(0.0, min(self._due, self._glance, self._complete, *retries) - self._clock())

    def notice(self) -> None:
        """Take in what alarms reported since the last call: a look is then due soon."""
        ready = {descriptor for descriptor, _ in self._poll.poll(0)}
        reporting = {self._readable[descriptor] for descriptor in ready & self._readable.keys()}
        for node, alarm in (*reporting, *self._asked):
            if alarm.noticed():
                self._soon(node)
        if reporting:
            self._register()

    def _soon(self, node: Node[Any]) -> None:
        self._reported.add(node)
        self._due = min(self._due, max(self._clock() + SETTLE, self._earliest))

    def look(self) -> None:
        """Compare nodes with the host, and repair what differs.

        The nodes whose alarms reported something, and the first one, are compared completely.
        Of the others only what no alarm reports is compared, and everything every
        ``LOOK_EVERY`` seconds.  What cannot be repaired is logged once, and tried again after
        waits that grow; what cannot be looked at is tried again a little later.
        """
        began = self._clock()
        complete, due, glances = (at <= began for at in (self._complete, self._due, self._glance))
        affected = {*self._nodes} if complete else self._reported.copy() if due else set()
        affected |= {node for node, (at, _) in self._retries.items() if at <= began}
        # What is in a concentrator's namespace may be the host's.
        affected |= {*tuple(self._nodes)[:1]} if affected else set()
        if due or complete:
            self._due = float("inf")
            self._reported -= affected
        looked, repaired = bool(affected), self.repaired
        for node in tuple(self._nodes):
            try:
                if node in affected or (glances and self._glances(node)):
                    looked = True
                    self._look(node)
            except Exception as error:  # even a fault of ours: the other nodes are looked at
                if self._failed.get(node) != str(error):
                    ours = not isinstance(error, SnnetError | OSError)
                    _log.warning(
                        "%s: cannot look for changes: %s",
                        node.owner, error, exc_info=error if ours else None,
                    )  # fmt: skip
                self._failed[node] = str(error)
                self._unrepaired.pop(node, None)
                self._retries.pop(node, None)
        if looked:
            self._register()
        ended = self._clock()
        if complete:
            self._complete = ended + LOOK_EVERY
        if complete or glances:
            # What an idle host costs is that of the glances.
            spent = 0 if looked else GLANCE_SHARE * (ended - began)
            self._glance = ended + max(GLANCE_EVERY, spent)
        if affected:
            share = SHARE if self.repaired == repaired else SHARE_REPAIRED
            self._earliest = ended + share * (ended - began)
        if self._failed:
            self._reported |= self._failed.keys()
            self._due = min(self._due, max(ended + GLANCE_EVERY, self._earliest))

    def _glances(self, node: Node[Any]) -> bool:
        """Whether something differs that no alarm reports, and that can be repaired."""
        return not {*node.verify(quick=True)} <= {*self._unrepaired.get(node, ())}

    def _look(self, node: Node[Any]) -> None:
        self._listen(node)  # before the comparison, which covers what was reported until now
        found = node.verify()
        known = self._unrepaired.get(node, [])
        at, wait = self._retries.get(node, (float("inf"), 0.0))
        now = self._clock()
        if found and (found != known or at <= now):
            wait = TRY_AGAIN if found != known else min(2 * wait, LOOK_EVERY)
            self._retries[node] = now + wait, wait
            for line in found:
                if line not in known:
                    _log.warning("%s: changed by others: %s", node.owner, line)
            try:
                node.repair()
            finally:
                self._listen(node)
            left = node.verify()
            self.repaired += len(set(found) - set(left))
            found = left
        if not found:
            self._retries.pop(node, None)
        self._unrepaired[node] = found
        self._failed.pop(node, None)

    def close(self) -> None:
        """Stop watching.  May be repeated."""
        if not self._poll.closed:
            self.watch([])
            self._poll.close()


def _extended(alarms: Iterable[Alarm]) -> bool:
    """Whether all of the alarms now cover everything that is set."""
    try:
        return all(alarm.extend() for alarm in alarms)
    except (SnnetError, OSError):
        return False
