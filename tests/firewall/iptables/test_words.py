"""The driver on the kernel and in memory: what it says of what is missing, set, or in the way."""

from __future__ import annotations

import dataclasses
import re
from ipaddress import ip_network

import pytest

from snnet.contract import (
    Add,
    Change,
    Remove,
    Unsupported,
    keyed,
)
from snnet.firewall.iptables import IptablesFirewall, programs
from snnet.system import process

from .conftest import Shell
from .nouns import (
    ALL,
    ISOLATION,
    LINK,
    MASQUERADE,
    OWNER,
    PORT,
    ZONE,
)
from .steps import add, refusal


def test_nothing_is_missing_here(driver: IptablesFirewall) -> None:
    assert [driver.missing(noun) for noun in ALL] == [None] * len(ALL)


def test_without_ebtables_ports_are_not_guarded(
    driver: IptablesFirewall, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = process.find_program
    monkeypatch.setattr(
        programs, "find_program", lambda name: None if name[:8] == "ebtables" else find(name)
    )
    assert "apt-get install iptables (it brings ebtables-nft)" in str(driver.missing(PORT))
    assert isinstance(refusal(driver, Add(PORT)), Unsupported)
    rest = [noun for noun in ALL if noun != PORT]
    assert [driver.missing(noun) for noun in rest] == [None] * len(rest)
    add(driver, *rest)
    assert driver.snapshot() == keyed(rest)


def test_without_arptables_the_host_answers_arp(
    driver: IptablesFirewall, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = process.find_program
    monkeypatch.setattr(
        programs, "find_program", lambda name: None if name[:9] == "arptables" else find(name)
    )
    assert "arptables-nft" in str(driver.missing(ISOLATION))
    assert driver.missing(dataclasses.replace(ISOLATION, arp=False)) is None
    assert isinstance(refusal(driver, Add(ISOLATION)), Unsupported)


def test_without_iptables_nothing_works_and_nothing_is_there(
    driver: IptablesFirewall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "find_program", lambda name: None)
    assert "apt-get install iptables" in str(driver.missing(ZONE))
    assert driver.snapshot() == {}
    assert driver.find(ZONE) is None
    assert isinstance(driver.apply([Add(ZONE)]).error, Unsupported)


# -- text ------------------------------------------------------------------------------


def test_a_dump_shows_own_chains_alone(
    driver: IptablesFirewall, shell: Shell, variant: str
) -> None:
    shell("iptables", "-A", "FORWARD", "-i", "x", "-j", "DROP")
    add(driver, ZONE, LINK, dataclasses.replace(ZONE, owner="cn:other"))
    first, *rest = driver.dump().splitlines()
    assert first == f"# iptables ({variant}): chains of {OWNER}"
    assert all("SNNET-vqicasqk-" in line for line in rest if line[0] not in "#*")
    assert "-A FORWARD -j SNNET-vqicasqk-fwd" in rest


def test_commands_of_a_dry_run(driver: IptablesFirewall, variant: str) -> None:
    tool = f"iptables-{variant}"
    chain = "SNNET-vqicasqk-snat"
    lines = driver.commands(Add(MASQUERADE))
    rule = f"{chain} -o eth0 -m addrtype ! --src-type LOCAL -j MASQUERADE --random-fully"
    assert f"{tool} -t nat -A {rule}" in lines
    assert f"{tool} -t nat -I POSTROUTING -j {chain}" in lines
    assert f"{tool} -t nat -D {rule}" in driver.commands(Remove(MASQUERADE))
    zone = dataclasses.replace(ZONE, networks=(ip_network("10.9.0.0/24"),))
    assert (
        f"{tool} -t filter -I SNNET-vqicasqk-to-3lbofcoj -s 10.9.0.0/24 -j ACCEPT"
        in driver.commands(Change(zone, ZONE))
    )
    for noun in ALL:
        assert driver.commands(Add(noun))
        assert driver.commands(Remove(noun))


# -- in the way ------------------------------------------------------------------------


def test_no_obstacles(driver: IptablesFirewall, shell: Shell) -> None:
    assert driver.obstacles() == []
    shell("iptables", "-I", "FORWARD", "-j", "LOG")
    add(driver, *ALL)
    shell("iptables", "-I", "FORWARD", "-j", "LOG")
    shell("iptables", "-A", "FORWARD", "-j", "DROP")
    assert driver.obstacles() == []


def test_a_drop_before_ours_is_an_obstacle(driver: IptablesFirewall, shell: Shell) -> None:
    add(driver, *ALL)
    shell("iptables", "-N", "THEIRS")
    shell("iptables", "-A", "THEIRS", "-j", "DROP")
    shell("iptables", "-I", "FORWARD", "-i", "x", "-j", "THEIRS")
    (line,) = driver.obstacles()
    assert "table filter, chain FORWARD" in line
    assert "'-i x -j THEIRS'" in line
    assert "-I FORWARD -j SNNET-vqicasqk-fwd" in line


def test_a_jump_that_is_gone_is_an_obstacle(driver: IptablesFirewall, shell: Shell) -> None:
    add(driver, *ALL)
    shell("ip6tables", "-F", "FORWARD")
    (line,) = driver.obstacles()
    assert "ip6tables" in line
    assert "call repair()" in line


def test_the_other_iptables_is_an_obstacle(driver: IptablesFirewall, shell: Shell) -> None:
    other = shell.other()
    add(driver, *ALL)
    other("iptables", "-P", "FORWARD", "DROP")
    other("ip6tables", "-A", "FORWARD", "-i", "x", "-j", "REJECT")
    policy, rule = driver.obstacles()
    program, _, words = policy.rpartition(", or: ")[2].partition(" ")
    assert f"iptables-{other.variant} table filter, chain FORWARD: its policy drops" in policy
    assert re.fullmatch(r"-t filter -I FORWARD (-i \S+ )?(-o \S+ )?-j ACCEPT", words)
    assert f"ip6tables-{other.variant}" in rule
    assert "REJECT" in rule
    for _ in range(20):  # what is said lets one flow after the other pass
        if "its policy drops" not in policy:
            break
        other(program.removesuffix(f"-{other.variant}"), *words.split())
        policy, *_ = driver.obstacles()
        program, _, words = policy.rpartition(", or: ")[2].partition(" ")
    assert policy == rule


def test_close_may_be_repeated_and_changes_nothing(driver: IptablesFirewall) -> None:
    add(driver, *ALL)
    driver.close()
    driver.close()
    assert driver.snapshot() == keyed(ALL)
    with pytest.raises(Unsupported):
        driver.watch()
