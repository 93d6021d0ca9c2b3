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
from .chains import Chains
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
from .others import DNAT_PRIORITY, IP, SNAT_PRIORITY
from .walk import Station, Step

_BRIDGED = {4: "net.bridge.bridge-nf-call-iptables", 6: "net.bridge.bridge-nf-call-ip6tables"}

OURS = "dropped by: {}: {}"
"""What it says of what a rule drops; the values are the rule and why."""


class Netfilter:
    """The hooks of one station; without rules every packet passes untracked."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._rules = station.state.rules
        self._walk = station.walk
        self._conntrack = Conntrack()
        self.ports = PortFilter(station)
        """The groups of ports: the last of ``bridge_prerouting``, and on the way out."""
        self.chains = Chains(station)

    # -- frames -------------------------------------------------------------------------

    def ingress(self, link: Link, frame: Frame, step: Step) -> bool:
        """Handle a frame that arrived on a link which is not a bridge port."""
        refused = routed_refused(self._rules, link.name, frame) if self._rules else None
        return self._passes(refused, step, link.name)

    def bridge_prerouting(self, port: Link, frame: Frame, step: Step) -> bool:
        """Handle a frame that arrived on a bridge port."""
        refused = frame_refused(self._rules, port.name, frame) if self._rules else None
        return self._passes(refused, step, port.name) and self.chains.arrives(port, frame, step)

    def bridge_output(
        self, bridge: str, came: str | None, out: str, frame: Frame, step: Step, *, untracked: bool
    ) -> bool:
        """Handle a frame that is about to leave by a port; ``came``: None for the host's own."""
        if self._station.others is None:
            return True
        if not self.chains.leaves(bridge, came, out, frame, step):
            return False
        said = frame.payload
        version = said.target.version
        if came is None or (isinstance(said, Arp) and version == 4) or not self._bridge_nf(version):
            return True
        state: dict[str, object] = {"state": "untracked"}
        flow = None
        if isinstance(said, Packet) and not untracked:
            passage = self._track(Passage(said, step, bridge))
            flow, state = passage.flow, self._state_of(passage, untracked)
        if not self.chains.crosses(bridge, came, out, frame, step, state):
            return False
        if flow is not None:
            self._connections.confirm(flow)
        return True

    def takes_for_itself(self, port: Link, frame: Frame, step: Step) -> bool:
        """Handle a frame for bridges themselves, received by a port."""
        rule = self._rules.first(Untracked, port.name) if self._rules else None
        refused = None if rule is None else (rule, f"the frame is for {frame.target}")
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
        refused = forward_refused(self._rules, passage, bridge)
        refused = self._obeyed(refused, passage, "forward", bridge, bridge)
        if not self._passes(refused, step, bridge):
            return False
        if flow is not None:
            self._connections.confirm(flow)
        return True

    def arp_input(self, link: Link, arp: Arp, step: Step) -> bool:
        """Handle an ARP message for the host."""
        if not self.chains.hears(link.name, arp, step):
            return False
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

    def arp_output(self, link: Link, arp: Arp, step: Step) -> bool:
        """Handle an ARP message of the host."""
        return self.chains.says(link.name, arp, step)

    # -- IP -----------------------------------------------------------------------------

    def prerouting(self, passage: Passage) -> Passage | None:
        """Handle a packet that arrived on a link: destination NAT."""
        if not self._active:
            return passage
        passage = passage if passage.untracked else self._track(passage)
        step = self.ports.leaving(passage.link, passage.packet, passage.step, bridged=False)
        if step is None:
            return None
        return self._around(passage.at(step), "prerouting", DNAT_PRIORITY, passage.link, "")

    def input(self, passage: Passage) -> Passage | None:
        """Handle a packet to the host itself: filter."""
        if not self._active:
            return passage
        refused = input_refused(self._rules, passage)
        refused = self._obeyed(refused, passage, "input", passage.link, "")
        if not self._filter(refused, passage) or not self._asks(passage, "input", passage.link, ""):
            return None
        return self._snat(passage)

    def forward(self, passage: Passage, out: str) -> Passage | None:
        """Handle a packet that is routed to the link ``out``: filter."""
        if not self._active:
            return passage
        refused = forward_refused(self._rules, passage, out)
        refused = self._obeyed(refused, passage, "forward", passage.link, out)
        if not self._filter(refused, passage):
            return None
        return passage if self._asks(passage, "forward", passage.link, out) else None

    def output(self, passage: Passage, out: str = "") -> Passage | None:
        """Handle a packet that the host itself sends by ``out``: destination NAT."""
        if not self._active:
            return passage
        return self._around(self._track(passage), "output", DNAT_PRIORITY, "", out)

    def loops(self, passage: Passage) -> bool:
        """Handle a packet of the host to itself, which no rule of snnet translates any more."""
        return self._asks(passage, "postrouting", "", "lo")

    def postrouting(self, passage: Passage, out: str, next_hop: IPAddress) -> Passage | None:
        """Handle a packet that leaves by the link ``out``: source NAT."""
        if not self._active:
            return passage
        if not self._asks(passage, "postrouting", passage.link, out, below=SNAT_PRIORITY):
            return None
        translated = self._translate_source(passage, out, next_hop)
        if translated is None:
            return None
        if not self._asks(translated, "postrouting", passage.link, out, above=SNAT_PRIORITY):
            return None
        step = self.ports.entering(out, translated.packet, translated.step, bridged=False)
        return None if step is None else translated.at(step)

    def _translate_source(self, passage: Passage, out: str, next_hop: IPAddress) -> Passage | None:
        flow = passage.flow
        if flow is None:
            return passage
        if not flow.confirmed and not passage.answers:
            target = passage.packet.target
            towards = next_hop if target.version == 4 else target
            own = source_on(self._station.state, out, towards)
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
        return self._station.parameter(_BRIDGED[version]) != 0

    @property
    def _active(self) -> bool:
        """Whether any rules are here; without them no packet is tracked."""
        return bool(self._rules) or self._station.others is not None

    def _track(self, passage: Passage) -> Passage:
        """Find the packet's connection."""
        flow, answers = self._connections.find(passage.packet)
        return passage if flow is None else passage.of(flow, answers)

    def _around(
        self, passage: Passage, hook: str, priority: int, came: str, out: str
    ) -> Passage | None:
        """Translate the target at the hook, between others' chains before and after that."""
        if not self._asks(passage, hook, came, out, below=priority):
            return None
        passage = self._dnat(passage)
        return passage if self._asks(passage, hook, came, out, above=priority) else None

    def _dnat(self, passage: Passage) -> Passage:
        """Translate the target; of an answer, back to the original source."""
        flow, answers = passage.flow, passage.answers
        if flow is None:
            return passage
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
            if not flow.redirected:
                return passage
            target = flow.target
        return passage.carrying(to_end(passage.packet, target))

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
        return passage.carrying(from_end(passage.packet, source))

    def _trace(self, passage: Passage, said: str, *values: object) -> Passage:
        return passage.at(passage.step.then(self._station.name, passage.link, said, *values))

    def _filter(self, refused: Refused | None, passage: Passage) -> Passage | None:
        return passage if self._passes(refused, passage.step, passage.link) else None

    def _passes(self, refused: Refused | None, step: Step, link: str) -> bool:
        """Return whether it may pass; otherwise drop it and name the rule in the trace."""
        if refused is not None:
            self._station.drop(step, link, OURS, *refused)
        return refused is None

    # -- others' chains -------------------------------------------------------------------

    def _asks(
        self,
        passage: Passage,
        hook: str,
        came: str,
        goes: str,
        above: int | None = None,
        below: int | None = None,
    ) -> bool:
        """Ask others' chains about a packet at a hook of IP."""
        if self._station.others is None:
            return True
        seen = self._state_of(passage, passage.untracked) | {"came": came, "goes": goes}
        seen["mac_source"] = passage.mac or None
        return self.chains.passes(
            passage.step, came or goes, IP, hook, passage.packet, seen, above, below
        )

    def _state_of(self, passage: Passage, untracked: bool) -> dict[str, object]:
        """Return what conntrack says of a packet; a bridged one is looked up here."""
        if untracked:
            return {"state": "untracked"}
        passage = passage if passage.flow is not None else self._track(passage)
        if passage.flow is None:
            return {"state": "invalid"}
        if isinstance(passage.packet.payload, Icmp6):
            return {"state": "related"}
        return {
            "state": "established" if passage.answers else "new",
            "redirected": passage.flow.redirected,
            "opens": not passage.answers,
        }

    def _obeyed(
        self, refused: Refused | None, passage: Passage, hook: str, came: str, goes: str
    ) -> Refused | None:
        """Return the rule that refuses a packet, None if others let it by that rule."""
        if refused is None or self._station.others is None:
            return refused
        seen = self._state_of(passage, passage.untracked or passage.flow is None)
        seen |= {"came": came, "goes": goes}
        bypassed = self.chains.bypass(hook, passage.packet, passage.step, seen)
        return None if bypassed else refused
