"""The corpora of ``test_corpus.py`` on a fabric, as far as its frames can be said there."""

from __future__ import annotations

from contextlib import ExitStack
from ipaddress import IPv4Address, ip_address

import pytest

import snnet
from snnet.backends.fake import FakeFirewall
from snnet.backends.fake.fabric.frames import (
    Arp,
    Dhcp,
    Echo,
    Encapsulated,
    Frame,
    Packet,
    Segment,
    Udp,
)
from snnet.backends.fake.fabric.walk import Step
from snnet.contract import AntiSpoof, Link, Remove
from tests.conformance.fake_rig import _listening
from tests.node import corpus
from tests.node.world import container

KINDS = {1: "discover", 2: "offer", 3: "request", 4: "decline", 5: "ack", 7: "release", 8: "inform"}


def said(frame: bytes) -> Frame | None:
    """The frame as a fabric has it; None where it has no such frames."""
    target, source = (frame[at : at + 6].hex(":") for at in (0, 6))
    kind, body = int.from_bytes(frame[12:14], "big"), frame[14:]
    payload: Arp | Packet | None = None
    if kind == corpus.ARP and int.from_bytes(body[6:8], "big") in (1, 2):
        sender, asked = ip_address(body[14:18]), ip_address(body[24:28])
        payload = Arp(body[7] == 1, sender, body[8:14].hex(":"), asked)
    elif kind == corpus.IP and body[0] == 0x45 and not int.from_bytes(body[6:8], "big"):
        payload = _packet(body)
    return Frame(source, target, payload) if payload is not None else None


def _packet(body: bytes) -> Packet | None:
    source, target, data = ip_address(body[12:16]), ip_address(body[16:20]), body[20:]
    ports = int.from_bytes(data[0:2], "big"), int.from_bytes(data[2:4], "big")
    inside: Echo | Segment | Udp | Encapsulated | None = None
    match body[9]:
        case corpus.ICMP if data[0] == 8:
            inside = Echo(True, 1, 56)
        case corpus.TCP if data[13] & 0x12 == 2:
            inside = Segment("tcp", *ports)
        case corpus.TCP:
            inside = Segment("tcp", *ports, request=False)
        case corpus.UDP if {*ports} & {67, 68} and len(data) > 240:
            message = KINDS[data[8 + 242]]
            inside = Udp(*ports, Dhcp(message, data[8 + 28 : 8 + 34].hex(":")))
        case corpus.UDP:
            inside = Segment("udp", *ports)
        case 132:
            inside = Segment("sctp", *ports)
    return Packet(source, target, inside) if inside is not None else None


class Site:
    """A node with three guests, as in ``test_corpus.py``."""

    def __init__(self, mode: str) -> None:
        self.fabric = snnet.Fabric()
        self.host = self.fabric.add_host("cn-1", "192.0.2.11/24")
        config = snnet.NetworkConfig(
            compute_nets=["192.0.2.0/24"], mode=snnet.NetworkMode(mode), tunnel="vxlan"
        )
        node = snnet.ComputeNode("cn-1", config, backend=self.host, firewall="fake")
        node.init()
        self.bridged = mode == "gre_tunnel"
        made = [
            node.create_vnic(container(9)).vnic,
            node.create_vnic(container(10)).vnic,
            node.create_vnic(container(9, tenant=2, subnet_number=1 if self.bridged else 2)).vnic,
        ]
        self.sender, self.neighbour, self.stranger = (
            self.fabric._stack(self.fabric.attach(self.host, vnic)).links for vnic in made
        )
        self.here = self.fabric._stack(self.host)
        mine = made[0]
        link = self.host.find(Link(name=mine.bridge or mine.link_name))
        assert isinstance(link, Link)
        assert isinstance(mine.ip, IPv4Address)
        assert isinstance(made[1].ip, IPv4Address)
        self.place = corpus.Place(
            mac=mine.mac,
            ip=mine.ip,
            neighbour_mac=made[1].mac,
            neighbour=made[1].ip,
            host_mac=str(link.mac),
            host=IPv4Address("192.0.2.11"),
            gateway=IPv4Address("10.1.0.1"),
        )

    def reached(self, frame: Frame) -> set[str]:
        """Who gets the frame, or what is in it."""
        with ExitStack() as stack:
            heard = {
                name: stack.enter_context(_listening(links))
                for name, links in (("neighbour", self.neighbour), ("stranger", self.stranger))
            }
            station = self.sender.station
            walk = station.network.new_walk()
            first = Step(None, station.name, "eth0", "sends", ())
            walk.later(self.sender.transmit, "eth0", frame, first)
            walk.run()
            station.network.changes.count += 1  # what a lie has taught is forgotten
        found = {name for name in heard if any(_same(one, frame) for one in heard[name])}
        return found | ({"host"} if self.here.links.station in walk.reached else set())


def _same(heard: Frame, sent: Frame) -> bool:
    mine, theirs = sent.payload, heard.payload
    if isinstance(mine, Packet) and isinstance(theirs, Packet):
        return (mine.source, mine.target, mine.payload) == (
            theirs.source,
            theirs.target,
            theirs.payload,
        )
    return mine is theirs


@pytest.fixture(params=["gre_tunnel", "routed"])
def site(request: pytest.FixtureRequest) -> Site:
    return Site(request.param)


def sayable(frames: corpus.Frames) -> dict[str, Frame]:
    found = {name: said(frame) for name, frame in frames.items()}
    return {name: frame for name, frame in found.items() if frame is not None}


def test_hostile_frames_reach_nobody(site: Site) -> None:
    frames = sayable(corpus.hostile(site.place, bridged=site.bridged))
    assert len(frames) >= 60
    reached = {name: site.reached(frame) for name, frame in frames.items()}
    assert {name: who for name, who in reached.items() if who} == {}


def test_nothing_reaches_the_host_or_another_tenant(site: Site) -> None:
    frames = sayable(corpus.to_the_host(site.place))
    assert len(frames) >= 20
    for name, frame in frames.items():
        assert site.reached(frame) <= {"neighbour"}, name


def test_honest_frames_pass() -> None:
    site = Site("gre_tunnel")
    frames = sayable(corpus.honest(site.place))
    assert len(frames) >= 20
    for name, frame in frames.items():
        assert site.reached(frame) == {"neighbour"}, name


def test_without_anti_spoofing_lies_do_pass() -> None:
    """Else the tests above could not fail."""
    site = Site("gre_tunnel")
    name = "udp from nobody"
    frame = sayable(corpus.hostile(site.place))[name]
    assert site.reached(frame) == set()
    firewall = FakeFirewall(site.host)
    guards = [noun for noun in firewall.snapshot().values() if isinstance(noun, AntiSpoof)]
    assert firewall.apply([Remove(guard) for guard in guards]).error is None
    assert site.reached(frame) == {"neighbour"}
