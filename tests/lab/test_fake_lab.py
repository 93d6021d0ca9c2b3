"""The demo on fakes: what it reports, and that it always removes everything."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

import snnet
from snnet.config import NetworkMode
from snnet.contract import Change, Link, SnnetError
from snnet.lab import Answer, Connection, Matrix, Report, demo_scenario, run
from snnet.lab.fake import FakeLab

from .conftest import Recorder, StopAt


def fake_lab(
    kind: type[FakeLab] = FakeLab,
    stop: StopAt | None = None,
    mode: NetworkMode = NetworkMode.GRE_TUNNEL,
    **scenario: Any,
) -> FakeLab:
    return kind(
        demo_scenario(mode, groups=True, **scenario),
        firewall="fake",
        tunnel="gre",
        cancel=stop or StopAt(),
    )


@pytest.fixture(scope="module")
def seen() -> Recorder:
    """What the watcher saw of a demo without problems."""
    return Recorder()


@pytest.fixture(scope="module")
def report(seen: Recorder) -> Report:
    """The report of that demo."""
    return run(fake_lab(), seen)


def test_every_guest_gets_a_lease_and_reaches_its_own_tenant_only(
    report: Report, seen: Recorder
) -> None:
    assert report.problems == []
    assert report.matrix == report.expected == seen.matrix
    assert {lease.guest: lease.address.ip for lease in report.leases} == {
        guest.name: guest.ip for guest in report.scenario.guests
    }
    assert {lease.mtu for lease in report.leases} == {1458}


def test_connections_to_and_from_the_internet(report: Report, seen: Recorder) -> None:
    assert len(report.answers) == len(report.connections) == 56
    got: dict[tuple[str, str, int], Answer | None] = {
        (connection.what, connection.client, connection.address.version): answer
        for connection, answer in zip(report.connections, seen.answers, strict=True)
    }
    for version, internet, concentrator in (
        (4, "192.0.2.1", "192.0.2.21"),
        (6, "2001:db8::1", "2001:db8::21"),
    ):
        assert got["outbound NAT", "blue-web-vm1", version] == Answer(
            "internet", ip_address(concentrator)
        )
        assert got["port forward", "internet", version] == Answer(
            "blue-web-vm1", ip_address(internet)
        )
        assert got["private IP", "internet", version] is None


@pytest.mark.parametrize("mode", NetworkMode)
def test_uplinks_of_ipv6_alone_carry_both_families(recorder: Recorder, mode: NetworkMode) -> None:
    report = run(fake_lab(mode=mode, uplinks=6), recorder)
    assert report.problems == []
    assert report.to_dict()["uplinks"] == "ipv6"
    if mode is NetworkMode.GRE_TUNNEL:
        for machine in report.scenario.machines:
            assert {address.version for address in machine.addresses} == {6}
        assert {lease.mtu for lease in report.leases} == {1438}


@pytest.mark.parametrize("uplinks", [4, 6])
def test_tenants_of_one_family(recorder: Recorder, uplinks: int) -> None:
    for version in (4, 6):
        report = run(fake_lab(uplinks=uplinks, versions=frozenset({version})), recorder)
        assert report.problems == []
        assert {lease.address.version for lease in report.leases} == {version}
        assert {connection.address.version for connection in report.connections} == {version}
        assert len(report.leases) == 16
        assert len(report.answers) == 28


def test_a_group_lets_its_port_in_and_no_ping(report: Report) -> None:
    (member,) = (guest for guest in report.scenario.guests if guest.groups)
    assert {source for source, row in report.matrix.items() if row.get(member.name)} == set()
    assert report.matrix[member.name]["blue-web-vm1"] == {4, 6}
    got = [
        (connection.port, answer and answer.server)
        for connection, answer in zip(report.connections, report.answers, strict=True)
        if connection.what == "group web"
    ]
    assert got == ([(80, member.name)] * 2 + [(22, None)] * 2) * 2  # by IPv4, then by IPv6


def test_in_routed_mode_the_firewall_alone_keeps_tenants_apart(recorder: Recorder) -> None:
    report = run(fake_lab(mode=NetworkMode.ROUTED), recorder)
    assert report.problems == []
    assert report.matrix == report.expected
    assert report.leases == []
    data = report.to_dict()
    assert (data["mode"], data["tunnel"]) == ("routed", None)
    assert {place.bridge for place in recorder.placements} == {None}


def test_a_wrong_answer_is_reported(recorder: Recorder) -> None:
    class Swapped(FakeLab):
        def connect(self, connections: Sequence[Connection]) -> list[Answer | None]:
            answers = super().connect(connections)
            return [answers[-1], *answers[1:-1], answers[0]]

    problems = run(fake_lab(Swapped), recorder).problems
    assert problems == [
        "outbound NAT: blue-web-vm1 to 198.51.100.7:80: no answer; "
        "expected: answer from internet, which saw 192.0.2.21",
        "group web: blue-db-vm1 to [fd00:1::15]:22: answer from internet, which saw 192.0.2.21; "
        "expected: no answer",
    ]


@pytest.mark.parametrize("tunnel", ["vxlan", "geneve"])
def test_other_tunnels_do_the_same(recorder: Recorder, tunnel: str) -> None:
    lab = FakeLab(demo_scenario(), firewall="none", tunnel=tunnel, cancel=StopAt())
    report = run(lab, recorder)
    assert report.ok
    assert report.connections == [], "no firewall, no way out"
    assert {lease.mtu for lease in report.leases} == {1450}


def test_the_report_is_plain_data(report: Report) -> None:
    data = json.loads(json.dumps(report.to_dict()))
    assert data["backend"] == "fake"
    assert data["tunnel"] == "gre"
    assert data["ok"] is True
    assert data["leftovers"] == []
    assert len(data["guests"]) == len(data["leases"]) == 16
    assert {lease["guest"] for lease in data["leases"]} == set(data["matrix"])
    assert data["matrix"] == data["expected"]
    assert data["matrix"]["blue-web-vm1"]["blue-db-ct2"] is True
    assert data["matrix"]["blue-web-vm1"]["green-web-vm1"] is False
    assert data["families"] == {"4": data["matrix"], "6": data["matrix"]}


@pytest.mark.usefixtures("report")
def test_the_topology_shows_every_guest_and_concentrator(seen: Recorder) -> None:
    assert {place.guest for place in seen.placements} == {
        *(guest.name for guest in demo_scenario().guests),
        "cnci-blue",
        "cnci-green",
    }
    guests = [place for place in seen.placements if place.bridge]
    assert len(guests) == 16
    assert len({(place.node, place.bridge, place.tunnel) for place in guests}) == 8


def is_clean(lab: FakeLab) -> bool:
    """Whether no host has a link of snnet; all of them have an alias."""
    return not any("snnet1" in kernel.to_text() for kernel in lab.fabric.hosts.values())


class LeakyLab(FakeLab):
    """Before the pings, a VNIC of one tenant moves to the bridge of the other."""

    def reach(self, expected: Matrix) -> Matrix:
        kernel = self.fabric.hosts["cn-1"]
        taps = [link for link in kernel.snapshot({Link}).values() if "k=vm" in str(link)]
        blue = next(tap for tap in taps if "blue-web-vm1" in str(tap))
        green = next(tap for tap in taps if "green-db-vm1" in str(tap))
        assert isinstance(blue, Link)
        assert isinstance(green, Link)
        moved = Change(replace(green, master=blue.master), green)
        assert kernel.apply([moved]).error is None
        return super().reach(expected)


def test_a_leak_between_tenants_is_reported(recorder: Recorder) -> None:
    report = run(fake_lab(LeakyLab), recorder)
    assert not report.ok
    assert "green-db-vm1 cannot reach green-db-ct1 by IPv6" in report.problems
    assert report.left == []


def test_a_guest_without_lease_is_reported(recorder: Recorder) -> None:
    class Deaf(FakeLab):
        def lease(self) -> list:  # type: ignore[type-arg]
            return super().lease()[1:]

    assert run(fake_lab(Deaf), recorder).problems == ["blue-web-vm1 got no lease"]


def test_what_is_left_is_reported(recorder: Recorder) -> None:
    class Littering(FakeLab):
        def close(self) -> list[str]:
            self.fabric.hosts["cn-2"].add_uplink("litter0", None)
            return super().close()

    report: Report = run(fake_lab(Littering), recorder)
    assert not report.ok
    assert len(report.left) == 1
    assert "litter0" in report.left[0]


def test_stopped_at_any_moment_it_leaves_nothing() -> None:
    never = StopAt()
    run(fake_lab(stop=never), Recorder())
    for number in range(1, never.looks + 1, 90):
        lab = fake_lab(stop=StopAt(number))
        with pytest.raises(snnet.Cancelled):
            run(lab, Recorder())
        assert is_clean(lab), f"stopped at look {number}"


@pytest.mark.parametrize("at", range(1, 8))
def test_after_an_error_it_leaves_nothing(at: int) -> None:
    class Failing(FakeLab):
        def build_wire(self) -> None:
            super().build_wire()
            self.fabric.hosts["cn-1"].fail(at)

    lab = fake_lab(Failing)
    with pytest.raises(SnnetError, match="ENOMEM"):
        run(lab, Recorder())
    assert is_clean(lab)
