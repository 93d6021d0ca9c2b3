"""Rules as nouns: strict, found as they were added, separate by owner."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

import pytest

from snnet.conformance.hosts import check_host
from snnet.conformance.rig import Rig
from snnet.contract import (
    RULES,
    Add,
    AntiSpoof,
    ArpGuard,
    Busy,
    Change,
    DhcpGuard,
    Exists,
    HostIsolation,
    IPNetwork,
    Link,
    Masquerade,
    Missing,
    MssClamp,
    Noun,
    PortForward,
    ProtectedNetwork,
    PublicIp,
    Remove,
    SnnetError,
    TunnelGuard,
    Unsupported,
    Untracked,
    Zone,
    ZoneLink,
)

from .base import FirewallTests, add, do, forward, refused, remove, remove_all, zone
from .nouns import ADDRESS, ADDRESSES, EXTREME, ID, LINK, LONG, NETWORKS, OF_IPV6, ORDINARY


def _otherwise(rule: Noun) -> Noun:
    """Return a rule with the same identity and other values."""
    match rule:
        case DhcpGuard() | ArpGuard():
            return replace(rule, mac="02:00:00:00:00:01")
        case ProtectedNetwork():
            return replace(rule, closed=not rule.closed, port=9)
        case MssClamp():
            return replace(rule, mtu=1280)
        case TunnelGuard():
            return replace(rule, protocol="udp", port=1, tunnel_key=2)
        case Untracked():
            return replace(rule, router="02:00:00:00:00:01")
        case HostIsolation():
            return replace(rule, arp=not rule.arp, open_address=ADDRESS)
        case AntiSpoof():
            return replace(rule, mac="02:00:00:00:00:01", bridged=not rule.bridged)
        case PortForward():
            return replace(rule, target=ADDRESS, target_port=1, sources=NETWORKS)
        case PublicIp():
            return replace(rule, internal=ADDRESS)
        case Zone():
            return replace(rule, networks=NETWORKS, outbound=not rule.outbound)
    return rule


def _named(noun: Noun) -> str:
    return type(noun).__name__


class IdentityTests(FirewallTests):
    def test_a_driver_says_its_host(self, rig: Rig) -> None:
        """``driver.host`` is the host that the driver works on."""
        check_host(rig.driver)

    @pytest.mark.parametrize("rule", [*ORDINARY, ZoneLink(link="br0", zone="ta")], ids=_named)
    def test_every_rule_is_carried_or_declared_missing(self, rig: Rig, rule: Noun) -> None:
        """A driver carries each kind of rule, or says why not and what to do."""
        assert type(rule) in rig.driver.carries or rig.driver.missing(rule)

    @pytest.mark.parametrize("rule", ORDINARY, ids=_named)
    def test_a_rule_comes_once_and_goes_once(self, rig: Rig, rule: Noun) -> None:
        """A second Add is ``Exists``, a second Remove is ``Missing``; neither changes anything."""
        rule = replace(rule, owner=rig.owner)  # type: ignore[call-arg]
        add(rig, rule)
        assert refused(rig, Add(rule)) is Exists
        remove(rig, rule)
        assert refused(rig, Remove(rule)) is Missing
        add(rig, rule)

    @pytest.mark.parametrize("rule", ORDINARY + EXTREME + OF_IPV6, ids=_named)
    def test_a_rule_is_found_as_it_was_added(self, rig: Rig, rule: Noun) -> None:
        """``find`` and ``snapshot`` return equal nouns, whatever their values."""
        rule = replace(rule, owner="cnci:" + ID)  # type: ignore[call-arg]
        assert rig.driver.find(rule) is None
        add(rig, rule)
        assert rig.driver.find(rule) == rule
        assert rig.driver.snapshot() == {rule.key: rule}
        assert rig.driver.snapshot({type(rule)}) == {rule.key: rule}
        assert rig.driver.snapshot(RULES - {type(rule)}) == {}
        remove(rig, rule)
        assert rig.driver.find(rule) is None
        assert rig.driver.snapshot() == {}

    @pytest.mark.parametrize(
        "networks",
        [
            (),
            (IPv4Network("10.1.0.0/24"),),
            (IPv4Network("10.1.0.0/24"), IPv6Network("fd00:1234:5678:9abc::/64")),
        ],
    )
    def test_a_zone_link_is_found_as_it_was_added(
        self, rig: Rig, networks: tuple[IPNetwork, ...]
    ) -> None:
        """So it is for zone links, with or without the networks behind them."""
        link = ZoneLink(owner=rig.owner, link=LINK, zone=ID, networks=networks)
        add(rig, Zone(owner=rig.owner, zone=ID), link)
        assert rig.driver.find(link) == link
        assert rig.driver.snapshot({ZoneLink}) == {link.key: link}
        assert refused(rig, Add(link)) is Exists
        remove(rig, link)
        assert refused(rig, Remove(link)) is Missing

    def test_all_kinds_at_once_are_found(self, rig: Rig) -> None:
        """Rules of all kinds, with ordinary and extreme values, do not affect each other."""
        rules = [replace(noun, owner=rig.owner) for noun in (*ORDINARY, *EXTREME)]  # type: ignore[call-arg]
        wanted = {rule.key: rule for rule in rules}
        add(rig, *wanted.values())
        assert rig.driver.snapshot() == wanted

    def test_what_is_not_there_is_not_found(self, rig: Rig) -> None:
        """``find`` returns None for a missing rule and for a noun that is not a rule."""
        assert rig.driver.find(forward(rig)) is None
        assert rig.driver.find(Link(name="ext0")) is None

    def test_only_the_identity_says_which_rule_is_meant(self, rig: Rig) -> None:
        """``find`` looks at the identity only, not at the other fields of the noun."""
        rules = [replace(noun, owner=rig.owner) for noun in ORDINARY]  # type: ignore[call-arg]
        add(rig, *rules)
        for rule in rules:
            assert rig.driver.find(_otherwise(rule)) == rule

    def test_a_link_needs_its_zone(self, rig: Rig) -> None:
        """A link of a missing zone is refused with ``Missing``."""
        whole, link = zone(rig, "ta", "in-a")
        add(rig, Zone(owner=rig.owner, zone="another"))
        assert refused(rig, Add(link)) is Missing
        add(rig, whole, link)

    def test_a_zone_with_links_stays(self, rig: Rig) -> None:
        """Removing a zone that still has links is ``Busy``."""
        whole, *links = zone(rig, "ta", "in-a", "in-b")
        add(rig, whole, *links)
        remove(rig, links[0])
        assert refused(rig, Remove(whole)) is Busy
        remove(rig, links[1], whole)

    def test_a_link_is_in_one_zone(self, rig: Rig) -> None:
        """A link that is in a zone cannot join another: ``Exists``."""
        add(rig, *zone(rig, "ta", "in-a"), *zone(rig, "tb"))
        other = ZoneLink(owner=rig.owner, link="in-a", zone="tb")
        assert refused(rig, Add(other)) is Exists

    def test_networks_of_a_zone_change_in_place(self, rig: Rig) -> None:
        """``Change`` replaces the networks of a zone; its links stay."""
        whole, link = zone(rig, "ta", "in-a", networks=NETWORKS[:3])
        assert isinstance(whole, Zone)
        add(rig, whole, link)
        for networks in (NETWORKS[2:5], (), NETWORKS):
            wanted = replace(whole, networks=networks)
            do(rig, Change(wanted, whole))
            assert rig.driver.snapshot() == {wanted.key: wanted, link.key: link}
            whole = wanted

    def test_nothing_else_changes_in_place(self, rig: Rig) -> None:
        """A Change of any other field is ``Unsupported``; it takes a Remove and an Add."""
        before, (whole,) = forward(rig), zone(rig, "ta")
        assert isinstance(whole, Zone)
        add(rig, before, whole)
        after = replace(before, target_port=1)
        assert refused(rig, Change(after, before)) is Unsupported
        assert refused(rig, Change(replace(whole, outbound=True), whole)) is Unsupported

    def test_what_is_not_there_does_not_change(self, rig: Rig) -> None:
        """``Change`` of a missing zone is ``Missing``."""
        (whole,) = zone(rig, "ta")
        assert isinstance(whole, Zone)
        wanted = replace(whole, networks=NETWORKS)
        assert refused(rig, Change(wanted, whole)) is Missing

    def test_forwards_of_one_port_have_an_address_each(self, rig: Rig) -> None:
        """One for each address, and one for any: each is found, and removed, by itself."""
        rules = [
            forward(rig, target_port=number, address=address)
            for number, address in enumerate((None, *ADDRESSES), 1)
        ]
        add(rig, *rules)
        for rule in rules:
            assert rig.driver.find(replace(rule, target_port=9)) == rule
            assert refused(rig, Add(rule)) is Exists
        remove(rig, rules[0])
        assert rig.driver.find(rules[0]) is None
        assert rig.driver.snapshot() == {rule.key: rule for rule in rules[1:]}
        remove(rig, rules[2])
        assert rig.driver.snapshot() == {rules[1].key: rules[1]}

    def test_forwards_of_one_port_have_a_family_each(self, rig: Rig) -> None:
        """One for any address of IPv4, and one of IPv6: each is found, and removed, by itself."""
        four = forward(rig)
        six = replace(four, target=LONG, addresses=())
        add(rig, four, six)
        assert rig.driver.find(four) == four
        assert rig.driver.find(six) == six
        remove(rig, four)
        assert rig.driver.snapshot() == {six.key: six}
        assert refused(rig, Add(six)) is Exists

    def test_a_public_ip_is_of_one_family(self, rig: Rig) -> None:
        """An IPv6 address cannot stand for an IPv4 guest."""
        rule = PublicIp(owner=rig.owner, public=LONG, internal=ADDRESS, device="eth0")
        assert issubclass(refused(rig, Add(rule)), SnnetError)

    def test_an_anti_spoof_rule_comes_once_whatever_its_addresses(self, rig: Rig) -> None:
        """A rule for the same link with addresses of other families is ``Exists``."""
        mac = "02:00:0a:01:00:09"
        rules = [
            AntiSpoof(owner=rig.owner, link="tap0", mac=mac, addresses=addresses)
            for addresses in (ADDRESSES[:1], (LONG,), (*ADDRESSES[:1], LONG))
        ]
        for rule in rules:
            add(rig, rule)
            for other in rules:
                assert rig.driver.find(other) == rule
                assert refused(rig, Add(other)) is Exists
            remove(rig, rule)
            assert rig.driver.find(rule) is None

    def test_sources_do_not_make_another_forward(self, rig: Rig) -> None:
        """A forward that differs in ``sources`` only is the same one: ``Exists``."""
        rules = [forward(rig, sources=sources) for sources in ((), NETWORKS[:1], NETWORKS[1:])]
        for rule in rules:
            add(rig, rule)
            for other in rules:
                assert refused(rig, Add(other)) is Exists
            remove(rig, rule)

    @pytest.mark.parametrize(
        "bad",
        [
            {"protocol": "icmp"},
            {"port": 0},
            {"target_port": 65536},
            {"address": IPv4Address(0)},
            {"sources": (IPv6Network("fd00::/8"),)},
            {"address": IPv6Address("fd00::1")},
            {"target": IPv6Address("fd00::1"), "address": IPv4Address("10.1.0.9")},
            {"target": IPv6Address("fd00::1"), "sources": (IPv4Network("10.1.0.0/24"),)},
        ],
    )
    def test_impossible_port_forwards_are_refused(self, rig: Rig, bad: dict[str, Any]) -> None:
        """Other protocols, and ports outside 1 to 65535, are refused."""
        add(rig, forward(rig))
        rule = replace(forward(rig), **({"port": 1} | bad))
        assert issubclass(refused(rig, Add(rule)), SnnetError)

    @pytest.mark.parametrize("name", ['a";flush#', "a b", "a{b}", "-j", "$HOME", "a\\", "'", "*"])
    def test_odd_names_are_carried_or_refused(self, rig: Rig, name: str) -> None:
        """An unusual link name is found as it was added, or refused."""
        rule = Masquerade(owner=rig.owner, device=name)
        kept = Masquerade(owner=rig.owner, device="eth0")
        add(rig, kept)
        outcome = rig.driver.apply([Add(rule)])
        if outcome.error is None:
            assert rig.driver.find(rule) == rule
            remove(rig, rule)
        assert rig.driver.snapshot() == {kept.key: kept}

    def test_owners_are_independent(self, rig: Rig) -> None:
        """Nodes in one namespace may have rules of the same name; each has its own."""
        other = rig.another("cnci:other")
        mine = [*zone(rig, "ta", "in-a"), Masquerade(owner=rig.owner, device="ext0")]
        his = [replace(noun, owner="cnci:other") for noun in mine]  # type: ignore[call-arg]
        add(rig, *mine)
        outcome = other.apply([Add(noun) for noun in his])
        assert outcome.error is None, outcome.error
        remove(rig, *reversed(mine))
        assert list(other.snapshot().values()) == his
        assert [other.find(noun) for noun in his] == his
        assert not other.apply([Remove(noun) for noun in reversed(his)]).errors

    def test_it_names_all_owners_of_rules(self, rig: Rig) -> None:
        """``owners`` has everybody with a rule; whoever has none may be in it too."""
        other, rule = rig.another("cnci:other"), forward(rig)
        rig.driver.owners()
        add(rig, rule)
        assert rule.owner in rig.driver.owners()
        assert rule.owner in other.owners()
        his = replace(rule, owner="cnci:other")
        assert other.apply([Add(his)]).error is None
        rig.driver.epoch()
        assert {rule.owner, "cnci:other"} <= {*rig.driver.owners()}
        assert other.apply([Remove(his)]).error is None
        rig.driver.epoch()
        assert rule.owner in rig.driver.owners()

    def test_every_driver_of_a_host_sees_the_same(self, rig: Rig) -> None:
        """Rules are kept on the host: other processes and owners find them."""
        rules = [*zone(rig, "ta", "in-a"), forward(rig)]
        add(rig, *rules)
        for owner in (rig.owner, "cn:other"):
            with_it = rig.another(owner)
            assert with_it.snapshot() == rig.driver.snapshot()
            assert with_it.find(rules[-1]) == rules[-1]
            assert isinstance(with_it.apply([Add(rules[-1])]).error, Exists)

    def test_what_one_driver_adds_another_removes(self, rig: Rig) -> None:
        """A driver does not cache what others may have changed."""
        second = rig.another()
        rule = forward(rig)
        add(rig, rule)
        assert not second.apply([Remove(rule)]).errors
        assert rig.driver.find(rule) is None
        assert refused(rig, Remove(rule)) is Missing
        add(rig, rule)
        assert second.find(rule) == rule

    def test_closing_changes_nothing(self, rig: Rig) -> None:
        """Rules stay when the driver is closed; closing may be repeated."""
        rule = forward(rig)
        maker = rig.another()
        assert not maker.apply([Add(rule)]).errors
        maker.close()
        maker.close()
        assert rig.driver.snapshot() == {rule.key: rule}

    def test_it_says_what_it_has_set(self, rig: Rig) -> None:
        """``dump()`` is text for people; without rules it mentions none."""
        rule = forward(rig)
        add(rig, rule)
        assert "8022" in rig.driver.dump()
        remove_all(rig)
        assert "8022" not in rig.driver.dump()
