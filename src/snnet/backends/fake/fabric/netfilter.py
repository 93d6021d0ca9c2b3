"""Netfilter's hooks on one host: where the firewall's rules meet its packets.

Each hook takes a packet and gives it back, changed or not, or None when it was
dropped.  Translation follows nf_nat_core.c: targets change before routing, sources
after it; what answers is translated back at the opposite places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnet.contract import HostIsolation, IPAddress, Link

from ..sysctls import SysctlRules
from .conntrack import ends_of, from_end, to_end
from .filtering import Refused, forward_refused, input_refused
from .frames import Frame, Packet
from .guard import frame_refused, routed_refused
from .passage import Passage
from .trace import Step
from .translation import new_source, new_target

if TYPE_CHECKING:
    from .station import Station

_BRIDGED = {4: "net.bridge.bridge-nf-call-iptables", 6: "net.bridge.bridge-nf-call-ip6tables"}


class Netfilter:
    """The hooks of one station; they look at nothing while it has no rules."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._rules = station.state.rules
        self._sysctls = SysctlRules(station.state)

    # -- IP -----------------------------------------------------------------------------

    def prerouting(self, passage: Passage) -> Passage | None:
        """A packet came by a link."""
        if not self._rules:
            return passage
        return self._aim(passage)

    def input(self, passage: Passage) -> Passage | None:
        """It is for the host itself."""
        if not self._rules:
            return passage
        refused = input_refused(self._rules, passage)
        return self._let(refused, passage) and self._sign(passage)

    def forward(self, passage: Passage, out: str) -> Passage | None:
        """It is to leave by the link ``out``."""
        if not self._rules:
            return passage
        return self._let(forward_refused(self._rules, passage, out), passage)

    def output(self, passage: Passage) -> Passage:
        """The host itself sends it."""
        return self._aim(passage) if self._rules else passage

    def postrouting(self, passage: Passage, out: str, next_hop: IPAddress) -> Passage | None:
        """It leaves by the link ``out``."""
        flow = passage.flow
        if flow is None or not self._rules:
            return passage
        if not flow.settled and not passage.answers:
            own = self._station.stack.source_on(out, next_hop)
            found = new_source(self._rules, passage, out, own)
            if found is not None:
                rule, address = found
                if address is None:
                    return self._let((rule, f"no address on {out}"), passage)
                flow.source = flow.source._replace(address=address)
                if address != passage.packet.source:
                    end = flow.told(flow.source)
                    passage = self._note(passage, "SNAT to {} by {}", end, rule)
        return self._sign(passage)

    def arrives(self, link: Link, frame: Frame, step: Step) -> bool:
        """A frame came by a link that is no bridge's port; whether it may go on."""
        refused = routed_refused(self._rules, link.name, frame) if self._rules else None
        if refused is not None:
            self._drop(refused, step, link.name)
        return refused is None

    # -- bridges ------------------------------------------------------------------------

    def admits(self, port: Link, frame: Frame, step: Step) -> bool:
        """A frame came by a bridge's port."""
        refused = frame_refused(self._rules, port.name, frame) if self._rules else None
        if refused is not None:
            self._drop(refused, step, port.name)
        return refused is None

    def bridged(self, bridge: str, packet: Packet, step: Step) -> bool:
        """It goes on to other ports; IP's hooks see it where br_netfilter shows it to them.

        Both links are the bridge to them.  They filter and take note, but translate
        nothing here: what is to be translated is for the MAC of the host.
        """
        if not self._rules or not self._shown(packet.target.version):
            return True
        connections = self._station.network.walk.connections
        flow, answers = connections.find(self._station, packet)
        passage = Passage(packet, step, bridge, flow, answers)
        if self._let(forward_refused(self._rules, passage, bridge), passage) is None:
            return False
        if flow is not None:
            connections.settle(self._station, flow)
        return True

    def deaf(self, link: str) -> HostIsolation | None:
        """The rule by which the host takes in no ARP from the link, and so answers none."""
        isolations = self._rules.all(HostIsolation, link) if self._rules else ()
        return next((rule for rule in isolations if rule.arp), None)

    def _shown(self, version: int) -> bool:
        found = self._sysctls.find(_BRIDGED[version])
        return found is not None and found.value != "0"

    # -- steps --------------------------------------------------------------------------

    def _aim(self, passage: Passage) -> Passage:
        """Send it to whom its connection is for, or whom it answers."""
        station = self._station
        flow, answers = station.network.walk.connections.find(station, passage.packet)
        if flow is None:
            return passage
        passage = passage._replace(flow=flow, answers=answers)
        if answers:
            target = flow.original.source
            if target == ends_of(passage.packet).target:
                return passage
            passage = self._note(passage, "for {}, whom it answers", flow.told(target))
        else:
            if not flow.settled:
                found = new_target(self._rules, passage, station.state.local)
                if found is not None:
                    rule, flow.target = found
                    end = flow.told(flow.target)
                    passage = self._note(passage, "DNAT to {} by {}", end, rule)
            target = flow.target
        return passage._replace(packet=to_end(passage.packet, target))

    def _sign(self, passage: Passage) -> Passage:
        """Have it come from whom its connection is from, or who was asked."""
        flow = passage.flow
        if flow is None:
            return passage
        self._station.network.walk.connections.settle(self._station, flow)
        source = flow.original.target if passage.answers else flow.source
        if source == ends_of(passage.packet).source:
            return passage
        if passage.answers:
            passage = self._note(passage, "from {}, who was asked", flow.told(source))
        return passage._replace(packet=from_end(passage.packet, source))

    def _note(self, passage: Passage, said: str, *values: object) -> Passage:
        step = passage.step.then(self._station.name, passage.link, said, *values)
        return passage._replace(step=step)

    def _let(self, refused: Refused | None, passage: Passage) -> Passage | None:
        if refused is None:
            return passage
        self._drop(refused, passage.step, passage.link)
        return None

    def _drop(self, refused: Refused, step: Step, link: str) -> None:
        self._station.network.walk.drop(step, self._station, link, "dropped by: {}: {}", *refused)
