"""The driver on the kernel and in memory: what the conformance kit does not ask."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from errno import EMFILE, EPERM
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from snnet.contract import (
    Add,
    AntiSpoof,
    ApiError,
    BridgeAccept,
    Change,
    Exists,
    GroupMembers,
    HostIsolation,
    InvalidRequest,
    Masquerade,
    Missing,
    Noun,
    PortForward,
    PublicIp,
    Remove,
    TunnelGuard,
    Unsupported,
    Untracked,
    Zone,
    ZoneLink,
    error_for,
    keyed,
)
from snnet.contract.errors import needs
from snnet.firewall import nft
from snnet.firewall.nftables import NftablesFirewall
from snnet.firewall.nftables.nouns import StoredNouns
from snnet.firewall.nftables.reader import Reader, StoredChain
from snnet.firewall.nftables.steps import with_operation
from snnet.firewall.nftables.tables import Table
from snnet.firewall.nftables.writer import Writer, by_netlink
from snnet.system.host import RealHost
from snnet.system.process import run
from tests.firewall.nftables.test_words import WORDS

OWNER = "cnci:c-1"
ZONE = Zone(owner=OWNER, zone="t1")
GONE = "the table is gone"
ALL: list[Noun] = [ZONE, *(noun for noun, _ in WORDS.values())]


@pytest.fixture(params=["in memory", pytest.param("kernel", marks=pytest.mark.kernel)])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RealHost]:
    """In memory the namespace is that of the tests: nothing is done in it."""
    in_memory = request.param == "in memory"
    found = request.getfixturevalue("nf_tables" if in_memory else "netns")
    host = RealHost(None if in_memory else found, owner=OWNER, runtime=tmp_path / "run")
    yield host
    host.close()


@pytest.fixture
def driver(host: RealHost) -> Iterator[NftablesFirewall]:
    driver = NftablesFirewall(host)
    yield driver
    driver.close()


def do(driver: NftablesFirewall, *words: str, input: str | None = None) -> str:
    return run(words, netns=driver.host.netns.fd, input=input, timeout=60).stdout


def add(driver: NftablesFirewall, *nouns: Noun) -> None:
    error = driver.apply([Add(noun) for noun in nouns]).error
    assert error is None, error


def ruleset(driver: NftablesFirewall) -> str:
    return do(driver, "nft", "-s", "list", "ruleset")


def test_a_fake_host_is_refused() -> None:
    from snnet import FakeKernel

    with pytest.raises(InvalidRequest, match="firewall='fake'"):
        NftablesFirewall(FakeKernel())


def test_without_the_library_the_program_does_the_same(
    driver: NftablesFirewall, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(driver, *ALL)
    by_library, dump = ruleset(driver), driver.dump()
    assert driver.apply([Remove(noun) for noun in reversed(ALL)]).error is None
    monkeypatch.setattr(nft, "_binding", lambda: None)
    other = NftablesFirewall(driver.host)
    add(other, *ALL)
    assert ruleset(other) == by_library
    assert other.dump() == dump
    assert other.obstacles() == []
    assert isinstance(other.apply([Add(ALL[1])]).error, Exists)
    assert other.apply([Remove(noun) for noun in reversed(ALL)]).error is None
    assert ruleset(other) == ""
    other.close()


def test_with_neither_it_says_what_to_install(
    driver: NftablesFirewall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nft, "_binding", lambda: None)
    monkeypatch.setattr(nft, "find_program", lambda name: None)
    assert "apt-get install nftables" in (driver.missing(ZONE) or "")


def test_it_finds_out_what_the_kernel_can_without_leaving_a_trace(
    driver: NftablesFirewall,
) -> None:
    assert [driver.missing(noun) for noun in ALL] == [None] * len(ALL)
    assert ruleset(driver) == ""


def test_a_family_the_kernel_lacks_is_named(
    driver: NftablesFirewall, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = nft.Nft.run

    def no_bridge(self: nft.Nft, commands: list[str], *, as_json: bool = False) -> str:
        if any("table bridge" in line for line in commands):
            raise Unsupported("Operation not supported")
        return original(self, commands, as_json=as_json)

    monkeypatch.setattr(nft.Nft, "run", no_bridge)
    guard = AntiSpoof(owner=OWNER, link="v0", mac="02:00:00:00:00:01", addresses=(GUEST,))
    assert "family bridge" in (driver.missing(guard) or "")
    assert driver.missing(ZONE) is None


GUEST = IPv4Address("10.1.0.9")


@pytest.mark.parametrize("noun", ALL[1:], ids=lambda noun: type(noun).__name__)
def test_what_an_accident_left_of_a_rule_is_no_obstacle(
    driver: NftablesFirewall, noun: Noun
) -> None:
    """The record is gone, the rest is there; then the other way round."""
    add(driver, ZONE, noun)
    whole = ruleset(driver)
    words = WORDS[next(name for name in WORDS if WORDS[name][0] == noun)][1]
    record = next(line for line in words if line.startswith("create element "))
    named = record.replace("create", "delete").split(" comment")[0].removesuffix(" }") + " }"
    do(driver, "nft", named)
    assert driver.find(noun) is None
    assert isinstance(driver.apply([Remove(noun)]).error, Missing)
    add(driver, noun)
    assert ruleset(driver) == whole
    assert driver.apply([Remove(noun), Remove(ZONE)]).error is None
    assert ruleset(driver) == ""


def test_a_rule_that_lost_a_part_is_removed_all_the_same(driver: NftablesFirewall) -> None:
    isolation = HostIsolation(owner=OWNER, link="br0")
    add(driver, isolation)
    do(driver, "nft", 'delete element arp snnet-cnci-c-1 isolated { "br0" }')
    assert driver.apply([Remove(isolation)]).error is None
    assert ruleset(driver) == ""


@pytest.mark.parametrize("table", ["inet", "bridge", "arp"])
def test_a_table_that_lost_its_rules_is_recreated_completely(
    driver: NftablesFirewall, table: str
) -> None:
    add(driver, *ALL)
    whole = ruleset(driver)
    do(driver, "nft", "flush", "table", table, "snnet-cnci-c-1")
    assert driver.snapshot() == {}
    assert any(f"table {table} " in line for line in driver.obstacles())
    add(driver, *ALL)
    assert ruleset(driver) == whole
    assert driver.snapshot() == keyed(ALL)
    assert driver.obstacles() == []


@pytest.mark.parametrize("table", ["inet", "bridge", "arp"])
def test_whoever_needs_a_table_is_gone_with_it(driver: NftablesFirewall, table: str) -> None:
    """Also who has its elements in another table, and in this one only rules that all share."""
    add(driver, *ALL)
    whole = sorted(ruleset(driver).splitlines())
    do(driver, "nft", "delete", "table", table, "snnet-cnci-c-1")
    add(driver, *[noun for noun in ALL if driver.find(noun) is None])
    assert sorted(ruleset(driver).splitlines()) == whole
    assert driver.snapshot() == keyed(ALL)
    assert driver.obstacles() == []


def test_the_kernel_obeys_no_rule_of_a_table_that_is_gone(driver: NftablesFirewall) -> None:
    """The record of an isolation is in another table."""
    add(driver, HostIsolation(owner=OWNER, link="br0"))
    assert driver.enforced()[1] == []
    do(driver, "nft", "delete", "table", "arp", "snnet-cnci-c-1")
    assert driver.enforced()[1] == [f"rules of {OWNER} in table arp snnet-cnci-c-1: {GONE}"]


def test_rules_are_read_once_after_a_change_of_others(
    driver: NftablesFirewall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where tables are absent, and however many nouns are looked for."""
    here: list[Noun] = [BridgeAccept(owner=OWNER, bridge=f"br{number}") for number in range(9)]
    absent: list[Noun] = [Untracked(owner=OWNER, link="p0"), HostIsolation(owner=OWNER, link="b")]
    read: list[str] = []
    of_owner, content = StoredNouns.of_owner, Reader.content

    def reading(stored: StoredNouns, owner: str) -> list[Noun]:
        read.append("nouns")
        return of_owner(stored, owner)

    def listing(reader: Reader, table: Table) -> dict[str, StoredChain]:
        read.append(table.family)
        return content(reader, table)

    add(driver, *here)
    driver.snapshot()
    monkeypatch.setattr(StoredNouns, "of_owner", reading)
    monkeypatch.setattr(Reader, "content", listing)
    for others, expected in ((False, []), (True, ["arp", "bridge", "inet", "nouns"])):
        if others:
            do(driver, "nft", "add", "table", "inet", "theirs")
        read.clear()
        assert [driver.find(noun) for noun in (*here, *absent)] == [*here, None, None]
        assert sorted(read) == expected


def test_tables_are_looked_at_once_after_each_change(
    driver: NftablesFirewall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever made it; what others have is read again after theirs alone."""
    extra, read = BridgeAccept(owner=OWNER, bridge="br9"), list[str]()
    content, listed = Reader.content, driver._nft.ruleset

    def listing(reader: Reader, table: Table) -> dict[str, StoredChain]:
        read.append(table.family)
        return content(reader, table)

    def theirs() -> list[dict[str, Any]]:
        read.append("theirs")
        return listed()

    add(driver, *ALL)
    assert driver.obstacles() == []
    monkeypatch.setattr(Reader, "content", listing)
    monkeypatch.setattr(driver._nft, "ruleset", theirs)
    own = ["arp", "bridge", "inet"]
    table = f"snnet-{OWNER.replace(':', '-')}"
    lost = ("delete", "element", "inet", table, "bridged", '{ "br9" . "br9" }')
    changes: list[tuple[Callable[[], object], list[str], bool]] = [
        (lambda: None, [], False),
        (lambda: add(driver, extra), own, True),
        (lambda: do(driver, "nft", "add", "table", "inet", "theirs"), [*own, "theirs"], True),
        (lambda: do(driver, "nft", *lost), own, False),
        (lambda: None, [], False),
    ]
    for change, expected, there in changes:
        change()
        read.clear()
        assert (extra.key in driver.snapshot()) is there
        driver.obstacles()
        assert sorted(read) == expected


def test_one_rule_added_after_a_flush_brings_the_others_back(driver: NftablesFirewall) -> None:
    add(driver, *ALL)
    whole, epoch = driver.snapshot(), driver.epoch()
    assert driver.epoch() == epoch
    for chain in ("forward", "input"):
        do(driver, "nft", "flush", "chain", "inet", "snnet-cnci-c-1", chain)
    assert driver.epoch() != epoch
    (first, *others) = [noun for noun in ALL if isinstance(noun, HostIsolation)]
    assert all(driver.find(noun) is None for noun in (ZONE, first, *others))
    add(driver, first)
    assert driver.snapshot() == whole
    epoch = driver.epoch()
    assert driver.apply([Remove(first)]).error is None
    assert driver.epoch() == epoch


def test_a_change_that_changes_nothing_hides_none_of_others(driver: NftablesFirewall) -> None:
    first, second = IPv4Address("10.0.0.2"), IPv4Address("10.0.0.3")
    few = GroupMembers(owner=OWNER, tenant="acme", group="web", addresses=(first,))
    change = Change(replace(few, addresses=(first, second)), few)
    add(driver, few)
    for others in (["nft", "add", "table", "inet", "theirs"], None):
        assert driver.apply([change]).error is None
        epoch = driver.epoch()
        assert driver.apply([change]).error is None  # they are members already
        if others:
            do(driver, *others)
            assert driver.epoch() != epoch
    assert driver.find(few) == change.noun


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (error_for(EMFILE, "change the firewall", detail="raise the limit"), "raise the limit"),
        (error_for(EPERM, "change the firewall"), needs()),
        (nft._refused("/dev/stdin:1:1-9: Error: Could not: File exists\nadd x\n"), "File exists"),
        (nft._refused("Error: syntax error\nadd tabel\n"), "nft: Error: syntax error"),
    ],
    ids=["limit", "permission", "words", "syntax"],
)
def test_the_error_of_an_operation_keeps_its_reason(error: ApiError, reason: str) -> None:
    found = with_operation(error, Add(ZONE))
    assert type(found) is type(error)
    assert str(found).startswith(f"cannot {Add(ZONE)}: ")
    assert str(found).endswith(f": {reason}")
    assert str(found).count(reason) == (2 if reason == "File exists" else 1)


def test_a_recreated_table_keeps_the_guards_of_tunnels(driver: NftablesFirewall) -> None:
    peers = [IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")]
    guards = [
        TunnelGuard(
            owner=OWNER, link=f"g{number}", protocol="gre", port=0, tunnel_key=7, remote=peer
        )
        for number, peer in enumerate(peers)
    ]
    add(driver, *guards)
    whole = ruleset(driver)
    do(driver, "nft", "flush", "table", "inet", "snnet-cnci-c-1")
    assert driver.find(guards[0]) is None
    add(driver, guards[0])
    assert ruleset(driver) == whole
    assert driver.snapshot() == keyed(guards)
    assert driver.apply([Remove(guard) for guard in guards]).error is None
    assert ruleset(driver) == ""


def test_after_a_flush_of_everything_it_goes_on(driver: NftablesFirewall) -> None:
    add(driver, *ALL)
    do(driver, "nft", "flush", "ruleset")
    assert driver.snapshot() == {}
    assert isinstance(driver.apply([Remove(ALL[3])]).error, Missing)
    add(driver, *ALL)
    assert driver.snapshot() == keyed(ALL)


@pytest.mark.parametrize("first", range(len(ALL)))
def test_after_a_flush_one_change_does_not_stand_for_all(
    driver: NftablesFirewall, first: int
) -> None:
    """Also where nobody has looked since: what the next ones need is made as well."""
    add(driver, *ALL)
    do(driver, "nft", "flush", "ruleset")
    needs_zone = isinstance(ALL[first], (ZoneLink, PortForward))
    order = [] if needs_zone else [ALL[first]]
    order += [noun for noun in ALL if noun not in order]
    for noun in order:
        driver.perform(Add(noun))
    assert driver.snapshot() == keyed(ALL)
    assert driver.enforced()[1] == []
    for noun in reversed(ALL):
        driver.perform(Remove(noun))
    assert driver.dump() == ""


@pytest.mark.parametrize("look", ["snapshot", "find"])
@pytest.mark.parametrize("later", sorted({type(noun) for noun in ALL}, key=str))
def test_after_a_flush_that_was_seen_nothing_counts_as_made(
    driver: NftablesFirewall, later: type[Noun], look: str
) -> None:
    """Also if a transaction needs some parts that were there, and some that were not."""
    add(driver, *(noun for noun in ALL if not isinstance(noun, (later, ZoneLink, PortForward))))
    do(driver, "nft", "flush", "ruleset")
    if look == "find":
        assert driver.find(ZONE) is None
    else:
        assert driver.snapshot() == {}
    add(driver, *ALL)
    assert driver.snapshot() == keyed(ALL)
    assert driver.enforced()[1] == []


def test_one_wrong_rule_of_many_is_the_one_that_is_named(driver: NftablesFirewall) -> None:
    add(driver, ALL[5])
    outcome = driver.apply([Add(noun) for noun in ALL])
    assert outcome.done == {0, 1, 2, 3, 4}
    assert set(outcome.errors) == {5}
    assert isinstance(outcome.error, Exists)
    rest = driver.apply([Add(noun) for noun in ALL], keep_going=True)
    assert rest.done == set(range(6, len(ALL)))
    assert set(rest.errors) == set(range(6))


def test_a_refusal_tells_the_operation_and_the_kernels_words(driver: NftablesFirewall) -> None:
    nowhere = ZoneLink(owner=OWNER, link="br0", zone="t9")
    error = driver.apply([Add(nowhere)]).error
    assert isinstance(error, Missing)
    assert str(error).startswith("cannot add zone t9 link br0: No such file or directory (ENOENT)")
    assert isinstance(error, ApiError)


def test_dry_runs_can_be_pasted(driver: NftablesFirewall) -> None:
    adding = [driver.commands(Add(noun)) for noun in ALL]
    for lines in adding:  # a process for each line: all at once would take long
        do(driver, "sh", "-e", input="\n".join(lines))
    assert driver.snapshot() == keyed(ALL)
    removing = [driver.commands(Remove(noun)) for noun in reversed(ALL)]
    for lines in removing:
        do(driver, "sh", "-e", input="\n".join(lines))
    assert driver.snapshot() == {}


def test_a_thousand_at_once_and_back(driver: NftablesFirewall) -> None:
    many: list[Noun] = [
        PortForward(
            owner=OWNER, protocol="tcp", device="eth0", port=port, target=GUEST, target_port=22
        )
        for port in range(1, 1001)
    ]
    add(driver, Masquerade(owner=OWNER, device="eth0"), *many)
    assert len(driver.snapshot({PortForward})) == 1000
    assert driver.find(many[500]) == many[500]
    assert driver.apply([Remove(noun) for noun in many]).error is None
    assert len(driver.snapshot()) == 1


@pytest.mark.kernel
@pytest.mark.parametrize("host", ["kernel"], indirect=True)
def test_what_nft_lists_can_be_loaded_again(driver: NftablesFirewall) -> None:
    """Hosts save their ruleset like that, and load it when they start."""
    add(driver, *ALL)
    saved = ruleset(driver)
    do(driver, "nft", "flush", "ruleset")
    do(driver, "nft", "-f", "-", input=saved)
    assert ruleset(driver) == saved
    assert driver.snapshot() == keyed(ALL)


@pytest.mark.kernel
def test_the_kernel_takes_many_members_at_once(netns: str, tmp_path: Path) -> None:
    """A message of 20,000 addresses is larger than what a socket may send by default."""
    host = RealHost(netns, owner=OWNER, runtime=tmp_path / "run")
    driver = NftablesFirewall(host)
    first = IPv4Address("10.0.0.0")
    few = GroupMembers(owner=OWNER, tenant="acme", group="web", addresses=(first,))
    many = replace(few, addresses=tuple(first + number for number in range(20_000)))
    try:
        for operation in (Add(few), Change(many, few), Change(few, many)):
            driver.perform(operation)
            assert keyed([operation.noun]) == driver.snapshot()
    finally:
        driver.close()
        host.close()


@pytest.mark.parametrize("noun", ALL[1:], ids=lambda noun: type(noun).__name__)
def test_what_is_sent_over_netlink_is_what_nft_makes_of_the_words(
    driver: NftablesFirewall, noun: Noun, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(driver, *ALL)
    whole, stored = sorted(ruleset(driver).splitlines()), driver.snapshot()
    monkeypatch.setattr(driver._usage, "unused_after", lambda steps: set())  # all sets stay
    for choose in (by_netlink, lambda commands: None):
        monkeypatch.setattr("snnet.firewall.nftables.driver.by_netlink", choose)
        assert driver.apply([Remove(noun)]).error is None
        assert noun.key not in driver.snapshot()
        add(driver, noun)
        assert sorted(ruleset(driver).splitlines()) == whole
        assert driver.snapshot() == stored


def test_elements_go_over_netlink_once_their_sets_are_there(
    driver: NftablesFirewall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them than one message holds, and without nft, which would list the host's sets."""
    add(driver, ZONE, *(noun for noun in ALL if isinstance(noun, AntiSpoof)))
    before = ruleset(driver)
    monkeypatch.setattr(driver._nft, "run", lambda _: pytest.fail("nft was asked"))
    made, guards = driver.transactions, many(1000)
    add(driver, *guards)
    assert driver.transactions == made + 1
    assert keyed(guards).items() <= driver.snapshot().items()
    assert driver.apply([Remove(noun) for noun in guards]).error is None
    assert driver.transactions == made + 2
    assert ruleset(driver) == before


def many(number: int) -> list[Noun]:
    return [
        AntiSpoof(owner=OWNER, link=f"m{n}", mac="02:00:0a:01:00:09", addresses=(GUEST + n,))
        for n in range(number)
    ]


@pytest.mark.parametrize(
    "noun",
    [
        AntiSpoof(owner=OWNER, link="v0", mac="02:00", addresses=(GUEST,)),
        AntiSpoof(owner=OWNER, link="v0", mac="02000a010009", addresses=(GUEST,)),
        AntiSpoof(owner=OWNER, link="", mac="02:00:0a:01:00:09", addresses=(GUEST,)),
        AntiSpoof(owner=OWNER, link="v" * 16, mac="02:00:0a:01:00:09", addresses=(GUEST,)),
        AntiSpoof(owner=OWNER, link="v0", mac="02:00:0A:01:00:09", addresses=(GUEST,)),
        AntiSpoof(owner=OWNER, link="v0", mac="2 :00:0a:01:00:09", addresses=(GUEST,)),
        AntiSpoof(owner=OWNER, link="v/0", mac="02:00:0a:01:00:09", addresses=(GUEST,)),
    ],
    ids=["short", "no colons", "no link", "long link", "upper case", "blank", "no name"],
)
def test_a_bad_value_is_refused_with_and_without_its_sets(
    driver: NftablesFirewall, noun: Noun
) -> None:
    assert isinstance(driver.apply([Add(noun)]).error, ApiError)
    add(driver, *many(1))
    before = ruleset(driver)
    assert isinstance(driver.apply([Add(noun)]).error, ApiError)
    assert ruleset(driver) == before


def test_the_last_rule_takes_the_tables_along_whoever_removed_the_others(
    driver: NftablesFirewall,
) -> None:
    rules = [Masquerade(owner=OWNER, device=f"eth{number}") for number in range(3)]
    add(driver, *rules)
    other = NftablesFirewall(driver.host)
    for who, rule in zip((driver, other, driver), rules, strict=True):
        assert who.apply([Remove(rule)]).error is None
    other.close()
    assert ruleset(driver) == ""


def _taken_whole(driver: NftablesFirewall, nouns: Iterable[Noun]) -> bool:
    """Remove the nouns; return whether their tables were deleted without their elements."""
    deleted: list[bool] = []
    delete = Writer.delete_tables

    def noted(writer: Writer, doomed: Iterable[Table], number: int) -> bool:
        deleted.append(delete(writer, doomed, number))
        return deleted[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Writer, "delete_tables", noted)
        outcome = driver.apply([Remove(noun) for noun in _falling(nouns)], keep_going=True)
    assert not outcome.errors
    return deleted == [True]


def _falling(nouns: Iterable[Noun]) -> list[Noun]:
    """The nouns in the order in which they are removed."""
    return sorted(nouns, key=lambda noun: noun.rank, reverse=True)


def test_who_removes_all_that_was_seen_deletes_the_tables_whole(driver: NftablesFirewall) -> None:
    other = Untracked(owner="cn:other", link="x")
    add(driver, other)
    before = ruleset(driver)
    add(driver, *ALL)
    assert not _taken_whole(driver, ALL), "nobody looked"
    add(driver, *ALL)
    assert driver.snapshot().keys() == {noun.key for noun in (*ALL, other)}
    assert _taken_whole(driver, ALL)
    assert ruleset(driver) == before
    assert driver.snapshot() == keyed([other])
    add(driver, *ALL)  # with their chains
    assert driver.snapshot() == keyed([*ALL, other])


def test_what_others_changed_since_the_look_is_not_deleted(driver: NftablesFirewall) -> None:
    add(driver, *ALL)
    driver.snapshot()
    other = NftablesFirewall(driver.host)
    late = Masquerade(owner=OWNER, device="late")
    add(other, late)
    assert not _taken_whole(driver, ALL)
    assert driver.snapshot() == keyed([late])
    other.close()


def test_a_change_between_the_number_and_the_deletion_stops_it(
    driver: NftablesFirewall,
) -> None:
    add(driver, *ALL)
    driver.snapshot()
    late = Masquerade(owner=OWNER, device="late")
    other = NftablesFirewall(driver.host)
    within = driver._epochs.within

    def interrupted(transaction: Callable[[], bool], count: int = 1) -> bool:
        driver._epochs.within = within  # type: ignore[method-assign]
        add(other, late)
        return within(transaction, count)

    driver._epochs.within = interrupted  # type: ignore[method-assign]
    outcome = driver.apply([Remove(noun) for noun in _falling(ALL)], keep_going=True)
    assert not outcome.errors
    assert driver.snapshot() == keyed([late])
    other.close()


def test_chains_of_others_in_our_tables_stay(driver: NftablesFirewall) -> None:
    add(driver, ZONE)
    do(driver, "nft", "add", "chain", "inet", Table("inet", OWNER).name, "foreign")
    assert driver.snapshot() == keyed([ZONE])
    assert not _taken_whole(driver, [ZONE])
    assert "foreign" in ruleset(driver)


def test_not_all_or_one_twice_leaves_the_tables(driver: NftablesFirewall) -> None:
    rules = [Masquerade(owner=OWNER, device=f"eth{number}") for number in range(3)]
    add(driver, *rules)
    driver.snapshot()
    assert not _taken_whole(driver, rules[:2])
    assert driver.snapshot() == keyed(rules[2:])
    add(driver, rules[0])
    driver.snapshot()
    outcome = driver.apply([Remove(rules[2]), Remove(rules[2])], keep_going=True)
    assert [type(error) for error in outcome.errors.values()] == [Missing]
    assert driver.snapshot() == keyed(rules[:1])


def test_chains_that_another_process_removed_as_unused_are_made_again(
    driver: NftablesFirewall,
) -> None:
    """Without them, elements that are there have no effect."""
    rule, rest = HostIsolation(owner=OWNER, link="br9"), Masquerade(owner=OWNER, device="eth0")
    other = NftablesFirewall(driver.host)
    add(driver, rule, rest)
    assert other.apply([Remove(rule)]).error is None
    assert driver.find(rule) is None
    add(driver, rule)
    assert other.enforced() == (keyed([rule, rest]), [])
    assert other.snapshot() == keyed([rule, rest])
    other.close()


def test_chains_that_another_process_removes_just_before_a_transaction_are_made_again(
    driver: NftablesFirewall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transaction is for the ruleset that the driver has seen, and for no other.

    Their sets are there all the same.
    """
    first, second = (HostIsolation(owner=OWNER, link=link, arp=False) for link in ("v8", "v9"))
    rest = Masquerade(owner=OWNER, device="eth0")
    other, change = NftablesFirewall(driver.host), Writer.change
    add(driver, first, rest)
    left = [Remove(first)]

    def late(self: Writer, *args: Any) -> bool:
        if self is driver._writer and left:
            assert other.apply([left.pop()]).error is None
        return change(self, *args)

    monkeypatch.setattr(Writer, "change", late)
    add(driver, second)
    assert not left
    assert other.enforced() == (keyed([second, rest]), [])
    other.close()


def test_who_observes_during_a_transaction_waits_until_it_is_counted(
    driver: NftablesFirewall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a transaction of others after that would be taken for this one."""
    epochs, run_nft, free = driver._epochs, nft.Nft.run, list[bool]()

    def watched(self: nft.Nft, commands: Any, **options: Any) -> str:
        said = run_nft(self, commands, **options)
        free.append(not epochs._lock.locked())
        return said

    monkeypatch.setattr(nft.Nft, "run", watched)
    add(driver, ZONE)
    assert free
    assert not any(free)


CLIENT, FIRST, SECOND = "198.51.100.9", IPv4Address("10.1.0.9"), IPv4Address("10.1.0.10")


@pytest.mark.kernel
@pytest.mark.parametrize("inbound", [True, False])
def test_what_lost_rules_had_translated_ends_with_the_new_rule_of_a_public_address(
    netns: str, tmp_path: Path, inbound: bool
) -> None:
    """Connections to the guest that had the address, and those of the guest with another one."""
    host = RealHost(netns, owner=OWNER, runtime=tmp_path / "run")
    driver = NftablesFirewall(host)
    old = PublicIp(owner=OWNER, public=IPv4Address("203.0.113.5"), internal=FIRST, device="eth0")
    public = replace(old, internal=SECOND) if inbound else replace(old, public=old.public + 1)
    add(driver, old)
    ends = ("--src", CLIENT, "--dst", str(old.public), "--dst-nat", str(FIRST))
    if not inbound:
        ends = ("--src", str(FIRST), "--dst", CLIENT, "--src-nat", str(old.public))
    ports = ("--sport", "4000", "--dport", "80", "--timeout", "300", "--state", "ESTABLISHED")
    do(driver, "conntrack", "-I", "-p", "tcp", *ends, *ports, "-u", "ASSURED,SEEN_REPLY")
    do(driver, "nft", "flush", "ruleset")
    driver.snapshot()
    add(driver, public)
    assert do(driver, "conntrack", "-L") == ""
    driver.close()
    host.close()
