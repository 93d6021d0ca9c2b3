"""``Agent``: the resident process of a host, which carries out what a registry says."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Sequence
from typing import Any, Self

from snnet.checks import check_choice, check_id, check_many, check_type
from snnet.cluster import keys
from snnet.cluster.mirror import Mirror
from snnet.config import NetworkConfig
from snnet.contract import Driver, InvalidRequest, Registry, SnnetError, Unavailable, check_ttl
from snnet.core.concentrators import Concentrator
from snnet.node import ComputeNode

from .answering import Answering
from .compute import ComputeRole, waiting
from .drift import Drift
from .hub import check_concentrators, usable_addresses, why_not_public
from .membership import SESSION_TTL, Membership, check_name
from .mesh import Parts
from .network import NetworkRole
from .news import News
from .opening import SLICE, beside, inside_opener, open_registry
from .origin import Origin
from .pause import Pause
from .placing import Placer
from .rivals import Rivals
from .settings import ROLES
from .statuses import Said, Statuses
from .uplink import UplinkFollower
from .wanted import HostWanted, host_wanted, refuse_publics

_log = logging.getLogger("snnet.agent")


class Agent:
    """Makes one host as the registry says, and says in the registry how far it is.

    ``roles`` are "compute" (the VNICs of the host) and "network" (tenants' concentrators).
    ``registry`` is a URL or an open registry, which is borrowed.  The other arguments are
    those of :class:`snnet.ComputeNode` and :class:`snnet.Cnci`.  Setting the event ``stop`` ends
    :meth:`run` and whatever waits for the registry.

    Construction opens the drivers and changes nothing.  :meth:`step` does one round;
    :meth:`run` repeats it until :meth:`stop`, :meth:`start` does so in a thread.  Whatever
    ends the agent, the data plane stays as it is, and the next agent takes it over.
    While the registry does not answer, which it need not at construction either, the agent
    keeps the host as the last complete reading says.  One thread at a time may call ``step``.

    An agent that said nothing for ``session_ttl`` seconds counts as gone: its concentrators
    are moved to other hosts if they do not answer either.
    """

    def __init__(
        self,
        node_id: str,
        config: NetworkConfig,
        *,
        registry: str | Registry,
        roles: Sequence[str] = ROLES,
        backend: str | Driver = "netlink",
        firewall: str | Driver = "nftables",
        dhcp: str | Driver = "dnsmasq",
        netns: str | int | os.PathLike[str] | None = None,
        session_ttl: float = SESSION_TTL,
        stop: threading.Event | None = None,
    ) -> None:
        self.node_id = check_id(node_id, "node_id")
        self.roles: tuple[str, ...] = check_many(
            roles, "roles", lambda value, field: check_choice(value, field, ROLES)
        )
        if not self.roles:
            raise InvalidRequest(f"give at least one of {', '.join(ROLES)}", field="roles")
        self.config = check_type(config, "config", NetworkConfig)
        if "network" in self.roles:
            check_concentrators(config)
        drivers: dict[str, Any] = {"backend": backend, "firewall": firewall}
        check_ttl(session_ttl, "session_ttl")
        self._stopping = threading.Event() if stop is None else stop
        with contextlib.ExitStack() as opened:
            self.node = opened.enter_context(ComputeNode(node_id, config, netns=netns, **drivers))
            self._problem: str | None = None
            if isinstance(registry, Registry):
                self.registry = registry
            else:
                self.registry, self._problem = open_registry(registry, self._stopping)
                opened.callback(self.registry.close)
            self._mirror = Mirror(self.registry, keys.QUESTIONS)
            opened.callback(self._mirror.close)
            self._answering = Answering(self.registry, node_id, self.node.backend.host)
            opened.callback(self._answering.close)
            self._statuses = Statuses(self.registry, node_id)
            self._compute = ComputeRole(self.node)
            host, topology = self.node.backend.host, config.topology
            self._membership = Membership(
                self.registry, node_id, host, self.roles, topology, session_ttl
            )
            self._origin = Origin(self.registry, self.node)
            inside = inside_opener(self.node, config, drivers, dhcp)
            self._network = NetworkRole(inside, self.node.backend)
            self._placer: Placer | None = None
            self._rivals = Rivals(self.node, self._network)
            opened.callback(self._rivals.close)
            self._news = News(node_id, self.roles, config.topology)
            opened.callback(self._network.close)
            self._drift = Drift()
            opened.callback(self._drift.close)
            self._due = 0.0
            self._ready = False
            self._beside: dict[str, str] = {}
            self._uplink = UplinkFollower(self.node)
            self._pause = Pause(self.node.backend)
            opened.callback(self._pause.over)
            self._lost = self._problem is not None  # whether the registry did not answer last
            self._rounds, self._failures, self._busy = 0, 0, 0.0
            self._thread: threading.Thread | None = None
            self._stack = opened.pop_all()

    # -- running ---------------------------------------------------------------------

    def run(self) -> None:
        """Repeat :meth:`step` until :meth:`stop` is called, then :meth:`close`."""
        try:
            while not self._stopping.is_set():
                self.step(timeout=1.0)
        finally:
            self.close()

    def start(self) -> None:
        """Run in a thread of its own."""
        if self._thread is None:
            self._thread = threading.Thread(target=self.run, name=f"agent-{self.node_id}")
            self._thread.start()

    def stop(self) -> None:
        """End :meth:`run` after the round under way, and wait for it.  May be repeated."""
        self._stopping.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def close(self) -> None:
        """Let go of drivers, namespaces and the registry; the data plane stays as it is."""
        self._membership.close(silently=self._lost)
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.close()

    def step(self, timeout: float = 1.0) -> bool:
        """Wait up to ``timeout`` seconds for something to do, and do it.

        Returns whether there was something.  What fails is logged, kept in
        :meth:`status`, and tried again later; nothing is raised for it.
        """
        end = time.monotonic() + timeout
        try:
            (self._connect_again if self._lost else self._connect)()
            if not self._wait(end):
                return False
        except Exception as error:
            self._lose(error, end)
            return True
        began = time.monotonic()
        try:
            with self._membership.kept():
                self._round()
        except Unavailable as error:
            self._lose(error, end)
        except Exception as error:  # even a fault of ours: the next round may do without it
            self._failed(error)
        finally:
            self._rounds += 1
            self._busy += time.monotonic() - began
        return True

    def report(self, part: str, problem: str | None) -> None:
        """Note the problem of a part beside the agent, which continues; None: it is solved."""
        others = {name: said for name, said in self._beside.items() if name != part}
        self._beside = others if problem is None else {**others, part: problem}

    @property
    def ready(self) -> bool:
        """Whether the node was read from the host, and the agent has registered it."""
        return self._ready

    @property
    def problem(self) -> str | None:
        """What went wrong in the last round and in parts beside the agent; None if nothing did."""
        beside = (f"{part}: {said}" for part, said in self._beside.items())
        return "; ".join(filter(None, (self._problem, self._uplink.problem, *beside))) or None

    def status(self) -> dict[str, Any]:
        """What the agent is doing, as plain data."""
        problem = self.problem
        return {
            "node": self.node_id,
            "roles": list(self.roles),
            "state": "failing" if problem else "ready" if self._ready else "starting",
            "problem": problem,
            "revision": self._mirror.revision,
            "objects": self._statuses.counts,
            "concentrators": sorted(self._network.running),
            "repaired": self._drift.repaired,
            "rounds": self._rounds,
            "failures": self._failures,
            "busy_seconds": round(self._busy, 3),
        }

    # -- one round -------------------------------------------------------------------

    def _connect(self) -> None:
        """Be registered and alive in the registry, and have a copy of what concerns us."""
        self._membership.problem = None if self._lost else self.problem
        if self._membership.connect(self._mirror, at_once=self._lost) or self._lost:
            # What has changed meanwhile must be known before anything is done.
            self._mirror.close()
            self._lost = False
        mine = keys.status(self.node_id), keys.tunnels(self.node_id)
        reading = self._mirror.follow(*self._news.prefixes(), apart=self._news.apart(), once=mine)
        if reading is not None:
            self._statuses.learn(
                {
                    key: entry.document
                    for key, entry in reading.entries.items()
                    if key.startswith(mine)
                }
            )
            self._due = 0.0

    def _wait(self, end: float) -> bool:
        """Wait for something that is due: a change, a retry, a look; False if time is up."""
        while True:
            if self._mirror.news():
                with self._membership.kept():
                    self._answering.follow(self._mirror.under(keys.QUESTIONS))
            self._drift.notice()
            now = time.monotonic()
            if self._ready:
                due = min(self._due, now + self._drift.due_in)
            else:
                due = self._due = self._pause.cut(self._due)
            if due <= now:
                return True
            left = 0.0 if self._stopping.is_set() else max(0.0, min(end, due) - now)
            if self._concerns(self._mirror.refresh(min(left, SLICE))):
                self._due = 0.0
            elif not left:
                return False

    def _concerns(self, changed: set[str]) -> bool:
        """Whether these changes are work for this host."""
        return any(self._news.concerns(key, gone=self._mirror.get(key) is None) for key in changed)

    def _round(self) -> None:
        """Do what is due: make the host as the registry says, and look for drift."""
        if not self._ready:
            self._mirror.refresh(0)
            self._origin.reading(self._mirror)
            self._begin()
        problem = self._uplink.problem
        if self._uplink.follow():
            self._start_again()
        if self._uplink.problem != problem:  # objects say it, or say it no more
            self._due = 0.0
        if self._due <= time.monotonic():
            self._reconcile()
            # A failed round is tried again; until then a look for drift alone proves nothing.
            self._problem = None
            self._pause.over()
        self._look()

    def _look(self) -> None:
        """Look for drift, if that is due; what was repaired may be a concentrator's namespace."""
        if self._drift.due_in:
            return
        repaired = self._drift.repaired
        self._drift.look()
        if self._drift.repaired != repaired and self._network.follow(self._sides()):
            self._watch()
            self._due = 0.0

    def _watch(self) -> None:
        self._drift.watch([self.node, *self._network.running.values()])

    def _begin(self) -> None:
        """Have a node that works, and say so."""
        check_name(self.registry, self.node)
        if self.config.topology == "hub" and "compute" in self.roles:
            self.node.take_number(self._membership.number(self.config.node_number))
        self.node.init()
        self.node.follow_uplink()  # which may be another one since the last try
        if "network" in self.roles:
            alone = self.config.topology == "local"
            addresses = None if alone else usable_addresses(self.node, self.config)
            self._placer = Placer(self.registry, self.node_id, addresses)
        self._ready = True
        self._membership.learn(self.node.site)
        self._membership.register()

    def _start_again(self) -> None:
        """Do what another agent would do, which takes the host over: know nothing, and begin."""
        self._network.close()
        self._rivals.close()
        self._drift.watch([])
        self._compute = ComputeRole(self.node)
        self._ready, self._due = False, 0.0
        self._begin()

    def _reconcile(self) -> None:
        self._mirror.refresh(0)
        self._due = float("inf")
        if self._placer is not None:
            self._placer.place(self._origin.reading(self._mirror))
            # What is new may be others' word, too: then places have to be looked at again.
            if self._concerns(self._mirror.refresh(0)):
                self._due = 0.0
        reading = self._origin.reading(self._mirror)
        wanted = host_wanted(reading, self.node_id, self.config, self.roles)
        if any(tenant.public_ips for tenant in wanted.tenants.values()):
            refuse_publics(wanted, why_not_public(self.node))
        self._news.learn(wanted)
        said = self._uplink.refuse(self._carry_out(wanted))
        made = self.node.topology()
        self._origin.note(self._mirror, has_any=bool(made.vnics or made.concentrators))
        try:
            gateways = self._network.gateways(self.node, wanted.served)
            self._statuses.write(said, self._compute.tunnels(gateways))
        finally:
            # Others wait for what was said; that alarms are set a little later costs nothing.
            self._watch()
        waits = [self._statuses.retry_in, self._network.retry_in]
        if self._placer is not None:
            self._placer.release(self._mirror.reading(), self._sides())
            waits.append(self._placer.retry_in)
        for wait in waits:
            if wait is not None:
                self._due = min(self._due, time.monotonic() + wait)

    def _carry_out(self, wanted: HostWanted) -> list[Said]:
        said = list(waiting(wanted))
        sides = self._sides()
        kept = [tenant.tenant for tenant in wanted.tenants.values() if tenant.fits(sides)]
        stuck = self._network.stop(sides, keep=[*kept, *wanted.held])
        parts = Parts.read(self._mirror.reading(), self.node_id, self.config)
        said += self._compute.carry_out(wanted, parts, stuck)
        sides = {tenant: side for tenant, side in self._sides().items() if tenant not in stuck}
        changed = self._compute.changed
        self._network.leave({name: side for name, side in sides.items() if name in changed})
        said += self._network.carry_out(wanted.tenants, sides, self._compute.errors)
        self._network.hold(wanted.held, sides)
        self._rivals.listen(sides.values())
        return said

    def _sides(self) -> dict[str, Concentrator]:
        """The host's sides of the concentrators that are there, by tenant."""
        return {item.tenant_id: item for item in self.node.topology().concentrators}

    def _connect_again(self) -> None:
        """After the registry was lost: connect, and keep the host as it is meanwhile."""
        beside(self._connect, self._stopping, self._look_after)

    def _lose(self, error: Exception, end: float) -> None:
        """Without a registry, whatever the reason: keep the host as it is, until ``end``."""
        self._lost = True
        self._failed(error)
        while True:
            self._look_after()
            left = end - time.monotonic()
            if left <= 0 or self._stopping.wait(min(left, SLICE)):
                return

    def _look_after(self) -> None:
        """Without a registry: repair drift, and give up what another host has by now."""
        if not self._ready:
            return
        self._drift.notice()
        if self._rivals.give_way(self._sides()):
            self._watch()
        self._look()

    def _failed(self, error: Exception) -> None:
        """Note that a round failed as a whole; the next try is after a growing wait."""
        ours = not isinstance(error, SnnetError)
        kind = type(error).__name__ if ours else "registry"
        problem = f"{kind}: {error}" if ours or isinstance(error, Unavailable) else str(error)
        if problem != self._problem:
            _log.warning("%s", problem, exc_info=error if ours else None)
        self._problem = problem
        self._failures += 1
        self._due = self._pause.begin()
