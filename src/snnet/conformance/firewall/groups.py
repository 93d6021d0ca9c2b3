"""Security groups: a port passes what rules of its groups allow, and the answers to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from snnet.conformance.endpoints import A1, A2, B1, OUT, PORT, R1, Endpoint
from snnet.conformance.rig import Rig
from snnet.contract import (
    Add,
    Busy,
    Change,
    Exists,
    GroupMembers,
    GroupRules,
    IPAddress,
    Missing,
    Noun,
    PortGroups,
    Remove,
    Rule,
    SnnetError,
)

from .base import FirewallTests, add, answer, do, passes, refused, remove, silent, stopped
from .nouns import ID, LINK, LONG, MANY

PING = Rule("in", "icmp", 8)
PING6 = Rule("in", "icmpv6", 128)
TCP = Rule("in", "tcp", PORT)
ALL_OUT, ALL_IN = Rule("out"), Rule("in")
TENANT = "t1"
EVERY_RULE = (
    *(
        Rule(way, protocol, "1,22,80-90,65535")
        for way in ("in", "out")
        for protocol in ("tcp", "udp")
    ),
    Rule("in", "sctp", remote="10.0.0.0/8"),
    Rule("in", "icmp", "0,8-9", "0.0.0.0/0"),
    Rule("out", "icmpv6", "1-4,128", "fd00::/8"),
    Rule("in", "icmpv6", remote="group:web"),
    Rule("in", 47, remote="group:web"),
    Rule("out", 0),
    Rule("in", 255, remote="fd00:1234:5678:9abc::/64"),
    Rule("in", "tcp", ",".join(str(2 * number + 10000) for number in range(40)), "10.1.0.9/32"),
    Rule("out", remote="::/0"),
    ALL_IN,
)


def group(
    rig: Rig,
    rules: Sequence[Rule] = (),
    members: Sequence[IPAddress] = (),
    name: str = "web",
    *,
    bridged: bool = True,
) -> tuple[GroupMembers, GroupRules]:
    """Return the nouns of a group."""
    addresses = tuple(members)
    return (
        GroupMembers(
            owner=rig.owner, tenant=TENANT, group=name, addresses=addresses, bridged=bridged
        ),
        GroupRules(owner=rig.owner, tenant=TENANT, group=name, rules=tuple(rules), bridged=bridged),
    )


def port(rig: Rig, endpoint: Endpoint, *names: str) -> PortGroups:
    """Return the membership of an endpoint, by default in "web"."""
    addresses = (endpoint.ip, endpoint.ip6)
    return PortGroups(
        owner=rig.owner,
        link=endpoint.link,
        tenant=TENANT,
        groups=names or ("web",),
        addresses=addresses,
        bridged=endpoint.bridge is not None,
    )


def put(rig: Rig, new: Sequence[Noun], old: Sequence[Noun]) -> None:
    """Change nouns in place."""
    do(
        rig,
        *(Change(noun, before) for noun, before in zip(new, old, strict=True) if noun != before),
    )


class GroupTests(FirewallTests):
    # -- what passes -----------------------------------------------------------------

    def test_a_port_without_groups_passes_everything(self, rig: Rig) -> None:
        """A group alone changes nothing."""
        add(rig, *group(rig))
        assert passes(rig.ping, A1, A2.ip)
        assert passes(rig.ping, A2, A1.ip6)
        assert answer(rig, A2, A1.ip)

    def test_a_port_with_a_group_passes_only_what_rules_allow(self, rig: Rig) -> None:
        """Without rules nothing passes in either direction, but for ARP, ND and DHCP."""
        assert passes(rig.ping, A1, A2.ip)
        assert passes(rig.ping, A1, A2.ip6)
        add(rig, *group(rig), port(rig, A1))
        for address in (A1.ip, A1.ip6):
            assert stopped(rig.ping, A2, address)
            assert silent(rig, A2, address)
            assert silent(rig, A2, address, "udp")
        for address in (A2.ip, A2.ip6, OUT.ip):
            assert stopped(rig.ping, A1, address)
            assert silent(rig, A1, address)
        assert passes(rig.arp, A1, A2)
        assert passes(rig.arp, A2, A1)
        assert passes(rig.resolve, A2, A1.ip6)
        assert passes(rig.resolve, A1, A2.ip6)
        assert passes(rig.dhcp, A1, A2, server=False)
        assert passes(rig.dhcp, A2, A1, server=True)

    def test_a_rule_lets_in_its_port_and_no_other_thing(self, rig: Rig) -> None:
        """A "web" group: tcp to one port in, no ping, no other protocol, nothing out."""
        add(rig, *group(rig, [TCP]), port(rig, A1))
        for address in (A1.ip, A1.ip6):
            assert answer(rig, A2, address)
            assert silent(rig, A2, address, "udp")
            assert stopped(rig.ping, A2, address)
        for address in (A2.ip, A2.ip6):
            assert silent(rig, A1, address)
            assert stopped(rig.ping, A1, address)

    @pytest.mark.parametrize("ports", [PORT, f"1,{PORT}", f"{PORT - 5}-{PORT}", f"22-80,{PORT}"])
    def test_ports_are_lists_and_ranges(self, rig: Rig, ports: str | int) -> None:
        """Both ends of a range belong to it."""
        before = group(rig, [Rule("in", "udp", ports)])
        add(rig, *before, port(rig, A1))
        assert answer(rig, A2, A1.ip, "udp")
        assert answer(rig, A2, A1.ip6, "udp")
        assert silent(rig, A2, A1.ip)
        put(rig, group(rig, [Rule("in", "udp", f"{PORT + 1}-{PORT + 9},22")]), before)
        assert silent(rig, A2, A1.ip, "udp")

    @pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])
    def test_the_answers_of_what_goes_out_come_in(self, rig: Rig, protocol: str) -> None:
        """Connections out need no rule in, and nobody can open one in."""
        add(rig, *group(rig, [Rule("out", protocol)]), port(rig, A1))
        for target in (A2.ip, A2.ip6, B1.ip):
            assert answer(rig, A1, target, protocol)
        assert silent(rig, A2, A1.ip, protocol)
        assert silent(rig, B1, A1.ip, protocol)
        assert stopped(rig.ping, A1, A2.ip)

    def test_echo_answers_need_a_question(self, rig: Rig) -> None:
        """Ping out, and no ping in; an answer that nobody asked for is dropped."""
        rules = [Rule("out", "icmp", 8), Rule("out", "icmpv6", 128)]
        add(rig, *group(rig, rules), port(rig, A1))
        assert stopped(rig.forge, A2, A1, reply=True)
        assert passes(rig.ping, A1, A2.ip)
        assert passes(rig.ping, A1, A2.ip6)
        assert stopped(rig.ping, A2, A1.ip)
        assert stopped(rig.ping, A2, A1.ip6)

    def test_messages_have_types(self, rig: Rig) -> None:
        """A rule for one type of ICMP lets in that type; of one family only that family."""
        before = group(rig, [PING])
        add(rig, *before, port(rig, A1))
        assert passes(rig.ping, A2, A1.ip)
        assert stopped(rig.ping, A2, A1.ip6)
        after = group(rig, [PING6, Rule("in", "icmp", "13")])
        put(rig, after, before)
        assert passes(rig.ping, A2, A1.ip6)
        assert stopped(rig.ping, A2, A1.ip)

    def test_fragments_follow_the_first(self, rig: Rig) -> None:
        """Packets longer than the MTU pass where their first fragment may."""
        if not rig.fragments:
            return
        add(rig, *group(rig, [PING]), port(rig, A1))
        assert passes(rig.ping, A2, A1.ip, size=3000)

    @pytest.mark.parametrize("kind", ["vlan 0", "two tags", "snap"])
    def test_tags_hide_nothing(self, rig: Rig, kind: str) -> None:
        """Frames with tags, or behind LLC, do not pass, whatever is in them."""
        if not rig.strange_frames:
            return
        assert passes(rig.crafted, A2, A1, kind)
        add(rig, *group(rig, [ALL_IN, Rule("in", "udp", 68)]), port(rig, A1))
        assert stopped(rig.crafted, A2, A1, kind)

    def test_fragments_hide_nothing(self, rig: Rig) -> None:
        """A first fragment says what the packet is, and no other fragment changes that."""
        kinds = ["router advert behind padding", "dhcpv6 answer behind padding"]
        risky = "fragment at byte 8"
        assert [kind for kind in (*kinds, risky) if not rig.says(A2, A1, kind)] == []
        add(rig, *group(rig, [PING6, Rule("in", "udp", 40000)]), port(rig, A1))
        assert passes(rig.says, A2, A1, "first fragment")
        assert passes(rig.says, A2, A1, "later fragment")
        assert [kind for kind in (*kinds, risky) if rig.says(A2, A1, kind)] == []

    def test_what_comes_by_the_host_is_filtered_too(self, rig: Rig) -> None:
        """Guests behind the host's routes are no better than neighbours."""
        add(rig, *group(rig, [replace(TCP, remote=str(B1.address.network))]), port(rig, A1))
        assert answer(rig, B1, A1.ip)
        assert silent(rig, OUT, A1.ip)
        assert silent(rig, A2, A1.ip)
        assert stopped(rig.ping, OUT, A1.ip)
        assert stopped(rig.ping, A1, A1.gateway)

    # -- remotes ---------------------------------------------------------------------

    def test_a_rule_is_about_a_network(self, rig: Rig) -> None:
        """In it is about the source, out about the target."""
        near, far = f"{A2.ip}/32", "10.9.0.0/16"
        before = group(rig, [replace(TCP, remote=near), Rule("out", "udp", PORT, near)])
        add(rig, *before, port(rig, A1))
        assert answer(rig, A2, A1.ip)
        assert silent(rig, A2, A1.ip6)
        assert answer(rig, A1, A2.ip, "udp")
        assert silent(rig, A1, B1.ip, "udp")
        put(rig, group(rig, [replace(TCP, remote=far), Rule("out", "udp", PORT, far)]), before)
        assert silent(rig, A2, A1.ip)
        assert silent(rig, A1, A2.ip, "udp")

    def test_a_rule_is_about_members_of_a_group(self, rig: Rig) -> None:
        """Members are those that are named, and the ports in that group."""
        ours = group(rig, [replace(TCP, remote="group:db")])
        theirs = group(rig, [ALL_IN, ALL_OUT], name="db")
        add(rig, theirs[0], *ours, theirs[1], port(rig, A1))
        assert silent(rig, A2, A1.ip)
        there = replace(theirs[0], addresses=(A2.ip, B1.ip6))
        put(rig, [there], [theirs[0]])
        assert answer(rig, A2, A1.ip)
        assert silent(rig, A2, A1.ip6)
        put(rig, [theirs[0]], [there])
        assert silent(rig, A2, A1.ip)
        member = port(rig, A2, "db")
        add(rig, member)
        assert answer(rig, A2, A1.ip)
        assert answer(rig, A2, A1.ip6)
        put(rig, [replace(member, addresses=(A2.ip6,))], [member])
        assert silent(rig, A2, A1.ip)
        assert answer(rig, A2, A1.ip6)
        remove(rig, member)
        assert silent(rig, A2, A1.ip6)

    def test_a_group_may_name_itself(self, rig: Rig) -> None:
        """Its members reach each other, and nobody else reaches them."""
        rules = [replace(TCP, remote="group:web"), Rule("out", remote="group:web")]
        add(rig, *group(rig, rules), port(rig, A1), port(rig, A2))
        assert answer(rig, A1, A2.ip)
        assert answer(rig, A2, A1.ip6)
        assert silent(rig, B1, A1.ip)

    def test_groups_of_one_name_belong_to_their_tenants(self, rig: Rig) -> None:
        """Members of another tenant's group of that name are strangers."""
        add(rig, *group(rig, [replace(TCP, remote="group:web")]), port(rig, A1))
        mine: list[Any] = [*group(rig, [ALL_IN, ALL_OUT]), port(rig, A2)]
        others: list[Noun] = [replace(noun, tenant="t2") for noun in mine]
        add(rig, *others)
        assert silent(rig, A2, A1.ip)
        assert stopped(rig.ping, A2, A1.ip)

    # -- several groups, and changes ---------------------------------------------------

    def test_what_one_group_allows_is_allowed(self, rig: Rig) -> None:
        """A port may be in several groups, which change in place."""
        web, ping = group(rig, [TCP]), group(rig, [PING], name="ping")
        before = port(rig, A1)
        add(rig, *web, *ping, before)
        assert stopped(rig.ping, A2, A1.ip)
        both = port(rig, A1, "web", "ping")
        do(rig, Change(both, before))
        assert passes(rig.ping, A2, A1.ip)
        assert answer(rig, A2, A1.ip)
        do(rig, Change(port(rig, A1, "ping"), both))
        assert passes(rig.ping, A2, A1.ip)
        assert silent(rig, A2, A1.ip)

    def test_both_ends_decide(self, rig: Rig) -> None:
        """Between two ports with groups, one must let out and the other in."""
        inside = group(rig, [TCP])
        outside = group(rig, [Rule("out", "tcp", PORT)], name="clients")
        add(rig, *inside, *outside, port(rig, A1), port(rig, A2, "clients"))
        assert answer(rig, A2, A1.ip)
        assert silent(rig, A1, A2.ip)
        put(rig, group(rig, [Rule("out", "udp")], name="clients"), outside)
        assert silent(rig, A2, A1.ip)

    def test_without_its_groups_a_port_is_open_again(self, rig: Rig) -> None:
        """Removing the membership opens the port; the group stays for others."""
        nouns, first, second = group(rig), port(rig, A1), port(rig, A2)
        add(rig, *nouns, first, second)
        remove(rig, first)
        assert stopped(rig.ping, A1, A2.ip)
        remove(rig, second)
        assert passes(rig.ping, A1, A2.ip)
        remove(rig, *reversed(nouns))
        assert rig.driver.snapshot() == {}

    # -- as nouns ----------------------------------------------------------------------

    @pytest.mark.parametrize("endpoint", [A1, R1], ids=repr)
    @pytest.mark.parametrize("members", [(), MANY, (A1.ip, A1.ip6, LONG)], ids=len)
    @pytest.mark.parametrize("rules", [(), (TCP,), EVERY_RULE], ids=len)
    def test_groups_are_found_as_they_were_added(
        self, rig: Rig, rules: Sequence[Rule], members: Sequence[IPAddress], endpoint: Endpoint
    ) -> None:
        """``find`` and ``snapshot`` return equal nouns, whatever their values."""
        bridged = endpoint.bridge is not None
        nouns: list[Any] = [*group(rig, rules, members, bridged=bridged), port(rig, endpoint)]
        nouns[2] = replace(nouns[2], addresses=(A1.ip, IPv4Address("1.2.3.4"), IPv6Address("::2")))
        add(rig, *nouns)
        for noun in nouns:
            assert rig.driver.find(noun) == noun
            assert rig.driver.snapshot({type(noun)}) == {noun.key: noun}
            assert refused(rig, Add(noun)) is Exists
        assert rig.driver.snapshot() == {noun.key: noun for noun in nouns}
        remove(rig, *reversed(nouns))
        for noun in nouns:
            assert rig.driver.find(noun) is None
            assert refused(rig, Remove(noun)) is Missing
            assert refused(rig, Change(noun, noun)) is Missing

    def test_thousands_of_members_change_in_place(self, rig: Rig) -> None:
        """Members are added and removed together, however many they are."""
        first, rules = group(rig, [replace(TCP, remote="group:web")])
        add(rig, first, rules, port(rig, A1))
        many = tuple(IPv4Address("10.128.0.0") + 3 * number for number in range(2500))
        some: tuple[IPAddress, ...] = (
            *many[:900],
            *(LONG - number for number in range(1200)),
            A2.ip,
        )
        old = first
        steps: list[tuple[IPAddress, ...]] = [many, some, (A2.ip,), ()]
        for addresses in steps:
            new = replace(first, addresses=addresses)
            do(rig, Change(new, old))
            assert rig.driver.find(new) == new
            seen = answer if A2.ip in addresses else silent
            assert seen(rig, A2, A1.ip)
            old = new

    def test_ids_may_be_long(self, rig: Rig) -> None:
        """A tenant, its groups and a link may have names of any allowed length."""
        names = [f"{number}{ID[1:]}" for number in range(3)]
        nouns: list[Noun] = []
        for name in names:
            members, rules = group(rig, [replace(TCP, remote=f"group:{names[0]}")], name=name)
            nouns += [replace(members, tenant=ID), replace(rules, tenant=ID)]
        nouns.sort(key=lambda noun: noun.rank)
        nouns.append(replace(port(rig, A1, *names), tenant=ID, link=LINK))
        add(rig, *nouns)
        assert rig.driver.snapshot() == {noun.key: noun for noun in nouns}

    def test_a_port_needs_its_groups(self, rig: Rig) -> None:
        """What names a group that is not there is refused with ``Missing``."""
        members, rules = group(rig, [replace(TCP, remote="group:db")])
        assert refused(rig, Add(port(rig, A1))) is Missing
        add(rig, members)
        assert refused(rig, Add(rules)) is Missing
        assert refused(rig, Add(port(rig, A1))) is Missing
        assert refused(rig, Add(replace(rules, bridged=False))) is Missing
        add(rig, *group(rig, name="db"), rules, port(rig, A1))
        assert refused(rig, Add(port(rig, R1))) is Missing
        before = port(rig, A1)
        assert refused(rig, Change(port(rig, A1, "web", "none"), before)) is Missing

    def test_a_group_that_is_needed_stays(self, rig: Rig) -> None:
        """Removing a group that a port or a rule names is ``Busy``."""
        members, rules = group(rig, [replace(TCP, remote="group:db")])
        theirs = group(rig, name="db")
        add(rig, theirs[0], members, rules, theirs[1], port(rig, A1))
        assert refused(rig, Remove(rules)) is Busy
        remove(rig, theirs[1])
        assert refused(rig, Remove(theirs[0])) is Busy
        remove(rig, port(rig, A1), rules, theirs[0], members)

    @pytest.mark.parametrize("name", ["a b", "a/b", "", "x" * 65, 'a"', "ü"])
    def test_names_that_are_no_ids_are_refused(self, rig: Rig, name: str) -> None:
        """Only ids name tenants and groups."""
        add(rig, *group(rig))
        members, rules = group(rig, name=name)
        for noun in (members, rules, port(rig, A1, name)):
            assert issubclass(refused(rig, Add(noun)), SnnetError)
