"""Macvtaps on a lower link (drivers/net/macvlan.c)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from snnet.contract import Macvtap

from .frames import Frame
from .trace import Step

if TYPE_CHECKING:
    from .station import Station


class Macvtaps:
    """All macvtaps of one station.

    Their frames never reach the host's own stack, nor its frames them: what
    leaves goes out of the lower link, and no wire sends it back.
    """

    def __init__(self, station: Station) -> None:
        self._station = station

    def leave(self, link: Macvtap, frame: Frame, step: Step) -> None:
        """A guest sends (macvlan_queue_xmit): in bridge mode siblings are reached directly."""
        if link.mode == "bridge":
            for sibling in self._above(link.lower):
                if sibling.mode != "bridge" or sibling.name == link.name:
                    continue
                if frame.flooded:
                    self._deliver(sibling, frame, step)
                elif sibling.mac == frame.target:
                    self._deliver(sibling, frame, step)
                    return
        step = step.then(self._station.name, link.name, "out by {}", link.lower)
        self._station.transmit(link.lower, frame, step)

    def enter(self, lower: str, frame: Frame, step: Step) -> bool:
        """A frame arrived below (macvlan_handle_frame); True if the host gets it, too."""
        for link in self._above(lower):
            if frame.flooded and link.mac != frame.source:
                self._deliver(link, frame, step)
            elif link.mac == frame.target:
                self._deliver(link, frame, step)
                return False
        return True

    def _above(self, lower: str) -> Iterator[Macvtap]:
        state = self._station.state
        for name in state.uppers.get(lower, ()):
            link = state.link(name)
            if isinstance(link, Macvtap) and link.up:
                yield link

    def _deliver(self, link: Macvtap, frame: Frame, step: Step) -> None:
        if self._station.passing(link.name, frame, step):
            self._station.to_cable(link, frame, step)
