"""MACs of neighbours: RFC 826 and net/ipv4/arp.c; for IPv6, RFC 4861 and net/ipv6/ndisc.c.

Here: the neighbour table, and which requests the host answers, for itself and as proxy.
Not here: the packets that wait for a MAC (``walk.py``).
"""

from __future__ import annotations

from snnet.contract import IPAddress, Link, Neighbour, ProxyNeighbour
from snnet.contract.addresses import link_local_of
from snnet.contract.network import link_sysctl

from ..sysctls import ipv6_is_disabled
from .frames import BROADCAST, Arp, Frame, Packet
from .links import Links
from .walk import Step


class Resolver:
    """Answers requests for the host's addresses, and learns the MACs of neighbours."""

    def __init__(self, links: Links) -> None:
        self._links = links
        self._station = links.station
        self._state = links.station.state

    def mac_of(self, link: Link, address: IPAddress) -> str | None:
        """Return the neighbour's MAC from a permanent or learned entry, None if unknown."""
        entry = self._state.nouns.get(("neighbour", link.name, str(address)))
        if isinstance(entry, Neighbour):
            return entry.lladdr
        station = self._station
        return station.learned.neighbours.get((station, link.name, address))

    def receive(self, link: Link, arp: Arp, step: Step) -> list[Packet]:
        """Handle an ARP message; return the packets that waited for its sender."""
        station = self._station
        if not self._links.netfilter.arp_input(link, arp, step):
            return []
        if arp.request and not self._answers(link, arp.target):
            station.ignore(step, link.name, "not for this host: {}", arp)
            return []
        # The first answer wins, as long as nothing changes (LOCKTIME, arp_process).
        learned = station.learned.neighbours
        if arp.sender_mac and not arp.sender.is_unspecified:
            learned.setdefault((station, link.name, arp.sender), arp.sender_mac)
        if not arp.request:
            return station.walk.answered(station, link.name, arp.sender)
        mac = link.mac or ""
        step = step.then(station.name, link.name, "answers: {} is at {}", arp.target, mac)
        reply = Arp(False, arp.target, mac, arp.sender)
        if not self._links.netfilter.arp_output(link, reply, step):
            return []
        # Duplicate detection is answered to all (RFC 4861, 7.2.4).
        self._links.transmit(link.name, Frame(mac, arp.sender_mac or BROADCAST, reply), step)
        return []

    def _answers(self, link: Link, target: IPAddress) -> bool:
        """Return whether the host answers a request for the address on this link.

        IPv4: for an address of any link, unless ``arp_ignore`` limits it to this link
        (arp_ignore()).  IPv6: for addresses of this link.
        """
        if target.version == 6 and target == self.link_local(link):
            return True
        links = self._state.local.get(target)
        if links:
            own_only = target.version == 6 or self.number(link.name, "ipv4", "arp_ignore") > 0
            return link.name in links if own_only else True
        return self._answers_for_another(link, target)

    def link_local(self, link: Link) -> IPAddress | None:
        """Return the link-local address of a link: one that was added, or that of its MAC.

        Ports of bridges have none, nor have links whose ``addr_gen_mode`` is none.
        """
        for noun in self._state.addresses(link.name, 6):
            if noun.address.ip.is_link_local:
                return noun.address.ip
        routed = getattr(link, "proxy_arp", False)
        by_itself = getattr(link, "link_local", not routed) and link.master is None
        if not by_itself or not link.mac or ipv6_is_disabled(self._state, link.name):
            return None
        return link_local_of(link.mac)

    def _answers_for_another(self, link: Link, target: IPAddress) -> bool:
        """Return whether the host answers as proxy for an address it forwards to.

        IPv4: for proxy entries of the link, and with ``proxy_arp`` for every address that
        it routes to another link (arp_process).  IPv6: for proxy entries of the link, with
        ``proxy_ndp`` (ndisc_recv_ns).
        """
        added = ("proxy", link.name, str(target)) in self._state.nouns
        if target.version == 6:
            return (
                added
                and self._station.forwards(link.name, 6)
                and self.number(link.name, "ipv6", "proxy_ndp") > 0
            )
        if not (added or self.is_proxy(link)) or not self._station.forwards(link.name, 4):
            return False
        hop = self._state.fib.find(target)
        return hop is not None and hop.link != link.name

    def is_proxy(self, link: Link) -> bool:
        """Return whether ``proxy_arp`` is on for the link."""
        return self.number(link.name, "ipv4", "proxy_arp") > 0

    def proxied(self, link: Link) -> list[IPAddress]:
        """Return the addresses of the link's proxy entries."""
        nouns = self._state.on_link(link.name)
        return [noun.address for noun in nouns if isinstance(noun, ProxyNeighbour)]

    def number(self, link: str, family: str, parameter: str) -> int:
        """Return a parameter of the link: the larger of its own value and that of ``all``."""
        if not self._state.sysctls:
            return 0  # none was set, and 0 is the default of all that are read here
        names = [link_sysctl(f"{family}.conf", name, parameter) for name in (link, "all")]
        return max(map(self._station.parameter, names))
