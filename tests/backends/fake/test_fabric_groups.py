"""Security groups on the fabric: what the conformance kit cannot ask of one walk."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from snnet.backends.fake.fabric.frames import TOO_BIG, Frame, Icmp6, Packet, Segment
from snnet.backends.fake.fabric.walk import Step
from snnet.conformance.endpoints import A1, A2, PORT, Endpoint
from snnet.conformance.firewall.base import add
from snnet.conformance.firewall.groups import group, port
from snnet.contract import Rule
from tests.conformance.fake_rig import FakeRig, _listening

EPHEMERAL = 40000


@pytest.fixture
def rig() -> Iterator[FakeRig]:
    with FakeRig() as rig:
        yield rig


def datagram(source: Endpoint, target: Endpoint, ports: tuple[int, int]) -> Packet:
    return Packet(source.ip6, target.ip6, Segment("udp", *ports))


def hears_error(rig: FakeRig, asked: Packet | None, about: Packet) -> bool:
    """Whether A1 hears that a packet of its own is too big, in the walk of a question."""
    endings = {A1.ip6: A1, A2.ip6: A2}
    complaint = Packet(A2.ip6, A1.ip6, Icmp6(TOO_BIG, mtu=1280, about=about))
    walk = rig._links(A1).station.network.new_walk()
    with _listening(rig._links(A1)) as heard:
        for packet in (asked, complaint):
            if packet is not None:
                source, target = endings[packet.source], endings[packet.target]  # type: ignore[index]
                links, frame = rig._links(source), Frame(source.mac, target.mac, packet)
                step = Step(None, links.station.name, "eth0", "sends", ())
                walk.later(links.transmit, "eth0", frame, step)
                walk.run()
    return any(frame.payload is complaint for frame in heard)


@pytest.mark.parametrize("asks", [True, False], ids=["of its own", "of others"])
def test_errors_are_about_connections_that_passed(rig: FakeRig, asks: bool) -> None:
    """As on the wire: tests/firewall/nftables/test_groups.py."""
    rule = Rule("out", "udp", PORT) if asks else Rule("in", "udp", PORT)
    add(rig, *group(rig, [rule]), port(rig, A1))
    there, back = (EPHEMERAL, PORT), (PORT, EPHEMERAL)
    asked = datagram(A1, A2, there) if asks else datagram(A2, A1, there)
    about = datagram(A1, A2, there if asks else back)
    assert hears_error(rig, asked, about)
    assert not hears_error(rig, None, about)
    assert not hears_error(rig, asked, datagram(A1, A2, (EPHEMERAL + 1, PORT)))
