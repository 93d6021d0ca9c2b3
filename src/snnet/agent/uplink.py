"""The uplink of a host while the agent runs: another one, or none that can be used."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace

from snnet.cluster import SecurityGroup
from snnet.cluster.documents import READY
from snnet.contract import Conflict
from snnet.node import ComputeNode

from .statuses import Said

_log = logging.getLogger("snnet.agent")


class UplinkFollower:
    """Has a node start again when its host has another uplink, or another address of it."""

    def __init__(self, node: ComputeNode) -> None:
        self._node = node
        self.problem: str | None = None
        """Why the host has no uplink now that can be used, if it has none."""

    def follow(self) -> bool:
        """Return whether the node started again: then everything must be read again."""
        before, self.problem = self.problem, None
        try:
            if self._node.follow_uplink():
                _log.warning("the uplink is %s now: the node starts again", self._node.site.uplink)
                return True
        except Conflict as error:
            self.problem = str(error)
            if self.problem != before:
                _log.warning("%s", error)
        return False

    def refuse(self, said: Iterable[Said]) -> list[Said]:
        """Say that what would be ready fails while the host is cut off from the others.

        Groups are rules of the host alone, and with topology "local" it has all guests.
        """
        return [
            replace(one, error=self.problem)
            if self.problem and one.state == READY and self._leaves_the_host(one)
            else one
            for one in said
        ]

    def _leaves_the_host(self, said: Said) -> bool:
        return said.id[0] != SecurityGroup.kind and not self._node.site.local
