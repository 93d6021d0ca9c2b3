"""What one batch hands to the programs, word for word: the order is what keeps it safe."""

from __future__ import annotations

import dataclasses
from ipaddress import ip_network

import pytest

from snnet.contract import Add, Change, PortForward, PublicIp, Remove, keyed
from snnet.firewall.iptables import IptablesFirewall
from snnet.system.conntrack import Match
from tests.firewall.xtables import Xtables

from .conftest import Shell, World
from .nouns import ALL, FORWARD, ISOLATION, LINK, MASQUERADE, PORT, PUBLIC, ZONE
from .steps import add, do, remove


@pytest.fixture
def world() -> World:
    """In memory alone: the texts are the same for both variants."""
    return World("nft", True)


def _said(tables: Xtables | None) -> str:
    """What changed something since the last look; "S" stands for the owner's chains."""
    assert tables is not None
    text = "\n".join(tables.changes()).replace("SNNET-vqicasqk", "S")
    tables.said.clear()
    return text


def test_bridge_and_arp_come_before_the_records_that_speak_for_them(
    driver: IptablesFirewall, tables: Xtables | None
) -> None:
    add(driver, ISOLATION, PORT)
    said = _said(tables)
    assert [line.split()[0] for line in said.splitlines() if "tables" in line.split("-")[0]] == [
        "arptables-nft",
        "arptables-nft",
        "arptables-nft",
        "ebtables-nft-restore",
        "ip6tables-nft-restore",
        "iptables-nft-restore",
    ]
    assert said.startswith(
        "arptables-nft -N S-in\n"
        "arptables-nft -A S-in -i br9 --opcode 1 -j DROP\n"
        "arptables-nft -I INPUT -j S-in\n"
    )


def test_a_zone_comes_in_one_text_a_family(
    driver: IptablesFirewall, tables: Xtables | None
) -> None:
    add(driver, ZONE, LINK, MASQUERADE)
    assert _said(tables).partition("\niptables-nft-restore\n*nat")[2] == NAT_THEN_FILTER


NAT_THEN_FILTER = """
:S-snat - [0:0]
:S-rec - [0:0]
-A S-snat -o eth0 -m addrtype ! --src-type LOCAL -j MASQUERADE --random-fully
-A S-rec -m comment --comment "snnet1 k=owner owner=cnci:tester"
-A S-rec -m comment --comment "snnet1 k=masquerade device=eth0 nat66=False"
-I POSTROUTING -j S-snat
COMMIT
*filter
:S-fwd - [0:0]
:S-from-3lbofcoj - [0:0]
:S-to-3lbofcoj - [0:0]
:S-exit - [0:0]
:S-untr-drop - [0:0]
:S-rec - [0:0]
-A S-fwd -i br1 -j S-from-3lbofcoj
-A S-fwd -o br1 -j S-to-3lbofcoj
-A S-from-3lbofcoj -m conntrack --ctstate DNAT -m conntrack --ctstate NEW \
-j MARK --or-mark 0x20000000
-A S-from-3lbofcoj -o br1 -j ACCEPT
-A S-from-3lbofcoj -j S-exit
-A S-from-3lbofcoj -j DROP
-A S-to-3lbofcoj -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A S-to-3lbofcoj -m conntrack --ctstate DNAT -j ACCEPT
-A S-to-3lbofcoj -j DROP
-A S-exit -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A S-exit -o eth0 -m conntrack --ctstate INVALID,UNTRACKED -g S-untr-drop
-A S-untr-drop -j DROP
-A S-rec -m comment --comment "snnet1 k=owner owner=cnci:tester"
-A S-rec -m comment --comment "snnet1 k=zone zone=t1 networks= outbound=False"
-A S-rec -m comment --comment "snnet1 k=zone-link link=br1 zone=t1 networks=10.1.0.0/24"
-A S-rec -m comment --comment "snnet1 k=masquerade device=eth0 nat66=False"
-I FORWARD -j S-fwd
COMMIT
"""
"""NAT is there before the filter lets anything out."""


def test_what_leaves_closes_the_filter_before_nat_goes(
    driver: IptablesFirewall, tables: Xtables | None
) -> None:
    add(driver, ZONE, LINK, MASQUERADE)
    _said(tables)
    remove(driver, MASQUERADE)
    said = _said(tables)
    assert said.startswith("ip6tables-nft-restore\n*filter\n")
    assert "\niptables-nft-restore\n*filter\n" in said
    assert said.endswith(
        "COMMIT\n*nat\n:S-snat - [0:0]\n:S-rec - [0:0]\n"
        "-D POSTROUTING -j S-snat\n-X S-snat\n-X S-rec\nCOMMIT\n"
    )


def test_a_change_writes_the_tables_that_differ_and_no_jump_twice(
    driver: IptablesFirewall, tables: Xtables | None
) -> None:
    add(driver, ZONE, LINK, FORWARD)
    _said(tables)
    wider = dataclasses.replace(ZONE, networks=(ip_network("10.9.0.0/24"),))
    do(driver, Change(wider, ZONE))
    said = _said(tables)
    assert said.count("*filter") == 2, "of IPv4, and of IPv6 for the record"
    assert "*nat" not in said
    assert "-I " not in said
    assert "-A S-to-3lbofcoj -s 10.9.0.0/24 -j ACCEPT\n" in said


def test_arp_rules_come_and_go_one_by_one(driver: IptablesFirewall, tables: Xtables | None) -> None:
    """arptables-restore would throw others' rules away."""
    second = dataclasses.replace(ISOLATION, link="br8")
    add(driver, ISOLATION)
    _said(tables)
    add(driver, second)
    assert _said(tables).startswith("arptables-nft -I S-in 2 -i br8 --opcode 1 -j DROP\nip6")
    remove(driver, ISOLATION)
    assert _said(tables).startswith("arptables-nft -D S-in 1\nip6tables-nft-restore\n")
    remove(driver, second)
    assert _said(tables).startswith(
        "arptables-nft -D S-in 1\narptables-nft -D INPUT -j S-in\narptables-nft -X S-in\n"
    )


def test_one_batch_is_one_text_a_family_however_many_rules(
    driver: IptablesFirewall, tables: Xtables | None
) -> None:
    many = [dataclasses.replace(FORWARD, port=port) for port in range(1, 101)]
    add(driver, *many)
    said = _said(tables)
    assert said.count("tables-nft") == 1
    assert said.count("-A S-dnat -i eth0 ") == 100
    do(driver, *map(Remove, many[:50]), *map(Add, many[:50]))
    assert _said(tables).count("tables-nft") == 2, "one to remove, one to add"


def test_nothing_is_said_where_nothing_changes(
    driver: IptablesFirewall, tables: Xtables | None
) -> None:
    add(driver, ZONE)
    _said(tables)
    assert driver.apply([Add(ZONE)]).errors
    assert driver.apply([Remove(MASQUERADE)]).errors
    assert driver.snapshot()
    assert _said(tables) == ""


# -- connections -----------------------------------------------------------------------


def test_connections_of_what_changed_are_forgotten(
    driver: IptablesFirewall, forgotten: list[Match]
) -> None:
    """A new flow over UDP would go on to the host; of TCP a SYN starts anew by itself."""
    udp = dataclasses.replace(FORWARD, protocol="udp")
    add(driver, ZONE, FORWARD)
    assert forgotten == []
    add(driver, udp)
    assert forgotten == [Match("udp", None, 80)], "for any address of the host"
    forgotten.clear()
    remove(driver, FORWARD)
    assert forgotten == [Match("tcp", original_port=80, reply_source=FORWARD.target)]
    forgotten.clear()
    add(driver, PUBLIC)
    both = [Match(original_destination=PUBLIC.public), Match(original_source=PUBLIC.internal)]
    assert forgotten == both


def test_what_was_refused_cuts_no_connection(
    driver: IptablesFirewall, forgotten: list[Match]
) -> None:
    add(driver, PUBLIC)
    forgotten.clear()
    assert driver.apply([Add(PUBLIC), Remove(FORWARD)], keep_going=True).errors.keys() == {0, 1}
    assert forgotten == []


def test_rules_that_move_to_another_firewall_cut_no_connection(
    driver: IptablesFirewall, forgotten: list[Match]
) -> None:
    assert driver.transfer([Add(PUBLIC), Add(FORWARD)]).done == {0, 1}
    assert driver.snapshot({PublicIp, PortForward}).keys() == {PUBLIC.key, FORWARD.key}
    assert forgotten == []


def test_a_kernel_that_lists_no_connections_is_no_failure(
    driver: IptablesFirewall, patch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def denied(self: object, matches: object, spare: object = None) -> int:
        raise PermissionError(1, "Operation not permitted")

    patch.setattr("snnet.system.conntrack.Conntrack.forget", denied)
    add(driver, PUBLIC)
    assert "connections of changed rules continue unchanged" in caplog.text


# -- the old tables --------------------------------------------------------------------


@pytest.mark.parametrize("world", [World("legacy", True)])
def test_the_old_tables_are_not_made_by_looking_for_rules(
    driver: IptablesFirewall, tables: Xtables | None
) -> None:
    assert tables is not None
    assert driver.variant == "legacy"
    assert driver.find(ZONE) is None
    assert driver.snapshot() == {}
    asked = {argv[0] for argv, _ in tables.said}
    assert asked == {"iptables-legacy-save", "ip6tables-legacy-save"}
    assert tables.rules() == ""


@pytest.mark.parametrize("world", [World("legacy", True)])
def test_all_rules_come_and_go_in_the_old_tables(
    driver: IptablesFirewall, tables: Xtables | None, shell: Shell
) -> None:
    assert tables is not None
    add(driver, *ALL)
    assert driver.snapshot() == keyed(ALL)
    assert tables.tables.keys() == {
        ("iptables", "legacy"),
        ("ip6tables", "legacy"),
        ("ebtables", "nft"),
        ("arptables", "nft"),
    }
    shell.other()("iptables", "-P", "FORWARD", "DROP")
    (line,) = driver.obstacles()
    assert "or: iptables-nft -t filter -I FORWARD -i " in line
    remove(driver, *reversed(ALL))
    assert "SNNET" not in tables.rules()


# -- refusals of the kernel ------------------------------------------------------------


def test_a_refused_table_is_restored_and_the_message_reported(
    driver: IptablesFirewall, tables: Xtables | None
) -> None:
    assert tables is not None
    add(driver, ZONE, LINK)
    before = driver.dump()
    tables.refuse["iptables filter -A SNNET-vqicasqk-rec -m comment"] = "No space left on device"
    error = driver.apply([Add(MASQUERADE)]).error
    assert "No space left on device" in str(error)
    assert driver.dump() == before
    add(driver, MASQUERADE)
