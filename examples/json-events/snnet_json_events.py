"""Events of snnet's nodes as JSON lines: one for each event and each failed plan.

After installation it listens to every node of every process that uses snnet.  It appends
to the file named by SNNET_JSON_EVENTS, or writes to stderr if that is not set.
"""

from __future__ import annotations

import datetime
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from snnet import Cnci, ComputeNode, ContainerInfo, SnnetError, TunnelEvent
    from snnet.contract import Plan

    Node = ComputeNode | Cnci


class JsonEvents:
    """A listener; ``path`` is the file to append to, None for the one in the environment.

    All nodes call the same object, from any thread.  Each line is written by one system
    call, so lines of several processes do not mix (write(2), O_APPEND).
    """

    def __init__(self, path: str | None = None) -> None:
        self.path = path

    def applied(
        self, node: Node, plan: Plan, events: Sequence[TunnelEvent | ContainerInfo]
    ) -> None:
        """A plan was carried out; plans without events are of no interest here."""
        for event in events:
            self._write(node, type(event).__name__, event.to_dict())

    def failed(self, node: Node, plan: Plan, error: SnnetError) -> None:
        """A plan failed; the class of the error says which state the host is in."""
        self._write(node, "Failure", {"error": type(error).__name__, "message": str(error)})

    def _write(self, node: Node, what: str, fields: Mapping[str, object]) -> None:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        head = {"time": now, "what": what, "node": str(node.owner)}
        line = json.dumps({**head, **fields}) + "\n"
        path = self.path or os.environ.get("SNNET_JSON_EVENTS")
        if path is None:
            sys.stderr.write(line)
            return
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            os.write(fd, line.encode())
        finally:
            os.close(fd)
