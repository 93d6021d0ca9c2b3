"""What was asked for comes back: intents outlive their rules and their record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, ip_interface
from pathlib import Path
from typing import NoReturn

import pytest

import snnet
from snnet.contract import RULES, Add, Address, Journal, Noun, Operation, PublicIp, Remove
from snnet.node.intents import Intents
from snnet.system.host import RealHost
from snnet.system.process import run
from tests.killed import Killed
from tests.node.world import FakeWorld, RealWorld, World, vm

SUBNET, BRIDGE_KEY, PUBLIC = "10.1.0.0/24", 7, "203.0.113.5"
PEERS = [
    snnet.Neighbor(
        physical_ip=f"192.0.2.{number}",
        subnet=f"10.{number}.0.0/24",
        tunnel_ip=f"172.16.0.{number}",
        tunnel_id=9,
    )
    for number in (11, 12, 13)
]


def asked_for(cnci: snnet.Cnci) -> None:
    """One intent of each kind."""
    bridge = cnci.add_remote_subnet(SUBNET, BRIDGE_KEY, "192.0.2.12")
    cnci.enable_nat(["eth0"])
    cnci.allow_external("eth0", bridge)
    cnci.add_port_forward(protocol="tcp", device="eth0", port=8080, to="10.1.0.9", to_port=22)
    cnci.add_public_ip(PUBLIC, to="10.1.0.9", device="eth0")
    cnci.update_neighbors(PEERS)


def state(world: World, cnci: snnet.Cnci) -> set[str]:
    """Everything on the host, and the rules that the firewall reads back."""
    found = [*world.kernel.snapshot().values(), *cnci.drivers.firewall.snapshot().values()]
    return {str(noun) for noun in found}


def flush_rules(world: World) -> None:
    """Remove every rule of the host, as a restart of a firewall service does."""
    if isinstance(world, FakeWorld):
        state = world.kernel.state
        for noun in list(state.nouns.values()):
            if type(noun) in RULES:
                state.drop(noun)
        return
    assert isinstance(world, RealWorld)
    run(["nft", "flush", "ruleset"], netns=world.kernel.host.netns.fd)


def delete_links(world: World) -> None:
    for link in world.links():
        if world.link(link.name) is not None:
            world.delete(link.name)


def flush_mesh(world: World) -> None:
    """Remove what hangs on the mesh, and then the mesh itself."""
    mesh = next(link for link in world.links() if link.name.startswith("scm-"))
    found = world.kernel.snapshot().values()
    held = [noun for noun in found if noun.within == mesh.key]
    ranked = sorted(held, key=lambda noun: -noun.rank)
    assert world.kernel.apply([Remove(noun) for noun in ranked], keep_going=True) is not None


def lose_record(world: World, owner: str = "cnci:cnci-1") -> None:
    if isinstance(world, FakeWorld):
        world.kernel.state.journals.clear()
    else:
        journal_file(world, owner).unlink()


def damage_record(world: World) -> None:
    if isinstance(world, FakeWorld):
        for lines in world.kernel.state.journals.values():
            lines[:] = [line[: len(line) // 2] for line in lines]
    else:
        path = journal_file(world)
        path.write_text(path.read_text()[:-7] + '\n[1]\n{}\n["a", null]\n')


def journal_file(world: World, owner: str = "cnci:cnci-1") -> Path:
    assert isinstance(world, RealWorld)
    host = world.kernel.host
    assert isinstance(host, RealHost)
    (path,) = host.runtime.glob(f"journal-intents-{owner}-{host._file_id}.jsonl")
    return path


def comes_back(world: World, before: object) -> None:
    """After a flush, a restarted concentrator is as it was."""
    flush_rules(world)
    with world.cnci() as cnci:
        assert cnci.verify() == []
        assert state(world, cnci) == before


def test_everything_comes_back_after_a_flush_and_a_restart(walled: World) -> None:
    with walled.cnci() as cnci:
        asked_for(cnci)
        before, rules = state(walled, cnci), cnci.topology().rules
    flush_rules(walled)
    flush_mesh(walled)
    with walled.cnci() as cnci:
        assert set(cnci.topology().rules) == set(rules)
        assert cnci.verify() == []
        assert state(walled, cnci) == before
        asked_for(cnci)  # again
        assert state(walled, cnci) == before
        cnci.shutdown()
    address = Address(link="eth0", address=ip_interface(f"{PUBLIC}/32"))
    assert walled.kernel.find(address) is None


def test_a_public_address_that_had_no_rule_is_named(walled: World) -> None:
    with walled.cnci() as cnci:
        asked_for(cnci)
    flush_rules(walled)
    with walled.cnci(init=False) as cnci:
        said = [line for line in cnci.init().orphans if PUBLIC in line]
        assert said == [
            f"{PUBLIC} on eth0 had no rule, so that this host's own services answered there: "
            "somebody flushed rules; the rule is set again"
        ]
    with walled.cnci(init=False) as cnci:
        assert cnci.init().orphans == []


def test_a_mesh_that_is_gone_comes_back(world: World) -> None:
    with world.cnci() as cnci:
        asked_for(cnci)
        mesh = cnci.topology().mesh
        assert mesh is not None
        before = state(world, cnci)
    world.delete(mesh.link.name)
    with world.cnci() as cnci:
        assert cnci.topology().mesh == mesh
        assert cnci.verify() == []
        assert state(world, cnci) == before


def test_a_mesh_that_a_killed_call_was_about_to_make_is_made(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    journals = fake.kernel.state.journals
    left: dict[str, list[str]] = {}

    def die(operation: Operation) -> NoReturn:
        left.update({name: [*lines] for name, lines in journals.items()})
        raise Killed

    with fake.cnci() as cnci:
        monkeypatch.setattr(fake.kernel, "perform", die)
        with pytest.raises(Killed):
            cnci.update_neighbors(PEERS)
        assert cnci.topology().mesh is None
        monkeypatch.undo()
    journals.update(left)
    with fake.cnci() as cnci:
        mesh = cnci.topology().mesh
        assert mesh is not None
        assert [str(peer.tunnel_ip) for peer in mesh.peers] == ["172.16.0.12", "172.16.0.13"]
        assert cnci.verify() == []


@pytest.mark.parametrize("harm", [lose_record, damage_record], ids=["lost", "damaged"])
def test_a_lost_or_damaged_record_heals_from_what_is_found(
    walled: World, harm: Callable[[World], None]
) -> None:
    with walled.cnci() as cnci:
        asked_for(cnci)
        before = state(walled, cnci)
    harm(walled)
    with walled.cnci(init=False) as cnci:
        healed = cnci.init().healed
        assert any("of the record of intents" in line for line in healed) == (harm is damage_record)
        assert cnci.verify() == []
        assert state(walled, cnci) == before
    comes_back(walled, before)


def test_a_record_that_is_lost_while_the_node_runs_is_written_again(walled: World) -> None:
    with walled.cnci() as cnci:
        asked_for(cnci)
        lose_record(walled)
        cnci.add_port_forward(protocol="udp", device="eth0", port=53, to="10.1.0.9")
        before = state(walled, cnci)
    comes_back(walled, before)


@pytest.mark.parametrize("harm", [lose_record, damage_record], ids=["lost", "damaged"])
def test_a_record_that_others_change_while_the_node_runs_is_repaired(
    walled: World, harm: Callable[[World], None]
) -> None:
    with walled.cnci() as cnci:
        asked_for(cnci)
        before = state(walled, cnci)
        harm(walled)
        (line,) = cnci.verify()
        assert "record of intents" in line
        cnci.repair()
        assert cnci.verify() == []
    comes_back(walled, before)


def test_what_was_taken_back_does_not_come_back(walled: World) -> None:
    with walled.cnci() as cnci:
        asked_for(cnci)
        flush_rules(walled)
        cnci.disable_nat()
        cnci.remove_port_forward(protocol="tcp", device="eth0", port=8080)
        cnci.remove_public_ip(PUBLIC)
        cnci.update_neighbors([])
        cnci.remove_subnet(SUBNET)
    with walled.cnci() as cnci:
        assert cnci.topology().rules == ()
        assert cnci.topology().mesh is None
        assert cnci.verify() == []


def test_a_shutdown_leaves_nothing_to_come_back(walled: World) -> None:
    with walled.cnci() as cnci:
        cnci.shutdown()
        before = state(walled, cnci)
        asked_for(cnci)
        flush_rules(walled)
        cnci.shutdown()
    with walled.cnci() as cnci:
        assert cnci.topology().rules == ()
        cnci.shutdown()
        assert state(walled, cnci) == before


def test_a_call_that_failed_is_not_carried_out_later(fake: FakeWorld) -> None:
    for asks in (lambda cnci: cnci.add_remote_subnet(SUBNET, BRIDGE_KEY, "192.0.2.12"), asked_for):
        with fake.cnci() as cnci:
            asks(cnci)
            before = fake.text()
            for at in (1, 2):
                fake.kernel.fail(at=at)
                with pytest.raises(snnet.ApiError):
                    cnci.add_public_ip("203.0.113.6", to="10.1.0.10", device="eth0")
        with fake.cnci():
            assert fake.text() == before


def test_a_call_that_ends_leaves_what_another_one_is_about_to_set_up(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were the process killed then, the other one would be carried out later."""
    cnci, perform = fake.cnci(), fake.kernel.perform
    cnci.add_remote_subnet(SUBNET, BRIDGE_KEY, "192.0.2.12")
    recorded: list[str] = []

    def slow(operation: Operation) -> Sequence[int] | None:
        monkeypatch.undo()
        cnci.add_port_forward(protocol="tcp", device="eth0", port=8080, to="10.1.0.9")
        nouns = Intents(fake.kernel.journal(f"intents-{cnci.owner}")).nouns().values()
        recorded.extend(type(noun).__name__ for noun in nouns)
        return perform(operation)

    monkeypatch.setattr(fake.kernel, "perform", slow)
    cnci.add_public_ip(PUBLIC, to="10.1.0.9", device="eth0")
    assert sorted(recorded) == ["PortForward", "PublicIp"]


class FullDisk(Journal):
    """A journal in a file of text; what is written next has ``room`` characters."""

    def __init__(self) -> None:
        self.text, self.room = "", 10**6

    def read(self) -> list[str]:
        return self.text.splitlines()

    def append(self, lines: Sequence[str]) -> bool:
        new, room = "".join(f"{line}\n" for line in lines), self.room
        self.text, self.room = self.text + new[:room], 10**6
        if len(new) > room:
            raise snnet.SnnetError("no space is left")
        return bool(self.text)

    def replace(self, lines: Sequence[str]) -> None:
        self.text = "".join(f"{line}\n" for line in lines)


def test_a_line_that_was_cut_off_takes_no_other_with_it() -> None:
    """The disk was full, and has room again for the next line."""
    journal = FullDisk()
    intents = Intents(journal)
    nouns = [Address(link="eth0", address=ip_interface(f"203.0.113.{n}/32")) for n in (1, 2, 3)]
    intents.expect({("one",): nouns[:1]})
    journal.room = 9
    with pytest.raises(snnet.SnnetError, match="no space"):
        intents.expect({("two",): nouns[1:2]})
    intents.expect({("three",): nouns[2:]})
    journal.room = 9
    intents.settle({("four",): [public(4)]})  # whose call has done its work
    intents.settle({("five",): [public(5)]})
    again = Intents(journal)
    assert (again.damage, list(again.nouns().values())) == ([], [*nouns, public(4), public(5)])


def public(number: int, to: int = 9) -> PublicIp:
    public, internal = IPv4Address(f"203.0.113.{number}"), IPv4Address(f"10.1.0.{to}")
    return PublicIp(owner="cnci:cnci-1", public=public, internal=internal, device="eth0")


def test_the_journal_has_what_is_recorded_after_every_step() -> None:
    """Things are asked for again, changed and taken back, several at a time."""
    journal = FullDisk()
    intents = Intents(journal)
    recorded: dict[tuple[str, ...], list[Noun]] = {}
    steps: list[dict[tuple[str, ...], list[Noun]]] = [
        {("a",): [public(1)], ("b",): [public(2)]},
        {("a",): [public(1)], ("c",): [public(3)]},
        {("a",): [public(1, to=8), public(4)]},
        {("b",): [], ("a",): [public(1, to=8)]},
        {("d",): [], ("c",): [public(3), public(5)]},
    ]
    for step in steps:
        intents.settle(step)
        recorded |= step
        nouns = {noun.key: noun for found in recorded.values() for noun in found}
        assert intents.nouns() == Intents(journal).nouns() == nouns
        assert list(intents.differences()) == []
    intents.settle({("c",): [public(3)]}, whole=True)
    assert intents.nouns() == Intents(journal).nouns() == {public(3).key: public(3)}


def test_the_journal_is_rewritten_at_twice_its_entries_and_a_thousand_lines() -> None:
    journal = FullDisk()
    intents = Intents(journal)

    def change(number: int) -> int:
        intents.expect({("a",): [public(1, to=number)], ("b",): [public(2, to=number)]})
        return journal.text.count("\n")

    assert max(change(number % 200) for number in range(520)) == 2 * 2 + 1000
    while change(7) != 1002 and change(8) != 1002:
        pass
    intents = Intents(journal)
    assert [change(9), change(10), change(11)] == [1004, 2, 4]


def test_what_a_damaged_line_recorded_may_be_taken_back() -> None:
    journal = FullDisk()
    intents = Intents(journal)
    for step in ([public(1)], []):
        intents.expect({("a",): step, ("b",): [public(2, to=len(step))]})
    journal.text = journal.text[1:]
    intents = Intents(journal)
    (damage,) = intents.damage
    assert damage.startswith("line 1 ")
    assert [*intents.nouns().values()] == [public(2, to=0)]
    intents.expect({("c",): [public(3)]})
    assert Intents(journal).damage == []


def test_an_address_of_an_administrator_is_not_taken_for_ours(fake: FakeWorld) -> None:
    own = Address(link="eth0", address=ip_interface(f"{PUBLIC}/32"))
    with fake.cnci() as cnci:
        cnci.add_remote_subnet(SUBNET, BRIDGE_KEY, "192.0.2.12")
        assert fake.kernel.apply([Add(own)]).error is None
        with pytest.raises(snnet.ApiError):
            cnci.add_public_ip(PUBLIC, to="10.1.0.9", device="eth0")
        assert not any(PUBLIC in line for lines in journals(fake) for line in lines)
        cnci.shutdown()
    assert fake.kernel.find(own) is not None


def test_what_fits_no_more_is_an_orphan_and_is_forgotten(fake: FakeWorld) -> None:
    with fake.cnci() as cnci:
        asked_for(cnci)
    flush_rules(fake)
    delete_links(fake)
    with fake.cnci(init=False) as cnci:
        report = cnci.init()
        assert [type(rule).__name__ for rule in cnci.topology().rules] == ["Masquerade"]
    assert sum("it was asked for, but" in orphan for orphan in report.orphans) == 3
    with fake.cnci(init=False) as cnci:
        assert not cnci.init().orphans


def test_a_watcher_writes_nothing(fake: FakeWorld) -> None:
    with fake.cnci() as cnci:
        asked_for(cnci)
    journals(fake)[0].append("damaged")
    before = [list(lines) for lines in journals(fake)]
    flush_rules(fake)
    with fake.cnci(read_only=True) as watcher:
        assert any("port tcp/8080" in line for line in watcher.verify())
        watcher.rebuild_topology()
    assert journals(fake) == before
    delete_links(fake)
    with fake.cnci(read_only=True) as watcher:
        assert len(watcher.topology().rules) == 1, "the others fit no more"
    assert journals(fake) == before


def test_the_record_does_not_grow_for_ever(fake: FakeWorld) -> None:
    with fake.cnci() as cnci:
        asked_for(cnci)
        for number in range(600):
            target = f"10.1.0.{9 + number % 2}"
            cnci.add_port_forward(protocol="tcp", device="eth0", port=9000, to=target)
            cnci.remove_port_forward(protocol="tcp", device="eth0", port=9000)
        assert sum(map(len, journals(fake))) < 1100
        before = fake.text()
    flush_rules(fake)
    with fake.cnci():
        assert fake.text() == before


def test_a_vnic_that_goes_takes_its_policy_out_of_the_record(fake: FakeWorld) -> None:
    node = fake.node()
    node.create_vnic(vm(extra_addresses=["10.1.0.200"]))
    assert len(journals(fake)) == 1
    node.destroy_vnic(vm())
    assert not journals(fake)


def test_a_shutdown_leaves_no_journal(fake: FakeWorld) -> None:
    with fake.cnci() as cnci:
        asked_for(cnci)
        made = FakeWorld("gre").node().create_vnic(vm(subnet_number=7)).tunnel_event
        assert made is not None
        cnci.follow(replace(made, cn_ip=IPv4Address("192.0.2.12")))
        assert len(journals(fake)) == 2  # of intents, and of what was heard
        cnci.shutdown()
        assert not journals(fake)
        asked_for(cnci)
        assert len(journals(fake)) == 1
    before = fake.text()
    flush_rules(fake)
    with fake.cnci():
        assert fake.text() == before


def journals(world: FakeWorld) -> list[list[str]]:
    return [*world.kernel.state.journals.values()]
