"""Netfilter's hooks on one host: where the firewall's rules meet its packets.

Here: the hooks, in the order in which a packet meets them.  Not here: the verdict of a
rule (``filter.py``, ``conntrack.py``), and the path between hooks (``stack.py``,
``links.py``).

::

    link ─► ingress ─► prerouting ─► route ──────► input ─► sockets, tunnels
              ▲                        │                        │
    port ─► bridge_prerouting          ▼                        ▼
              │                     forward                  output ─► route
              ▼                        │                                 │
         bridge_forward ─► ports       └────────► postrouting ◄──────────┘ ─► link

An IP hook returns the packet, translated or not, or None if it dropped the packet.  A
frame hook returns whether the frame may pass.  Translation follows nf_nat_core.c: the
target changes before routing and the source after it; answers are translated back at
the opposite hooks.
"""

from __future__ import annotations

from snnet.contract import HostIsolation, IPAddress, Link, Untracked

from ..paths import source_on
from .conntrack import Conntrack, Passage, ends_of, from_end, new_source, new_target, to_end
from .filter import (
    Refused,
    arp_refused,
    forward_refused,
    frame_refused,
    input_refused,
    routed_refused,
)
from .frames import Arp, Frame, Icmp6, Packet
from .groups import PortFilter
from .walk import Station, Step

_BRIDGED = {4: "net.bridge.bridge-nf-call-iptables", 6: "net.bridge.bridge-nf-call-ip6tables"}


class Netfilter:
    """The hooks of one station; without rules every packet passes untracked."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._rules = station.state.rules
        self._walk = station.walk
        self._conntrack = Conntrack()
        self.ports = PortFilter(station)
        """The groups of bridge ports: the last of ``bridge_prerouting``, and on the way out."""

    # -- frames -------------------------------------------------------------------------

    def ingress(self, link: Link, frame: Frame, step: Step) -> bool:
        """Handle a frame that arrived on a link which is not a bridge port."""
        refused = routed_refused(self._rules, link.name, frame) if self._rules else None
        return self._passes(refused, step, link.name)

    def bridge_prerouting(self, port: Link, frame: Frame, step: Step) -> bool:
        """Handle a frame that arrived on a bridge port."""
        refused = frame_refused(self._rules, port.name, frame) if self._rules else None
        return self._passes(refused, step, port.name)

    def untracks(self, port: Link, frame: Frame) -> bool:
        """Return whether connection tracking ignores a frame from this bridge port."""
        rules = self._rules.all(Untracked, port.name) if self._rules else ()
        return bool(rules) and all(rule.router != frame.target for rule in rules)

    def bridge_forward(self, bridge: str, packet: Packet, step: Step, *, untracked: bool) -> bool:
        """Handle a packet between ports, if br_netfilter passes it to the IP hooks.

        To them, the bridge is both the ingress and the egress link.  They filter and track
        the packet but do not translate it: packets to translate have the host's MAC.
        """
        if not self._rules or not self._bridge_nf(packet.target.version):
            return True
        flow, answers = (None, False) if untracked else self._connections.find(packet)
        passage = Passage(packet, step, bridge, flow, answers)
        if not self._passes(forward_refused(self._rules, passage, bridge), step, bridge):
            return False
        if flow is not None:
            self._connections.confirm(flow)
        return True

    def arp_input(self, link: Link, arp: Arp, step: Step) -> bool:
        """Handle an ARP message for the host."""
        if not self._rules:
            return True
        if not self._passes(arp_refused(self._rules, link.name, arp), step, link.name):
            return False
        isolations = self._rules.all(HostIsolation, link.name)
        rule = next((rule for rule in isolations if rule.arp), None)
        if rule is None:
            return True
        if arp.request and arp.target not in self._station.state.local:
            self._station.ignore(step, link.name, "not for this host: {}", arp)
            return False
        return self._passes((rule, str(arp)), step, link.name)

    # -- IP -----------------------------------------------------------------------------

    def prerouting(self, passage: Passage) -> Passage | None:
        """Handle a packet that arrived on a link: destination NAT."""
        return self._dnat(passage) if self._rules and not passage.untracked else passage

    def input(self, passage: Passage) -> Passage | None:
        """Handle a packet to the host itself: filter."""
        if not self._rules:
            return passage
        refused = input_refused(self._rules, passage)
        return self._filter(refused, passage) and self._snat(passage)

    def forward(self, passage: Passage, out: str) -> Passage | None:
        """Handle a packet that is routed to the link ``out``: filter."""
        if not self._rules:
            return passage
        return self._filter(forward_refused(self._rules, passage, out), passage)

    def output(self, passage: Passage) -> Passage:
        """Handle a packet that the host itself sends: destination NAT."""
        return self._dnat(passage) if self._rules else passage

    def postrouting(self, passage: Passage, out: str, next_hop: IPAddress) -> Passage | None:
        """Handle a packet that leaves by the link ``out``: source NAT."""
        flow = passage.flow
        if flow is None or not self._rules:
            return passage
        if not flow.confirmed and not passage.answers:
            own = source_on(self._station.state, out, next_hop)
            found = new_source(self._rules, passage, out, own)
            if found is not None:
                rule, address = found
                if address is None:
                    return self._filter((rule, f"no address on {out}"), passage)
                flow.source = flow.source._replace(address=address)
                if address != passage.packet.source:
                    end = flow.label(flow.source)
                    passage = self._trace(passage, "SNAT to {} by {}", end, rule)
        return self._snat(passage)

    # -- steps --------------------------------------------------------------------------

    @property
    def _connections(self) -> Conntrack:
        """The connections of the walk under way."""
        if self._walk is not self._station.walk:
            self._walk, self._conntrack = self._station.walk, Conntrack()
        return self._conntrack

    def _bridge_nf(self, version: int) -> bool:
        found = self._station.sysctls.find(_BRIDGED[version])
        return found is not None and found.value != "0"

    def _dnat(self, passage: Passage) -> Passage:
        """Translate the target; of an answer, back to the original source."""
        flow, answers = self._connections.find(passage.packet)
        if flow is None:
            return passage
        passage = passage._replace(flow=flow, answers=answers)
        if answers:
            target = flow.original.source
            if target == ends_of(passage.packet).target:
                return passage
            passage = self._trace(passage, "answer: target restored to {}", flow.label(target))
        else:
            if not flow.confirmed:
                found = new_target(self._rules, passage, self._station.state.local)
                if found is not None:
                    rule, flow.target = found
                    end = flow.label(flow.target)
                    passage = self._trace(passage, "DNAT to {} by {}", end, rule)
            target = flow.target
        return passage._replace(packet=to_end(passage.packet, target))

    def _snat(self, passage: Passage) -> Passage:
        """Translate the source; of an answer, back to the original target."""
        flow = passage.flow
        if flow is None:
            return passage
        self._connections.confirm(flow)
        source = flow.original.target if passage.answers else flow.source
        error = isinstance(passage.packet.payload, Icmp6)  # it comes from where it happened
        if error or source == ends_of(passage.packet).source:
            return passage
        if passage.answers:
            passage = self._trace(passage, "answer: source restored to {}", flow.label(source))
        return passage._replace(packet=from_end(passage.packet, source))

    def _trace(self, passage: Passage, said: str, *values: object) -> Passage:
        step = passage.step.then(self._station.name, passage.link, said, *values)
        return passage._replace(step=step)

    def _filter(self, refused: Refused | None, passage: Passage) -> Passage | None:
        return passage if self._passes(refused, passage.step, passage.link) else None

    def _passes(self, refused: Refused | None, step: Step, link: str) -> bool:
        """Return whether it may pass; otherwise drop it and name the rule in the trace."""
        if refused is not None:
            self._station.drop(step, link, "dropped by: {}: {}", *refused)
        return refused is None
