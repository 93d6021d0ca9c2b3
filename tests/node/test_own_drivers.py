"""The drivers of a node's own, over its backend: what they say of themselves, and refuse."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

import snnet
from snnet.backends.fake import FakeFirewall
from snnet.contract import (
    Add,
    Bridge,
    Change,
    DhcpScope,
    DockerAccept,
    Driver,
    Inside,
    Link,
    LinkAccepts,
    Masquerade,
    Namespace,
    Noun,
    PortForward,
    Remove,
    SharedSysctl,
    Sysctl,
    keyed,
)
from snnet.core.subnets import BRIDGED_TO_IP
from snnet.node.docker_user import DockerAccepts
from snnet.node.drivers import ASKING, Drivers
from snnet.node.insides import Insides
from snnet.node.rivals import Rivals
from snnet.node.sysctls import SharedSysctls

HERE, THERE = ip_address("192.0.2.11"), ip_address("192.0.2.12")
ACCEPT = DockerAccept(link="eth1", bridged=True)
PORT = PortForward(protocol="tcp", device="eth0", port=80, target=HERE, target_port=80)
FORWARD = SharedSysctl(owner="cn:cn-1", name="net.ipv4.ip_forward", value="1")


@pytest.fixture
def kernel() -> snnet.FakeKernel:
    return snnet.FakeKernel()


def docker(kernel: Driver) -> DockerAccepts:
    return DockerAccepts(kernel, FakeFirewall(kernel.host))


@pytest.mark.parametrize("make", [SharedSysctls, Insides, docker])
def test_it_reports_no_events_and_leaves_the_backend_open(
    kernel: snnet.FakeKernel, make: Callable[[Driver], Driver]
) -> None:
    driver = make(kernel)
    with pytest.raises(snnet.Unsupported, match=driver.name):
        driver.watch()
    driver.close()
    assert kernel.find(Link(name="lo")) is not None


@pytest.mark.parametrize("told", [True, False])
def test_a_shared_parameter_is_reported_as_parameters_are(
    kernel: snnet.FakeKernel, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    monkeypatch.setattr(kernel, "unreported", lambda: (Link,) if told else (Link, Sysctl))
    assert list(SharedSysctls(kernel).unreported()) == ([] if told else [SharedSysctl])


def test_the_command_of_a_shared_parameter_sets_it(kernel: snnet.FakeKernel) -> None:
    driver = SharedSysctls(kernel)
    for operation in (Add(FORWARD), Change(FORWARD, FORWARD)):
        assert driver.commands(operation) == ("sysctl -w net.ipv4.ip_forward=1",)
    assert driver.commands(Remove(FORWARD)) == ()


@pytest.mark.parametrize("found", ["1", None])
def test_a_parameter_that_need_not_or_cannot_change_is_not_written(
    kernel: snnet.FakeKernel, monkeypatch: pytest.MonkeyPatch, found: str | None
) -> None:
    """None: the host has no such parameter."""
    name = FORWARD.name if found else "net.ipv4.no_such_parameter"
    if found:
        before = Sysctl(name=name, value="0")
        assert kernel.apply([Change(replace(before, value=found), before)]).error is None
    written = list[object]()
    monkeypatch.setattr(kernel, "perform", written.append)
    shared = replace(FORWARD, name=name)
    assert SharedSysctls(kernel).apply([Add(shared), Remove(shared)]).errors == {}
    assert written == []


def test_a_parameter_is_changed_from_what_it_is(
    kernel: snnet.FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = list[object]()
    monkeypatch.setattr(kernel, "perform", written.append)
    assert SharedSysctls(kernel).apply([Add(FORWARD)]).error is None
    wanted = Sysctl(name=FORWARD.name, value="1")
    assert written == [Change(wanted, replace(wanted, value="0"))]


@pytest.mark.parametrize("noun", [ACCEPT, FORWARD])
def test_what_is_there_is_not_added_and_what_is_not_there_not_removed(
    kernel: snnet.FakeKernel, noun: DockerAccept | SharedSysctl
) -> None:
    kernel.state.docker_user = {"eth9": False}
    driver = docker(kernel) if isinstance(noun, DockerAccept) else SharedSysctls(kernel)
    assert driver.find(noun) is None
    assert driver.apply([Add(noun)]).error is None
    assert driver.find(noun) == noun
    (error,) = driver.apply([Add(noun)]).errors.values()
    assert isinstance(error, snnet.Exists)
    assert str(noun) in str(error)
    assert driver.apply([Remove(noun)]).error is None
    (error,) = driver.apply([Remove(noun)]).errors.values()
    assert isinstance(error, snnet.Missing)
    assert str(noun) in str(error)
    assert kernel.state.docker_user == {"eth9": False}


def test_an_accept_is_missing_where_docker_has_no_chain(
    kernel: snnet.FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the chain is, the host is asked for it with the firewall's chains that forward."""
    firewall = FakeFirewall(kernel.host)
    asked, chain = list[object](), kernel.docker_user

    def docker_user(targets: Mapping[str, str]) -> LinkAccepts:
        asked.append(targets)
        return chain(targets)

    monkeypatch.setattr(firewall, "forward_chains", lambda: {"FORWARD": "DOCKER-USER"})
    monkeypatch.setattr(kernel, "docker_user", docker_user)
    driver = DockerAccepts(kernel, firewall)
    assert driver.missing(ACCEPT) is not None
    kernel.state.docker_user = {}
    assert driver.missing(ACCEPT) is None
    assert driver.apply([Add(ACCEPT), Remove(ACCEPT)]).error is None
    assert {str(targets) for targets in asked} == {"{'FORWARD': 'DOCKER-USER'}"}


def test_what_no_driver_carries_is_said_to_be_missing(kernel: snnet.FakeKernel) -> None:
    """Here a concentrator has no DHCP server."""
    drivers = Drivers(kernel, FakeFirewall(kernel.host))
    scope = DhcpScope(link="br0", subnets=(ip_network("10.1.0.0/24"),), mtu=1500)
    said = f"no driver of this node carries {scope}"
    assert drivers.missing(scope) == said
    with pytest.raises(snnet.Unsupported, match=f"^{re.escape(said)}$"):
        drivers.find([scope])


def test_in_a_namespace_that_is_not_there_nothing_is(kernel: snnet.FakeKernel) -> None:
    driver, space = Insides(kernel), Namespace(name="space", alias="ours")
    inside = Inside(namespace=space, what=Sysctl(name="net.ipv4.ip_forward", value="0"))
    assert driver.find(inside) is None
    assert kernel.apply([Add(space)]).error is None
    assert driver.find(inside) is not None


@pytest.mark.parametrize(
    ("error", "found"),
    [(None, {THERE}), (PermissionError(1, "no"), set()), (snnet.Unsupported("no"), set())],
    ids=["answered", "denied", "unsupported"],
)
def test_hosts_that_cannot_be_asked_answer_for_nothing(
    kernel: snnet.FakeKernel, monkeypatch: pytest.MonkeyPatch, error: Exception | None, found: Any
) -> None:
    def answering(*asked: object) -> set[Any]:
        assert asked == ("eth0", [THERE], HERE, ASKING)
        if error is not None:
            raise error
        return {THERE}

    monkeypatch.setattr(kernel, "answering", answering)
    drivers = Drivers(kernel, FakeFirewall(kernel.host))
    assert drivers.answering("eth0", [THERE], HERE) == found


def test_rivals_forwards_are_those_of_others(kernel: snnet.FakeKernel) -> None:
    firewall = FakeFirewall(kernel.host)
    rules: list[Noun] = []
    for owner in ("cnci:a", "cnci:b"):
        rules.append(Masquerade(owner=owner, device="eth0"))
        rules.append(replace(PORT, owner=owner))
    assert firewall.apply([Add(rule) for rule in rules]).error is None
    assert list(Rivals(firewall, "cnci:a").forwards()) == rules[3:]


# -- shared parameters -----------------------------------------------------------------

NAME, OWNER = FORWARD.name, FORWARD.owner


@pytest.mark.parametrize(
    "entry",
    [
        5,
        {},
        {"users": [OWNER]},
        {"previous": 0, "users": [OWNER]},
        {"previous": "0"},
        {"previous": "0", "users": OWNER},
        {"previous": "0", "users": [OWNER, 5]},
        {"previous": "0", "users": [OWNER], "value": 5},
        {"previous": "0", "users": [OWNER], "unless": "0"},
    ],
    ids=str,
)
def test_a_damaged_entry_of_a_parameter_counts_as_none(
    kernel: snnet.FakeKernel, entry: object
) -> None:
    driver = SharedSysctls(kernel)
    kernel.state.records["sysctl"] = {NAME: entry, "net.ipv4.other": entry}
    assert driver.find(FORWARD) is None
    assert driver.snapshot() == {}
    assert driver.apply([Add(FORWARD)]).error is None
    assert kernel.recorded("sysctl") == {NAME: {"previous": "0", "users": [OWNER]}}


def set_value(kernel: snnet.FakeKernel, name: str, value: str) -> None:
    old = kernel.find(Sysctl(name=name))
    assert isinstance(old, Sysctl)
    assert kernel.apply([Change(Sysctl(name=name, value=value), old)]).error is None


def value_of(kernel: snnet.FakeKernel, name: str) -> str | None:
    found = kernel.find(Sysctl(name=name))
    return found.value if isinstance(found, Sysctl) else None


def test_the_last_user_of_a_parameter_restores_it(kernel: snnet.FakeKernel) -> None:
    driver, other = SharedSysctls(kernel), replace(FORWARD, owner="cn:cn-2")
    assert driver.apply([Add(FORWARD), Add(other)]).error is None
    assert driver.snapshot() == keyed([FORWARD, other])
    set_value(kernel, NAME, "0")
    assert driver.snapshot() == keyed(replace(noun, value="0") for noun in (FORWARD, other))
    assert driver.apply([Change(FORWARD, replace(FORWARD, value="0"))]).error is None
    assert driver.apply([Remove(FORWARD)]).error is None
    assert (driver.snapshot(), value_of(kernel, NAME)) == (keyed([other]), "1")
    assert driver.apply([Remove(other)]).error is None
    assert (driver.snapshot(), value_of(kernel, NAME)) == ({}, "0")


def test_a_parameter_that_cannot_be_set_is_not_recorded(kernel: snnet.FakeKernel) -> None:
    driver = SharedSysctls(kernel)
    kernel.fail(at=1, error="EACCES")
    (error,) = driver.apply([Add(FORWARD)]).errors.values()
    assert "EACCES" in str(error)
    assert kernel.recorded("sysctl") == {}
    assert driver.apply([Add(FORWARD)]).error is None
    kernel.fail(at=1, error="EACCES")
    assert driver.apply([Remove(FORWARD)]).error is not None
    assert driver.snapshot() == keyed([FORWARD])


def test_a_value_that_serves_as_well_stays(kernel: snnet.FakeKernel) -> None:
    driver = SharedSysctls(kernel)
    loose = SharedSysctl(
        owner=OWNER, name="net.ipv4.conf.all.rp_filter", value="2", unless=("0", "3")
    )
    for before, after in (("0", "0"), ("3", "3"), ("1", "2")):
        set_value(kernel, loose.name, before)
        assert driver.apply([Add(loose)]).error is None
        assert value_of(kernel, loose.name) == after
        assert driver.find(loose) == loose
        assert driver.snapshot() == keyed([loose])
        set_value(kernel, loose.name, "1")
        assert driver.snapshot() == keyed([replace(loose, value="1")])
        assert driver.apply([Remove(loose)]).error is None
        assert value_of(kernel, loose.name) == before


def test_a_parameter_that_the_kernel_has_not_is_not_found(kernel: snnet.FakeKernel) -> None:
    driver, unknown = SharedSysctls(kernel), replace(FORWARD, name="net.ipv4.unknown")
    assert driver.missing(FORWARD) is None
    assert unknown.name in (driver.missing(unknown) or "")
    kernel.state.records["sysctl"] = {unknown.name: {"previous": None, "users": [OWNER]}}
    assert driver.find(unknown) is None
    assert driver.snapshot() == {}
    assert driver.apply([Remove(unknown)]).error is None


def test_bridged_frames_go_to_the_filters_of_others(kernel: snnet.FakeKernel) -> None:
    """What passes them on stays on beside bridges of others, which are named."""
    driver = SharedSysctls(kernel)
    bridged = SharedSysctl(owner=OWNER, name=BRIDGED_TO_IP[4], value="0")
    kernel.state.sysctls[bridged.name] = "1"
    assert kernel.apply([Add(Bridge(name="br9"))]).error is None
    assert driver.apply([Add(bridged)]).error is None
    assert value_of(kernel, bridged.name) == "0"
    assert list(driver.obstacles()) == []
    kernel.add_uplink("docker0", None, kind="bridge")
    kernel.add_uplink("docker1", None, kind="bridge")
    off = driver.obstacles()
    assert driver.find(bridged) == bridged
    set_value(kernel, bridged.name, "1")
    on = driver.obstacles()
    for name, *found in zip(("docker0", "docker1"), off, on, strict=True):
        assert all(f"bridge {name} " in line and OWNER in line for line in found)
    assert off != on
    assert driver.find(bridged) == bridged
    assert driver.apply([Change(bridged, replace(bridged, value="1"))]).error is None
    assert value_of(kernel, bridged.name) == "1"
    set_value(kernel, bridged.name, "2")
    assert list(driver.obstacles()) == []
    assert driver.snapshot() == keyed([replace(bridged, value="2")])
    assert driver.apply([Remove(bridged)]).error is None
    assert list(driver.obstacles()) == []
