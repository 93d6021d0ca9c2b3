"""What somebody changed in chains of snnet is named, and made whole again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from snnet.contract import HostIsolation, keyed
from snnet.firewall.iptables import IptablesFirewall, tables
from snnet.firewall.iptables.layout import chain
from snnet.system.host import RealHost

from .conftest import OWNER, Shell, World
from .nouns import ALL, ISOLATION
from .steps import add

REAL = pytest.mark.parametrize(
    "world",
    [
        pytest.param(
            World("nft", False), id="nft", marks=[pytest.mark.kernel, pytest.mark.sampled]
        ),
        pytest.param(
            World("legacy", False), id="legacy", marks=[pytest.mark.kernel, pytest.mark.sampled]
        ),
    ],
)

Change = Callable[[Shell], object]


def named(part: str, of: str | None = None) -> str:
    return chain(OWNER, part, of)


def said(*words: str) -> Change:
    return lambda shell: shell(*words)


def instead(table: str, part: str, number: int, *rule: str, of: str | None = None) -> Change:
    """Put a rule in the place of another."""
    return said("iptables", "-t", table, "-R", named(part, of), str(number), *rule)


def moved(tool: str, table: str, hook: str, part: str) -> Change:
    """Accept everything before the jump to our chain."""

    def change(shell: Shell) -> None:
        shell(tool, "-t", table, "-D", hook, "-j", named(part))
        shell(tool, "-t", table, "-A", hook, "-j", "ACCEPT")
        shell(tool, "-t", table, "-A", hook, "-j", named(part))

    return change


CHANGES: dict[str, Change] = {
    "a drop becomes an accept": instead("filter", "in", 2, "-j", "ACCEPT"),
    "the end of services": instead("filter", "srv", 7, "-j", "RETURN"),
    "the last drop of services": instead("filter", "srv-drop", 1, "-j", "RETURN"),
    "a drop of protected networks": instead("filter", "prot-drop", 1, "-j", "ACCEPT"),
    "the end of a zone": instead("filter", "to", 3, "-j", "ACCEPT", of="t1"),
    "another network": instead("filter", "exit", 2, "-d", "192.0.2.0/25", "-j", "DROP"),
    "another target": instead(
        "nat", "dnat", 1, "-d", "203.0.113.5", "-j", "DNAT", "--to-destination", "10.1.0.66"
    ),
    "another source": instead(
        "nat", "snat", 2, "-s", "10.1.0.5", "-o", "eth0", "-j", "SNAT", "--to-source", "203.0.113.6"
    ),
    "another MAC": instead(
        "raw", "src", 3, "-s", "10.7.0.7", "-m", "mac", "--mac-source", "02:00:00:00:00:66",
        "-j", "RETURN", of="tap7",
    ),
    "a rule before ours": said("iptables", "-I", named("fwd"), "-j", "ACCEPT"),
    "a rule that only counts": said("iptables", "-I", named("fwd")),
    "a rule for ARP that only counts": said("arptables", "-I", named("in")),
    "a rule that is lost": said("iptables", "-D", named("fwd"), "2"),
    "a rule twice": said("iptables", "-A", named("fwd"), "-i", "br9", "-j", "DROP"),
    "a flush": said("iptables", "-t", "nat", "-F", named("hair")),
    "IPv6": said("ip6tables", "-R", named("in"), "3", "-j", "ACCEPT"),
    "a jump too late": moved("iptables", "filter", "INPUT", "in"),
    "a jump too late in nat": moved("iptables", "nat", "PREROUTING", "dnat"),
    "a jump too late in IPv6": moved("ip6tables", "filter", "FORWARD", "fwd"),
    "an accept before a jump": said("iptables", "-I", "FORWARD", "-i", "br9", "-j", "ACCEPT"),
    "a jump twice": said("iptables", "-A", "INPUT", "-j", named("in")),
    "a jump that is lost": said("iptables", "-t", "nat", "-D", "OUTPUT", "-j", named("dnat")),
    "a port's chain": said(
        "ebtables", "-t", "nat", "-I", named("src", "tap1"), "-j", "ACCEPT"
    ),
    "a port's drop": lambda shell: (
        shell("ebtables", "-t", "nat", "-D", named("src", "tap1"), "-j", "DROP"),
        shell("ebtables", "-t", "nat", "-A", named("src", "tap1"), "-j", "ACCEPT"),
    ),
    "a port's jump": lambda shell: (
        shell("ebtables", "-t", "nat", "-D", named("src"), "-i", "tap1", "-j",
              named("src", "tap1")),
        shell("ebtables", "-t", "nat", "-A", named("src"), "-i", "tap1", "-j", "ACCEPT"),
    ),
    "an accept for ports": said("ebtables", "-t", "nat", "-I", "PREROUTING", "-j", "ACCEPT"),
    "a port's jump twice": said(
        "ebtables", "-t", "nat", "-A", "PREROUTING", "-j", named("src")
    ),
    "ARP": lambda shell: (
        shell("arptables", "-D", named("in"), "-i", "br9", "--opcode", "1", "-j", "DROP"),
        shell("arptables", "-A", named("in"), "-i", "br9", "--opcode", "1", "-j", "ACCEPT"),
    ),
}  # fmt: skip


@REAL
@pytest.mark.parametrize("what", CHANGES)
def test_a_change_is_named_and_undone(driver: IptablesFirewall, shell: Shell, what: str) -> None:
    add(driver, *ALL)
    assert driver.snapshot() == keyed(ALL)
    rules = sorted(driver.dump().splitlines())
    CHANGES[what](shell)
    found = driver.snapshot()
    assert found != keyed(ALL)
    add(driver, *(noun for noun in ALL if noun.key not in found))
    assert sorted(driver.dump().splitlines()) == rules
    assert driver.snapshot() == keyed(ALL)
    assert driver.obstacles() == []


@REAL
def test_the_policy_of_a_chain_of_ebtables(driver: IptablesFirewall, shell: Shell) -> None:
    add(driver, *ALL)
    assert driver.snapshot() == keyed(ALL)
    shell("ebtables", "-t", "nat", "-P", named("src", "tap1"), "ACCEPT")
    found = driver.snapshot()
    assert found != keyed(ALL)
    add(driver, *(noun for noun in ALL if noun.key not in found))
    assert driver.snapshot() == keyed(ALL)


@REAL
def test_rules_of_another_process_are_compared_too(
    driver: IptablesFirewall, shell: Shell, host: RealHost, variant: str
) -> None:
    add(driver, *ALL)
    other = IptablesFirewall(host, variant=variant)
    assert other.snapshot() == keyed(ALL)
    CHANGES["a drop becomes an accept"](shell)
    assert ISOLATION.key not in other.snapshot()
    other.close()


@pytest.mark.parametrize(
    "world",
    [pytest.param(World("nft", False), id="nft", marks=[pytest.mark.kernel, pytest.mark.sampled])],
)
def test_a_look_up_compares_what_somebody_changed(driver: IptablesFirewall, shell: Shell) -> None:
    """Else the next VNIC on the bridge is made without isolation."""
    add(driver, *ALL)
    noun = next(noun for noun in ALL if isinstance(noun, HostIsolation))
    driver.snapshot()
    CHANGES["a drop becomes an accept"](shell)
    assert driver.find(noun) is None
    add(driver, noun)
    assert driver.find(noun) == noun
    assert driver.snapshot() == keyed(ALL)


@REAL
def test_without_the_right_to_make_a_namespace_rules_are_counted(
    driver: IptablesFirewall, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> int:
        raise PermissionError

    monkeypatch.setattr("snnet.firewall.iptables.reference.new_netns", refuse)
    add(driver, *ALL)
    assert driver.snapshot() == keyed(ALL)
    CHANGES["a flush"](shell)
    assert driver.snapshot() != keyed(ALL)


@REAL
def test_what_another_version_prints_is_no_damage(
    driver: IptablesFirewall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that was replaced while the driver is in use prints what is there its own way."""
    add(driver, *ALL)
    parse = tables._parse

    def older(text: str) -> dict[str, list[str]]:
        return {chain: [f"{rule} " for rule in rules] for chain, rules in parse(text).items()}

    with monkeypatch.context() as patch:
        patch.setattr(tables, "_parse", older)
        assert driver.snapshot() == keyed(ALL)
    assert driver.snapshot() == keyed(ALL)


@REAL
def test_comparing_leaves_no_trace(driver: IptablesFirewall, shell: Shell) -> None:
    add(driver, *ALL)
    before, epoch = shell.rules(), driver.epoch()
    assert driver.snapshot() == keyed(ALL)
    assert (shell.rules(), driver.epoch()) == (before, epoch)
