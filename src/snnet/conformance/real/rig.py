"""The real rig: each endpoint is a network namespace."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from snnet.conformance.endpoints import HUB, Endpoint
from snnet.conformance.messages import HOSTILE6
from snnet.conformance.rig import Answer, Conversation, Rig
from snnet.contract import Driver, IPAddress, IPInterface
from snnet.system.conntrack import Conntrack, Match
from snnet.system.host import RealHost
from snnet.system.process import run

from . import crafted, frames, frames6, says
from .probes import Frames, UdpConversation, connect, gre, ping, token
from .ruleset import foreign_rules, ruleset
from .services import Services
from .wiring import build, open_spaces, shows_bridged

_ANY_PORT = 40000
_NOBODY = IPv4Address("10.255.255.254")
"""An unused address: asking for it changes no cache."""


class RealRig(Rig):
    """The network of the suite, in network namespaces.

    ``open_driver`` is called with a host (``RealHost``) whose ``netns`` is the hub's.
    With ``br_netfilter``, where the module is loaded, IP's hooks see bridged packets.
    That is the harder case, and the usual one on hosts with Docker.  Needs root; takes
    about 0.1 s to make.
    """

    def __init__(
        self,
        open_driver: Callable[[RealHost], Driver],
        owner: str = "cnci:kit",
        *,
        br_netfilter: bool = True,
    ) -> None:
        self.owner = owner
        self._open_driver = open_driver
        self._opened = ExitStack()
        self._after_test = ExitStack()
        with ExitStack() as undo:
            undo.callback(self.close)
            folder = self._opened.enter_context(tempfile.TemporaryDirectory(prefix="snnet-kit-"))
            self._runtime = Path(folder, "run")
            self._spaces = open_spaces(self._opened)
            self._hub = self._spaces[HUB]
            build(self._spaces, br_netfilter=br_netfilter)
            self.shows_bridged = shows_bridged(self._hub)
            self.reflects = not self.shows_bridged
            self._connections = Conntrack(self._hub.fd)
            self._opened.callback(self._connections.close)
            self._services = Services(self._spaces)
            self._opened.callback(self._services.close)
            self._frames = Frames(self._services, self._spaces)
            self._opened.callback(self._frames.close)
            self.driver = self.another()
            undo.pop_all()

    def another(self, owner: str | None = None) -> Driver:
        host = RealHost(self._hub.fd, owner=owner or self.owner, runtime=self._runtime)
        self._opened.callback(host.close)
        driver = self._open_driver(host)
        self._opened.callback(driver.close)
        return driver

    def ping(self, source: Endpoint, address: IPAddress, *, size: int = 16) -> bool:
        return ping(self._services, self._spaces[source], address, size)

    def connect(
        self, source: Endpoint, address: IPAddress, protocol: str, port: int
    ) -> Answer | None:
        return connect(self._services, self._spaces[source], address, protocol, port)

    def converse(self, source: Endpoint, address: IPAddress, port: int) -> Conversation:
        conversation = UdpConversation(self._services, self._spaces[source], address, port)
        self._after_test.callback(conversation.close)
        return conversation

    def forge(
        self,
        source: Endpoint,
        target: Endpoint,
        *,
        address: IPAddress | None = None,
        mac: str | None = None,
        to: str | None = None,
        reply: bool = False,
    ) -> bool:
        near = source.bridge is not None and source.bridge == target.bridge
        there = to or (target.mac if near else source.gateway_mac)
        mark = token()
        if isinstance(address, IPv6Address):
            about = source.gateway6 if target is HUB else target.ip6
            assert about is not None
            macs = (mac or source.mac, there)
            frame = frames6.echo6(address, about, mark, macs, reply=reply)
            return self._frames.hears(source, frame, mark, target)
        frame = frames.echo_frame(
            mac or source.mac,
            there,
            address or source.ip,
            source.gateway if target is HUB else target.ip,
            mark,
            reply=reply,
        )
        return self._frames.hears(source, frame, mark, target)

    def tracks(self, source: Endpoint, target: Endpoint) -> bool:
        match = Match(original_source=source.ip, original_destination=target.ip)
        self._connections.forget([match])
        self.forge(source, target)
        return self._connections.forget([match]) > 0

    def delivers(self, source: Endpoint, target: Endpoint, port: int, *, version: int = 4) -> bool:
        mark = token()
        if version == 6:
            ports, macs = (_ANY_PORT, port), (source.mac, source.gateway_mac)
            frame = frames6.udp6(source.ip6, target.ip6, ports, mark, macs)
            return self._frames.hears(source, frame, mark, target)
        frame = frames.udp_frame(
            source.mac, source.gateway_mac, source.ip, target.ip, (_ANY_PORT, port), mark
        )
        return self._frames.hears(source, frame, mark, target)

    def gre(self, source: Endpoint, key: int) -> bool:
        return gre(self._services, self._spaces[source], self._hub, source.gateway, key)

    def arp(
        self,
        source: Endpoint,
        hearer: Endpoint,
        *,
        address: IPv4Address | None = None,
        mac: str | None = None,
    ) -> bool:
        mark = token()
        frame = frames.arp_frame(source.mac, mac or source.mac, address or source.ip, _NOBODY, mark)
        try:
            return self._frames.hears(source, frame, mark, hearer)
        finally:
            if address is not None or mac is not None:
                self._forget_neighbours(source)

    def dhcp(
        self, source: Endpoint, hearer: Endpoint, *, server: bool, mac: str | None = None
    ) -> bool:
        mark = token()
        address = source.ip if server else frames.ANY
        frame = frames.dhcp_frame(
            source.mac, address, server=server, token=mark, client=mac or source.mac
        )
        return self._frames.hears(source, frame, mark, hearer)

    def crafted(self, source: Endpoint, hearer: Endpoint, kind: str) -> bool:
        mark = token()
        frame = crafted.FRAMES[kind](source.mac, source.ip, mark)
        return self._frames.hears(source, frame, mark, hearer)

    def says(self, source: Endpoint, hearer: Endpoint, kind: str) -> bool:
        frame, mark = says.frame(kind, source, hearer, token())
        try:
            return self._frames.hears(source, frame, mark, hearer)
        finally:
            if kind in HOSTILE6:
                self._forget_neighbours(source)

    def learns(self, source: Endpoint, address: IPAddress, mac: str | None = None) -> bool:
        if isinstance(address, IPv6Address):
            assert source.gateway6 is not None
            frame = frames6.solicit(source, source.gateway6, own=address, mac=mac)
        else:
            frame = frames.arp_frame(source.mac, mac or source.mac, address, source.gateway)
        self._frames.send(source, frame)
        shown = run(["ip", "neigh", "show", "dev", source.link], netns=self._hub.fd).stdout
        self._hub.ip([f"neighbour flush dev {source.link}"])
        lines = [line for line in shown.splitlines() if line.startswith(f"{address} ")]
        return any((mac or source.mac) in line for line in lines)

    def strange(self, source: Endpoint, hearer: Endpoint) -> bool:
        mark = token()
        return self._frames.hears(source, frames.strange_frame(source.mac, mark), mark, hearer)

    def resolve(self, source: Endpoint, address: IPAddress) -> bool:
        return self._frames.resolve(source, address)

    def add_address(self, link: str, address: IPInterface) -> None:
        # Deprecated, as a node adds it: the host takes it for nothing of its own.
        how = " nodad preferred_lft 0" if address.version == 6 else ""
        self._hub.ip([f"address add {address} dev {link}{how}"])
        gone = functools.partial(self._hub.ip, [f"address del {address} dev {link}"])
        self._after_test.callback(gone)

    def ruleset(self) -> str:
        return ruleset(self._hub)

    def foreign_rules(self) -> AbstractContextManager[Callable[[], str]]:
        return foreign_rules(self._hub)

    def reset(self) -> None:
        self._after_test.close()

    def close(self) -> None:
        self.reset()
        self._opened.close()

    def _forget_neighbours(self, liar: Endpoint) -> None:
        """Delete the neighbour entries that a false frame may have made."""
        for endpoint, space in self._spaces.items():
            if endpoint is HUB or endpoint.bridge == liar.bridge:
                space.ip(["neighbour flush all"])
