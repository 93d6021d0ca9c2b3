"""``python -m tests.agent.etcd_histories [--seed N] [--histories N]``: faults of a real etcd.

Two network and two compute hosts, fake kernels on one wire, have an agent each.  Three members
of etcd are in network namespaces, and every agent has addresses of them of its own, so that
it alone can be cut off.  Run it as root and with ``ALONE`` before the command: it then leaves
nothing behind, whatever ends it.

A history: tenants get networks and VNICs, one is moved, a network host loses its power and comes
back, VNICs go and others come, everything is deleted.  At one point of it a fault begins, some
actions later it ends.  What must hold is looked at all the time and, in full, at the end.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from snnet.cluster import Cluster
from snnet.contract import ApiError, InvalidRequest, Registry, Unavailable
from snnet.registries import gateway
from snnet.registries.etcd import EtcdRegistry
from tests.killed import Killed
from tests.registries.members import Members, binary

from .cloud import OUTSIDE
from .test_histories import FAULTS, FaultyCloud, check, make_faulty

AGENTS = {"net-1": ["network"], "net-2": ["network"], "cn-1": ["compute"], "cn-2": ["compute"]}
SOON = 90.0
"""Seconds; a quiet machine needs some."""
DAY = 86400.0

ALONE = (
    "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
    "sh", "-c", 'mount -t tmpfs -o mode=755 run /run && exec "$@"', "sh",
)  # fmt: skip
"""Begins a command that has its own network, processes and /run, where namespaces have names."""

T = TypeVar("T")


class Wires:
    """Namespaces for three members, on one bridge of this namespace.

    A member is 10.77.0.M for its peers, and 10.77.N.M for client N.
    """

    def __init__(self) -> None:
        self.spaces = [f"member-{number}" for number in range(3)]
        self._clients = {name: number for number, name in enumerate(("", *AGENTS), 1)}
        ip("link set lo up")
        ip("link add bridge type bridge")
        ip("address add 10.77.255.254/16 dev bridge")
        ip("link set bridge up")
        for number, space in enumerate(self.spaces):
            ip(f"netns add {space}")
            ip(f"link add m{number} type veth peer name eth0 netns {space}")
            ip(f"link set m{number} master bridge up")
            for client in range(len(self._clients) + 1):
                ip(f"-n {space} address add 10.77.{client}.{number + 1}/16 dev eth0")
            ip(f"-n {space} link set eth0 up")
            ip(f"-n {space} link set lo up")
        nft("add table ip faults")
        nft("add set ip faults away { type ipv4_addr; flags interval; }")
        for hook, field in (("output", "daddr"), ("input", "saddr")):
            nft(f"add chain ip faults {hook} {{ type filter hook {hook} priority 0; }}")
            nft(f"add rule ip faults {hook} ip {field} @away drop")

    def hosts(self, client: str | None = None) -> list[str]:
        """The members' addresses as a client has them ("" is who gives commands), or peers."""
        number = 0 if client is None else self._clients[client]
        return [f"10.77.{number}.{member + 1}" for member in range(3)]

    def cut_off(self, client: str, *, off: bool = True) -> None:
        """Nothing passes between a client and the members, and nobody is told."""
        verb, net = "add" if off else "delete", self._clients[client]
        nft(f"{verb} element ip faults away {{ 10.77.{net}.0/24 }}")

    def cut_member(self, member: int, *, off: bool = True) -> None:
        """Nothing passes between a member and anybody else."""
        ip(f"link set m{member} {'down' if off else 'up'}")


def ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True)


def nft(command: str) -> None:
    subprocess.run(["nft", command], check=True)


class EtcdCloud(FaultyCloud):
    """Its agents have connections to etcd of their own, which end with them."""

    ttl = 2.0

    def __init__(self, wires: Wires, namespace: str) -> None:
        self._wires, self._namespace = wires, namespace
        self._opened: dict[str, EtcdRegistry] = {}
        self.away: set[str] = set()
        """Agents that cannot reach etcd."""
        self.later: list[Callable[[], None]] = []
        """What is done when the fault is over."""
        super().__init__(f"etcd:{self._url('')}")

    def _url(self, client: str) -> str:
        return f"//{','.join(self._wires.hosts(client))}/{self._namespace}"

    def registry_of(self, name: str) -> Registry:
        """A new connection; that of an agent before is closed, as the kernel would do it."""
        if name in self._opened:
            self._opened.pop(name).close()
        found = self._opened[name] = answered(lambda: EtcdRegistry(self._url(name)))
        return found

    def lose(self, name: str) -> None:
        """The agent ends without a word."""
        self.host(name).end_claims()
        self.agents.pop(name)
        self._opened.pop(name).close()

    def restart(self, name: str) -> None:
        """Start the agent again."""
        self.start(name, self.agents[name].roles)

    def step(self) -> None:
        """One step of each agent."""
        for name, agent in tuple(self.agents.items()):
            try:
                with FAULTS.counting():
                    agent.step(0.01)
            except Killed:
                self.killed += 1
                self.host(name).end_claims()
                self.restart(name)
        self.look()

    def look(self) -> None:
        """What holds at any time: no address twice, and no VNIC lost by who does not know."""
        given = Counter(
            (item.tenant_id, item.subnet_id, str(ip))
            for agent in self.agents.values()
            if agent.ready
            for item in agent.node.topology().vnics
            for ip in item.ips
        )
        # One that moves may be gone later than it is there again.
        moving = {("a", "web", address) for address in self.moved}
        twice = {key for key, number in given.items() if number > 1} - moving
        assert not twice, f"addresses given twice: {twice}"

    moved: frozenset[str] = frozenset()

    def stable(self, *names: str) -> set[object]:
        """The concentrators that are on these hosts, or all, if they run."""
        places = answered(self.places).items()
        running = self.agents.keys() & set(names or self.agents)
        return {item for item in places if item[1][0] in running}

    def rest(self, seconds: float) -> None:
        """Step for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.step()

    def until(self, holds: Callable[[], None]) -> None:
        """Step until a check passes; raise what it says if that takes too long."""
        end = time.monotonic() + SOON
        while True:
            self.rest(0.2)
            try:
                holds()
            except (AssertionError, ApiError) as error:
                if time.monotonic() > end:
                    for agent in self.agents.values():
                        error.add_note(str(agent.status()))
                    raise
            else:
                return

    def close(self) -> None:
        super().close()
        for registry in self._opened.values():
            registry.close()


def eventually(work: Callable[[], object]) -> None:
    """Do the work as soon as etcd answers; it may have been done by a try without an answer."""
    unsure = False

    def tried() -> None:
        nonlocal unsure
        try:
            work()
        except Unavailable:
            unsure = True
            raise
        except (ApiError, InvalidRequest):
            if not unsure:
                raise

    answered(tried)


def answered(work: Callable[[], T]) -> T:
    """What the work returns as soon as etcd answers."""
    end = time.monotonic() + SOON
    while True:
        try:
            return work()
        except Unavailable:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


# -- faults ----------------------------------------------------------------------------


class World:
    """What the faults of one history act on."""

    def __init__(self, members: Members, wires: Wires, cloud: EtcdCloud, after: int) -> None:
        self.members, self.wires, self.cloud = members, wires, cloud
        self.after = after
        """Steps from the begin of the fault until an agent is killed."""


Fault = Callable[[World], Iterator[None]]
"""Begins the fault, and ends it when it is resumed."""


def _member_killed(member: int) -> Fault:
    def fault(world: World) -> Iterator[None]:
        world.members.kill(member)
        yield
        world.members.start(member)
        world.members.leader()

    return fault


def _member_cut(member: int) -> Fault:
    def fault(world: World) -> Iterator[None]:
        world.wires.cut_member(member)
        yield
        world.wires.cut_member(member, off=False)

    return fault


def _agent_cut(name: str) -> Fault:
    """The network between an agent and etcd is split, for longer than its session lives."""

    def fault(world: World) -> Iterator[None]:
        before = world.cloud.stable(name)
        world.wires.cut_off(name)
        world.cloud.away.add(name)
        world.cloud.rest(EtcdCloud.ttl + 1.5)
        assert world.cloud.stable(name) >= before, "cut off from etcd alone it moves nothing"
        yield
        world.wires.cut_off(name, off=False)
        world.cloud.away.discard(name)

    return fault


def _all_killed(world: World) -> Iterator[None]:
    """Nothing that there is changes meanwhile."""
    world.cloud.rest(1.0)
    before = {name: world.cloud.host(name).to_text() for name in world.cloud.agents}
    world.members.kill()
    world.cloud.rest(3.0)
    after = {name: world.cloud.host(name).to_text() for name in world.cloud.agents}
    for name, text in before.items():
        # What an agent had read before is still carried out; nothing is taken away.
        gone = set(text.splitlines()) - set(after[name].splitlines())
        assert not gone, f"{name} lost {gone}"
    world.members.start()
    world.members.leader()
    yield


def _compacted(name: str) -> Fault:
    """An agent is away, and what it missed is forgotten."""

    def fault(world: World) -> Iterator[None]:
        world.wires.cut_off(name)
        world.cloud.away.add(name)
        yield
        registry = world.cloud.registry
        assert isinstance(registry, EtcdRegistry)
        eventually(lambda: registry.compact(registry.read("none").revision))
        world.wires.cut_off(name, off=False)
        world.cloud.away.discard(name)

    return fault


def _clock(seconds: float) -> Fault:
    """The clock of all agents is set; sessions and waits must not depend on it."""

    def fault(world: World) -> Iterator[None]:
        before = world.cloud.stable()
        real = time.time
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "time", lambda: real() + seconds)
            world.cloud.rest(EtcdCloud.ttl + 0.5)
            assert world.cloud.stable() >= before, "sessions live by other clocks"
            yield

    return fault


def _asleep(name: str) -> Fault:
    """An agent stands still for longer than its session lives, as in a host that is suspended."""

    def fault(world: World) -> Iterator[None]:
        agent = world.cloud.agents.pop(name, None)
        world.cloud.rest(EtcdCloud.ttl + 1.5)
        yield
        if agent is not None:  # else its host is switched off
            world.cloud.agents[name] = agent

    return fault


def _killed(world: World) -> Iterator[None]:
    """An agent is killed at one of its next steps, which may come after the last action."""
    FAULTS.at = FAULTS.steps + world.after
    yield


KILLED = "an agent killed"

FAULT_KINDS: dict[str, Fault] = {
    **{f"member {number} killed": _member_killed(number) for number in range(3)},
    **{f"member {number} cut off": _member_cut(number) for number in range(3)},
    "all members killed": _all_killed,
    **{f"{name} cut off": _agent_cut(name) for name in AGENTS},
    **{f"{name} away, compacted": _compacted(name) for name in AGENTS},
    **{f"{name} asleep": _asleep(name) for name in AGENTS},
    "clocks a day ahead": _clock(DAY),
    "clocks a day back": _clock(-DAY),
    KILLED: _killed,
}


# -- histories -------------------------------------------------------------------------


def actions(cloud: EtcdCloud) -> list[Callable[[], object]]:
    """What happens in every history, one after the other."""
    cluster: Cluster = cloud.cluster

    def power(name: str) -> Iterator[Callable[[], object]]:
        lost: list[str] = []

        def off() -> None:
            if name in cloud.agents:
                cloud.fabric.unplug(cloud.host(name))
                cloud.lose(name)
                lost.append(name)

        def on() -> None:
            if name in cloud.away:
                cloud.later.append(on)  # it could not be started yet
            elif lost:
                cloud.fabric.plug(cloud.host(name), "eth0")
                cloud.start(name, AGENTS[name])

        yield off
        yield lambda: cloud.rest(EtcdCloud.ttl + 1.5)
        yield on

    def move() -> None:
        cloud.moved = frozenset(str(ip) for ip in cluster.get_vnic("a", "v1").ips)
        cluster.update_vnic("a", "v1", node="cn-2")

    found: list[Callable[[], object]] = []
    for tenant in ("a", "b"):
        found.append(lambda t=tenant: cluster.create_network("web", tenant=t, subnet="10.1.0.0/24"))  # type: ignore[misc]
        found += [
            lambda t=tenant, n=number: cluster.create_vnic(  # type: ignore[misc]
                f"v{n}", tenant=t, network="web", node=f"cn-{n}"
            )
            for number in (1, 2)
        ]
    found += [*power("net-1"), move]
    found.append(lambda: cluster.delete_vnic("b", "v1"))
    found.append(lambda: cluster.create_vnic("v3", tenant="b", network="web", node="cn-1"))
    found.append(lambda: cluster.create_vnic("v3", tenant="a", network="web", node="cn-1"))
    return found


def history(world: World, kind: str, at: int, length: int) -> None:
    """One history with one fault, from one action to another."""
    cloud, fault = world.cloud, FAULT_KINDS[kind](world)
    for name, roles in AGENTS.items():
        cloud.add(name, roles=roles)
    ready = {name for name, roles in AGENTS.items()}
    cloud.until(lambda: _equal({n.name for n in cloud.cluster.nodes() if n.compute_ip}, ready))
    before = {name: cloud.host(name).to_text() for name in cloud.agents}
    todo = actions(cloud)
    for number, action in enumerate(todo):
        if number == at:
            next(fault)
        if number == min(at + length, len(todo) - 1):
            _end(fault)
        eventually(action)
        cloud.rest(0.1)
    _end(fault)
    for action in cloud.later:
        action()
    cloud.until(lambda: check(cloud))
    guests = [
        answered(partial(cloud.guest, name, tenant)) for tenant in "ab" for name in ("v2", "v3")
    ]

    def reach() -> None:
        """The far end of a tunnel comes later than what is said of its VNICs."""
        assert all(guest.lease or guest.renew() for guest in guests)
        assert cloud.fabric.ping(guests[0], guests[1])
        assert all(cloud.fabric.ping(guest, OUTSIDE) for guest in guests)

    cloud.until(reach)
    for guest in guests:
        cloud.fabric.detach(guest)
    for tenant in ("a", "b"):
        eventually(lambda t=tenant: cloud.cluster.delete_network(t, "web", force=True))  # type: ignore[misc]

    def gone() -> None:
        check(cloud)
        assert {name: cloud.host(name).to_text() for name in before} == before
        assert cloud.documents("v1/concentrators/") == cloud.documents("v1/status/") == {}

    cloud.until(gone)
    assert cloud.killed == (1 if kind == KILLED else 0)


def _end(fault: Iterator[None]) -> None:
    with suppress(StopIteration):
        next(fault)


def _equal(found: object, wanted: object) -> None:
    assert found == wanted


@contextmanager
def quick() -> Iterator[None]:
    """Agents that do not wait, and connections that give up soon: one thread steps all."""
    with pytest.MonkeyPatch.context() as patch:
        for name, seconds in (("CONNECT", 0.2), ("ATTEMPT", 0.4), ("PATIENCE", 0.6)):
            patch.setattr(gateway, name, seconds)
        patch.setattr("snnet.agent.statuses.FIRST_WAIT", 0.05)
        patch.setattr("snnet.agent.statuses.LONGEST_WAIT", 0.5)
        patch.setattr("snnet.agent.placing.LOOK_EVERY", 0.2)
        patch.setattr("snnet.agent.drift.LOOK_EVERY", 300.0)
        patch.setattr("snnet.agent.drift.SETTLE", 0.01)
        make_faulty(patch, EtcdRegistry)
        yield


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=random.randrange(2**31))
    parser.add_argument("--histories", type=int, default=len(FAULT_KINDS))
    parser.add_argument("--kind", choices=list(FAULT_KINDS))
    options = parser.parse_args(argv)
    logging.getLogger("snnet").setLevel(logging.ERROR)
    dice, tried, began = random.Random(options.seed), Counter[str](), time.monotonic()
    kinds = list(FAULT_KINDS)
    dice.shuffle(kinds)
    etcd = binary()
    assert etcd is not None
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="snnet-etcd-"))
        wires = Wires()
        members = Members(etcd, Path(folder), hosts=wires.hosts(), spaces=wires.spaces)
        stack.callback(members.kill)
        members.start()
        members.leader()
        stack.enter_context(quick())
        for number, kind in zip(range(options.histories), itertools.cycle(kinds), strict=False):
            kind = options.kind or kind
            at, length, after = dice.randrange(1, 11), dice.randrange(1, 5), dice.randrange(1, 60)
            FAULTS.kind, FAULTS.steps, FAULTS.at = "killed", 0, 0
            members.leader()
            what = f"{kind}, from action {at} for {length}, {after} steps, seed {options.seed}"
            start = time.monotonic()
            with closing(answered(partial(EtcdCloud, wires, f"h{number}"))) as cloud:
                try:
                    history(World(members, wires, cloud, after), kind, at, length)
                except BaseException as error:
                    error.add_note(what)
                    raise
            tried[kind] += 1
            _say(f"{time.monotonic() - start:5.1f} s  {what}, {FAULTS.steps} in all")
    seconds = time.monotonic() - began
    _say(f"{sum(tried.values())} histories, {len(tried)} kinds of faults, {seconds:.0f} s")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
