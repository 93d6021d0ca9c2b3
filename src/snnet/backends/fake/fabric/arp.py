"""Finding a neighbour's MAC (RFC 826, net/ipv4/arp.c; IPv6: RFC 4861, net/ipv6/ndisc.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnet.contract import IPAddress, Link, Neighbour

from ..sysctls import SysctlRules
from .frames import Arp, Frame, Packet
from .trace import Step

if TYPE_CHECKING:
    from .station import Station


class Resolver:
    """Asks for MACs, answers for the host's own addresses, remembers what it heard."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._state = station.state
        self._sysctls = SysctlRules(station.state)

    def mac_of(self, link: Link, address: IPAddress) -> str | None:
        """The neighbour's MAC, from a permanent entry or from what was heard."""
        entry = self._state.nouns.get(("neighbour", link.name, str(address)))
        if isinstance(entry, Neighbour):
            return entry.lladdr
        station = self._station
        return station.network.learned.neighbours.get((station, link.name, address))

    def hear(self, link: Link, arp: Arp, step: Step) -> list[Packet]:
        """Take in an ARP message; gives back the packets that waited for its sender."""
        station = self._station
        if arp.request and not self._answers(link, arp.target):
            station.network.walk.ignore(step, station, link.name, "not asked: {}", arp)
            return []
        learned = station.network.learned.neighbours
        learned[station, link.name, arp.sender] = arp.sender_mac
        if not arp.request:
            return station.network.walk.answered(station, link.name, arp.sender)
        mac = link.mac or ""
        step = step.then(station.name, link.name, "{} is at {}, says this host", arp.target, mac)
        reply = Arp(False, arp.target, mac, arp.sender)
        station.transmit(link.name, Frame(mac, arp.sender_mac, reply), step)
        return []

    def _answers(self, link: Link, target: IPAddress) -> bool:
        """Whether the host says "here" to who asks for the address on this link.

        IPv4: any address it has on any link, unless ``arp_ignore`` keeps it to
        the link's own (arp_ignore()), and with ``proxy_arp`` those it routes to
        another link.  IPv6: the link's own.
        """
        links = self._state.local.get(target)
        if links:
            own_only = target.version == 6 or self._number(link, "arp_ignore") > 0
            return link.name in links if own_only else True
        if target.version == 6 or not self.is_proxy(link):
            return False
        hop = self._state.fib.find(target)
        return hop is not None and hop.link != link.name

    def is_proxy(self, link: Link) -> bool:
        """Whether the host answers on this link for what it has elsewhere."""
        return self._number(link, "proxy_arp") > 0

    def _number(self, link: Link, parameter: str) -> int:
        """A parameter of the link; the larger of its own and the one for all."""
        if not self._state.sysctls:
            return 0  # none was ever set, and all that is asked for here starts so
        names = (f"net.ipv4.conf.{link.name}.{parameter}", f"net.ipv4.conf.all.{parameter}")
        found = [self._sysctls.find(name) for name in names]
        return max(int(sysctl.value) for sysctl in found if sysctl is not None)
