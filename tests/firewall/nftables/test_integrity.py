"""What somebody changed in tables of snnet is named, and made whole again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from snnet.contract import Add, HostIsolation, Noun, ZoneLink, keyed
from snnet.firewall.nftables import NftablesFirewall
from snnet.firewall.nftables.integrity import _coverage, _covered
from snnet.firewall.nftables.reader import (
    ELEMENT,
    LIST_ELEMENTS,
    LIST_SET,
    LIST_TABLE,
    StoredElement,
)
from snnet.system import nf_tables
from snnet.system.host import RealHost
from snnet.system.nfnetlink import Nfnetlink, attribute
from snnet.system.process import run
from tests.firewall.nftables.test_driver import ALL, OWNER, add, ruleset

TABLE = "snnet-cnci-c-1"
FLAGS, CATCH_ALL = 3, 2  # NFTA_SET_ELEM_FLAGS, NFT_SET_ELEM_CATCHALL
CREATE = 0x400  # NLM_F_CREATE


class Tables:
    """The tables of a host, and means to change them behind the driver's back."""

    def __init__(self, host: RealHost) -> None:
        self._host = host

    def nft(self, *commands: str) -> None:
        run(["nft", "-f", "-"], netns=self._host.netns.fd, input="\n".join(commands) + "\n")

    def listed(self, family: str) -> str:
        return run(["nft", "-a", "list", "table", family, TABLE], netns=self._host.netns.fd).stdout

    def rule(self, family: str, chain: str, words: str) -> str:
        """The handle of the first rule of the chain that contains these words."""
        text = self.listed(family).split(f"chain {chain} {{", 1)[1]
        match = re.search(rf"^.*{re.escape(words)}.*# handle (\d+)$", text, re.MULTILINE)
        assert match, text
        return match[1]

    def instead(self, family: str, chain: str, words: str, change: Callable[[str], str]) -> None:
        """Put the rule that contains these words in its place, with its text changed."""
        handle = self.rule(family, chain, words)
        line = next(line for line in self.listed(family).splitlines() if f"handle {handle}" in line)
        old = line.rpartition(" # handle")[0].strip()
        assert change(old) != old
        self.nft(f"replace rule {family} {TABLE} {chain} handle {handle} {change(old)}")

    def element(self, family: str, name: str, data: str) -> None:
        """Give the first key of a map other data."""
        text = self.listed(family).split(f"map {name} {{", 1)[1]
        match = re.search(r"elements = \{ (.+?)(?: comment \"[^\"]*\")? : ", text)
        assert match, text
        self.nft(
            f"delete element {family} {TABLE} {name} {{ {match[1]} }}",
            f"add element {family} {TABLE} {name} {{ {match[1]} : {data} }}",
        )

    def again(self, family: str, change: Callable[[str], str]) -> None:
        """Load the table anew, with its text changed.  nft cannot read all that it prints."""
        text = run(["nft", "list", "table", family, TABLE], netns=self._host.netns.fd).stdout
        changed = change(text)
        assert changed != text
        self.nft(f"delete table {family} {TABLE}", changed)


@pytest.fixture
def host(netns: str, tmp_path: Path) -> Iterator[RealHost]:
    with_owner = RealHost(netns, owner=OWNER, runtime=tmp_path / "run")
    yield with_owner
    with_owner.close()


@pytest.fixture
def driver(host: RealHost) -> Iterator[NftablesFirewall]:
    driver = NftablesFirewall(host)
    yield driver
    driver.close()


def accept(family: str, chain: str, words: str) -> Callable[[Tables], None]:
    """Replace a rule by one that accepts all."""

    def change(at: Tables) -> None:
        handle = at.rule(family, chain, words)
        at.nft(f"replace rule {family} {TABLE} {chain} handle {handle} accept")

    return change


def before(family: str, chain: str, words: str, rule: str) -> Callable[[Tables], None]:
    """Insert a rule before another one."""

    def change(at: Tables) -> None:
        handle = at.rule(family, chain, words)
        at.nft(f"insert rule {family} {TABLE} {chain} position {handle} {rule}")

    return change


def moved(family: str, chain: str, words: str, rule: str) -> Callable[[Tables], None]:
    """Move a rule to the end of its chain."""

    def change(at: Tables) -> None:
        handle = at.rule(family, chain, words)
        at.nft(
            f"delete rule {family} {TABLE} {chain} handle {handle}",
            f"add rule {family} {TABLE} {chain} {rule}",
        )

    return change


def said(*commands: str) -> Callable[[Tables], None]:
    return lambda at: at.nft(*(command.format(table=TABLE) for command in commands))


def text(family: str, old: str, new: str) -> Callable[[Tables], None]:
    return lambda at: at.again(family, lambda listed: listed.replace(old, new, 1))


CHANGES: dict[str, tuple[str, Callable[[Tables], None]]] = {
    "a drop becomes an accept": ("inet", accept("inet", "isolation", "goto drop-host")),
    "the last drop of a guard": ("bridge", accept("bridge", "guard", "goto drop-address")),
    "a drop of ARP": ("arp", accept("arp", "input", "@isolated goto drop-host")),
    "an end of a zone": ("inet", accept("inet", "into-t1", "goto drop-into")),
    "a client's MAC": (
        "bridge",
        said(
            "flush set bridge {table} leases",
            'add element bridge {table} leases {{ "v0" . 0x020000000077 }}',
        ),
    ),
    "a chain that counts and drops": ("bridge", accept("bridge", "drop-address", "drop")),
    "a drop of what is for bridges": ("arp", accept("arp", "drop-bridge", "drop")),
    "a network that is protected": ("inet", accept("inet", "from-t1", "goto drop-protected")),
    "a rule that counts": (
        "inet",
        lambda at: at.nft(
            f"delete rule inet {TABLE} drop-host handle {at.rule('inet', 'drop-host', 'add @')}"
        ),
    ),
    "a client's other MACs": ("bridge", accept("bridge", "client", "@leases goto drop-dhcp")),
    "a source of a forward": (
        "inet",
        lambda at: at.instead(
            "inet",
            "sources-tcp-82-192.0.2.1-65746830",
            "dnat",
            lambda old: re.sub(r"saddr [\d./]+", "saddr 0.0.0.0/1", old),
        ),
    ),
    "the ports of a service": (
        "inet",
        lambda at: at.instead(
            "inet", "services", "udp dport", lambda old: old.replace("{ 53", "{ 22, 53")
        ),
    ),
    "a match that is turned round": (
        "inet",
        lambda at: at.instead(
            "inet", "postrouting", "!= local", lambda old: old.replace("!= local", "local")
        ),
    ),
    "a rule before ours": ("inet", before("inet", "forward", "@closed goto drop-from", "accept")),
    "a rule before a guard": ("bridge", before("bridge", "prerouting", "goto guard", "accept")),
    "a rule that only counts": ("inet", before("inet", "services", "drop", "counter")),
    "a rule more at the end": ("inet", said("add rule inet {table} services accept")),
    "a jump that moves": (
        "inet",
        moved("inet", "input", "jump services", "iifname @limited jump services"),
    ),
    "a jump twice": (
        "inet",
        before("inet", "input", "jump services", "iifname @limited jump services"),
    ),
    "a rule that is lost": (
        "inet",
        lambda at: at.nft(
            f"delete rule inet {TABLE} isolation handle "
            + at.rule("inet", "isolation", "goto drop-host")
        ),
    ),
    "a policy": ("inet", said("add chain inet {table} forward {{ policy drop; }}")),
    "a priority": ("arp", text("arp", "priority filter;", "priority 7;")),
    "a hook": ("arp", text("arp", "hook input priority filter;", "hook output priority filter;")),
    "a chain of others": (
        "inet",
        said("add chain inet {table} mine {{ type filter hook input priority -400; }}"),
    ),
    "a table that sleeps": ("inet", said("add table inet {table} {{ flags dormant; }}")),
    "a flush of what helps": ("bridge", said("flush set bridge {table} sources")),
    "a flush of records": ("inet", said("flush set inet {table} masquerades")),
    "a flush of networks": ("inet", said("flush set inet {table} closed_nets")),
    "an address more": (
        "bridge",
        said(
            'add element bridge {table} sources {{ "v0" . 02:00:00:00:00:01 . 10.9.9.9 }}',
        ),
    ),
    "a network more": ("inet", said("add element inet {table} networks-t1 {{ 0.0.0.0/0 }}")),
    "a record that is nonsense": (
        "inet",
        said('add element inet {table} inside {{ "x0" comment "" }}'),
    ),
    "another verdict": ("inet", lambda at: at.element("inet", "from", "accept")),
    "another target": (
        "inet",
        lambda at: at.element("inet", "port_forwards", "10.66.6.6 . 22"),
    ),
    "a table of helpers": ("arp", said("delete table arp {table}")),
    "all of a table": ("inet", said("flush table inet {table}")),
}  # fmt: skip


@pytest.mark.kernel
@pytest.mark.parametrize("name", ["closed_nets", "networks-t1"])
def test_what_matches_all_addresses_is_no_end_of_a_network(
    driver: NftablesFirewall, host: RealHost, name: str
) -> None:
    """``nft add element ... { * }``, at which nft 1.0.6 crashes."""
    add(driver, *ALL)
    kernel = Nfnetlink(host.netns.fd, nf_tables.SUBSYSTEM)
    flags = attribute(FLAGS, CATCH_ALL.to_bytes(4, "big"))
    of = attribute(LIST_TABLE, f"{TABLE}\0".encode()) + attribute(LIST_SET, f"{name}\0".encode())
    new = attribute(LIST_ELEMENTS, attribute(ELEMENT, flags, nested=True), nested=True)
    family = nf_tables.FAMILIES["inet"]
    kernel.transact([(nf_tables.NEW_ELEMENTS, CREATE, family, of + new)])
    kernel.close()
    assert driver.snapshot() == {}
    assert any(f"set {name} has other networks" in line for line in driver.obstacles())


@pytest.mark.kernel
@pytest.mark.parametrize("what", CHANGES)
def test_a_change_is_named_and_undone(driver: NftablesFirewall, host: RealHost, what: str) -> None:
    add(driver, *ALL)
    assert driver.snapshot() == keyed(ALL)
    assert driver.obstacles() == []
    whole, (family, change) = ruleset(driver), CHANGES[what]
    change(Tables(host))
    assert ruleset(driver) != whole
    found = driver.snapshot()
    assert found != keyed(ALL)
    named = [line for line in driver.obstacles() if f"table {family} {TABLE} " in line]
    # A noun whose record is gone is missing like one that was never added.
    assert len(named) == (what != "a flush of records")
    assert all("call repair()" in line for line in named)
    add(driver, *(noun for noun in ALL if noun.key not in found))
    assert ruleset(driver) == whole
    assert driver.snapshot() == keyed(ALL)
    assert driver.obstacles() == []


@pytest.mark.kernel
def test_rules_of_another_process_are_compared_too(
    driver: NftablesFirewall, host: RealHost
) -> None:
    """What this process has not made itself, and never made a model of."""
    add(driver, *ALL)
    other = NftablesFirewall(host)
    assert other.snapshot() == keyed(ALL)
    accept("inet", "into-t1", "goto drop-into")(Tables(host))
    assert other.snapshot() == {}
    other.close()


@pytest.mark.kernel
def test_a_look_up_does_not_believe_the_record_alone(
    driver: NftablesFirewall, host: RealHost
) -> None:
    """Else the next VNIC on the bridge is made without isolation."""
    noun = next(noun for noun in ALL if isinstance(noun, HostIsolation))
    add(driver, *ALL)
    Tables(host).nft(f"flush set arp {TABLE} isolated")
    assert driver.find(noun) is None


@pytest.mark.kernel
def test_without_the_right_to_make_a_namespace_rules_are_counted(
    driver: NftablesFirewall, host: RealHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> int:
        raise PermissionError

    monkeypatch.setattr("snnet.firewall.nftables.reference.new_netns", refuse)
    add(driver, *ALL)
    assert driver.snapshot() == keyed(ALL)
    Tables(host).nft(f"flush chain inet {TABLE} into-t1")
    assert driver.snapshot() == {}


@pytest.mark.kernel
def test_what_packets_fill_is_not_compared(driver: NftablesFirewall, host: RealHost) -> None:
    add(driver, *ALL)
    Tables(host).nft(
        f"add element bridge {TABLE} drop-address {{ eth7 counter packets 3 bytes 9 timeout 1h }}"
    )
    assert driver.snapshot() == keyed(ALL)
    assert driver.obstacles() == []
    (found,) = driver.dropped()
    assert (found.link, found.packets) == ("eth7", 3)


@pytest.mark.kernel
def test_comparing_leaves_no_trace(driver: NftablesFirewall) -> None:
    nouns: list[Noun] = [noun for noun in ALL if not isinstance(noun, ZoneLink)][:5]
    assert driver.apply([Add(noun) for noun in nouns]).error is None
    before, epoch = ruleset(driver), driver.epoch()
    assert driver.snapshot() == keyed(nouns)
    assert (ruleset(driver), driver.epoch()) == (before, epoch)


def interval(first: str, *, ends: bool = False) -> StoredElement:
    return StoredElement(IPv4Network(first).network_address.packed, "", ends=ends)


def test_what_interval_sets_cover() -> None:
    """The kernel lists the ends of intervals as elements of their own, or leaves them out."""
    nets = [IPv4Network("10.0.0.0/24"), IPv4Network("10.0.1.0/24"), IPv4Network("10.0.4.0/22")]
    both = [
        interval("0.0.0.0", ends=True),
        interval("10.0.0.0"),
        interval("10.0.1.0", ends=True),
        interval("10.0.1.0"),
        interval("10.0.2.0", ends=True),
        interval("10.0.4.0"),
        interval("10.0.8.0", ends=True),
    ]
    assert _covered(both) == _covered([one for one in both if one != both[2]]) == _coverage(nets)
    assert _coverage([IPv4Network("128.0.0.0/1")]) == [(bytes([128, 0, 0, 0]), None)]
    assert _coverage([]) == _covered([interval("0.0.0.0", ends=True)]) == []
    assert _covered(both[:-2]) != _coverage(nets)
