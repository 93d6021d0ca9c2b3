"""What iptables-nft creates for our first rule goes with our last one, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from snnet.contract import Add, BridgeAccept, Masquerade, Remove
from snnet.firewall.iptables import IptablesFirewall
from snnet.firewall.iptables.tables import Tables
from snnet.system.host import RealHost
from snnet.system.process import run
from tests.firewall.iptables.nouns import ISOLATION, LINK, OWNER, PORT, ROUTED, ZONE
from tests.killed import Killed

pytestmark = pytest.mark.kernel


class World:
    """A namespace, drivers of some owners in it, and what nf_tables has."""

    def __init__(self, netns: str, runtime: Path) -> None:
        self.netns, self.runtime = netns, runtime
        self._hosts: list[RealHost] = []
        self._drivers: list[IptablesFirewall] = []

    def driver(self, owner: str = "cnci:tester") -> IptablesFirewall:
        self._hosts.append(RealHost(self.netns, owner=owner, runtime=self.runtime))
        self._drivers.append(IptablesFirewall(self._hosts[-1], variant="nft"))
        return self._drivers[-1]

    def other(self, *argv: str) -> None:
        """What somebody else runs."""
        run(argv, netns=self._hosts[0].netns.fd)

    def text(self) -> str:
        return run(["nft", "-s", "list", "ruleset"], netns=self._hosts[0].netns.fd).stdout

    def close(self) -> None:
        for driver in self._drivers:
            driver.close()
        for host in self._hosts:
            host.close()


@pytest.fixture
def world(make_netns: Callable[[], str], tmp_path: Path) -> Iterator[World]:
    made = World(make_netns(), tmp_path / "run")
    yield made
    made.close()


NOUNS = (PORT, ISOLATION, ROUTED)
"""Together they are in the tables of all four programs."""


def put(driver: IptablesFirewall) -> None:
    assert driver.apply([Add(noun) for noun in NOUNS]).error is None


def take(driver: IptablesFirewall) -> None:
    assert driver.apply([Remove(noun) for noun in reversed(NOUNS)]).error is None


def test_nothing_is_left(world: World) -> None:
    driver = world.driver()
    assert world.text() == ""
    put(driver)
    for table in ("ip raw", "ip filter", "ip6 filter", "bridge nat", "bridge filter", "arp filter"):
        assert f"table {table} {{" in world.text()
    take(driver)
    assert world.text() == ""
    zone = [ZONE, LINK, Masquerade(owner=OWNER, device="eth0", nat66=True)]
    assert driver.apply([Add(noun) for noun in zone]).error is None
    assert "table ip nat {" in world.text()
    assert driver.apply([Remove(noun) for noun in reversed(zone)]).error is None
    assert world.text() == ""


FOREIGN = {
    "a rule": ("iptables-nft", "-A OUTPUT -p udp", "-D OUTPUT -p udp", "udp"),
    "a rule beside ours": ("iptables-nft", "-A INPUT -p udp", "-F INPUT", "udp"),
    "a policy": ("iptables-nft", "-P FORWARD DROP", "-P FORWARD ACCEPT", "policy drop"),
    "a chain": ("ip6tables-nft", "-N DOCKER-USER", "-X DOCKER-USER", "DOCKER-USER"),
    "a set": ("nft", "add set ip filter s { type ipv4_addr; }", "delete set ip filter s", "set s"),
    "a rule for frames": ("ebtables-nft", "-A FORWARD -j ACCEPT", "-F FORWARD", "counter"),
    "a rule for ARP": ("arptables-nft", "-A INPUT -j ACCEPT", "-F INPUT", "counter"),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_what_others_add_stays(world: World, what: str) -> None:
    """When it has gone too, our last rule takes along what was created for us."""
    program, begin, end, mark = FOREIGN[what]
    driver = world.driver()
    put(driver)
    world.other(program, *begin.split(" "))
    take(driver)
    assert mark in world.text()
    world.other(program, *end.split(" "))
    put(driver)
    take(driver)
    assert world.text() == ""


def test_what_others_had_stays(world: World) -> None:
    driver = world.driver()
    for what, (program, begin, *_) in FOREIGN.items():
        if what != "a set":  # there is no table yet
            world.other(program, *begin.split(" "))
    before = world.text()
    put(driver)
    take(driver)
    assert world.text() == before


def test_empty_chains_of_others_stay(world: World) -> None:
    driver = world.driver()
    for program in ("iptables-nft", "ip6tables-nft"):
        for chain in ("INPUT", "FORWARD"):
            world.other(program, "-P", chain, "ACCEPT")
    before = world.text()
    put(driver)
    take(driver)
    assert world.text() == before != ""


def test_hooks_that_are_used_later_go_too(world: World) -> None:
    driver = world.driver()
    for program in ("iptables-nft", "ip6tables-nft", "arptables-nft"):
        world.other(program, "-P", "OUTPUT", "ACCEPT")
    before = world.text()
    nouns = [BridgeAccept(owner=OWNER, bridge="br9"), ISOLATION]
    for noun in nouns:
        assert driver.apply([Add(noun)]).error is None
    for noun in nouns:
        assert driver.apply([Remove(noun)]).error is None
    assert world.text() == before != ""


def test_the_last_owner_takes_it_along(world: World) -> None:
    first, second = world.driver(), world.driver("cnci:other")
    put(first)
    text = world.text()
    one = BridgeAccept(owner="cnci:other", bridge="br0")
    assert second.apply([Add(one)]).error is None
    take(first)
    assert "table ip filter" in world.text()
    put(first)
    assert second.apply([Remove(one)]).error is None
    assert sorted(world.text().splitlines()) == sorted(text.splitlines())
    take(first)
    assert world.text() == ""


@pytest.mark.parametrize("at", ["note", "write", "sweep"])
def test_a_killed_process_leaves_it_to_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    driver = world.driver()
    if at == "sweep":
        put(driver)

    def killed(*_: object) -> None:
        raise Killed

    name = {"note": "_write_arp", "write": "sweep", "sweep": "sweep"}[at]
    with monkeypatch.context() as patch:
        patch.setattr(Tables, name, killed)
        with pytest.raises(Killed):
            (take if at == "sweep" else _put_and_take)(driver)
    again = world.driver()
    again.tidy()
    left = [Remove(noun) for noun in reversed(NOUNS) if again.find(noun) is not None]
    assert again.apply(left).error is None
    assert world.text() == ""


def _put_and_take(driver: IptablesFirewall) -> None:
    put(driver)
    take(driver)
