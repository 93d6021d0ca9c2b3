"""Events have ports, numbers and an order, and a concentrator ignores late ones."""

from __future__ import annotations

import itertools
import os
import random
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

import snnet
from snnet.contract import Vxlan
from snnet.core.identity import Owner
from snnet.node.deadline import Deadline
from snnet.node.outbox import Turn
from snnet.node.sequences import Heard, next_epoch, note_epoch
from snnet.system.host import RealHost
from tests.node.test_intents import FullDisk
from tests.node.world import FakeWorld, World, container, vm

FAR = ip_address("192.0.2.12")
ADD, DEL = snnet.TunnelEventType.ADD, snnet.TunnelEventType.DEL


@pytest.fixture
def vxlan() -> Any:
    world = FakeWorld("vxlan")
    yield world
    world.close()


def test_a_number_makes_the_port_of_all_tunnels(vxlan: FakeWorld) -> None:
    node = vxlan.node(config=vxlan.config(node_number=7))
    events = [node.create_vnic(vm(9, tenant=number)).tunnel_event for number in (1, 2)]
    assert [event.port for event in events if event] == [16391, 16391]
    ports = {link.port for link in vxlan.links() if isinstance(link, Vxlan)}
    assert ports == {16391}
    node.close()
    with vxlan.node(config=vxlan.config(node_number=7)) as again:
        assert again.verify() == []


def test_without_a_number_the_event_has_the_port_of_the_pair(vxlan: FakeWorld) -> None:
    event = vxlan.node().create_vnic(vm()).tunnel_event
    assert event is not None
    assert event.port == 16384 + (0x0B ^ 0x65)


def test_gre_has_no_port(fake: FakeWorld) -> None:
    event = fake.node(config=fake.config(node_number=7)).create_vnic(vm()).tunnel_event
    assert event is not None
    assert event.port is None
    cnci = fake.cnci()
    cnci.follow(replace(event, cn_ip=FAR, port=20000))
    assert cnci.verify() == []


def test_a_concentrator_takes_the_port_of_the_node(vxlan: FakeWorld) -> None:
    with vxlan.cnci() as cnci:
        cnci.add_remote_subnet("10.1.0.0/24", 7, "192.0.2.12", 17000)
        cnci.add_remote_subnet("10.1.0.0/24", 7, "192.0.2.12")
        cnci.reconcile(
            subnets=[
                snnet.Subnet("10.1.0.0/24", 7, [snnet.Remote("192.0.2.12", 17000)]),
                snnet.Subnet("10.2.0.0/24", 8, [snnet.Remote("192.0.2.12", 17000)]),
            ]
        )
        assert tunnel_ports(vxlan) == [17000, 17000]
    with vxlan.cnci() as cnci:
        assert cnci.verify() == []
        cnci.add_remote_subnet("10.1.0.0/24", 7, "192.0.2.12", 17001)
        assert tunnel_ports(vxlan) == [17000, 17001]
        assert cnci.verify() == []
        cnci.follow(event(ADD, subnets="10.3.0.0/24", subnet_key=9, port=17002))
        assert tunnel_ports(vxlan) == [17000, 17001, 17002]
        with pytest.raises(snnet.Conflict, match="collides"):
            cnci.add_remote_subnet("10.1.0.0/24", 7, "192.0.2.13", 17001)
        for port in (0, 65536, "x", True):
            with pytest.raises(snnet.InvalidRequest, match="port"):
                cnci.add_remote_subnet("10.1.0.0/24", 7, "192.0.2.12", port)  # type: ignore[arg-type]


def tunnel_ports(world: World) -> list[int]:
    return sorted(link.port for link in world.links() if isinstance(link, Vxlan))


def test_numbers_of_nodes_work_on_this_kernel(real: World) -> None:
    if real.tunnel != "vxlan":
        pytest.skip("ports are those of vxlan")
    with real.node(config=real.config(node_number=0)) as node:
        event = node.create_vnic(vm()).tunnel_event
        assert event is not None
        assert event.port == 16384
        node.destroy_vnic(vm())
    with real.cnci() as cnci:
        cnci.follow(replace(event, cn_ip=FAR))
        cnci.add_remote_subnet("10.1.0.0/24", 101, "192.0.2.12", 17001)
        assert tunnel_ports(real) == [17001]
        assert cnci.verify() == []
    with real.cnci() as cnci:
        assert cnci.verify() == []


# -- sequences --------------------------------------------------------------------------


def test_sequences_grow_also_across_restarts(world: World) -> None:
    seen = []
    for _ in range(3):
        with world.node(init=False) as node:
            seen += [event.sequence for event in node.init().tunnel_events]
            seen += [event.sequence for event in node.rebuild_topology().tunnel_events]
            for cfg in (vm(), vm(subnet_number=2)):
                event = node.create_vnic(cfg).tunnel_event
                seen += [event.sequence] if event else []
            event = node.destroy_vnic(vm()).tunnel_event
            assert event
            seen.append(event.sequence)
    assert None not in seen
    assert seen == sorted(set(seen))  # type: ignore[type-var]
    assert len({epoch for epoch, _ in filter(None, seen)}) == 3


@pytest.mark.parametrize("clock", [1.0, 1e6, 1.8e9])
def test_an_epoch_grows_whatever_the_clock_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clock: float
) -> None:
    """Also after a boot, of which a machine without a battery does not know when it is."""
    owner, fake = Owner("cn", "cn-1"), snnet.FakeKernel()
    with closing(RealHost(runtime=tmp_path / "run", state=tmp_path / "state")) as real:
        for host in (fake, real):
            first = next_epoch(host, owner)
            note_epoch(host, owner, first)
            assert next_epoch(host, owner) > first
    monkeypatch.setattr(time, "time", lambda: clock)
    booted = snnet.FakeKernel()
    booted.state.lasting = fake.state.lasting
    with closing(RealHost(runtime=tmp_path / "after", state=tmp_path / "state")) as real:
        for host in (fake, booted, real):
            again = next_epoch(host, owner)
            assert again > first
            note_epoch(host, owner, again)
            assert next_epoch(host, owner) > again
    assert next_epoch(snnet.FakeKernel(), owner) == int(clock), "a new machine"


@pytest.mark.parametrize("first", [True, False])
def test_what_outlives_a_reboot_is_of_the_first_namespace(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, first: bool
) -> None:
    """What is in another one is gone after a reboot."""
    monkeypatch.setattr("snnet.system.host._STATE", tmp_path / "state")
    monkeypatch.setattr(RealHost, "_is_first", first)
    with closing(RealHost()) as host:
        with host.lasting("epochs") as record:
            record["cn:cn-1"] = 7
        with host.lasting("epochs") as record:
            assert record == ({"cn:cn-1": 7} if first and os.geteuid() == 0 else {})


def test_an_epoch_needs_no_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A record that cannot be kept is what it is without one: the clock tells."""
    (tmp_path / "state").write_text("")
    with closing(RealHost(runtime=tmp_path / "run", state=tmp_path / "state")) as host:
        monkeypatch.setattr(time, "time", lambda: 7.0)
        assert next_epoch(host, Owner("cn", "cn-1")) == 7
        note_epoch(host, Owner("cn", "cn-1"), 7)
        assert next_epoch(host, Owner("cn", "cn-1")) == 8


def event(
    kind: snnet.TunnelEventType, epoch: int = 0, number: int = 0, **changes: Any
) -> snnet.TunnelEvent:
    made = FakeWorld("gre").node().create_vnic(vm()).tunnel_event
    assert made is not None
    sequence = (epoch, number) if epoch else None
    return replace(made, type=kind, cn_ip=FAR, sequence=sequence, **changes)


def test_a_late_event_changes_nothing(fake: FakeWorld) -> None:
    with fake.cnci() as cnci:
        bridge = cnci.follow(event(ADD, 5, 2))
        assert bridge is not None
        before = fake.text()
        assert cnci.follow(event(DEL, 5, 1)) is None
        assert cnci.follow(event(DEL, 4, 9)) is None
        assert fake.text() == before
        assert cnci.follow(event(ADD, 5, 2)) == bridge  # the same again
    with fake.cnci() as cnci:
        assert cnci.follow(event(DEL, 5, 1)) is None
        assert fake.text() == before
        assert cnci.follow(event(DEL, 4, 1, cn_id="cn-2")) is None  # of another node: not late
        assert fake.text() != before
        cnci.follow(event(ADD, 6, 1))
        assert fake.text() == before
        cnci.follow(event(DEL, 6, 2))
        cnci.follow(event(ADD))  # without a number, as from an older node
        assert fake.text() == before


def test_concentrators_of_one_host_hear_for_themselves(fake: FakeWorld) -> None:
    """One of them had a subnet with the same key, and heard of that later."""
    first = fake.cnci("cnci-a")
    first.follow(event(ADD, 5, 2))
    first.remove_subnet("10.1.0.0/24")
    assert fake.cnci("cnci-b", tenant_id="t2").follow(event(ADD, 5, 1)) is not None


def test_an_event_can_be_cancelled(fake: FakeWorld) -> None:
    cnci, before = fake.cnci(), fake.text()
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(snnet.Cancelled):
        cnci.follow(event(ADD, 5, 1), cancel=cancelled)
    assert fake.text() == before


def test_an_event_that_failed_is_followed_when_it_comes_again(fake: FakeWorld) -> None:
    cnci = fake.cnci()
    fake.kernel.fail(at=2)
    with pytest.raises(snnet.ApiError):
        cnci.follow(event(ADD, 5, 1))
    assert cnci.follow(event(ADD, 5, 1)) is not None
    with pytest.raises(snnet.InvalidRequest, match="'add' is not a TunnelEvent") as caught:
        cnci.follow("add")  # type: ignore[arg-type]
    assert caught.value.field == "event"


@pytest.mark.parametrize("kind", [ADD, DEL])
def test_who_follows_an_event_may_cancel(fake: FakeWorld, kind: snnet.TunnelEventType) -> None:
    cnci, cancel = fake.cnci(), threading.Event()
    cnci.follow(event(ADD))
    before = fake.text()
    cancel.set()
    with pytest.raises(snnet.Cancelled):
        cnci.follow(event(kind), cancel=cancel)
    assert fake.text() == before


def test_an_event_does_not_wait_for_that_of_another_node(fake: FakeWorld) -> None:
    cnci = fake.cnci()
    first, second, *others = (
        replace(event(ADD, cn_id=f"cn-{number}"), cn_ip=ip_address(f"192.0.2.{number}"))
        for number in (12, 13, 14)
    )
    cnci.follow(first)

    class Meanwhile:
        def before_apply(self) -> None:
            if others:
                cnci.follow(others.pop(), timeout=10)

    cnci.listeners.register(Meanwhile())
    cnci.follow(second)
    (subnet,) = cnci.topology().subnets
    assert len(subnet.tunnels) == 3


def test_what_was_heard_is_known_after_a_restart_and_takes_little_room(fake: FakeWorld) -> None:
    host, owner, late = fake.kernel, Owner("cnci", "cnci-1"), event(ADD, 5, 1)
    heard, number = Heard(host, owner), 0

    def hear(times: int) -> list[int]:
        nonlocal number
        lines = []
        for _ in range(times):
            number += 1
            heard.note(replace(late, sequence=(5, number)))
            lines.append(len(host.journal(f"heard-{owner}").read()))
        return lines

    heard.note(replace(late, subnet_key=99))
    assert max(hear(1005)) == 2 * 2 + 1000
    hear(1000)
    before = host.journal(f"heard-{owner}").read()
    for again in (number, 1):
        heard.note(replace(late, sequence=(5, again)))
    assert host.journal(f"heard-{owner}").read() == before
    heard = Heard(host, owner)
    assert heard.is_late(replace(late, sequence=(5, number - 1)))
    assert not heard.is_late(replace(late, sequence=(5, number)))
    assert hear(3) == [1004, 2, 3]
    heard.forget()
    assert not heard.is_late(late)
    assert max(hear(1003)) == 1002


def test_nothing_is_kept_of_what_is_forgotten(fake: FakeWorld) -> None:
    heard = Heard(fake.kernel, Owner("cnci", "cnci-1"))
    for key in range(9):
        assert (
            heard.follow(replace(event(ADD, 5, 1), subnet_key=key), lambda *_: "br", print) == "br"
        )
    heard.forget()
    assert (heard._following, heard._last) == ({}, {})


def test_a_line_about_an_event_that_was_cut_off_takes_no_other_with_it(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk was full and has room again, or the process was killed."""
    journal, owner, made = FullDisk(), Owner("cnci", "cnci-1"), event(ADD, 5, 2)
    monkeypatch.setattr(fake.kernel, "journal", lambda name: journal)

    def known() -> list[int]:
        heard = Heard(fake.kernel, owner)
        earlier = [replace(made, subnet_key=key, sequence=(5, 1)) for key in range(6)]
        return [one.subnet_key for one in earlier if heard.is_late(one)]

    heard = Heard(fake.kernel, owner)
    for key, room in enumerate((1000, 9, 1000)):
        journal.room = room
        heard.note(replace(made, subnet_key=key))
    assert known() == [0, 1, 2]
    journal.text = journal.text[:-3]
    heard = Heard(fake.kernel, owner)
    for key in (3, 4):
        heard.note(replace(made, subnet_key=key))
    assert known() == [0, 1, 3, 4]


# -- order ------------------------------------------------------------------------------


class Follower:
    """A slow listener that follows the events."""

    def __init__(self, pause: float) -> None:
        self.heard: list[snnet.TunnelEvent] = []
        self._pause = pause

    def applied(self, events: Sequence[Any]) -> None:
        for one in events:
            if isinstance(one, snnet.TunnelEvent):
                time.sleep(random.random() * self._pause)
                self.heard.append(one)


@pytest.mark.parametrize("rounds", [10])
def test_listeners_hear_of_each_subnet_in_order(world: World, rounds: int) -> None:
    follower = Follower(0.003)
    node = world.node(listeners=[follower], api_timeout=60.0)

    def work(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(rounds):
            cfg = vm(dice.choice([11, 12]), subnet_number=dice.choice([1, 2]))
            (node.create_vnic if dice.random() < 0.5 else node.destroy_vnic)(cfg)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for subnet in ("s1", "s2"):
        heard = [one for one in follower.heard if one.subnet_id == subnet]
        sequences = [one.sequence for one in heard]
        assert sequences == sorted(sequences)  # type: ignore[type-var]
        kinds = [one.type for one in heard]
        assert all(kind is not after for kind, after in itertools.pairwise(kinds))
        there = any(one.subnet_id == subnet for one in node.topology().subnets)
        assert there == bool(kinds and kinds[-1] is ADD)


def test_a_listener_may_call_the_node_about_the_same_subnet(fake: FakeWorld) -> None:
    heard: list[snnet.TunnelEventType] = []

    class Undo:
        def applied(self, node: snnet.ComputeNode, events: Sequence[Any]) -> None:
            heard.extend(one.type for one in events)
            if any(one.type is ADD for one in events):
                node.destroy_vnic(vm())

    fake.node(listeners=[Undo()]).create_vnic(vm())
    assert heard == [ADD, DEL]


@pytest.mark.parametrize("limited", [True, False], ids=["timeout", "no-limit"])
def test_a_listener_may_wait_for_another_threads_call(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch, limited: bool
) -> None:
    """That call returns when its time is over; what it has to tell comes after the listener."""
    monkeypatch.setattr("snnet.node.outbox.PATIENCE", 60.0 if limited else 0.01)
    heard: list[snnet.TunnelEventType] = []

    class Waits:
        def applied(self, node: snnet.ComputeNode, events: Sequence[Any]) -> None:
            if heard == [] and events:
                call = (
                    partial(node.destroy_vnic, vm(), timeout=0.5) if limited else node.reset_network
                )
                other = threading.Thread(target=call)
                other.start()
                other.join()
            heard.extend(one.type for one in events)

    node = fake.node(listeners=[Waits()])
    node.create_vnic(vm())
    assert heard == [ADD, DEL]
    node.create_vnic(vm())
    assert heard == [ADD, DEL, ADD]


def test_a_slow_listener_holds_up_no_call_past_its_timeout(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who called first tells what the others left, in order."""
    monkeypatch.setattr(Deadline, "within", lambda _, seconds: 0.01)
    heard: list[snnet.TunnelEventType] = []
    began, go_on = threading.Event(), threading.Event()

    class Slow:
        def applied(self, events: Sequence[Any]) -> None:
            began.set()
            assert go_on.wait(10)
            heard.extend(one.type for one in events)

    node = fake.node(listeners=[Slow()])
    caller = threading.Thread(target=node.create_vnic, args=[vm()])
    caller.start()
    assert began.wait(10)
    for call in (node.destroy_vnic, node.create_vnic, node.destroy_vnic):
        call(vm())
    assert heard == []
    go_on.set()
    caller.join(10)
    assert heard == [ADD, DEL, ADD, DEL]


def test_what_calls_left_is_told_once(fake: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever tells of two subnets takes along what calls about each of them left."""
    monkeypatch.setattr(Deadline, "within", lambda _, seconds: 0.01)
    heard: list[tuple[str, snnet.TunnelEventType]] = []
    slow = {("s1", kind): (threading.Event(), threading.Event()) for kind in (DEL, ADD)}

    class Slow:
        def applied(self, events: Sequence[Any]) -> None:
            for one in [(event.subnet_id, event.type) for event in events]:
                heard.append(one)
                began, go_on = slow[one] if one in slow and len(heard) > 2 else (None, None)
                if began is not None and go_on is not None:
                    began.set()
                    assert go_on.wait(10)

    node = fake.node(listeners=[Slow()])
    two = [vm(9), vm(9, subnet_number=2)]
    node.create_vnics(two)
    caller = threading.Thread(target=node.reset_network)
    caller.start()
    (leaving, go_on), (coming, go_on_too) = slow.values()
    assert leaving.wait(10)
    for cfg in two:
        node.create_vnic(cfg)
    go_on.set()
    assert coming.wait(10)
    node.create_vnic(vm(9, subnet_number=3))
    go_on_too.set()
    caller.join(10)
    assert heard[2:] == [("s1", DEL), ("s2", DEL), ("s1", ADD), ("s3", ADD), ("s2", ADD)]


def test_a_listener_that_is_interrupted_holds_nobody_up(fake: FakeWorld) -> None:
    heard: list[snnet.TunnelEventType] = []

    class Interrupted:
        def applied(self, node: snnet.ComputeNode, events: Sequence[Any]) -> None:
            heard.extend(one.type for one in events)
            if heard == [ADD]:
                node.destroy_vnic(vm())
                raise KeyboardInterrupt

    node = fake.node(listeners=[Interrupted()])
    with pytest.raises(KeyboardInterrupt):
        node.create_vnic(vm())
    node.create_vnic(vm())
    assert heard == [ADD, ADD]


def test_nor_does_a_call_that_is_interrupted_while_it_waits(fake: FakeWorld) -> None:
    heard: list[snnet.TunnelEventType] = []

    class Hears:
        def applied(self, events: Sequence[Any]) -> None:
            heard.extend(one.type for one in events)

    def interrupt(_: Deadline, seconds: float) -> float:
        raise KeyboardInterrupt

    node = fake.node(listeners=[Hears()])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Deadline, "within", interrupt)
        with pytest.raises(KeyboardInterrupt):
            node.create_vnic(vm())
    node.destroy_vnic(vm(), timeout=1)
    assert heard == [DEL]


def test_what_is_heard_of_containers_waits_for_the_same_subnet_alone(fake: FakeWorld) -> None:
    node = fake.node(config=fake.config(mode=snnet.NetworkMode.ROUTED))
    cfgs = [container(9), container(10), container(9, subnet_number=2)]
    add, info, other = (node.create_vnic(cfg).container_info for cfg in cfgs)
    assert add is not None
    assert info is not None
    assert other is not None
    first, last, third = (
        Turn([one]).subnets for one in (add, replace(add, event=snnet.ContainerEvent.DEL), other)
    )
    assert first & last
    assert not first & third
    assert not Turn([info]).subnets, "it repeats what was heard"


def test_who_hears_of_one_subnet_does_not_wait_for_another(fake: FakeWorld) -> None:
    heard: list[str] = []
    first, second = threading.Event(), threading.Event()

    class Slow:
        def applied(self, events: Sequence[Any]) -> None:
            for one in events:
                if one.subnet_id == "s1":
                    first.set()
                    second.wait(10)
                heard.append(one.subnet_id)

    node = fake.node(listeners=[Slow()])
    caller = threading.Thread(target=node.create_vnic, args=[vm()])
    caller.start()
    assert first.wait(10)
    node.create_vnic(vm(subnet_number=2))
    second.set()
    caller.join(10)
    assert heard == ["s2", "s1"]


# -- DHCP ---------------------------------------------------------------------------------


def test_a_mac_of_its_own_comes_with_what_the_concentrator_must_be_told(world: World) -> None:
    node = world.node()
    assert node.create_vnic(vm(11)).vnic.dhcp_entry is None
    made = node.create_vnic(vm(12, mac="02:00:00:00:00:77"))
    entry = made.vnic.dhcp_entry
    assert entry is not None
    assert (entry.mac, str(entry.address)) == ("02:00:00:00:00:77", "10.1.0.12")
    assert made.to_dict()["vnic"]["dhcp_entry"]["mac"] == entry.mac
    node.rebuild_topology()
    assert node.create_vnic(vm(12, mac="02:00:00:00:00:77")).vnic.dhcp_entry == entry
    node.destroy_vnic(vm(11))
    node.destroy_vnic(vm(12))
    with world.cnci() as cnci:
        cnci.add_remote_subnet("10.1.0.0/24", 7, "192.0.2.12")
        cnci.dhcp("10.1.0.0/24").add_entries([entry])
        assert entry in cnci.dhcp("10.1.0.0/24").added
