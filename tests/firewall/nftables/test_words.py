"""What the driver says to nft: golden text, and keys in the kernel's bytes."""

from __future__ import annotations

import time
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_network

import pytest

from snnet.contract import (
    Add,
    AntiSpoof,
    ArpGuard,
    BridgeAccept,
    Change,
    Denied,
    DhcpGuard,
    ExternalForward,
    GroupMembers,
    HostIsolation,
    Masquerade,
    Noun,
    Operation,
    PortForward,
    PortGroups,
    ProtectedNetwork,
    PublicIp,
    Rejected,
    Remove,
    TunnelGuard,
    Unsupported,
    Untracked,
    Zone,
    ZoneLink,
)
from snnet.firewall.nftables.chains import zone_chains
from snnet.firewall.nftables.drops import REASONS
from snnet.firewall.nftables.elements import COMMENT_MAX, elements
from snnet.firewall.nftables.groups import chains_of
from snnet.firewall.nftables.steps import PreparedOperation
from snnet.firewall.nftables.tables import (
    ARP,
    BRIDGE,
    INET,
    Part,
    Table,
    base,
    owner_of,
    parts_of,
    rules_in,
    sets_of,
)
from snnet.firewall.nftables.types import ETHER, IFNAME, IPV4, IPV6, PORT, PROTO, pack, unpack

O = "cnci:c-1"  # noqa: E741
T = "inet snnet-cnci-c-1"
GUEST = IPv4Address("10.1.0.9")

WORDS: dict[str, tuple[Noun, list[str]]] = {
    "zone link": (
        ZoneLink(owner=O, link="br0", zone="t1", networks=(IPv4Network("10.1.0.0/24"),)),
        [
            f'create element {T} inside {{ "br0" comment "t1 10.1.0.0/24" }}',
            f'add element {T} links-t1 {{ "br0" }}',
            f'add element {T} from {{ "br0" : jump from-t1 }}',
            f'add element {T} into {{ "br0" : goto into-t1 }}',
        ],
    ),
    "bridge": (
        BridgeAccept(owner=O, bridge="br0"),
        [
            f'create element {T} closed {{ "br0" }}',
            f'add element {T} bridged {{ "br0" . "br0" }}',
        ],
    ),
    "isolation": (
        HostIsolation(owner=O, link="br0"),
        [
            f'create element {T} isolated {{ "br0" comment "arp" }}',
            'add element arp snnet-cnci-c-1 isolated { "br0" }',
        ],
    ),
    "spoof": (
        AntiSpoof(owner=O, link="v0", mac="02:00:0a:01:00:09", addresses=(GUEST,)),
        [
            "create element bridge snnet-cnci-c-1 guarded "
            '{ "v0" comment "02:00:0a:01:00:09 10.1.0.9" }',
            'add element bridge snnet-cnci-c-1 own { "v0" . 02:00:0a:01:00:09 }',
            'add element bridge snnet-cnci-c-1 sources { "v0" . 02:00:0a:01:00:09 . 10.1.0.9 }',
        ],
    ),
    "spoof of both families": (
        AntiSpoof(
            owner=O, link="r6", mac="02:00:0a:01:00:09",
            addresses=(GUEST, IPv6Address("fd00:1::9")), bridged=False,
        ),
        [
            f'create element {T} guarded '
            '{ "r6" comment "02:00:0a:01:00:09 10.1.0.9 fd00:1::9" }',
            f'add element {T} sources {{ "r6" . 02:00:0a:01:00:09 . 10.1.0.9 }}',
            f'add element {T} own6 {{ "r6" . 02:00:0a:01:00:09 }}',
            f'add element {T} macs6 {{ "r6" . 0x02000a010009 }}',
            f'add element {T} sources6 {{ "r6" . 02:00:0a:01:00:09 . fd00:1::9 }}',
            f'add element {T} targets6 {{ "r6" . 0xfd000001000000000000000000000009 }}',
            f'add element {T} sources6 {{ "r6" . 02:00:0a:01:00:09 . fe80::aff:fe01:9 }}',
            f'add element {T} targets6 {{ "r6" . 0xfe8000000000000000000afffe010009 }}',
        ],
    ),
    "untracked": (
        Untracked(owner=O, link="v0", router="02:00:00:00:00:01"),
        [
            'create element bridge snnet-cnci-c-1 untracking '
            '{ "v0" comment "02:00:00:00:00:01" : jump routed }',
            'add element bridge snnet-cnci-c-1 routers { "v0" . 02:00:00:00:00:01 }',
        ],
    ),
    "dhcp": (
        DhcpGuard(owner=O, link="v0", mac="02:00:0a:01:00:09"),
        [
            'create element bridge snnet-cnci-c-1 clients { "v0" comment "02:00:0a:01:00:09" }',
            'add element bridge snnet-cnci-c-1 leases { "v0" . 0x02000a010009 }',
        ],
    ),
    "arp": (
        ArpGuard(owner=O, link="v0", mac="02:00:0a:01:00:09", address=GUEST),
        [
            "create element arp snnet-cnci-c-1 guarded "
            '{ "v0" comment "02:00:0a:01:00:09 10.1.0.9" }',
            'add element arp snnet-cnci-c-1 senders { "v0" . 02:00:0a:01:00:09 . 10.1.0.9 }',
            'add element arp snnet-cnci-c-1 senders { "v0" . 02:00:0a:01:00:09 . 0.0.0.0 }',
        ],
    ),
    "tunnel": (
        TunnelGuard(
            owner=O, link="t0", protocol="udp", port=16385, tunnel_key=7,
            remote=IPv4Address("192.0.2.1"),
        ),
        [
            f'create element {T} tunnels {{ "t0" . 192.0.2.1 comment "udp 16385 7" }}',
            f"add element {T} tunnel_peers {{ 192.0.2.1 . 16385 }}",
            f"add element {T} tunnel_ports {{ 16385 }}",
        ],
    ),
    "protected": (
        ProtectedNetwork(owner=O, network=IPv4Network("192.0.2.0/24")),
        [
            f'create element {T} protected {{ 192.0.2.0 . 24 comment "closed" }}',
            f"add element {T} closed_nets {{ 192.0.2.0/24 }}",
        ],
    ),
    "nat": (
        Masquerade(owner=O, device="eth0"),
        [f'create element {T} masquerades {{ "eth0" }}'],
    ),
    "exit": (
        ExternalForward(owner=O, device="eth0", bridge="br0"),
        [f'create element {T} exits {{ "br0" . "eth0" }}'],
    ),
    "port": (
        PortForward(
            owner=O, protocol="tcp", device="eth0", port=80, target=GUEST, target_port=8080,
            addresses=(IPv4Address("192.0.2.1"),),
        ),
        [
            f'create element {T} forwards '
            '{ "eth0" . tcp . 80 . 0.0.0.0 comment "10.1.0.9 8080 192.0.2.1" }',
            f'add element {T} port_forwards {{ "eth0" . tcp . 80 : 10.1.0.9 . 8080 }}',
            f"add element {T} hairpins {{ 192.0.2.1 . tcp . 80 : 10.1.0.9 . 8080 }}",
        ],
    ),
    "port of one address": (
        PortForward(
            owner=O, protocol="tcp", device="eth0", port=80, target=GUEST, target_port=8081,
            address=IPv4Address("192.0.2.1"),
        ),
        [
            f'create element {T} forwards '
            '{ "eth0" . tcp . 80 . 192.0.2.1 comment "10.1.0.9 8081" }',
            f'add element {T} address_forwards '
            '{ "eth0" . tcp . 80 . 192.0.2.1 : 10.1.0.9 . 8081 }',
            f"add element {T} address_hairpins {{ 192.0.2.1 . tcp . 80 : 10.1.0.9 . 8081 }}",
        ],
    ),
    "port for some": (
        PortForward(
            owner=O, protocol="udp", device="eth0", port=81, target=GUEST, target_port=8080,
            addresses=(IPv4Address("192.0.2.1"),),
            sources=(ip_network("10.0.0.0/8"), ip_network("10.1.0.0/16")),
        ),
        [
            f"add chain {T} sources-udp-81-any-65746830",
            f"flush chain {T} sources-udp-81-any-65746830",
            f"add rule {T} sources-udp-81-any-65746830 meta l4proto udp ip saddr "
            "{ 10.0.0.0/8 } dnat ip to 10.1.0.9:8080",
            f'create element {T} forwards ' '{ "eth0" . udp . 81 . 0.0.0.0 comment '
            '"10.1.0.9 8080 192.0.2.1 10.0.0.0/8 10.1.0.0/16" }',
            f'add element {T} port_checks '
            '{ "eth0" . udp . 81 : jump sources-udp-81-any-65746830 }',
            f"add element {T} hairpin_checks "
            "{ 192.0.2.1 . udp . 81 : jump sources-udp-81-any-65746830 }",
        ],
    ),
    "port of one address for some": (
        PortForward(
            owner=O, protocol="tcp", device="eth0", port=82, target=GUEST, target_port=22,
            address=IPv4Address("192.0.2.1"), sources=(ip_network("198.51.100.0/24"),),
        ),
        [
            f"add chain {T} sources-tcp-82-192.0.2.1-65746830",
            f"flush chain {T} sources-tcp-82-192.0.2.1-65746830",
            f"add rule {T} sources-tcp-82-192.0.2.1-65746830 meta l4proto tcp ip saddr "
            "{ 198.51.100.0/24 } dnat ip to 10.1.0.9:22",
            f'create element {T} forwards '
            '{ "eth0" . tcp . 82 . 192.0.2.1 comment "10.1.0.9 22 198.51.100.0/24" }',
            f'add element {T} address_checks '
            '{ "eth0" . tcp . 82 . 192.0.2.1 : jump sources-tcp-82-192.0.2.1-65746830 }',
            f"add element {T} address_hairpin_checks "
            "{ 192.0.2.1 . tcp . 82 : jump sources-tcp-82-192.0.2.1-65746830 }",
        ],
    ),
    "spoof with many addresses": (
        AntiSpoof(
            owner=O, link="v1", mac="02:00:0a:01:00:09", bridged=False,
            addresses=tuple(GUEST + number for number in range(13)),
        ),
        [
            f'create element {T} guarded {{ "v1" comment "02:00:0a:01:00:09 '
            '10.1.0.9 10.1.0.10 10.1.0.11 10.1.0.12 10.1.0.13 10.1.0.14 10.1.0.15 10.1.0.16 '
            '10.1.0.17 10.1.0.18 10.1.0.19 +" }',
            f'add element {T} guarded_more {{ "v1" . 1 comment "10.1.0.20 10.1.0.21" }}',
            *(
                f'add element {T} sources {{ "v1" . 02:00:0a:01:00:09 . 10.1.0.{number} }}'
                for number in range(9, 22)
            ),
        ],
    ),
    "public": (
        PublicIp(owner=O, public=IPv4Address("203.0.113.5"), internal=GUEST, device="eth0"),
        [
            f'create element {T} publics {{ 203.0.113.5 comment "10.1.0.9 eth0" : 10.1.0.9 }}',
            f'add element {T} public_sources {{ 10.1.0.9 . "eth0" : 203.0.113.5 }}',
            f'add element {T} public_exits {{ 10.1.0.9 . "eth0" }}',
        ],
    ),
}  # fmt: skip


def said(operation: Operation) -> list[str]:
    """The operation in the words of nft."""
    return list(map(str, PreparedOperation.of(operation).commands))


@pytest.mark.parametrize("name", WORDS)
def test_a_rule_is_elements_of_sets(name: str) -> None:
    noun, words = WORDS[name]
    assert said(Add(noun)) == words


@pytest.mark.parametrize("name", WORDS)
def test_what_is_removed_is_named_by_its_keys_alone(name: str) -> None:
    removed = said(Remove(WORDS[name][0]))
    commands = [line for line in removed if " chain " not in line]
    assert all(line.startswith("delete element ") for line in commands)
    assert not any("comment" in line or " : " in line for line in commands)


def test_a_zone_has_chains_and_its_networks_as_ranges() -> None:
    zone = Zone(owner=O, zone="t1", networks=(ip_network("10.1.1.0/24"), ip_network("10.1.0.0/24")))
    commands = said(Add(zone))
    assert f"create chain {T} from-t1" in commands
    assert f"add rule {T} from-t1 goto drop-from" in commands
    assert f"add element {T} networks-t1 {{ 10.1.0.0/23 }}" in commands
    assert f"add element {T} members-t1 {{ 10.1.0.0 . 24, 10.1.1.0 . 24 }}" in commands


def test_an_outbound_zone_lets_out_and_is_known_by_a_chain() -> None:
    commands = said(Add(Zone(owner=O, zone="t1", outbound=True)))
    assert f"create chain {T} outbound-t1" in commands
    assert f"add rule {T} from-t1 jump outbound-t1" in commands
    assert f"add rule {T} from-t1 goto drop-from" not in commands


def test_each_rule_that_drops_counts() -> None:
    tables = [Table(family, O) for family in (INET, BRIDGE, ARP)]
    chains = {
        (table.family, chain): rules
        for table in tables
        for part in parts_of(table)
        for chain, rules in rules_in(part).items()
    }
    port = PortGroups(link="v1", tenant="t", groups=())
    own = zone_chains("t1", outbound=False) | chains_of(port)
    chains |= {("", chain): rules for chain, rules in own.items()}
    dropping = {
        place
        for place, rules in chains.items()
        if any(rule.split()[-1] == "drop" for rule in rules)
    }
    assert {chain for _, chain in dropping} == REASONS.keys()
    for table in tables:
        counted = {chain for family, chain in dropping if family == table.family}
        assert counted == REASONS.keys() & set(sets_of(table.family))
        for chain in counted:
            assert chains[table.family, chain] == [
                f"add @{chain} {{ {side(chain)} timeout 1d counter }}", "drop"
            ]  # fmt: skip


def side(chain: str) -> str:
    """What packets to guests count for is the link by which they would leave."""
    return "oifname" if chain in ("drop-into", "drop-in") else "iifname"


@pytest.mark.parametrize(
    ("noun", "error"),
    [
        (Masquerade(owner="nobody", device="eth0"), Denied),
        (Masquerade(owner="", device="eth0"), Denied),
        (Masquerade(owner=O, device='a"b'), Rejected),
        (Masquerade(owner=O, device="ext*"), Rejected),
        (Zone(owner=O, zone="t1; flush ruleset"), Rejected),
        (ZoneLink(owner=O, link="br0", zone='"'), Rejected),
    ],
)
def test_what_nft_cannot_say_is_refused(noun: Noun, error: type[Exception]) -> None:
    with pytest.raises(error):
        said(Add(noun))


def test_only_networks_of_zones_change_in_place() -> None:
    zone = Zone(owner=O, zone="t1")
    wider = Zone(owner=O, zone="t1", networks=(ip_network("10.0.0.0/8"),))
    assert said(Change(wider, zone))[0] == f"flush set {T} networks-t1"
    with pytest.raises(Unsupported, match="outbound cannot be changed in place"):
        PreparedOperation.of(Change(Zone(owner=O, zone="t1", outbound=True), zone))
    link = ZoneLink(owner=O, link="br0", zone="t1")
    with pytest.raises(Unsupported, match="zone cannot be changed"):
        PreparedOperation.of(Change(link, ZoneLink(owner=O, link="br0", zone="t2")))


def test_keys_are_padded_to_registers() -> None:
    types = (IFNAME, PROTO, PORT)
    raw = pack(types, ("eth0", "udp", 53))
    assert raw == b"eth0".ljust(16, b"\0") + b"\x11\0\0\0" + b"\0\x35\0\0"
    assert unpack(types, raw) == ("eth0", "udp", 53)
    types = (IFNAME, ETHER, IPV4)
    key = ("v0", "02:00:0a:01:00:09", GUEST)
    assert len(pack(types, key)) == 28
    assert unpack(types, pack(types, key)) == key
    key6 = ("v0", "02:00:0a:01:00:09", IPv6Address("fd00::9"))
    assert unpack((IFNAME, ETHER, IPV6), pack((IFNAME, ETHER, IPV6), key6)) == key6
    assert pack((IPV4,), (GUEST,)) == bytes([10, 1, 0, 9])


def test_tables_are_named_after_their_owner() -> None:
    assert str(Table(INET, "cn:a-b.c")) == "inet snnet-cn-a-b.c"
    assert owner_of("snnet-cn-a-b.c") == "cn:a-b.c"
    assert owner_of("filter") is None
    assert owner_of("snnet-") is None


PARTS = [part for family in (INET, BRIDGE, ARP) for part in parts_of(Table(family, O))]


@pytest.mark.parametrize("part", PARTS, ids=str)
def test_the_base_flushes_its_chains_before_it_fills_them(part: Part) -> None:
    """So that it may be said again at any time, and nothing is missing at any moment."""
    commands = base(part)
    rules = [line for line in commands if line.startswith("add rule ")]
    assert len(rules) == sum(map(len, rules_in(part).values())) > 0
    first = commands.index(rules[0])
    assert all(line.startswith("add rule ") for line in commands[first:])
    flushed = {line.split()[4] for line in commands if line.startswith("flush chain ")}
    assert {line.split()[4] for line in rules} <= flushed


def test_who_sends_is_checked_in_a_chain_that_goes_after_what_leads_to_it() -> None:
    noun, words = WORDS["port of one address for some"]
    chain = f"chain {T} sources-tcp-82-192.0.2.1-65746830"
    commands = said(Remove(noun))
    assert commands[-3:] == [f"add {chain}", f"flush {chain}", f"delete {chain}"]
    assert all(line.startswith("delete element ") for line in commands[:-3])
    assert len(commands[:-3]) == len([line for line in words if " element " in line])


def test_no_comment_is_longer_than_an_element_may_have() -> None:
    addresses = tuple(IPv4Address("255.255.255.100") + number for number in range(100))
    noun = PortForward(
        owner=O, protocol="sctp", device="eth0", port=65535, target=addresses[0],
        target_port=65535, addresses=addresses,
    )  # fmt: skip
    comments = [part.comment for part in elements(noun)]
    assert max(map(len, comments)) <= COMMENT_MAX
    assert sum(comment.endswith(" +") for comment in comments) > 10


def test_a_change_of_many_members_is_of_those_that_differ() -> None:
    """And it takes time in proportion to them: comparing each with each took more than a minute."""
    members = tuple(IPv4Address("10.0.0.0") + number for number in range(20_000))
    old = GroupMembers(owner=O, tenant="acme", group="web", addresses=members[:-1])
    new = replace(old, addresses=members[1:])
    started = time.process_time()
    gone, come = said(Change(new, old))
    assert time.process_time() - started < 10
    assert (gone.split()[0], come.split()[0]) == ("delete", "add")
    assert f"{{ {members[0]} }}" in gone
    assert f"{{ {members[-1]} }}" in come
    assert len(PreparedOperation.of(Add(new)).commands) > len(members[1:])
