"""The wire between hosts: one switch that all uplinks are plugged into."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnet.contract import IPAddress

from .frames import Arp, Frame
from .trace import Step

if TYPE_CHECKING:
    from .network import Network
    from .station import Station


Plug = tuple["Station", str]
"""An uplink: its station and its link."""


class Wire:
    """Carries frames between uplinks: by MAC where it is known, else to all."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._plugs: list[Plug] = []

    def plug(self, station: Station, link: str) -> None:
        """Put an uplink on the wire; may be repeated."""
        if (station, link) not in self._plugs:
            self._plugs.append((station, link))

    def carry(self, station: Station, link: str, frame: Frame, step: Step) -> None:
        """Take a frame from an uplink to those it is for; never back to where it came from."""
        learned, walk = self._network.learned, self._network.walk
        sender = (station, link)
        learned.wire[frame.source] = sender
        known = None if frame.flooded else learned.wire.get(frame.target)
        if known == sender:
            walk.drop(step, station, link, "the wire sends {} not back", frame.target)
            return
        step = step.then(station.name, link, "onto the wire")
        for plug in [known] if known else self._everybody(frame):
            if plug != sender:
                walk.later(plug[0].receive, plug[1], frame, step)

    def _everybody(self, frame: Frame) -> list[Plug]:
        """All uplinks, but of those asked for an address only such as may answer.

        A thousand hosts that all ask for each other would else hear a million
        questions, and ignore them.
        """
        if not isinstance(frame.payload, Arp) or not frame.payload.request:
            return self._plugs
        learned = self._network.learned
        if learned.answering is None:
            learned.answering = self._find_answering()
        return [
            *learned.answering.get(frame.payload.target, ()),
            *learned.answering[None],
        ]

    def _find_answering(self) -> dict[IPAddress | None, list[Plug]]:
        """Uplinks by the addresses they answer for; under None those that may for any.

        First those that have the address: who asks believes the first answer.
        """
        answering: dict[IPAddress | None, list[Plug]] = {None: []}
        for plug in self._plugs:
            station, link = plug
            addresses = station.answers_for(link)
            for address in [None] if addresses is None else addresses:
                plugs = answering.setdefault(address, [])
                first = address is not None and link in station.state.local.get(address, ())
                plugs.insert(0 if first else len(plugs), plug)
        return answering
