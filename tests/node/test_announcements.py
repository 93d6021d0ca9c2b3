"""What is new on a host is announced: neighbours do not wait for their entries to expire."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import snnet
from snnet.backends.fake import FakeFirewall
from snnet.contract import Announcement, HostServices, Remove, Tap
from snnet.system.netns import in_netns
from tests.conftest import ip
from tests.node.world import FakeWorld, RealWorld, World, container, vm
from tests.ports import wait_for_ports

SUBNET = "10.1.0.0/24"
PUBLIC = "203.0.113.5"


def said(fake: FakeWorld) -> list[str]:
    """What was announced since the last call."""
    lines = [str(one) for one in fake.kernel.announced]
    fake.kernel.announced.clear()
    return lines


def test_a_new_guest_is_announced_on_its_bridge(fake: FakeWorld) -> None:
    node = fake.node()
    vnic = node.create_vnic(vm()).vnic
    assert said(fake) == [f"10.1.0.9 with 02:00:0a:01:00:09 by {vnic.bridge}"]
    node.create_vnic(vm())
    assert said(fake) == [], "it is where it was"
    node.destroy_vnic(vm())
    assert said(fake) == []


def test_each_of_several_new_guests_is_announced(fake: FakeWorld) -> None:
    fake.node().create_vnics([vm(9), vm(10)])
    assert [line.partition(" ")[0] for line in said(fake)] == ["10.1.0.9", "10.1.0.10"]


def test_a_guest_that_a_repair_makes_is_announced(fake: FakeWorld) -> None:
    node = fake.node()
    vnic = node.create_vnic(vm()).vnic
    node.create_vnic(vm(10))
    said(fake)
    fake.delete(vnic.link_name)
    node.repair()
    assert said(fake) == [f"10.1.0.9 with 02:00:0a:01:00:09 by {vnic.bridge}"]


def test_the_uplink_says_where_a_routed_guest_is(fake: FakeWorld) -> None:
    node = fake.node(config=fake.config(mode="routed"))
    node.create_vnic(vm(subnet_key=None, concentrator_id=None, concentrator_ip=None))
    assert said(fake) == ["10.1.0.9 by eth0"]


def test_a_concentrator_announces_what_it_has(fake: FakeWorld) -> None:
    cnci = fake.cnci()
    assert said(fake) == ["192.0.2.11 by eth0"]
    bridge = cnci.add_remote_subnet(SUBNET, 7, "192.0.2.12")
    (gateway,) = fake.kernel.announced
    assert gateway.renew, "guests may be behind another tunnel than before"
    assert said(fake)[0].startswith("10.1.0.1 with ")
    cnci.add_remote_subnet(SUBNET, 7, "192.0.2.12")
    assert said(fake) == [], "it is where it was"
    lost = next(one for one in cnci.topology().subnets[0].rules if isinstance(one, HostServices))
    assert FakeFirewall(fake.kernel.host).apply([Remove(lost)]).error is None
    cnci.add_remote_subnet(SUBNET, 7, "192.0.2.12")
    assert cnci.verify() == []
    assert said(fake) == [], "its links were there"
    fake.add(Tap(name="plug", group=0))
    local = cnci.add_local_subnet("10.2.0.0/24", 8, "plug")
    (gateway,) = fake.kernel.announced
    assert not gateway.renew, "no tunnel is new"
    said(fake)
    cnci.enable_nat(["eth0"])
    cnci.add_public_ip(PUBLIC, to="10.1.0.9", device="eth0")
    assert said(fake) == [f"{PUBLIC} by eth0"]
    cnci.add_public_ip(PUBLIC, to="10.1.0.9", device="eth0")
    assert said(fake) == [f"{PUBLIC} by eth0"], "a switch may have lost it"
    cnci.close()
    fake.cnci()
    names = [(one.link, str(one.address)) for one in fake.kernel.announced]
    gateways = [(bridge, "10.1.0.1"), (local, "10.2.0.1")]
    assert sorted(names) == sorted([("eth0", "192.0.2.11"), *gateways, ("eth0", PUBLIC)])


def test_a_repair_of_what_is_whole_says_nothing(fake: FakeWorld) -> None:
    cnci = fake.cnci()
    cnci.add_remote_subnet(SUBNET, 7, "192.0.2.12")
    said(fake)
    cnci.repair()
    assert said(fake) == []


def test_a_node_that_only_looks_says_nothing(fake: FakeWorld) -> None:
    fake.cnci().add_remote_subnet(SUBNET, 7, "192.0.2.12")
    said(fake)
    fake.cnci(read_only=True).rebuild_topology()
    assert said(fake) == []


def test_what_cannot_be_announced_fails_no_call(world: World) -> None:
    node = world.node()
    node.backend.announce([Announcement(link="gone0", address=container().ip)])  # type: ignore[arg-type]
    assert node.verify() == []


@contextmanager
def listening(world: World, device: str) -> Iterator[Callable[[], list[str]]]:
    """The senders' addresses of announcements by ARP that arrive at a link.

    What the kernel itself asks, for far ends of tunnels, has another target (RFC 5227, 1.1).
    """
    sniffer = in_netns(
        world.kernel.host.netns.fd,
        lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)),
    )
    sniffer.bind((device, 0x0806))
    sniffer.settimeout(0.2)

    def heard() -> list[str]:
        found: list[str] = []
        while True:
            try:
                frame, (_, _, kind, *_) = sniffer.recvfrom(100)
            except TimeoutError:
                return found
            if kind != socket.PACKET_OUTGOING and frame[28:32] == frame[38:42]:
                found.append(f"{socket.inet_ntoa(frame[28:32])} {frame[22:28].hex(':')}")

    with sniffer:
        yield heard


def test_a_public_address_is_heard_on_the_wire(real: World) -> None:
    assert isinstance(real, RealWorld)
    mac = real.link("eth0")
    assert mac is not None
    with listening(real, "eth0-far") as heard:
        cnci = real.cnci()
        assert heard() == [f"192.0.2.11 {mac.mac}"]
        cnci.add_remote_subnet(SUBNET, 7, "192.0.2.12")
        cnci.enable_nat(["eth0"])
        heard()
        cnci.add_public_ip(PUBLIC, to="10.1.0.9", device="eth0")
        assert heard() == [f"{PUBLIC} {mac.mac}"]


def test_a_guest_is_heard_by_the_other_guests(real: World) -> None:
    node = real.node()
    first: snnet.Vnic = node.create_vnic(container(8)).vnic
    assert first.peer_name is not None
    assert isinstance(real, RealWorld)
    ip("link", "set", first.peer_name, "up", netns=real.netns)
    wait_for_ports(real.netns)
    with listening(real, first.peer_name) as heard:
        node.create_vnic(container(9, mac="02:52:1a:16:9f:75"))
        assert heard() == ["10.1.0.9 02:52:1a:16:9f:75"]
