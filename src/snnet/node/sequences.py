"""Which events are late: how far a node came, and how far it heard the others come."""

from __future__ import annotations

import contextlib
import functools
import json
import threading
import time
from collections.abc import Callable
from typing import Any

from snnet.checks import shown
from snnet.contract import Host, InvalidRequest, Journal, SnnetError
from snnet.core.events import TunnelEvent, TunnelEventType
from snnet.core.identity import Owner

EPOCHS = "epochs"
"""Name of the record of epochs.  It lasts as long as the namespace, whatever the node removes."""
_SPARE = 1000
"""Lines that the journal may have beyond twice its entries before it is rewritten."""


def next_epoch(host: Host, owner: Owner) -> int:
    """A number greater than every one that was recorded.

    It is the time in seconds, or one more than the last: the clock may have been set back, and
    that of a machine without a battery begins in 1970 at every boot.  Where nothing outlives a
    reboot, then the clock alone tells what is later.
    """
    known = [host.recorded(EPOCHS).get(str(owner))]
    with contextlib.suppress(SnnetError), host.lasting(EPOCHS) as record:
        known.append(record.get(str(owner)))
    return max([int(time.time()), *(epoch + 1 for epoch in known if isinstance(epoch, int))])


def note_epoch(host: Host, owner: Owner, epoch: int) -> None:
    """Record an epoch, before an event of it is told.

    That of a compute node also for the time after a reboot, where the host can: the others tell
    no events.
    """
    with host.record(EPOCHS) as record:
        record[str(owner)] = epoch
    if owner.role == "cn":
        with contextlib.suppress(SnnetError), host.lasting(EPOCHS) as record:
            record[str(owner)] = epoch


class Heard:
    """The last event that a concentrator followed of each compute node's subnets.

    It is kept in a journal of the host, so that a late event is late after a restart too.
    """

    def __init__(self, host: Host, owner: Owner) -> None:
        self._host = host
        self._name = f"heard-{owner}"
        self._lock = threading.Lock()
        self._following: dict[tuple[str, int], threading.Lock] = {}
        self._lines = 0
        self._whole = True
        """Whether no line of the journal is damaged; else it must be rewritten."""

    @functools.cached_property
    def _journal(self) -> Journal:
        return self._host.journal(self._name)

    @functools.cached_property
    def _last(self) -> dict[tuple[str, int], tuple[int, int]]:
        last = {}
        for line in self._journal.read():
            self._lines += 1
            try:
                cn_id, key, epoch, number = json.loads(line)
                last[str(cn_id), int(key)] = (int(epoch), int(number))
            except (TypeError, ValueError):
                self._whole = False  # what the line said is heard again
        return last

    def follow(
        self,
        event: TunnelEvent,
        add: Callable[..., str],
        detach: Callable[..., None],
        **limits: Any,
    ) -> str | None:
        """Add or detach, unless a later event of the same node and subnet was followed."""
        if not isinstance(event, TunnelEvent):
            raise InvalidRequest(f"{shown(event)} is not a TunnelEvent", field="event")
        with self._lock:
            one_by_one = self._following.setdefault(_subnet(event), threading.Lock())
        with one_by_one:
            if self.is_late(event):
                return None
            bridge = None
            where = (event.subnets, event.subnet_key, event.cn_ip)
            if event.type is TunnelEventType.ADD:
                bridge = add(*where, event.port, **limits)
            else:
                detach(*where, **limits)
            self.note(event)
            return bridge

    def is_late(self, event: TunnelEvent) -> bool:
        """Whether a later event of the same node and subnet was heard already."""
        last = self._last.get(_subnet(event))
        return last is not None and event.sequence is not None and event.sequence < last

    def forget(self) -> None:
        """Forget every event, and remove the journal."""
        with self._lock:
            self._last.clear()
            # Those that are held are of calls under way.
            self._following = {key: one for key, one in self._following.items() if one.locked()}
            self._journal.replace([])

    def note(self, event: TunnelEvent) -> None:
        """Remember an event that was followed."""
        if event.sequence is None:
            return
        with self._lock:
            if self.is_late(event) or self._last.get(_subnet(event)) == event.sequence:
                return
            self._last[_subnet(event)] = event.sequence
            self._lines += 1
            crowded = self._lines > 2 * len(self._last) + _SPARE
            # An append that fails may leave a part of a line.
            whole, self._whole = self._whole and not crowded, False
            with contextlib.suppress(SnnetError):  # the event was followed; a restart forgets it
                if not (whole and self._journal.append([_line(*_subnet(event), event.sequence)])):
                    self._journal.replace([_line(*key, last) for key, last in self._last.items()])
                    self._lines = len(self._last)
                self._whole = True


def _subnet(event: TunnelEvent) -> tuple[str, int]:
    return event.cn_id, event.subnet_key


def _line(cn_id: str, key: int, sequence: tuple[int, int]) -> str:
    return json.dumps([cn_id, key, *sequence])
