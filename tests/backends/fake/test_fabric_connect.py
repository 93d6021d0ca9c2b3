"""Connections through the fabric, who listens, and hosts with several uplinks."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from snnet.backends.fake import Fabric, FakeFirewall, FakeKernel
from snnet.contract import Change, InvalidRequest, PublicIp, Sysctl

from .steps import add, address, bridge, do, link, remove, route, tap
from .topology import two_nodes


@pytest.fixture
def fabric() -> Fabric:
    return Fabric()


def two_hosts(fabric: Fabric, net: str = "192.0.2.{}/24") -> list[FakeKernel]:
    return [fabric.add_host(f"h{number}", net.format(number)) for number in (1, 2)]


@pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])
@pytest.mark.parametrize("net", ["192.0.2.{}/24", "2001:db8::{}/64"])
def test_a_connection_needs_a_listener(fabric: Fabric, net: str, protocol: str) -> None:
    a, b = two_hosts(fabric, net)
    assert not fabric.connect(a, b, protocol, 80)
    assert fabric.explain(a, b, protocol=protocol, port=80).splitlines()[-2:] == [
        f"eth0 on h2: refused: nothing listens on {protocol}/80",
        "no answer",
    ]
    fabric.listen(b, protocol, 80)
    assert fabric.connect(a, b, protocol, 80)
    assert not fabric.connect(a, b, protocol, 81)
    others = {"tcp", "udp", "sctp"} - {protocol}
    assert not any(fabric.connect(a, b, other, 80) for other in others)
    fabric.listen(b, protocol)
    fabric.listen(b, protocol, 80)
    assert fabric.connect(a, b, protocol, 81)


def test_explain_tells_the_connection_there_and_back(fabric: Fabric) -> None:
    a, b = two_hosts(fabric)
    fabric.listen(b, "tcp", 80)
    assert fabric.explain(a, b, protocol="tcp", port=80).splitlines() == [
        "h1: connect to 192.0.2.2 on tcp/80",
        "eth0 on h1: onto the wire",
        "eth0 on h2: tcp/80 arrived from 192.0.2.1",
        "eth0 on h2: onto the wire",
        "eth0 on h1: answer from tcp/80 arrived from 192.0.2.2",
        "answered",
    ]
    assert fabric.explain(a, "203.0.113.1", protocol="tcp", port=80).splitlines() == [
        "h1: connect to 203.0.113.1 on tcp/80",
        "h1: no route to 203.0.113.1",
        "no answer",
    ]


def test_guests_listen_everywhere_until_they_are_told_where(fabric: Fabric) -> None:
    center, one, two = two_nodes()
    a, b = center.guest(one, "10.1.0.9"), center.guest(two, "10.1.0.10")
    for protocol in ("tcp", "udp", "sctp"):
        assert center.fabric.connect(a, b, protocol, 9)
    center.fabric.listen(b, "tcp", 22)
    assert center.fabric.connect(a, b, "tcp", 22)
    assert not center.fabric.connect(a, b, "tcp", 9)
    assert not center.fabric.connect(a, b, "udp", 22)


def test_who_was_reached_and_by_whom(fabric: Fabric) -> None:
    a, b = two_hosts(fabric)
    assert fabric.connected(a, b, "tcp", 80) is None
    fabric.listen(b, "tcp", 80)
    assert fabric.connected(a, "192.0.2.2", "tcp", 80) == ("h2", IPv4Address("192.0.2.1"))
    add(a, address("192.0.2.3/24", "eth0"))
    found = fabric.connected(b, a, "tcp", 80)
    assert found is None
    fabric.listen(a, "tcp", 80)
    found = fabric.connected(b, "192.0.2.3", "tcp", 80)
    assert found is not None
    assert (found.station, str(found.source)) == ("h1", "192.0.2.2")


def test_another_with_the_same_address_does_not_count(fabric: Fabric) -> None:
    a, b = two_hosts(fabric)
    fabric.listen(b, "tcp", 80)
    c = FakeKernel("c")
    with pytest.raises(InvalidRequest, match="not a host or guest"):
        fabric.connect(a, c, "tcp", 80)
    d = fabric.add_host("d", None)
    add(d, bridge("br0"), address("192.0.2.2/24", "br0"))
    assert fabric.connect(a, b, "tcp", 80)
    fabric.listen(d, "tcp", 80)
    assert not fabric.connect(a, d, "tcp", 80)


def test_an_answer_from_elsewhere_opens_nothing(fabric: Fabric) -> None:
    """A router that redirects and does not take the answer back would do this."""
    a, b = two_hosts(fabric)
    router = fabric.add_host("r", "192.0.2.9/24")
    do(router, Change(*(Sysctl(name="net.ipv4.ip_forward", value=value) for value in "10")))
    fabric.listen(b, "tcp", 80)
    rule = PublicIp(
        public=IPv4Address("203.0.113.5"), internal=IPv4Address("192.0.2.2"), device="eth0"
    )
    add(FakeFirewall(router), rule)
    add(a, route("203.0.113.0/24", "eth0", "192.0.2.9"))
    assert not fabric.connect(a, "203.0.113.5", "tcp", 80)
    assert (
        "eth0 on h1: answer from tcp/80, 192.0.2.2 to 192.0.2.1 answers no request of this host"
        in (fabric.explain(a, "203.0.113.5", protocol="tcp", port=80))
    )
    assert fabric.ping(a, "203.0.113.5")  # ping remarks on it, and is content


@pytest.mark.parametrize(
    ("protocol", "port", "field"),
    [
        ("icmp", 80, "protocol"),
        ("", 80, "protocol"),
        (None, 80, "protocol"),
        ("tcp", 0, "port"),
        ("tcp", 65536, "port"),
        ("tcp", "80", "port"),
        ("tcp", True, "port"),
        ("tcp", None, "port"),
    ],
)
def test_what_is_no_connection(fabric: Fabric, protocol: str, port: int, field: str) -> None:
    a, b = two_hosts(fabric)
    for ask in (
        lambda: fabric.connect(a, b, protocol, port),
        lambda: fabric.connected(a, b, protocol, port),
        lambda: fabric.explain(a, b, protocol=protocol, port=port),
    ):
        with pytest.raises(InvalidRequest) as caught:
            ask()
        assert caught.value.field == field
    if port is not None:
        with pytest.raises(InvalidRequest) as caught:
            fabric.listen(b, protocol, port)
        assert caught.value.field == field


# -- further uplinks -----------------------------------------------------------------------


def test_a_host_with_two_uplinks_on_the_wire(fabric: Fabric) -> None:
    host, inside = two_hosts(fabric)
    host.add_uplink("eth1", "203.0.113.1/24")
    outside = fabric.add_host("outside", "203.0.113.99/24")
    assert not fabric.ping(outside, "203.0.113.1")
    fabric.plug(host, "eth1")
    for _ in range(2):
        assert fabric.ping(outside, "203.0.113.1")
        explanation = fabric.explain(outside, "203.0.113.1")
        assert "eth1 on h1: echo request arrived from 203.0.113.99" in explanation
        assert "eth0 on h1: echo request arrived from 192.0.2.2" in fabric.explain(inside, host)
    do(host, Change(*(Sysctl(name="net.ipv4.ip_forward", value=value) for value in "10")))
    add(inside, route("0.0.0.0/0", "eth0", "192.0.2.1"))
    assert not fabric.ping(inside, outside)
    add(outside, route("192.0.2.0/24", "eth0", "203.0.113.1"))
    assert fabric.ping(inside, outside)


def test_a_recreated_uplink_is_plugged_in_again(fabric: Fabric) -> None:
    host, other = two_hosts(fabric)
    fabric.plug(host, host.add_uplink("v0", None, kind="veth").name)
    remove(host, link(host, "v0"))
    host.add_uplink("v0", "198.51.100.1/24", kind="veth")
    add(other, address("198.51.100.2/24", "eth0"))
    assert not fabric.ping(other, "198.51.100.1")
    fabric.plug(host, "v0")
    assert fabric.ping(other, "198.51.100.1")
    nic = link(host, "v0")
    do(host, Change(replace(nic, up=False), nic))
    assert not fabric.ping(other, "198.51.100.1")


def test_what_cannot_be_plugged_in(fabric: Fabric) -> None:
    host, _ = two_hosts(fabric)
    add(host, bridge("br0"), tap("t0"))
    for name in ("nowhere", "lo", "br0", "t0"):
        with pytest.raises(InvalidRequest, match="is not an uplink") as caught:
            fabric.plug(host, name)
        assert caught.value.field == "link_name"
    with pytest.raises(InvalidRequest, match="already plugged in"):
        fabric.plug(host, "eth0")
    with pytest.raises(InvalidRequest, match="not a host or guest"):
        fabric.plug(FakeKernel(), "eth0")
