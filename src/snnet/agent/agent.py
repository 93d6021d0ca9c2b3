"""``Agent``: the resident process of a host, which carries out what a registry says."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, Self

import snnet
from snnet import plugins
from snnet.cluster import NodeInfo, keys
from snnet.config import NetworkConfig, check_choice, check_id, check_many
from snnet.contract import (
    Driver,
    InvalidRequest,
    Put,
    Registry,
    Session,
    SessionLost,
    SnnetError,
    Unavailable,
    Unsupported,
)
from snnet.core.concentrators import Concentrator
from snnet.node import Cnci, ComputeNode

from .compute import ComputeRole, waiting
from .drift import Drift
from .mirror import Mirror
from .network import NetworkRole, place
from .settings import ROLES
from .statuses import Said, Statuses, wait_after
from .wanted import HostWanted, host_wanted

SESSION_TTL = 15.0
"""Seconds after which an agent that says nothing counts as gone."""

SLICE = 0.2
"""Seconds of waiting for the registry between two looks for changes of the kernel."""

SETTLE = 0.05
"""Seconds between the first change of the registry and the work, so that more come along."""

_log = logging.getLogger("snnet.agent")


class Agent:
    """Makes one host as the registry says, and says in the registry how far it is.

    ``roles`` are "compute" (the VNICs of the host) and "network" (tenants' concentrators).
    ``registry`` is a URL or an open registry, which is borrowed.  The other arguments are
    those of :class:`snnet.ComputeNode` and :class:`snnet.Cnci`.

    Construction opens the drivers and changes nothing.  :meth:`step` does one round;
    :meth:`run` repeats it until :meth:`stop`, :meth:`start` does so in a thread.  Whatever
    ends the agent, the data plane stays as it is, and the next agent takes it over.
    While the registry does not answer, the agent keeps the host as the last complete
    reading says.  One thread at a time may call ``step``.
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
    ) -> None:
        self.node_id = check_id(node_id, "node_id")
        self.roles: tuple[str, ...] = check_many(
            roles, "roles", lambda value, field: check_choice(value, field, ROLES)
        )
        if not self.roles:
            raise InvalidRequest(f"give at least one of {', '.join(ROLES)}", field="roles")
        self.config = config
        if "network" in self.roles:
            _check_concentrators(config)
        self._drivers: dict[str, Any] = {"backend": backend, "firewall": firewall}
        self._dhcp = dhcp
        self._stack = contextlib.ExitStack()
        with contextlib.ExitStack() as opened:
            self.node = opened.enter_context(
                ComputeNode(node_id, config, netns=netns, **self._drivers)
            )
            if isinstance(registry, Registry):
                self._registry = registry
            else:
                self._registry = opened.enter_context(plugins.open_registry(registry))
            self._stack = opened.pop_all()
        self._mirror = Mirror(self._registry)
        self._stack.callback(self._mirror.close)
        self._statuses = Statuses(self._registry, node_id)
        self._compute = ComputeRole(self.node)
        self._network = NetworkRole(self._open_cnci)
        self._stack.callback(self._network.close)
        self._drift = Drift()
        self._stack.callback(self._drift.close)
        self._session: Session | None = None
        self._renew_at = 0.0
        self._due = 0.0
        self._ready = False
        self._problem: str | None = None
        self._tries = 0
        self._rounds, self._failures, self._busy = 0, 0, 0.0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

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
        if self._session is not None:
            with contextlib.suppress(SnnetError):
                self._session.close()
            self._session = None
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
            self._connect()
            if not self._wait(end):
                return False
            began = time.monotonic()
            try:
                with self._session_kept():
                    self._round()
            finally:
                self._rounds += 1
                self._busy += time.monotonic() - began
        except Unavailable as error:
            self._failed(f"registry: {error}")
            self._keep(end)
        except SnnetError as error:
            self._failed(str(error))
        except Exception as error:  # a fault of ours: the next round may do without it
            _log.exception("the round failed")
            self._failed(f"{type(error).__name__}: {error}")
        else:
            self._problem, self._tries = None, 0
        return True

    def status(self) -> dict[str, Any]:
        """What the agent is doing, as plain data."""
        return {
            "node": self.node_id,
            "roles": list(self.roles),
            "state": "failing" if self._problem else "ready" if self._ready else "starting",
            "problem": self._problem,
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
        now = time.monotonic()
        if self._session is not None and now >= self._renew_at:
            try:
                self._session.renew()
                self._renew_at = now + SESSION_TTL / 3
            except SessionLost:
                self._session = None
        if self._session is None:
            self._register()
        if self._mirror.follow(*self._prefixes()):
            said = self._mirror.under(keys.status(self.node_id))
            self._statuses.learn({entry.key: entry.document for entry in said})
            self._due = 0.0

    @contextlib.contextmanager
    def _session_kept(self) -> Iterator[None]:
        """Renew the session also while a round takes long."""
        session, over = self._session, threading.Event()

        def renew() -> None:
            while session is not None and not over.wait(SESSION_TTL / 3):
                # What is wrong with it is seen, and told, at the next step.
                with contextlib.suppress(SnnetError):
                    session.renew()

        thread = threading.Thread(target=renew, name=f"session-{self.node_id}")
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _register(self) -> None:
        session = self._registry.session(SESSION_TTL)
        key = keys.node(self.node_id)
        known = self._registry.read(key).entries.get(key)
        info = NodeInfo(
            name=self.node_id,
            roles=self.roles,
            topology=self.config.topology,
            compute_ip=str(self.node.compute_ip) if self._ready else None,
            # Somebody else's word: a restart does not take it back.
            draining=bool(known and known.document.get("draining")),
            version=snnet.__version__,
        )
        self._registry.commit(
            [
                Put(key, info.document()),
                Put(keys.alive(self.node_id), {"pid": os.getpid()}, session.id),
            ],
            {key: known.revision if known else 0},
        )
        self._session, self._renew_at = session, time.monotonic() + SESSION_TTL / 3

    def _prefixes(self) -> tuple[str, ...]:
        found = [
            f"{keys.VNICS}{self.node_id}/",
            keys.NETWORKS,
            keys.CONCENTRATORS,
            keys.status(self.node_id),
        ]
        if "network" in self.roles:
            found += [keys.FORWARDS, keys.PUBLIC_IPS, keys.ADDRESSES, keys.NODES, keys.ALIVE]
        return tuple(found)

    def _wait(self, end: float) -> bool:
        """Wait for something that is due: a change, a retry, a look; False if time is up."""
        while True:
            self._drift.notice()
            now = time.monotonic()
            due = min(self._due, now + self._drift.due_in)
            if due <= now:
                return True
            left = min(end, due) - now
            if left <= 0 or self._stopping.is_set():
                return False
            if self._concerns(self._mirror.refresh(min(left, SLICE))):
                self._mirror.refresh(SETTLE)
                self._due = 0.0

    def _concerns(self, changed: set[str]) -> bool:
        """Whether these changes are more than what agents say of themselves."""
        return any(not key.startswith((keys.STATUS, keys.ALIVE)) for key in changed)

    def _round(self) -> None:
        """Do what is due: make the host as the registry says, and look for drift."""
        if not self._ready:
            self.node.init()
            self._ready = True
            self._register()
        if self._due <= time.monotonic():
            self._reconcile()
        if not self._drift.due_in:
            self._drift.look()

    def _reconcile(self) -> None:
        if "network" in self.roles:
            place(self._registry, self._mirror.reading(), self.node_id)
            self._mirror.refresh(0)
        wanted = host_wanted(self._mirror.reading(), self.node_id, self.config)
        self._due = float("inf")
        said = self._carry_out(wanted)
        self._drift.watch([self.node, *self._network.running.values()])
        self._statuses.write(said)
        if (retry := self._statuses.retry_in) is not None:
            self._due = time.monotonic() + retry

    def _carry_out(self, wanted: HostWanted) -> list[Said]:
        said = list(waiting(wanted))
        self._network.stop(self._sides(), keep=wanted.tenants)
        said += self._compute.carry_out(wanted)
        said += self._network.carry_out(wanted.tenants, self._sides(), self._compute.errors)
        return said

    def _sides(self) -> dict[str, Concentrator]:
        """The host's sides of the concentrators that are there, by tenant."""
        return {item.tenant_id: item for item in self.node.topology().concentrators}

    def _keep(self, end: float) -> None:
        """Without a registry: keep the host as it is, until ``end``."""
        while self._ready:
            self._drift.notice()
            left = end - time.monotonic()
            if not self._drift.due_in:
                self._drift.look()
            if left <= 0 or self._stopping.wait(min(left, SLICE)):
                return

    def _failed(self, problem: str) -> None:
        """Note that a round failed as a whole; the next try is after a growing wait."""
        if problem != self._problem:
            _log.warning("%s", problem)
        self._problem = problem
        self._failures += 1
        self._due = time.monotonic() + wait_after(self._tries)
        self._tries += 1

    def _open_cnci(self, side: Concentrator) -> Cnci:
        backend = self._drivers["backend"]
        inner: dict[str, Any] = {"netns": side.netns}
        if isinstance(backend, Driver):
            inner = {"backend": self._stack.enter_context(backend.inside(side.netns))}
        return Cnci(
            side.concentrator_id,
            self.config,
            tenant_id=side.tenant_id,
            dhcp=self._dhcp,
            **{**self._drivers, **inner},
        )


def _check_concentrators(config: NetworkConfig) -> None:
    """Refuse a topology in which this host could not run tenants' concentrators."""
    if config.topology == "hub" and not config.concentrator_pool:
        raise InvalidRequest(
            "is empty: concentrators of topology 'hub' need an address each; give a pool, or set "
            "topology 'local' if this host is the only one, or leave the role 'network' to others",
            field="concentrator_pool",
        )
    if config.topology != "local":
        raise Unsupported(
            f"an agent cannot run concentrators of topology {config.topology!r} yet: set topology "
            "'local', or leave out the role 'network' and run snnet.Cnci where they are"
        )
