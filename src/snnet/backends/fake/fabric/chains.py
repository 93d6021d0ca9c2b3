"""Where frames and packets of one host meet the chains of others.

Here: which hooks a frame passes, and what the chains there see.  Not here: the chains
(``Others``), and the rules of snnet (``netfilter.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from snnet.contract import IPAddress, Link

from ..addresses import is_broadcast
from .frames import Arp, Frame, Packet
from .others import ARP, BRIDGE, IP, NETDEV, UNKNOWN, UNMARKED, Marks, Seen, facts, macs
from .walk import Station, Step

OTHERS = "dropped by others: {}"
"""What the trace says of what is lost in others' chains; the value is their ``Verdict``."""

_ARRIVING, _LEAVING = ("prerouting", "input"), ("output", "postrouting")
_CROSSING = (("prerouting", True, False), ("forward", True, True), ("postrouting", False, True))
"""The hooks of IP that bridged packets pass, and whether they have a link in and out there."""


class Chains:
    """Asks for the chains of others on one station; without any, everything passes."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._marks: dict[Step, dict[str, Marks]] = {}
        """The marks that rules gave to packets, by step and copy."""

    # -- frames -------------------------------------------------------------------------

    def device(self, hook: str, link: str, frame: Frame, step: Step) -> bool:
        """Handle a frame that comes by a link ("ingress") or leaves by it ("egress")."""
        if self._station.others is None:
            return True
        way = {"came" if hook == "ingress" else "goes": link}
        return self._frame(NETDEV, hook, frame, step, link, **way)

    def arrives(self, port: Link, frame: Frame, step: Step) -> bool:
        """Handle a frame that arrived on a bridge port."""
        if self._station.others is None:
            return True
        where = {"came": port.name, "bridge": port.master or ""}
        return self._frame(BRIDGE, "prerouting", frame, step, port.name, **where)

    def goes_up(self, port: Link, frame: Frame, step: Step) -> bool:
        """Handle a frame from a bridge port that goes up to the host."""
        if self._station.others is None:
            return True
        where = {"came": port.name, "bridge": port.master or ""}
        return self._frame(BRIDGE, "input", frame, step, port.name, **where)

    def leaves(self, bridge: str, came: str | None, out: str, frame: Frame, step: Step) -> bool:
        """Handle a frame that leaves by a port; ``came``: None if it is the host's own."""
        port = {"goes": out, "bridge": bridge}
        if self._station.others is None:
            return True
        hook, where = ("forward", {**port, "came": came}) if came else ("output", port)
        return self._frame(BRIDGE, hook, frame, step, out, **where) and self._frame(
            BRIDGE, "postrouting", frame, step, out, **port
        )

    def crosses(
        self,
        bridge: str,
        came: str,
        out: str,
        frame: Frame,
        step: Step,
        state: Mapping[str, object],
    ) -> bool:
        """Handle a frame between ports at the hooks of IP (br_netfilter_hooks.c).

        To them the bridge is the link by which it comes and goes.
        """
        more = {**macs(frame), **state, "port_in": came, "port_out": out}
        return all(
            self.passes(
                step, out, IP, hook, frame.payload,
                {**more, "came": bridge if enters else "", "goes": bridge if leaves else ""},
            )
            for hook, enters, leaves in _CROSSING
        )  # fmt: skip

    def _frame(
        self, layer: str, hook: str, frame: Frame, step: Step, link: str, **where: object
    ) -> bool:
        return self.passes(step, link, layer, hook, frame.payload, {**macs(frame), **where})

    # -- neighbours ---------------------------------------------------------------------

    def hears(self, link: str, arp: Arp, step: Step) -> bool:
        """Handle ARP, or neighbour discovery, that arrived for the host."""
        return self._neighbour(_ARRIVING, "input", link, arp, step, came=link)

    def says(self, link: str, arp: Arp, step: Step) -> bool:
        """Handle ARP, or neighbour discovery, of the host itself."""
        return self._neighbour(_LEAVING, "output", link, arp, step, goes=link)

    def _neighbour(
        self, hooks: Sequence[str], of_arp: str, link: str, arp: Arp, step: Step, **where: str
    ) -> bool:
        if self._station.others is None:
            return True
        if arp.target.version == 4:
            return self.passes(step, link, ARP, of_arp, arp, where)
        # Conntrack does not track it (nf_conntrack_icmpv6_error).  On its way out it has been
        # given its link already, which then counts as that by which it came (ndisc_alloc_skb).
        more = {"state": "untracked", **where}
        postrouting = {"came": link, **more}
        return all(
            self.passes(step, link, IP, hook, arp, postrouting if hook == "postrouting" else more)
            for hook in hooks
        )

    # -- asking -------------------------------------------------------------------------

    def passes(
        self,
        step: Step,
        link: str,
        layer: str,
        hook: str,
        said: Packet | Arp,
        more: Mapping[str, object],
        above: int | None = None,
        below: int | None = None,
    ) -> bool:
        """Return whether others' chains let it pass; note where nobody can tell.

        ``more`` are fields of ``Seen``; only chains whose priority is in (above, below] count.
        """
        others = self._station.others
        if others is None:
            return True
        seen = self._seen(layer, hook, said, more)
        copy = seen.port_out or seen.goes or ("input" if hook == "input" else "")
        given = self._given(step, copy)
        # What a host sends on behalf of another packet may be that one in a tunnel, with its
        # mark, or an answer to it, without (IP4_REPLY_MARK, net/ip.h).
        marks = UNKNOWN if (layer, hook) == (IP, "output") and given != UNMARKED else given
        verdict, marks = others.judge(replace(seen, marks=marks), above, below)
        if marks != given:
            self._marks.setdefault(step, {})[copy] = marks
        if verdict is None:
            return True
        if verdict.lost:
            self._station.drop(step, link, OTHERS, verdict)
        else:
            self._station.doubt(step, verdict.what, verdict.about)
        return not verdict.lost

    def bypass(self, hook: str, packet: Packet, step: Step, more: Mapping[str, object]) -> bool:
        """Return whether others let a packet through before it comes to snnet's rules.

        Where nobody can tell, it is taken to be so, and noted.
        """
        others = self._station.others
        if others is None:
            return False
        seen = self._seen(IP, hook, packet, more)
        marks = self._given(step, seen.goes or ("input" if hook == "input" else ""))
        found = others.bypassed(replace(seen, marks=marks))
        if found is None:
            self._station.doubt(step, "a rule of others may accept it before snnet's rules")
        return found is not False

    def _given(self, step: Step, copy: str) -> Marks:
        """Return the marks that a packet was given on this host before.

        They go with it from hook to hook, through bridges, tunnels and ports, but not into another
        network namespace (skb_scrub_packet, net/core/skbuff.c).  Where copies of it were given
        different ones, nobody can tell.
        """
        if not self._marks:
            return UNMARKED
        found = self._marks.get(step, {})
        if copy and copy in found:
            return found[copy]
        before = found.get("")
        if before is None:
            own = step.host == self._station.name  # the last step of the sender is not
            before = self._given(step.before, copy) if own and step.before else UNMARKED
        others = [marks for name, marks in found.items() if name]
        return before if all(marks == before for marks in others) else UNKNOWN

    def _seen(self, layer: str, hook: str, said: Packet | Arp, more: Mapping[str, object]) -> Seen:
        found = {**facts(said), **more}
        return Seen(layer=layer, hook=hook, local=self._kind_of, **found)  # type: ignore[arg-type]

    def _kind_of(self, address: IPAddress) -> str:
        """Return what an address is to the host, in the words of ``fib``."""
        state = self._station.state
        if address in state.local or address.is_loopback:
            return "local"
        if address.is_multicast:
            return "multicast"
        if address.version == 4:
            return "broadcast" if is_broadcast(state, address) else "unicast"
        # Of IPv6 the kernel looks up the route (__nft_fib6_eval_type).
        hops = (table.find(address) for table in (state.fib, *state.tables.values()))
        hop = next((hop for hop in hops if hop is not None), None)
        return "unreachable" if hop is None else hop.refuses or "unicast"
