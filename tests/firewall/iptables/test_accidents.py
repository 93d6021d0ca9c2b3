"""The driver on the kernel and in memory: refusals half-way, kills, and other people's hands."""

from __future__ import annotations

import dataclasses

import pytest

from snnet.contract import (
    Add,
    FatalError,
    Noun,
    Rejected,
    keyed,
)
from snnet.firewall.iptables import IptablesFirewall
from snnet.firewall.iptables.layout import IP
from snnet.firewall.iptables.programs import Programs
from snnet.system.host import RealHost

from .conftest import Shell, World
from .nouns import (
    ALL,
    BRIDGE,
    FORWARD,
    ISOLATION,
    LINK,
    MASQUERADE,
    PORT,
    PUBLIC,
    ROUTED,
    ZONE,
)
from .steps import add, remove


def test_of_many_those_that_can_be_done_are(
    driver: IptablesFirewall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One bad noun among many is told, and all the others are there."""
    restore = Programs.restore

    def picky(self: Programs, family: str, text: str) -> None:
        restore(self, family, text)
        if "k=masquerade" in text:
            raise Rejected("the kernel says no")

    monkeypatch.setattr(Programs, "restore", picky)
    outcome = driver.apply(list(map(Add, ALL)), keep_going=True)
    assert list(outcome.errors) == [ALL.index(MASQUERADE)]
    assert outcome.done == set(range(len(ALL))) - outcome.errors.keys()
    monkeypatch.undo()
    assert driver.snapshot() == keyed(noun for noun in ALL if noun != MASQUERADE)


def test_the_kernel_refusing_the_second_table_puts_the_first_back(
    driver: IptablesFirewall, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(driver, ZONE, LINK)
    before = driver.dump()
    restore = Programs.restore

    def spoilt(self: Programs, family: str, text: str) -> None:
        head, filter_, tail = text.partition("*filter\n")
        bad = "-A SNNET-nowhere -j DROP\n" if "masquerade" in tail else ""
        restore(self, family, head + filter_ + bad + tail)

    monkeypatch.setattr(Programs, "restore", spoilt)
    outcome = driver.apply([Add(MASQUERADE)])
    assert outcome.done == set()
    assert outcome.error is not None
    monkeypatch.undo()
    assert driver.dump() == before


def test_a_failed_putting_back_is_fatal_and_heals_with_the_next_change(
    driver: IptablesFirewall, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(driver, ZONE, LINK)
    before = driver.dump()
    restore = Programs.restore
    calls: list[str] = []

    def broken(self: Programs, family: str, text: str) -> None:
        if family != IP and not calls:
            restore(self, family, text)
            return
        calls.append(text)
        if len(calls) > 1:
            raise Rejected("no more")
        nat, _, _ = text.partition("*filter\n")
        restore(self, family, nat)
        raise Rejected("no")

    monkeypatch.setattr(Programs, "restore", broken)
    error = driver.apply([Add(MASQUERADE)]).error
    assert isinstance(error, FatalError)
    assert "ip table nat" in error.leftovers
    monkeypatch.undo()
    assert driver.dump() != before
    assert driver.snapshot() == keyed([ZONE, LINK]), "what is not whole is not there"
    add(driver, BRIDGE)
    remove(driver, BRIDGE)
    assert driver.dump() == before


@pytest.mark.parametrize("stop", range(1, 5))
def test_killed_between_two_tables_no_other_noun_is_lost(
    driver: IptablesFirewall, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    """However far the additions came, those before are there and the new ones can be added."""
    old = [ZONE, LINK, PORT, ISOLATION]
    new = [PUBLIC, ROUTED, MASQUERADE, BRIDGE, dataclasses.replace(PORT, link="tap2")]
    add(driver, *old)
    before = driver.dump()
    restore = Programs.restore
    left = stop

    def killed(self: Programs, family: str, text: str) -> None:
        nonlocal left
        for part in text.split("*")[1:]:
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            restore(self, family, f"*{part}")

    monkeypatch.setattr(Programs, "restore", killed)
    with pytest.raises(KeyboardInterrupt):
        driver.apply(list(map(Add, new)))
    monkeypatch.undo()
    found = driver.snapshot()
    assert {noun.key for noun in old} <= found.keys()
    add(driver, *(noun for noun in new if noun.key not in found))
    assert driver.snapshot() == keyed([*old, *new])
    remove(driver, *reversed(new))
    assert driver.dump() == before


@pytest.mark.parametrize(
    ("command", "lost"),
    [
        ("iptables -D FORWARD -j SNNET-vqicasqk-fwd", {ZONE, LINK, BRIDGE, PUBLIC}),
        ("iptables -F FORWARD", {ZONE, LINK, BRIDGE}),
        ("iptables -D INPUT -j SNNET-vqicasqk-in", {ISOLATION}),
        ("iptables -D SNNET-vqicasqk-fwd 1", {BRIDGE, LINK}),
        ("iptables -I SNNET-vqicasqk-fwd -j ACCEPT", {BRIDGE, LINK}),
        ("iptables -F SNNET-vqicasqk-in", {ISOLATION}),
        ("iptables -t nat -F SNNET-vqicasqk-snat", {MASQUERADE, PUBLIC}),
        ("iptables -t nat -F", {MASQUERADE, PUBLIC, FORWARD}),
        ("ip6tables -D SNNET-vqicasqk-fwd 1", {BRIDGE, LINK}),
        ("iptables -t raw -D PREROUTING -j SNNET-vqicasqk-src", {ROUTED}),
        ("ebtables -t nat -F SNNET-vqicasqk-src", {PORT}),
        ("ebtables -t nat -D PREROUTING -j SNNET-vqicasqk-src", {PORT}),
        ("ebtables -t nat -F SNNET-vqicasqk-src-vmzuives", {PORT}),
        ("ebtables -D INPUT -j SNNET-vqicasqk-in", {PORT}),
        ("arptables -F SNNET-vqicasqk-in", {ISOLATION}),
        ("arptables -F INPUT", {ISOLATION}),
    ],
)
def test_what_another_program_removed_is_missing_and_can_be_added(
    driver: IptablesFirewall, shell: Shell, command: str, lost: set[Noun]
) -> None:
    add(driver, *ALL)
    before = driver.dump()
    shell(*command.split())
    found = driver.snapshot()
    gone = [noun for noun in ALL if noun.key not in found]
    assert lost <= set(gone)
    for noun in ALL:
        assert driver.find(noun) == found.get(noun.key)
    add(driver, *gone)
    assert driver.snapshot() == keyed(ALL)
    assert sorted(_rules(driver.dump())) == sorted(_rules(before))


def test_a_rule_that_arptables_prints_and_does_not_read_is_removed(
    driver: IptablesFirewall, shell: Shell, world: World
) -> None:
    """It prints "--h-length 0/0" for a rule of nft's, and refuses that."""
    if world.in_memory or world.variant == "legacy":  # without nft
        return
    add(driver, ISOLATION)
    before = driver.dump()
    shell("nft", "insert", "rule", "arp", "filter", "SNNET-vqicasqk-in", "accept")
    assert driver.find(ISOLATION) is None
    add(driver, ISOLATION)
    assert driver.dump() == before


def _rules(dump: str) -> list[str]:
    """The records of a dump; rules follow them in the order of the nouns."""
    return [line for line in dump.splitlines() if "--comment" in line or "-j SNNET" in line]


def test_what_is_broken_can_be_removed(driver: IptablesFirewall, shell: Shell) -> None:
    add(driver, *ALL)
    shell("iptables", "-F", "FORWARD")
    remove(driver, *reversed(ALL))
    assert "SNNET" not in shell.rules()


def test_a_jump_comes_back_once(driver: IptablesFirewall, shell: Shell) -> None:
    add(driver, ZONE, LINK)
    shell("iptables", "-F", "FORWARD")
    shell("iptables", "-A", "FORWARD", "-j", "LOG")
    add(driver, ZONE, LINK)
    remove(driver, LINK)
    add(driver, LINK, BRIDGE)
    rules = shell("iptables", "-S", "FORWARD").splitlines()
    assert rules == ["-P FORWARD ACCEPT", "-A FORWARD -j SNNET-vqicasqk-fwd", "-A FORWARD -j LOG"]


@pytest.mark.parametrize(
    ("program", "table"),
    [("iptables", "filter"), ("ebtables", "nat"), ("ebtables", "filter"), ("arptables", "filter")],
)
def test_rules_that_are_gone_are_not_obeyed(
    driver: IptablesFirewall, shell: Shell, program: str, table: str
) -> None:
    """Bridges and ARP have no records of their own."""
    add(driver, ISOLATION, PORT)
    assert driver.enforced()[1] == []
    where = () if program == "arptables" else ("-t", table)
    shell(program, *where, "-F", "INPUT" if table == "filter" else "PREROUTING")
    (damage,) = driver.enforced()[1]
    assert f"table {table}, chain " in damage


def test_without_its_programs_it_says_so_and_raises_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("snnet.system.process._SYSTEM_PATH", "/nowhere")
    monkeypatch.setenv("PATH", "/nowhere")
    driver = IptablesFirewall(RealHost())
    try:
        reason = driver.missing(ZONE)
        assert reason == "the program 'iptables' is not installed: apt-get install iptables"
        assert driver.obstacles() == [f"firewall iptables: {reason}"]
        assert driver.epoch() is None
        assert ZONE.__class__ in driver.unreported()
        assert driver.snapshot() == {}
        assert driver.find(ZONE) is None
        assert list(driver.owners()) == []
    finally:
        driver.close()
