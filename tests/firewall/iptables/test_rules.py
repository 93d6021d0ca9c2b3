"""Rules as text, for nouns in memory."""

from __future__ import annotations

import dataclasses
from ipaddress import IPv4Address, IPv6Address, ip_network

from snnet.contract import Noun, ZoneLink, keyed
from snnet.firewall import reasons
from snnet.firewall.iptables.layout import (
    FILTER,
    FILTER6,
    NAT,
    NAT6,
    NEIGHBOURS,
    PORTS,
    PORTS_INPUT,
    RAW,
    RAW6,
    Section,
)
from snnet.firewall.iptables.rules import render

from .nouns import (
    ALL,
    BRIDGE,
    EXIT,
    FORWARD,
    ISOLATION,
    LINK,
    MASQUERADE,
    OPEN,
    OWNER,
    PORT,
    PROTECTED,
    PUBLIC,
    ROUTED,
    SERVICES,
    TRANSLATED,
    ZONE,
)

_ANSWERS = "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"


def _text(section: Section, *nouns: Noun) -> list[str]:
    """The rules of a section, without records, and chains without the owner's part."""
    content = render(OWNER, keyed(nouns)).get(section)
    lines = content.lines() if content else []
    return [line.replace("SNNET-vqicasqk-", "") for line in lines if "--comment" not in line]


def test_nothing_makes_nothing() -> None:
    assert render(OWNER, {}) == {}


def test_a_zone() -> None:
    zone = dataclasses.replace(ZONE, networks=(ip_network("10.9.0.0/24"), ip_network("fd09::/64")))
    assert _text(FILTER, zone, LINK) == [
        "-A fwd -i br1 -j from-3lbofcoj",
        "-A fwd -o br1 -j to-3lbofcoj",
        "-A from-3lbofcoj -m conntrack --ctstate DNAT -m conntrack --ctstate NEW"
        " -j MARK --or-mark 0x20000000",
        "-A from-3lbofcoj -o br1 -j ACCEPT",
        "-A from-3lbofcoj -j exit",
        "-A from-3lbofcoj -j DROP",
        f"-A to-3lbofcoj {_ANSWERS}",
        "-A to-3lbofcoj -m conntrack --ctstate DNAT -j ACCEPT",
        "-A to-3lbofcoj -s 10.9.0.0/24 -j ACCEPT",
        "-A to-3lbofcoj -j DROP",
        f"-A exit {_ANSWERS}",
        "-I FORWARD -j fwd",
    ]
    assert _text(FILTER6, zone, LINK) == [
        "-A fwd -i br1 -j from-3lbofcoj",
        "-A fwd -o br1 -j to-3lbofcoj",
        "-A from-3lbofcoj -m conntrack --ctstate DNAT -m conntrack --ctstate NEW"
        " -j MARK --or-mark 0x20000000",
        "-A from-3lbofcoj -o br1 -j ACCEPT",
        "-A from-3lbofcoj -j exit",
        "-A from-3lbofcoj -j DROP",
        f"-A to-3lbofcoj {_ANSWERS}",
        "-A to-3lbofcoj -m conntrack --ctstate DNAT -j ACCEPT",
        "-A to-3lbofcoj -s fd09::/64 -j ACCEPT",
        "-A to-3lbofcoj -j DROP",
        f"-A exit {_ANSWERS}",
        "-I FORWARD -j fwd",
    ]


def test_an_outbound_zone_is_looked_at_by_the_others_before_it_passes() -> None:
    zone = dataclasses.replace(ZONE, outbound=True)
    lines = _text(FILTER, zone, LINK)
    assert "-A from-3lbofcoj -j DROP" not in lines
    assert lines[:3] == [
        "-A fwd -i br1 -j from-3lbofcoj",
        "-A fwd -o br1 -j to-3lbofcoj",
        "-A fwd -i br1 -j ACCEPT",
    ]


def test_a_zone_without_links_has_no_rules() -> None:
    assert _text(FILTER, ZONE) == []


def test_what_all_links_share_drops_for_each_link() -> None:
    other = ZoneLink(owner=OWNER, link="br2", zone="t1")
    also = dataclasses.replace(SERVICES, link="br2")
    lines = _text(FILTER, ZONE, PROTECTED, LINK, other, SERVICES, also, MASQUERADE)
    for chain in ("srv-drop", "prot-drop", "untr-drop"):
        drops = [line for line in lines if line.startswith(f"-A {chain} ")]
        assert drops == [f"-A {chain} -i br1 -j DROP", f"-A {chain} -j DROP"]
    ends = [line for line in lines if line.startswith(("-A from", "-A to")) and "DROP" in line]
    assert ends == [
        "-A from-3lbofcoj -i br1 -j DROP",
        "-A from-3lbofcoj -j DROP",
        "-A to-3lbofcoj -o br1 -j DROP",
        "-A to-3lbofcoj -j DROP",
    ]


def test_each_rule_that_drops_counts() -> None:
    whys = set()
    for content in render(OWNER, keyed(ALL)).values():
        for rules in content.chains.values():
            assert [rule for rule in rules if rule.text.endswith("-j DROP")] == [
                rule for rule in rules if rule.drops
            ]
            whys |= {rule.drops for rule in rules if rule.drops}
    assert whys == {
        ("br9", reasons.FROM), ("br9", reasons.INTO), ("br9", reasons.HOST),
        ("br1", reasons.FROM), ("br1", reasons.INTO), ("br1", reasons.SERVICE),
        ("br1", reasons.PROTECTED), ("br1", reasons.UNTRANSLATED),
        ("tap1", reasons.ADDRESS), ("tap1", reasons.DHCP), ("tap1", reasons.BRIDGE),
        ("tap7", reasons.ADDRESS), ("tap7", reasons.DHCP),
    }  # fmt: skip


def test_ways_out_of_a_zone() -> None:
    exits = [
        line
        for line in _text(FILTER, ZONE, LINK, MASQUERADE, EXIT, PUBLIC)
        if line.startswith("-A exit")
    ]
    assert exits == [
        f"-A exit {_ANSWERS}",
        "-A exit -o eth0 -m conntrack --ctstate INVALID,UNTRACKED -g untr-drop",
        "-A exit -i br1 -o eth0 -j ACCEPT",
        "-A exit -s 10.1.0.5 -o eth0 -m conntrack --ctstate INVALID,UNTRACKED -g untr-drop",
        "-A exit -s 10.1.0.5 -o eth0 -j ACCEPT",
    ]


def test_nothing_goes_out_unmasqueraded() -> None:
    assert not any("eth0" in line for line in _text(FILTER, ZONE, LINK, EXIT))


def test_a_bridge() -> None:
    lines = [
        "-A fwd -i br9 -o br9 -j ACCEPT",
        "-A fwd -i br9 -j DROP",
        "-A fwd -o br9 -j DROP",
        "-I FORWARD -j fwd",
    ]
    assert _text(FILTER, BRIDGE) == _text(FILTER6, BRIDGE) == lines


def test_an_isolated_host() -> None:
    drop = "-m conntrack ! --ctstate RELATED,ESTABLISHED -j DROP"
    icmp = "-p ipv6-icmp -m icmp6 --icmpv6-type"
    assert _text(FILTER, ISOLATION) == [f"-A in -i br9 {drop}", "-I INPUT -j in"]
    assert _text(FILTER6, ISOLATION) == [
        f"-A in -i br9 {icmp} neighbour-advertisement -j RETURN",
        f"-A in -i br9 {drop}",
        "-I INPUT -j in",
    ]
    assert _text(NEIGHBOURS, ISOLATION) == ["-A in -i br9 --opcode 1 -j DROP", "-I INPUT -j in"]


def test_a_host_that_answers_arp_answers_solicitations() -> None:
    isolation = dataclasses.replace(ISOLATION, arp=False)
    assert _text(NEIGHBOURS, isolation) == []
    assert any("neighbour-solicitation" in line for line in _text(FILTER6, isolation))


def test_destinations() -> None:
    other = ZoneLink(owner=OWNER, link="br2", zone="t1")
    to = "-j DNAT --to-destination 10.1.0.9:8080"
    assert _text(NAT, ZONE, LINK, other, MASQUERADE, FORWARD, PUBLIC) == [
        "-A dnat -d 203.0.113.5 -j DNAT --to-destination 10.1.0.5",
        f"-A dnat -i eth0 -m addrtype --dst-type LOCAL -p tcp -m tcp --dport 80 {to}",
        "-A dnat -i br1 -j hair",
        "-A dnat -i br2 -j hair",
        "-A dnat -m addrtype --src-type LOCAL -j hair",
        f"-A hair -d 203.0.113.1 -p tcp -m tcp --dport 80 {to}",
        "-A snat -m mark --mark 0x20000000/0x20000000 -j back",
        "-A snat -s 10.1.0.5 -o eth0 -j SNAT --to-source 203.0.113.5",
        "-A snat -o eth0 -m addrtype ! --src-type LOCAL -j MASQUERADE --random-fully",
        "-A back -j MARK --and-mark 0xdfffffff",
        "-A back -o br1 -j MASQUERADE --random-fully",
        "-A back -o br2 -j MASQUERADE --random-fully",
        "-I PREROUTING -j dnat",
        "-I OUTPUT -j dnat",
        "-I POSTROUTING -j snat",
    ]


def test_a_translated_source() -> None:
    assert _text(NAT, TRANSLATED) == [
        "-A snat -s 169.254.7.9 -j MASQUERADE --random-fully",
        "-I POSTROUTING -j snat",
    ]
    lines = _text(FILTER, ZONE, LINK, TRANSLATED)
    assert lines[lines.index(f"-A exit {_ANSWERS}") + 1 :][:2] == [
        "-A exit -s 169.254.7.9 -m conntrack --ctstate INVALID,UNTRACKED -g untr-drop",
        "-A untr-drop -j DROP",
    ]


def test_an_open_address() -> None:
    entries = [line for line in _text(FILTER, ZONE, LINK, OPEN) if line.startswith("-A to-")]
    assert [line.split(" ", 2)[2] for line in entries][-2:] == [
        "-d 203.0.113.9 -j ACCEPT",
        "-j DROP",
    ]
    assert _text(FILTER6, ZONE, LINK, OPEN) == _text(FILTER6, ZONE, LINK)


def test_a_forward_of_one_address_comes_before_one_of_any() -> None:
    one = dataclasses.replace(FORWARD, address=IPv4Address("203.0.113.2"), target_port=81)
    to, dnat = "-j DNAT --to-destination 10.1.0.9", "-A dnat -i eth0 -m addrtype --dst-type LOCAL"
    lines = [line for line in _text(NAT, FORWARD, one, ZONE, LINK) if "--dport" in line]
    assert lines == [
        f"{dnat} -d 203.0.113.2 -p tcp -m tcp --dport 80 {to}:81",
        f"{dnat} -p tcp -m tcp --dport 80 {to}:8080",
        f"-A hair -d 203.0.113.2 -p tcp -m tcp --dport 80 {to}:81",
        f"-A hair -d 203.0.113.1 -p tcp -m tcp --dport 80 {to}:8080",
    ]


def test_a_forward_for_some_sources_has_a_rule_for_each() -> None:
    sources = (ip_network("198.51.100.0/24"), ip_network("10.0.0.0/8"))
    some = dataclasses.replace(FORWARD, sources=sources)
    to, dnat = "-p tcp -m tcp --dport 80 -j DNAT --to-destination 10.1.0.9:8080", "-A dnat -i eth0"
    assert [line for line in _text(NAT, some) if "--dport" in line] == [
        f"{dnat} -m addrtype --dst-type LOCAL -s 10.0.0.0/8 {to}",
        f"{dnat} -m addrtype --dst-type LOCAL -s 198.51.100.0/24 {to}",
        f"-A hair -d 203.0.113.1 -s 10.0.0.0/8 {to}",
        f"-A hair -d 203.0.113.1 -s 198.51.100.0/24 {to}",
    ]


def test_zones_alone_have_nothing_to_do_with_nat() -> None:
    assert NAT not in render(OWNER, keyed([ZONE, LINK, BRIDGE, ISOLATION, PORT]))


def test_senders_on_a_port() -> None:
    arp = "-p ARP --arp-mac-src 02:00:00:00:00:01"
    assert _text(PORTS, PORT) == [
        "-A src -i tap1 -j src-vmzuives",
        "-A src-vmzuives -s ! 02:00:00:00:00:01 -j DROP",
        "-A src-vmzuives -p IPv4 --ip-proto udp --ip-sport 67 -j DROP",
        "-A src-vmzuives -p IPv4 --ip-proto udp --ip-dport 68 -j DROP",
        "-A src-vmzuives -p IPv4 --ip-src 0.0.0.0 --ip-dst 255.255.255.255"
        " --ip-proto udp --ip-sport 68 --ip-dport 67 -j RETURN",
        "-A src-vmzuives -p IPv4 --ip-src 0.0.0.0 --ip-proto igmp -j RETURN",
        "-A src-vmzuives -p RARP -j RETURN",
        f"-A src-vmzuives {arp} --arp-op Request --arp-ip-src 0.0.0.0 -j RETURN",
        "-A src-vmzuives -p IPv4 --ip-src 10.1.0.9 -j RETURN",
        f"-A src-vmzuives {arp} --arp-ip-src 10.1.0.9 -j RETURN",
        "-A src-vmzuives -j DROP",
        "-I PREROUTING -j src",
    ]
    assert _text(PORTS_INPUT, PORT) == [
        "-A in -i tap1 -d 01:80:c2:00:00:00/ff:ff:ff:ff:ff:f0 -j DROP",
        "-I INPUT -j in",
    ]
    assert _text(RAW, PORT) == _text(RAW6, PORT) == []


def test_senders_on_a_link() -> None:
    mac = "-m mac --mac-source 02:00:00:00:00:07"
    assert _text(RAW, ROUTED) == [
        "-A src -i tap7 -g src-hip6uau6",
        "-A src-hip6uau6 -p udp -m udp --sport 67 -j DROP",
        "-A src-hip6uau6 -s 0.0.0.0 -d 255.255.255.255 -p udp -m udp --sport 68 --dport 67"
        f" {mac} -j RETURN",
        f"-A src-hip6uau6 -s 10.7.0.7 {mac} -j RETURN",
        f"-A src-hip6uau6 -s 10.7.0.8 {mac} -j RETURN",
        "-A src-hip6uau6 -j DROP",
        "-I PREROUTING -j src",
    ]
    assert _text(RAW6, ROUTED) == [
        "-A src -i tap7 -g src-hip6uau6",
        "-A src-hip6uau6 -j DROP",
        "-I PREROUTING -j src",
    ]


def test_accepts_name_a_link_or_an_answer_or_come_from_one_that_does() -> None:
    """An ACCEPT ends FORWARD for the packet, others' rules included."""
    for section in (FILTER, FILTER6):
        for line in _text(section, *ALL):
            if line.startswith("-A fwd") and "ACCEPT" in line:
                assert "-i br" in line


def test_forwards_and_public_addresses_of_ipv6() -> None:
    six = dataclasses.replace(
        FORWARD,
        target=IPv6Address("fd00:1::9"),
        addresses=(IPv6Address("2001:db8::1"), IPv4Address("203.0.113.1")),
    )
    public = dataclasses.replace(
        PUBLIC, public=IPv6Address("2001:db8::5"), internal=IPv6Address("fd00:1::5")
    )
    nat66 = dataclasses.replace(MASQUERADE, nat66=True)
    port = "-p tcp -m tcp --dport 80 -j DNAT --to-destination [fd00:1::9]:8080"
    assert _text(NAT6, ZONE, LINK, six, public, nat66) == [
        "-A dnat -d 2001:db8::5 -j DNAT --to-destination fd00:1::5",
        f"-A dnat -i eth0 -m addrtype --dst-type LOCAL {port}",
        "-A dnat -i br1 -j hair",
        "-A dnat -m addrtype --src-type LOCAL -j hair",
        f"-A hair -d 2001:db8::1 {port}",
        "-A snat -m mark --mark 0x20000000/0x20000000 -j back",
        "-A snat -s fd00:1::5 -o eth0 -j SNAT --to-source 2001:db8::5",
        "-A snat -o eth0 -m addrtype ! --src-type LOCAL -j MASQUERADE --random-fully",
        "-A back -j MARK --and-mark 0xdfffffff",
        "-A back -o br1 -j MASQUERADE --random-fully",
        "-I PREROUTING -j dnat",
        "-I OUTPUT -j dnat",
        "-I POSTROUTING -j snat",
    ]
    assert _text(NAT, six, public) == []
    assert _text(NAT6, FORWARD, PUBLIC, MASQUERADE) == []
