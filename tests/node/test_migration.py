"""Rules that move from one firewall to another; test_firewall_changes.py has the real ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import TypeVar

import pytest

import snnet
from snnet import plugins
from snnet.backends.fake import FakeFirewall
from snnet.contract import Add, Host, Key, Masquerade, Noun, Zone, ZoneLink, keyed
from snnet.core.identity import Owner
from snnet.node.drivers import Drivers
from snnet.node.migration import move_rules, take_over
from snnet.system import rulesets
from snnet.system.host import RealHost
from tests.node.world import FakeWorld

OURS, OTHERS = "cn:cn-1", "cn:cn-2"
T = TypeVar("T")


def rules(owner: str) -> list[Noun]:
    zones = [Zone(owner=owner, zone=name) for name in ("a", "b")]
    links = [ZoneLink(owner=owner, zone=zone.zone, link=f"{zone.zone}0") for zone in zones]
    return [*zones, *links, Masquerade(owner=owner, device="eth0")]


class Unordered(FakeFirewall):
    """What a driver finds has no order."""

    def snapshot(self, types: Iterable[type[Noun]] | None = None) -> dict[Key, Noun]:
        return dict(reversed(super().snapshot(types).items()))


def test_rules_move_or_both_firewalls_have_what_they_had() -> None:
    for at in count(1):
        kernels = snnet.FakeKernel(), snnet.FakeKernel()
        old, new = Unordered(kernels[0].host), FakeFirewall(kernels[1].host)
        for driver, there in ((old, rules(OURS) + rules(OTHERS)), (new, rules(OURS)[:1])):
            assert driver.apply([Add(noun) for noun in there]).error is None
        kernels[1].fail(at=at)
        try:
            moved = move_rules(OURS, old, new)
        except snnet.Exhausted:
            assert old.snapshot() == keyed(rules(OURS) + rules(OTHERS))
            assert new.snapshot() == keyed(rules(OURS)[:1]), at
            continue
        assert at == len(rules(OURS))
        assert keyed(moved) == new.snapshot() == keyed(rules(OURS))
        assert old.snapshot() == keyed(rules(OTHERS))
        return


def test_a_firewall_that_cannot_be_looked_at_has_no_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(types: object = None) -> dict[Key, Noun]:
        raise snnet.Denied("not permitted")

    old, new = (FakeFirewall(snnet.FakeKernel().host) for _ in range(2))
    monkeypatch.setattr(old, "snapshot", refuse)
    assert move_rules(OURS, old, new) == []


# -- which other firewalls are looked at -----------------------------------------------


class Named(FakeFirewall):
    """A firewall with rules of two nodes on a host of its own."""

    def __init__(self, name: str, *nouns: Noun) -> None:
        super().__init__(snnet.FakeKernel().host)
        self.name = name  # type: ignore[misc]
        self.refused: str | None = None
        self.closed = False
        assert self.apply([Add(noun) for noun in nouns]).error is None

    def missing(self, noun: Noun) -> str | None:
        assert isinstance(noun, Zone)
        return self.refused

    def close(self) -> None:
        self.closed = True


class Installed:
    """Which firewalls are installed on a host, and what the kernel says is there of them."""

    def __init__(self, host: RealHost) -> None:
        self.host = host
        self.others = {
            name: Named(name, *rules(OURS), *rules(OTHERS))
            for name in ("fake", "iptables", "nftables", "none", "other", "zero")
        }
        self.opened: list[str] = []
        self.names: list[str] | OSError = []
        self.legacy: list[str] | OSError = []

    def installed(self, group: str) -> list[str]:
        assert group == plugins.FIREWALLS
        return [*self.others]

    def open_driver(self, group: str, name: str, host: Host) -> FakeFirewall:
        assert (group, host) == (plugins.FIREWALLS, self.host)
        self.opened.append(name)
        if name == "zero":
            raise snnet.DriverLoadError("it does not work here")
        return self.others[name]

    def names_of(self, netns: int) -> set[str]:
        return {*self._answer(netns, self.names)}

    def legacy_of(self, netns: int) -> list[str]:
        return self._answer(netns, self.legacy)

    def _answer(self, netns: int, answer: T | OSError) -> T:
        assert netns == self.host.netns.fd
        if isinstance(answer, OSError):
            raise answer
        return answer

    def take_over(self, firewall: FakeFirewall) -> list[str]:
        drivers = Drivers(snnet.FakeKernel(), firewall)
        return take_over(Owner("cn", "cn-1"), drivers, self.host)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installed]:
    host = RealHost(owner=OURS, runtime=tmp_path)
    made = Installed(host)
    monkeypatch.setattr(plugins, "installed", made.installed)
    monkeypatch.setattr(plugins, "open_driver", made.open_driver)
    monkeypatch.setattr(rulesets, "names", made.names_of)
    monkeypatch.setattr(rulesets, "legacy_tables", made.legacy_of)
    yield made
    host.close()


DENIED = PermissionError(13, "not for you")


@pytest.mark.parametrize(
    ("new", "names", "legacy", "old"),
    [
        ("nftables", [], [], []),
        ("nftables", ["DOCKER", "my-SNNET-x", "snnet-cn-cn-1"], [], []),
        ("nftables", ["DOCKER", "SNNET-vqicasqk-in"], [], ["iptables"]),
        ("nftables", ["snnet-iptablescn-cn-1"], [], ["iptables"]),
        ("nftables", [], ["filter"], ["iptables"]),
        ("nftables", DENIED, [], ["iptables"]),
        ("nftables", [], DENIED, ["iptables"]),
        ("iptables", ["SNNET-vqicasqk-in", "snnet-iptablescn-cn-1"], ["filter"], []),
        ("iptables", ["snnet-cn-cn-1"], DENIED, ["nftables"]),
    ],
    ids=str,
)
def test_rules_come_from_every_firewall_that_may_have_some(
    installed: Installed,
    new: str,
    names: list[str] | OSError,
    legacy: list[str] | OSError,
    old: list[str],
) -> None:
    """Those that the project does not know may have rules anywhere."""
    installed.names, installed.legacy = names, legacy
    firewall = Named(new)
    moved = installed.take_over(firewall)
    assert installed.opened == [*old, "other", "zero"]
    assert moved == [
        f"{rule}: from {name} to {new}" for name in [*old, "other"] for rule in rules(OURS)
    ]
    assert firewall.snapshot() == keyed(rules(OURS))
    for name, driver in installed.others.items():
        taken = driver.snapshot() == keyed(rules(OTHERS))
        assert driver.closed == taken == (name in [*old, "other"])


def test_a_firewall_that_fails_closes_the_one_whose_rules_it_should_take(
    installed: Installed,
) -> None:
    firewall = Named("nftables")
    kernel = firewall.host
    assert isinstance(kernel, snnet.FakeKernel)
    kernel.fail(at=1)
    with pytest.raises(snnet.Exhausted):
        installed.take_over(firewall)
    assert installed.others["other"].closed


def test_a_firewall_that_sets_no_rules_takes_none_over(installed: Installed) -> None:
    firewall = Named("none")
    firewall.refused = "it sets no rules"
    assert installed.take_over(firewall) == []
    assert installed.opened == []


def test_what_a_node_takes_over_is_in_the_report_of_its_init(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who only looks on takes nothing over."""
    taken: list[tuple[object, ...]] = []

    def took(*of: object) -> list[str]:
        taken.append(of)
        return ["a rule: from one to another"]

    monkeypatch.setattr("snnet.node.node.take_over", took)
    node = fake.node(init=False)
    assert node.init().healed[:1] == took()
    assert taken == [(node.owner, node.drivers, fake.kernel.host), ()]
    fake.node(read_only=True)
    assert len(taken) == 2


def test_on_a_host_in_memory_nothing_is_taken_over(installed: Installed) -> None:
    kernel = snnet.FakeKernel()
    drivers = Drivers(kernel, Named("nftables"))
    assert take_over(Owner("cn", "cn-1"), drivers, kernel.host) == []
    assert installed.opened == []
