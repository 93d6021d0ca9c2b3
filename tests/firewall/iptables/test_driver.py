"""The driver on the kernel and in memory: what it promises of its operations."""

from __future__ import annotations

import dataclasses
import re
from contextlib import closing
from ipaddress import IPv4Address, ip_network
from typing import Any

import pytest

from snnet.contract import (
    Add,
    Busy,
    Cancelled,
    Change,
    Exists,
    InvalidRequest,
    Link,
    Masquerade,
    Missing,
    Noun,
    Rejected,
    Remove,
    SnnetError,
    Sysctl,
    Timeout,
    Unsupported,
    Zone,
    ZoneLink,
    keyed,
)
from snnet.firewall.iptables import IptablesFirewall
from snnet.system import process
from snnet.system.host import RealHost

from .conftest import Shell
from .nouns import (
    ALL,
    BRIDGE,
    FORWARD,
    ISOLATION,
    LINK,
    LONGEST_OWNER,
    MASQUERADE,
    OWNER,
    PORT,
    PUBLIC,
    ZONE,
    extremes,
)
from .steps import add, do, refusal, remove

# -- coming, going, found again --------------------------------------------------------


def test_the_variant_is_told(driver: IptablesFirewall, variant: str) -> None:
    assert driver.variant == variant


def test_the_host_decides_by_default(host: RealHost, shell: Shell) -> None:
    said = process.run(["iptables", "-V"]).stdout
    assert IptablesFirewall(host).variant == ("nft" if "nf_tables" in said else "legacy")


def test_no_other_variant_is_known(host: RealHost) -> None:
    with pytest.raises(InvalidRequest, match="'nft' nor 'legacy'"):
        IptablesFirewall(host, variant="bpf")


def test_everything_comes_is_found_and_goes(
    driver: IptablesFirewall, host: RealHost, variant: str, shell: Shell
) -> None:
    before = shell.rules()
    add(driver, *ALL)
    assert driver.snapshot() == keyed(ALL)
    with closing(IptablesFirewall(host, variant=variant)) as another:
        assert another.snapshot() == keyed(ALL)
    assert driver.snapshot([Zone, Masquerade]) == keyed([ZONE, MASQUERADE])
    assert driver.snapshot([Sysctl]) == {}
    for noun in ALL:
        assert driver.find(noun) == noun
    remove(driver, *reversed(ALL))
    assert driver.snapshot() == {}
    assert "SNNET" not in shell.rules()
    assert set(before.splitlines()) <= set(shell.rules().splitlines())


@pytest.mark.parametrize("owner", [LONGEST_OWNER, ""], ids=["longest", "none"])
def test_extremes_are_found_as_they_were_added(driver: IptablesFirewall, owner: str) -> None:
    nouns = extremes(owner)
    add(driver, *nouns)
    assert driver.snapshot() == keyed(nouns)
    remove(driver, *reversed(nouns))


def test_one_by_one_is_all_at_once(driver: IptablesFirewall) -> None:
    add(driver, *ALL)
    at_once = driver.dump()
    for noun in reversed(ALL):
        remove(driver, noun)
    for noun in ALL:
        add(driver, noun)
    assert driver.dump() == at_once


def test_what_is_no_rule_of_ours_is_not_found(driver: IptablesFirewall) -> None:
    assert driver.find(Zone(owner=OWNER, zone="t9")) is None
    assert driver.find(Link(name="br0")) is None


def test_a_zone_changes_its_networks(driver: IptablesFirewall) -> None:
    add(driver, ZONE, LINK)
    for networks in [(ip_network("10.9.0.0/24"),), (ip_network("10.8.0.0/24"),), ()]:
        zone = dataclasses.replace(ZONE, networks=networks)
        do(driver, Change(zone, ZONE))
        assert driver.find(ZONE) == zone
        for network in networks:
            assert f"-s {network} -j ACCEPT" in driver.dump()


def test_two_owners_live_side_by_side(
    driver: IptablesFirewall, host: RealHost, variant: str
) -> None:
    other = [dataclasses.replace(noun, owner="cn:other") for noun in ALL]  # type: ignore[call-arg]
    add(driver, *ALL)
    add(driver, *other)
    assert driver.snapshot() == keyed([*ALL, *other])
    mine = driver.dump()
    remove(driver, *reversed(other))
    assert driver.snapshot() == keyed(ALL)
    assert driver.dump() == mine


def test_others_rules_stay_as_they_are(driver: IptablesFirewall, shell: Shell) -> None:
    shell("iptables", "-N", "THEIRS")
    for line in ("FORWARD -i x -j THEIRS", "THEIRS -s 10.0.0.0/8 -j DROP", "INPUT -p tcp -j LOG"):
        shell("iptables", "-A", *line.split())
    shell("iptables", "-t", "nat", "-A", "POSTROUTING", "-o", "x", "-j", "MASQUERADE")
    shell("ip6tables", "-A", "FORWARD", "-i", "x", "-j", "DROP")
    shell("ebtables", "-A", "FORWARD", "-i", "x", "-j", "DROP")
    shell("arptables", "-A", "INPUT", "-s", "192.0.2.1", "-j", "DROP")
    shell("iptables", "-P", "FORWARD", "DROP")
    before = foreign(shell)
    add(driver, *ALL)
    assert foreign(shell) == before
    remove(driver, *reversed(ALL))
    assert foreign(shell) == before
    assert "SNNET" not in shell.rules()


def foreign(shell: Shell) -> list[str]:
    """Others' rules and chains, and policies other than ACCEPT.

    In any order: tables and their built-in chains come by being looked at.
    """
    lines = shell.rules().splitlines()
    passing = re.compile("SNNET|^[*]|^COMMIT|^:.* ACCEPT$")
    return sorted(line for line in lines if not passing.search(line))


# -- saying no -------------------------------------------------------------------------


def test_add_is_strict(driver: IptablesFirewall) -> None:
    add(driver, *ALL)
    for noun in ALL:
        assert isinstance(refusal(driver, Add(noun)), Exists)


def test_what_is_not_there_is_missing(driver: IptablesFirewall) -> None:
    for noun in ALL:
        assert isinstance(refusal(driver, Remove(noun)), Missing)
    assert isinstance(refusal(driver, Change(ZONE, ZONE)), Missing)
    assert isinstance(refusal(driver, Add(LINK)), Missing)


def test_a_zone_with_links_is_busy(driver: IptablesFirewall) -> None:
    add(driver, ZONE, LINK)
    assert isinstance(refusal(driver, Remove(ZONE)), Busy)


def test_a_link_is_in_one_zone(driver: IptablesFirewall) -> None:
    add(driver, ZONE, LINK, Zone(owner=OWNER, zone="t2"))
    assert isinstance(refusal(driver, Add(dataclasses.replace(LINK, zone="t2"))), Exists)


@pytest.mark.parametrize(
    ("noun", "change"),
    [
        (FORWARD, {"target_port": 9}),
        (PUBLIC, {"internal": IPv4Address("10.1.0.6")}),
        (ISOLATION, {"arp": False}),
        (ZONE, {"outbound": True}),
    ],
)
def test_the_rest_does_not_change(
    driver: IptablesFirewall, noun: Noun, change: dict[str, Any]
) -> None:
    add(driver, noun)
    changed = dataclasses.replace(noun, **change)
    assert isinstance(refusal(driver, Change(changed, noun)), Unsupported)


@pytest.mark.parametrize(
    "noun",
    [
        dataclasses.replace(FORWARD, protocol="icmp"),
        dataclasses.replace(FORWARD, port=0),
        dataclasses.replace(FORWARD, target_port=65536),
        dataclasses.replace(PORT, mac="no mac"),
        *(Masquerade(owner=OWNER, device=name) for name in ("", "eth+", "-j", "a b", "x" * 16)),
        Zone(owner=OWNER, zone='a" -j DROP'),
        Zone(owner="a\nb", zone="t1"),
        Zone(owner=OWNER, zone=""),
    ],
    ids=str,
)
def test_what_no_rule_can_say_is_rejected(driver: IptablesFirewall, noun: Noun) -> None:
    assert isinstance(refusal(driver, Add(noun)), Rejected)


def test_other_nouns_are_unsupported(driver: IptablesFirewall) -> None:
    noun = Sysctl(name="a", value="1")
    assert driver.missing(noun) == "iptables does not carry Sysctl"
    assert isinstance(refusal(driver, Add(noun)), Unsupported)


def test_work_ends_at_the_first_error_unless_keep_going(driver: IptablesFirewall) -> None:
    lonely = dataclasses.replace(LINK, zone="nowhere")
    operations = [Add(BRIDGE), Add(lonely), Add(ZONE)]
    outcome = driver.apply(operations)
    assert (outcome.done, list(outcome.errors)) == ({0}, [1])
    assert outcome.error.operation == operations[1]  # type: ignore[union-attr]
    outcome = driver.apply(operations, keep_going=True)
    assert (outcome.done, list(outcome.errors)) == ({2}, [0, 1])
    assert driver.snapshot() == keyed([BRIDGE, ZONE])


@pytest.mark.parametrize("error", [Timeout("late"), Cancelled("enough")])
def test_the_check_stops_before_the_next_one(driver: IptablesFirewall, error: SnnetError) -> None:
    calls = iter([None, None, error])

    def check() -> None:
        if (raised := next(calls)) is not None:
            raise raised

    outcome = driver.apply(list(map(Add, ALL)), check=check)
    assert (outcome.done, outcome.errors) == ({0, 1}, {2: error})
    assert driver.snapshot() == keyed(ALL[:2])


def test_additions_and_removals_in_one_go(driver: IptablesFirewall) -> None:
    add(driver, ZONE, LINK)
    do(driver, Remove(LINK), Remove(ZONE), Add(ZONE), Add(LINK), Change(ZONE, ZONE), Remove(LINK))
    assert driver.snapshot() == keyed([ZONE])


def test_a_link_that_shares_a_name_with_an_option_stays_a_link(driver: IptablesFirewall) -> None:
    add(driver, ZONE, *(ZoneLink(owner=OWNER, link=name, zone="t1") for name in ("ACCEPT", "0")))
    assert "-i ACCEPT -j SNNET" in driver.dump()
