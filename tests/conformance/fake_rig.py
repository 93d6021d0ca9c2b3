"""The rig of the firewall suite on the fake: a fabric, and the fake firewall on its hub."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Interface, IPv6Network

import snnet
from snnet.backends.fake import FakeFirewall, Guest
from snnet.backends.fake.fabric.frames import (
    BROADCAST,
    Arp,
    Dhcp,
    Echo,
    Encapsulated,
    Frame,
    Packet,
    Segment,
    Udp,
)
from snnet.backends.fake.fabric.links import Links
from snnet.backends.fake.fabric.walk import Step
from snnet.conformance import Answer, Conversation, Rig
from snnet.conformance.endpoints import (
    BRIDGES,
    DEVICES,
    ENDPOINTS,
    FAR,
    HUB,
    OUT,
    PORT,
    ROUTED_GATEWAY,
    ROUTED_GATEWAY6,
    Endpoint,
)
from snnet.contract import (
    PROTOCOLS,
    Address,
    Bridge,
    Change,
    Driver,
    IPAddress,
    IPInterface,
    Link,
    Route,
    Sysctl,
    Tap,
)
from tests.backends.fake.steps import add, do, remove
from tests.backends.fake.topology import Vnic

from .fake_messages import NOT_HERE, message

_NOBODY = IPv4Address("10.255.255.254")
_ANY, _ALL = IPv4Address("0.0.0.0"), IPv4Address("255.255.255.255")
_SYSCTLS = (
    "net.ipv4.ip_forward",
    "net.ipv6.conf.all.forwarding",
    "net.bridge.bridge-nf-call-iptables",
    "net.bridge.bridge-nf-call-ip6tables",
)


class FakeRig(Rig):
    """Fake hosts and guests, wired as the suites have it."""

    strange_frames = False
    shows_bridged = True
    not_said = NOT_HERE
    fragments = False

    def __init__(self, owner: str = "cnci:kit") -> None:
        self.owner = owner
        self.fabric = snnet.Fabric()
        self.hub = self.fabric.add_host("hub", None)
        self._machines: dict[Endpoint, snnet.FakeKernel | Guest] = {HUB: self.hub}
        self._addresses: list[Address] = []
        self._build_hub()
        for endpoint in ENDPOINTS:
            outside = endpoint in (OUT, FAR)
            self._machines[endpoint] = (
                self._outsider(endpoint) if outside else self._guest(endpoint)
            )
            self._add_ipv6(endpoint)
        for machine in self._machines.values():
            for protocol in PROTOCOLS:
                self.fabric.listen(machine, protocol, PORT)
        self.driver = FakeFirewall(self.hub)

    def another(self, owner: str | None = None) -> Driver:
        return FakeFirewall(self.hub)

    # -- probes ------------------------------------------------------------------------

    def ping(self, source: Endpoint, address: IPAddress, *, size: int = 16) -> bool:
        return self.fabric.ping(self._machines[source], address, size=size)

    def connect(
        self, source: Endpoint, address: IPAddress, protocol: str, port: int
    ) -> Answer | None:
        heard = self.fabric.connected(self._machines[source], address, protocol, port)
        if heard is None:
            return None
        by = next(endpoint for endpoint in self._machines if endpoint.name == heard.station)
        return Answer(by, heard.source)

    def converse(self, source: Endpoint, address: IPAddress, port: int) -> Conversation:
        return _FakeConversation(self, source, address, port)

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
        there: IPAddress | None = source.gateway if target is HUB else target.ip
        if address is not None and address.version == 6:
            there = source.gateway6 if target is HUB else target.ip6
        assert there is not None
        packet = Packet(address or source.ip, there, Echo(not reply, 1, 56))
        to = to or (target.mac if near else source.gateway_mac)
        self._send(source, Frame(mac or source.mac, to, packet))
        walk = self._links(source).station.walk
        if reply:
            unasked = "answers no request"
            return any(s.host == target.name and unasked in str(s) for s in walk.endings.dropped)
        return self._links(target).station in walk.reached

    def tracks(self, source: Endpoint, target: Endpoint) -> bool:
        self.forge(source, target)
        netfilter = self.fabric._stack(self.hub).links.netfilter
        return any(
            flow.confirmed and flow.original.source.address == source.ip
            for flow in netfilter._connections._originals.values()
        )

    def delivers(self, source: Endpoint, target: Endpoint, port: int, *, version: int = 4) -> bool:
        own, there = (source.ip, target.ip) if version == 4 else (source.ip6, target.ip6)
        packet = Packet(own, there, Segment("udp", 40000, port))
        self._send(source, Frame(source.mac, source.gateway_mac, packet))
        dropped = self._links(source).station.walk.endings.dropped
        return any(step.host == target.name and "refused" in str(step) for step in dropped)

    def gre(self, source: Endpoint, key: int) -> bool:
        inner = Frame(source.mac, BROADCAST, Arp(True, source.ip, source.mac, _NOBODY))
        packet = Packet(source.ip, source.gateway, Encapsulated("gre", key, inner))
        self._send(source, Frame(source.mac, source.gateway_mac, packet))
        endings = self._links(source).station.walk.endings
        return any("no tunnel here" in str(step) for step in endings.dropped)

    def arp(
        self,
        source: Endpoint,
        hearer: Endpoint,
        *,
        address: IPv4Address | None = None,
        mac: str | None = None,
    ) -> bool:
        asked = Arp(True, address or source.ip, mac or source.mac, _NOBODY)
        return self._heard(source, hearer, asked)

    def crafted(self, source: Endpoint, hearer: Endpoint, kind: str) -> bool:
        raise NotImplementedError("a fabric carries ARP and IP alone")

    def says(self, source: Endpoint, hearer: Endpoint, kind: str) -> bool:
        return self._heard(source, hearer, message(kind, source, hearer))

    def learns(self, source: Endpoint, address: IPAddress, mac: str | None = None) -> bool:
        gateway = source.gateway if address.version == 4 else source.gateway6
        assert gateway is not None
        asked = Arp(True, address, mac or source.mac, gateway)
        links, station = self._links(source), self._links(HUB).station
        walk = station.network.new_walk()
        frame = Frame(source.mac, BROADCAST, asked)
        step = Step(None, links.station.name, "eth0", "sends", ())
        walk.later(links.transmit, "eth0", frame, step)
        walk.run()
        known = station.learned.neighbours.get((station, source.link, address))
        station.network.changes.count += 1
        return known == asked.sender_mac

    def dhcp(
        self, source: Endpoint, hearer: Endpoint, *, server: bool, mac: str | None = None
    ) -> bool:
        if server:
            message = Udp(67, 68, Dhcp("offer", hearer.mac, hearer.ip, 24, source.ip))
        else:
            message = Udp(68, 67, Dhcp("discover", mac or source.mac))
        return self._heard(source, hearer, Packet(source.ip if server else _ANY, _ALL, message))

    def strange(self, source: Endpoint, hearer: Endpoint) -> bool:
        raise NotImplementedError("a fabric carries ARP and IP alone")

    def resolve(self, source: Endpoint, address: IPAddress) -> bool:
        own = source.ip if address.version == 4 else source.ip6
        asked = Arp(True, own, source.mac, address)
        with _listening(self._links(source)) as heard:
            self._send(source, Frame(source.mac, BROADCAST, asked))
        return any(
            isinstance(frame.payload, Arp)
            and not frame.payload.request
            and frame.payload.sender == address
            for frame in heard
        )

    # -- the hub -----------------------------------------------------------------------

    def add_address(self, link: str, address: IPInterface) -> None:
        noun = Address(link=link, address=address, deprecated=address.version == 6)
        add(self.hub, noun)
        self._addresses.append(noun)

    def ruleset(self) -> str:
        return "\n".join(sorted(map(repr, self.driver.snapshot().values())))

    def foreign_rules(self) -> AbstractContextManager[Callable[[], str]]:
        """Nobody else's rules exist here; what could be harmed is the rest of the kernel."""
        return _foreign_rules(self.hub)

    def reset(self) -> None:
        remove(self.hub, *self._addresses)
        self._addresses.clear()

    def close(self) -> None:
        self.reset()

    # -- building ----------------------------------------------------------------------

    def _build_hub(self) -> None:
        unused = self.hub.find(Link(name="eth0"))  # it would answer for the other uplinks
        assert isinstance(unused, Link)
        do(self.hub, Change(replace(unused, up=False), unused))
        for device in DEVICES:
            self.hub.add_uplink(device.name, device.address, mac=device.mac)
            self.fabric.plug(self.hub, device.name)
            add(self.hub, Address(link=device.name, address=device.address6))
        for bridge in BRIDGES:
            add(
                self.hub,
                Bridge(name=bridge.name, mac=bridge.mac, link_local=True),
                Address(link=bridge.name, address=bridge.address),
                Address(link=bridge.name, address=bridge.address6),
            )
        for name in _SYSCTLS:
            old = self.hub.find(Sysctl(name=name))
            if isinstance(old, Sysctl):
                do(self.hub, Change(Sysctl(name=name, value="1"), old))

    def _guest(self, endpoint: Endpoint) -> Guest:
        mac = None if endpoint.bridge else endpoint.gateway_mac
        add(self.hub, Tap(name=endpoint.link, master=endpoint.bridge, mac=mac))
        if endpoint.gateway == ROUTED_GATEWAY:
            add(
                self.hub,
                Address(link=endpoint.link, address=IPv4Interface(ROUTED_GATEWAY)),
                Route(destination=IPv4Network(endpoint.ip), link=endpoint.link),
                Address(link=endpoint.link, address=IPv6Interface((ROUTED_GATEWAY6, 64))),
                Route(destination=IPv6Network(endpoint.ip6), link=endpoint.link),
            )
        vnic = Vnic(endpoint.link, endpoint.mac)
        return self.fabric.attach(
            self.hub, vnic, address=endpoint.address, gateway=endpoint.gateway, name=endpoint.name
        )

    def _outsider(self, endpoint: Endpoint) -> snnet.FakeKernel:
        kernel = self.fabric.add_host(endpoint.name, endpoint.address)
        everywhere = IPv4Network("0.0.0.0/0")
        add(kernel, Route(destination=everywhere, link="eth0", gateway=endpoint.gateway))
        return kernel

    def _add_ipv6(self, endpoint: Endpoint) -> None:
        if endpoint.address6 is not None:
            everywhere = IPv6Network("::/0")
            add(
                self._kernel(endpoint),
                Address(link="eth0", address=endpoint.address6),
                Route(destination=everywhere, link="eth0", gateway=endpoint.gateway6),
            )

    # -- frames ------------------------------------------------------------------------

    def _kernel(self, endpoint: Endpoint) -> snnet.FakeKernel:
        machine = self._machines[endpoint]
        return machine.kernel if isinstance(machine, Guest) else machine

    def _links(self, endpoint: Endpoint) -> Links:
        return self.fabric._stack(self._machines[endpoint]).links

    def _send(self, source: Endpoint, frame: Frame) -> None:
        """Put a frame on the wire, and have the lies in it forgotten afterwards."""
        links = self._links(source)
        station, walk = links.station, links.station.network.new_walk()
        walk.later(links.transmit, "eth0", frame, Step(None, station.name, "eth0", "sends", ()))
        walk.run()
        station.network.changes.count += 1

    def _heard(self, source: Endpoint, hearer: Endpoint, payload: Arp | Packet) -> bool:
        with _listening(self._links(hearer)) as heard:
            self._send(source, Frame(source.mac, BROADCAST, payload))
        return any(frame.payload is payload for frame in heard)


class _FakeConversation(Conversation):
    """There is no time on a fabric: each question is a flow of its own."""

    def __init__(self, rig: FakeRig, source: Endpoint, address: IPAddress, port: int) -> None:
        self._question = rig, source, address, port

    def ask(self) -> Answer | None:
        rig, source, address, port = self._question
        return rig.connect(source, address, "udp", port)


@contextmanager
def _listening(links: Links) -> Iterator[list[Frame]]:
    """The frames that come to the NIC of a machine meanwhile."""
    heard: list[Frame] = []
    take_in = links.from_cable

    def from_cable(name: str, frame: Frame, step: Step) -> None:
        heard.append(frame)
        take_in(name, frame, step)

    links.from_cable = from_cable  # type: ignore[method-assign]
    try:
        yield heard
    finally:
        del links.from_cable


@contextmanager
def _foreign_rules(kernel: snnet.FakeKernel) -> Iterator[Callable[[], str]]:
    yield lambda: "\n".join(map(repr, kernel.snapshot().values()))
