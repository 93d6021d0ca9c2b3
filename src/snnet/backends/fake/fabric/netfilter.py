"""Netfilter's hooks on one host: where the firewall's rules meet its packets.

Here: the hooks, in the order in which a packet meets them.  Not here: what a rule
says of a packet (``filter.py``, ``conntrack.py``), and the way between hooks
(``stack.py``, ``links.py``).

::

    link ─► ingress ─► prerouting ─► route ──────► input ─► sockets, tunnels
              ▲                        │                        │
    port ─► bridge_prerouting          ▼                        ▼
              │                     forward                  output ─► route
              ▼                        │                                 │
         bridge_forward ─► ports       └────────► postrouting ◄──────────┘ ─► link

A hook of IP takes a packet and gives it back, changed or not, or None when it was
dropped.  A hook of frames says whether the frame may go on.  Translation follows
nf_nat_core.c: targets change before routing, sources after it; what answers is
translated back at the opposite places.
"""

from __future__ import annotations

from snnet.contract import HostIsolation, IPAddress, Link

from ..paths import source_on
from .conntrack import Conntrack, Passage, ends_of, from_end, new_source, new_target, to_end
from .filter import Refused, forward_refused, frame_refused, input_refused, routed_refused
from .frames import Arp, Frame, Packet
from .walk import Station, Step

_BRIDGED = {4: "net.bridge.bridge-nf-call-iptables", 6: "net.bridge.bridge-nf-call-ip6tables"}


class Netfilter:
    """The hooks of one station; they look at nothing while it has no rules."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._rules = station.state.rules
        self._walk = station.walk
        self._conntrack = Conntrack()

    # -- frames -------------------------------------------------------------------------

    def ingress(self, link: Link, frame: Frame, step: Step) -> bool:
        """A frame came by a link that is no bridge's port."""
        refused = routed_refused(self._rules, link.name, frame) if self._rules else None
        return self._admit(refused, step, link.name)

    def bridge_prerouting(self, port: Link, frame: Frame, step: Step) -> bool:
        """A frame came by a bridge's port."""
        refused = frame_refused(self._rules, port.name, frame) if self._rules else None
        return self._admit(refused, step, port.name)

    def bridge_forward(self, bridge: str, packet: Packet, step: Step) -> bool:
        """It goes on to other ports; IP's hooks see it where br_netfilter shows it to them.

        Both links are the bridge to them.  They filter and take note, but translate
        nothing here: what is to be translated is for the MAC of the host.
        """
        if not self._rules or not self._shown(packet.target.version):
            return True
        flow, answers = self._connections.find(packet)
        passage = Passage(packet, step, bridge, flow, answers)
        if not self._admit(forward_refused(self._rules, passage, bridge), step, bridge):
            return False
        if flow is not None:
            self._connections.settle(flow)
        return True

    def arp_input(self, link: Link, arp: Arp, step: Step) -> bool:
        """An ARP message came for the host."""
        isolations = self._rules.all(HostIsolation, link.name) if self._rules else ()
        rule = next((rule for rule in isolations if rule.arp), None)
        if rule is None:
            return True
        if arp.request and arp.target not in self._station.state.local:
            self._station.ignore(step, link.name, "not asked: {}", arp)
            return False
        return self._admit((rule, str(arp)), step, link.name)

    # -- IP -----------------------------------------------------------------------------

    def prerouting(self, passage: Passage) -> Passage | None:
        """A packet came by a link: destination NAT."""
        return self._aim(passage) if self._rules else passage

    def input(self, passage: Passage) -> Passage | None:
        """It is for the host itself: filter."""
        if not self._rules:
            return passage
        refused = input_refused(self._rules, passage)
        return self._let(refused, passage) and self._sign(passage)

    def forward(self, passage: Passage, out: str) -> Passage | None:
        """It is to leave by the link ``out``: filter."""
        if not self._rules:
            return passage
        return self._let(forward_refused(self._rules, passage, out), passage)

    def output(self, passage: Passage) -> Passage:
        """The host itself sends it: destination NAT."""
        return self._aim(passage) if self._rules else passage

    def postrouting(self, passage: Passage, out: str, next_hop: IPAddress) -> Passage | None:
        """It leaves by the link ``out``: source NAT."""
        flow = passage.flow
        if flow is None or not self._rules:
            return passage
        if not flow.settled and not passage.answers:
            own = source_on(self._station.state, out, next_hop)
            found = new_source(self._rules, passage, out, own)
            if found is not None:
                rule, address = found
                if address is None:
                    return self._let((rule, f"no address on {out}"), passage)
                flow.source = flow.source._replace(address=address)
                if address != passage.packet.source:
                    end = flow.label(flow.source)
                    passage = self._note(passage, "SNAT to {} by {}", end, rule)
        return self._sign(passage)

    # -- steps --------------------------------------------------------------------------

    @property
    def _connections(self) -> Conntrack:
        """The table of the walk under way."""
        if self._walk is not self._station.walk:
            self._walk, self._conntrack = self._station.walk, Conntrack()
        return self._conntrack

    def _shown(self, version: int) -> bool:
        found = self._station.sysctls.find(_BRIDGED[version])
        return found is not None and found.value != "0"

    def _aim(self, passage: Passage) -> Passage:
        """Send it to whom its connection is for, or whom it answers."""
        flow, answers = self._connections.find(passage.packet)
        if flow is None:
            return passage
        passage = passage._replace(flow=flow, answers=answers)
        if answers:
            target = flow.original.source
            if target == ends_of(passage.packet).target:
                return passage
            passage = self._note(passage, "for {}, whom it answers", flow.label(target))
        else:
            if not flow.settled:
                found = new_target(self._rules, passage, self._station.state.local)
                if found is not None:
                    rule, flow.target = found
                    end = flow.label(flow.target)
                    passage = self._note(passage, "DNAT to {} by {}", end, rule)
            target = flow.target
        return passage._replace(packet=to_end(passage.packet, target))

    def _sign(self, passage: Passage) -> Passage:
        """Have it come from whom its connection is from, or who was asked."""
        flow = passage.flow
        if flow is None:
            return passage
        self._connections.settle(flow)
        source = flow.original.target if passage.answers else flow.source
        if source == ends_of(passage.packet).source:
            return passage
        if passage.answers:
            passage = self._note(passage, "from {}, who was asked", flow.label(source))
        return passage._replace(packet=from_end(passage.packet, source))

    def _note(self, passage: Passage, said: str, *values: object) -> Passage:
        step = passage.step.then(self._station.name, passage.link, said, *values)
        return passage._replace(step=step)

    def _let(self, refused: Refused | None, passage: Passage) -> Passage | None:
        return passage if self._admit(refused, passage.step, passage.link) else None

    def _admit(self, refused: Refused | None, step: Step, link: str) -> bool:
        """Whether it goes on; what is refused is dropped, and the trace says by which rule."""
        if refused is not None:
            self._station.drop(step, link, "dropped by: {}: {}", *refused)
        return refused is None
