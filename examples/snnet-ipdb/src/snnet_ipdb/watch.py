"""Link events, made from those of IPDB."""

from __future__ import annotations

import queue
from typing import Any

from snnet.contract import Exhausted, LinkEvent, Watch

from .database import Database

_CAPACITY = 10_000
"""The largest number of unread events."""


class IpdbWatch(Watch):
    """The events since this was opened, in order."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._events: queue.Queue[LinkEvent] = queue.Queue(_CAPACITY)
        self._socket = database.ipdb.mnl
        self._lost = False
        self._end = database.listen(self._arrived)

    def _arrived(self, message: Any, event: str) -> None:
        # Answers to requests of the database are not events.  An event for a link as the
        # port of a bridge is repeated for the link itself.
        if event not in ("RTM_NEWLINK", "RTM_DELLINK") or message["family"] != 0:
            return
        if message["header"]["pid"] == self._socket.epid:
            return
        name, index = message.get_attr("IFLA_IFNAME"), message["index"]
        try:
            self._events.put_nowait(LinkEvent(name, index, gone=event == "RTM_DELLINK"))
        except queue.Full:
            self._lost = True

    def read(self, timeout: float) -> list[LinkEvent]:
        """See :meth:`snnet.contract.Watch.read`."""
        found = []
        try:
            found.append(self._events.get(timeout=max(timeout, 0)))
            while True:
                found.append(self._events.get_nowait())
        except queue.Empty:
            pass
        # IPDB opens a new socket when the buffer of the old one was full.
        if self._lost or self._database.ipdb.mnl is not self._socket:
            self._lost, self._socket = False, self._database.ipdb.mnl
            raise Exhausted("link events were lost: take a new snapshot")
        return found

    def close(self) -> None:
        """See :meth:`snnet.contract.Watch.close`."""
        self._end()
