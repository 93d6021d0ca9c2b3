"""The MACs of neighbours: RFC 826 and net/ipv4/arp.c; for IPv6 RFC 4861 and net/ipv6/ndisc.c.

Here: whom the host asks, what it answers, also for others (proxy), and what it
believes.  Not here: packets that wait for a MAC, which the walk keeps (``walk.py``).
"""

from __future__ import annotations

from snnet.contract import IPAddress, Link, Neighbour, ProxyNeighbour

from .frames import Arp, Frame, Packet
from .links import Links
from .walk import Step


class Resolver:
    """Asks for MACs, answers for the host's own addresses, remembers what it heard."""

    def __init__(self, links: Links) -> None:
        self._links = links
        self._station = links.station
        self._state = links.station.state

    def mac_of(self, link: Link, address: IPAddress) -> str | None:
        """The neighbour's MAC, from a permanent entry or from what was heard."""
        entry = self._state.nouns.get(("neighbour", link.name, str(address)))
        if isinstance(entry, Neighbour):
            return entry.lladdr
        station = self._station
        return station.learned.neighbours.get((station, link.name, address))

    def hear(self, link: Link, arp: Arp, step: Step) -> list[Packet]:
        """Take in an ARP message; gives back the packets that waited for its sender."""
        station = self._station
        if not self._links.netfilter.arp_input(link, arp, step):
            return []
        if arp.request and not self._answers(link, arp.target):
            station.ignore(step, link.name, "not asked: {}", arp)
            return []
        # Who answers first is believed, as long as nothing changes (LOCKTIME, arp_process).
        learned = station.learned.neighbours
        learned.setdefault((station, link.name, arp.sender), arp.sender_mac)
        if not arp.request:
            return station.walk.answered(station, link.name, arp.sender)
        mac = link.mac or ""
        step = step.then(station.name, link.name, "{} is at {}, says this host", arp.target, mac)
        reply = Arp(False, arp.target, mac, arp.sender)
        self._links.transmit(link.name, Frame(mac, arp.sender_mac, reply), step)
        return []

    def _answers(self, link: Link, target: IPAddress) -> bool:
        """Whether the host says "here" to who asks for the address on this link.

        IPv4: any address it has on any link, unless ``arp_ignore`` keeps it to
        the link's own (arp_ignore()).  IPv6: the link's own.
        """
        links = self._state.local.get(target)
        if links:
            own_only = target.version == 6 or self._number(link, "ipv4", "arp_ignore") > 0
            return link.name in links if own_only else True
        return self._answers_for_another(link, target)

    def _answers_for_another(self, link: Link, target: IPAddress) -> bool:
        """Whether it says so for an address that it has not, but forwards to.

        IPv4: with ``proxy_arp`` any that it routes to another link, else such as
        were added to the link (arp_process).  IPv6: those added, with ``proxy_ndp``
        (ndisc_recv_ns).
        """
        added = ("proxy", link.name, str(target)) in self._state.nouns
        if target.version == 6:
            return (
                added
                and self._station.forwards(link.name, 6)
                and self._number(link, "ipv6", "proxy_ndp") > 0
            )
        if not (added or self.is_proxy(link)) or not self._station.forwards(link.name, 4):
            return False
        hop = self._state.fib.find(target)
        return hop is not None and hop.link != link.name

    def is_proxy(self, link: Link) -> bool:
        """Whether the host answers on this link for all that it has elsewhere."""
        return self._number(link, "ipv4", "proxy_arp") > 0

    def proxied(self, link: Link) -> list[IPAddress]:
        """The addresses that were added to the link."""
        nouns = self._state.on_link(link.name)
        return [noun.address for noun in nouns if isinstance(noun, ProxyNeighbour)]

    def _number(self, link: Link, family: str, parameter: str) -> int:
        """A parameter of the link; the larger of its own and the one for all."""
        if not self._state.sysctls:
            return 0  # none was ever set, and all that is asked for here starts so
        names = (link.name, "all")
        found = [
            self._station.sysctls.find(f"net.{family}.conf.{name}.{parameter}") for name in names
        ]
        return max(int(sysctl.value) for sysctl in found if sysctl is not None)
