"""The real rig: each endpoint is a network namespace."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

from snnet.conformance.endpoints import HUB, Endpoint
from snnet.conformance.rig import Answer, Conversation, Rig
from snnet.contract import Driver, IPAddress
from snnet.system.host import RealHost

from . import frames
from .probes import Frames, UdpConversation, connect, ping, token
from .ruleset import foreign_rules, ruleset
from .services import Services
from .wiring import build, open_spaces, shows_bridged

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
            self.reflects = not shows_bridged(self._hub)
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

    def ping(self, source: Endpoint, address: IPAddress) -> bool:
        return ping(self._services, self._spaces[source], address)

    def connect(
        self, source: Endpoint, address: IPAddress, protocol: str, port: int
    ) -> Answer | None:
        return connect(self._services, self._spaces[source], address, protocol, port)

    def converse(self, source: Endpoint, address: IPv4Address, port: int) -> Conversation:
        conversation = UdpConversation(self._services, self._spaces[source], address, port)
        self._after_test.callback(conversation.close)
        return conversation

    def forge(
        self,
        source: Endpoint,
        target: Endpoint,
        *,
        address: IPv4Address | None = None,
        mac: str | None = None,
    ) -> bool:
        near = source.bridge is not None and source.bridge == target.bridge
        mark = token()
        frame = frames.echo_frame(
            mac or source.mac,
            target.mac if near else source.gateway_mac,
            address or source.ip,
            source.gateway if target is HUB else target.ip,
            mark,
        )
        return self._frames.hears(source, frame, mark, target)

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

    def dhcp(self, source: Endpoint, hearer: Endpoint, *, server: bool) -> bool:
        mark = token()
        address = source.ip if server else frames.ANY
        frame = frames.dhcp_frame(source.mac, address, server=server, token=mark)
        return self._frames.hears(source, frame, mark, hearer)

    def strange(self, source: Endpoint, hearer: Endpoint) -> bool:
        mark = token()
        return self._frames.hears(source, frames.strange_frame(source.mac, mark), mark, hearer)

    def resolve(self, source: Endpoint, address: IPv4Address) -> bool:
        return self._frames.resolve(source, address)

    def add_address(self, link: str, address: IPv4Interface) -> None:
        self._hub.ip([f"address add {address} dev {link}"])
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
