"""A host or guest of the fabric: one network namespace and where its links lead."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from snnet.contract import Bridge, Geneve, Gretap, IPAddress, Link, Macvtap, Veth, Vxlan

from ..kernel import FakeKernel
from .frames import Frame
from .macvtaps import Macvtaps
from .stack import Stack
from .switching import Switch
from .trace import Step
from .tunnelling import Tunnels

if TYPE_CHECKING:
    from .network import Network


class Cable(NamedTuple):
    """Where a link leads: to a link of another station, or with no station to the wire.

    A link is known by its ifindex as well: made anew, it leads nowhere.
    """

    ifindex: int
    station: Station | None = None
    link: str = ""
    far_ifindex: int = 0


class Station:
    """Moves frames in and out of the links of one fake kernel."""

    def __init__(self, network: Network, kernel: FakeKernel, name: str) -> None:
        self.network = network
        self.kernel = kernel
        self.state = kernel.state
        self.name = name
        self.cables: dict[str, Cable] = {}
        self.switch = Switch(self)
        self.macvtaps = Macvtaps(self)
        self.tunnels = Tunnels(self)
        self.stack = Stack(self)

    def transmit(self, name: str, frame: Frame, step: Step) -> None:
        """Send a frame out of a link, as the host itself does and its bridges."""
        link = self.passing(name, frame, step)
        match link:
            case None:
                pass
            case Bridge():
                self.switch.leave(link, frame, step)
            case Gretap() | Vxlan() | Geneve():
                self.tunnels.encapsulate(link, frame, step)
            case Macvtap():
                self.macvtaps.leave(link, frame, step)
            case Veth(peer=str(peer)):
                step = step.then(self.name, name, "to its peer {}", peer)
                self.network.walk.later(self.receive, peer, frame, step)
            case _:
                self.to_cable(link, frame, step)

    def receive(self, name: str, frame: Frame, step: Step) -> None:
        """Take in a frame that arrived at a link."""
        link = self.passing(name, frame, step)
        if link is None:
            return
        if link.master is not None:
            self.switch.enter(link, frame, step)
        elif not self.state.uppers.get(name) or self.macvtaps.enter(name, frame, step):
            self.stack.enter(link, frame, step)

    def from_cable(self, name: str, frame: Frame, step: Step) -> None:
        """Take in what came over the cable: for a macvtap it is on its way out."""
        if isinstance(self.state.link(name), Macvtap):
            self.transmit(name, frame, step)
        else:
            self.receive(name, frame, step)

    def to_cable(self, link: Link, frame: Frame, step: Step) -> None:
        """Send a frame where the link leads: to a guest, or onto the wire."""
        cable = self.cable(link)
        walk = self.network.walk
        if cable is None:
            end = walk.ignore if frame.flooded else walk.drop
            end(step, self, link.name, "nobody is at the other end")
        elif cable.station is None:
            self.network.wire.carry(self, link.name, frame, step)
        else:
            step = step.then(self.name, link.name, "to {}", cable.station.name)
            walk.later(cable.station.from_cable, cable.link, frame, step)

    def answers_for(self, name: str) -> list[IPAddress] | None:
        """The addresses that a question arriving at the link may be for; None if any."""
        link = self.state.link(name)
        if link is None or link.master is not None or self.state.uppers.get(name):
            return None
        return self.stack.answers_for(link)

    def cable(self, link: Link) -> Cable | None:
        """Where the link leads, None if nowhere (any more)."""
        cable = self.cables.get(link.name)
        if cable is None or cable.ifindex != link.index:
            return None
        if cable.station is not None:
            far = cable.station.state.link(cable.link)
            if far is None or far.index != cable.far_ifindex:
                return None
        return cable

    def passing(self, name: str, frame: Frame, step: Step) -> Link | None:
        """The link, if it lets the frame pass: up, and not too large for its MTU.

        On the way in as well: a veth, a bridge port and most hardware drop
        what is longer (is_skb_forwardable, net/core/dev.c).
        """
        link = self.state.link(name)
        walk = self.network.walk
        if link is None:
            walk.drop(step, self, name, "no such link")
        elif not link.up:
            (walk.ignore if frame.flooded else walk.drop)(step, self, name, "the link is down")
        elif frame.size > (link.mtu or 0):
            why = "{} bytes do not fit the MTU of {}"
            walk.drop(step, self, name, why, frame.size, link.mtu)
        else:
            return link
        return None

    def __repr__(self) -> str:
        return f"<Station {self.name}>"
