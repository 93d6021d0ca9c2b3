"""What compute nodes and concentrators share: life cycle, drivers and maintenance."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from collections.abc import Sequence as List
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, ClassVar, Generic, Self, TypeVar

from snnet import plugins
from snnet.checks import (
    check_bool,
    check_callable,
    check_id,
    check_int,
    check_seconds,
    check_type,
)
from snnet.config import NetworkConfig, NetworkMode
from snnet.contract import Driver, Host, InvalidRequest, IPAddress, Plan, Unsupported, Zone
from snnet.core.events import Sequence
from snnet.core.identity import Owner
from snnet.core.site import Site
from snnet.core.uplinks import Uplink

from . import noted
from .call import Call, R
from .calls.upkeep import Clear, Forward, Rebuild, Repair
from .claims import WHOLE_NODE, Claims
from .comparing import changed_inputs, compare
from .deadline import CancelToken, Deadline
from .drivers import Drivers
from .engine import Engine
from .inputs import Inputs
from .intents import Intents
from .migration import take_over
from .news import Whole
from .opening import DriverChoice, open_drivers
from .results import Report
from .sequences import next_epoch, note_epoch
from .uplinks import check_topology, find_site, stand_in, uplink_now

T = TypeVar("T")


class Node(ABC, Generic[R]):
    """A node of the data centre, which owns objects on its host.

    Any number of threads may call it.  Construction opens the drivers and changes
    nothing; ``init()`` comes before everything else.
    """

    role: ClassVar[str]
    clearing: ClassVar[str]
    """The call that removes everything."""
    modes: ClassVar[frozenset[NetworkMode]] = frozenset({NetworkMode.GRE_TUNNEL})
    tenant_id: str = ""
    """The tenant of a concentrator; a compute node has many."""

    def __init__(
        self,
        node_id: str,
        config: NetworkConfig,
        *,
        backend: DriverChoice,
        firewall: DriverChoice,
        dhcp: DriverChoice | None,
        netns: str | int | os.PathLike[str] | None,
        api_timeout: float,
        max_api_concurrency: int,
        read_only: bool,
        listeners: List[object],
    ) -> None:
        self.owner = Owner(self.role, check_id(node_id, "node_id"))
        check_type(config, "config", NetworkConfig)
        if config.mode not in self.modes:
            raise InvalidRequest(
                f"a node of this role does not support mode {config.mode.value!r}: routed "
                "tenants have no concentrators",
                field="mode",
            )
        check_topology(config)
        self.config = config
        self.api_timeout = check_seconds(api_timeout, "api_timeout")
        self.read_only = check_bool(read_only, "read_only")
        self.listeners = plugins.Listeners(listeners)
        self._claims = Claims(check_int(max_api_concurrency, "max_api_concurrency", 1, 2**16))
        self._closed = False
        self._pid = os.getpid()
        with ExitStack() as opened:
            self._drivers = open_drivers(
                self.owner,
                config,
                opened,
                backend=backend,
                firewall=firewall,
                dhcp=dhcp,
                netns=netns,
            )
            self._host: Host = self._drivers.backend.host
            self._check_firewall()
            self._resources = opened.pop_all()
        self._uplinks: tuple[Uplink, ...]
        self._engine: Engine[R] | None = None
        self._no_site: InvalidRequest | None = None
        """Why the configuration does not fit the host, if ``init()`` was tried and it does not."""

    # -- life cycle ------------------------------------------------------------------

    def _check_firewall(self) -> None:
        """Raise Unsupported if the firewall cannot separate tenants and nothing else does."""
        if not self.routed:
            return
        if reason := self._drivers.missing(Zone(zone="any")):
            raise Unsupported(f"routed mode needs a firewall to separate tenants: {reason}")

    def init(self) -> Report:
        """Find the uplinks, rebuild the topology from the kernel, repair what is half-born.

        The report is that of the rebuild: tunnels to announce again, what was repaired, and
        what has no place in the topology.  It is empty when ``init()`` is repeated.

        Takes the lock that keeps other processes from running this node in this namespace;
        waits for it up to ``api_timeout``, then raises Conflict, which names the pid.  Raises
        Denied without CAP_NET_ADMIN, and InvalidRequest if no link matches the nets, or the
        programs of the firewall are not installed (unless the node is read-only).
        ``verify()`` and the call that removes everything (``reset_network``, ``shutdown``) work
        even then, since cleaning up needs no uplink.  After a failure the node holds nothing,
        and no kernel parameter stays changed.  May be repeated.
        """
        self._check_usable()
        with Whole().telling() as whole, self._claims.hold(lambda _: WHOLE_NODE):
            if self._engine is not None:
                return Report()
            with ExitStack() as taken:
                if not self.read_only:
                    self._host.check_allowed()
                    taken.enter_context(self._host.claim(self.api_timeout))
                report = self._start(whole)
                self._resources.push(taken.pop_all())
            return report

    def follow_uplink(self) -> bool:
        """Start again, as a new process would, if the uplink is not the one that was found.

        Tunnels then have the address of now, and what depends on the uplink's name, network and
        MTU fits it.  Returns whether it started again.  Raises Conflict, and changes nothing,
        if no uplink can be used now.  No other call may change the node meanwhile.
        """
        deadline = Deadline("follow_uplink", self.api_timeout, None)
        before, intents = self.site.uplink, self._ready().intents
        if uplink_now(before, self.config, self.owner, self._drivers, intents) == before:
            return False
        with Whole().telling() as whole, self._claims.hold(lambda _: WHOLE_NODE, deadline):
            self._start_with(self._intents(), whole)
        return True

    def _start(self, whole: Whole) -> Report:
        """Read what is on the host, and create the engine."""
        intents = self._intents()
        try:
            return self._start_with(intents, whole)
        except InvalidRequest as error:
            self._no_site = error
            raise

    def _start_with(self, intents: Intents, whole: Whole) -> Report:
        reason = None if self.read_only else self._drivers.firewall.uninstalled()
        if reason is not None:
            raise InvalidRequest(reason, field="firewall")
        self._uplinks, site = find_site(self.config, self.owner, self._drivers, intents)
        moved = [] if self.read_only else take_over(self.owner, self._drivers, self._host)
        epoch = next_epoch(self._host, self.owner)
        if not self.read_only:
            site = replace(site, sequence=Sequence(epoch))
        engine = self._new_engine(site, intents)
        report = engine.run(Rebuild(changes=not self.read_only, forward=False), whole=whole)
        if not self.read_only:
            engine.run(Forward(), whole=whole)
            note_epoch(self._host, self.owner, epoch)
        self._note(engine.inputs, site.uplink)
        report.healed = [*intents.damage, *moved, *report.healed]
        self._engine, self._no_site = engine, None
        vars(self).pop("_layout", None)  # of a compute node: it follows from the site
        return report

    def _note(self, inputs: Inputs, uplink: Uplink) -> None:
        """Note what the node rests on now; who only looks on takes what is noted."""
        now = inputs.note(uplink)
        if not self.read_only:
            noted.note(self._host, self.owner, self.config, self._drivers, self.tenant_id, now)
        elif before := noted.before(self._host, self.owner):
            inputs.recall(before)

    def _intents(self) -> Intents:
        return Intents(self._host.journal(f"intents-{self.owner}"), read_only=self.read_only)

    def _new_engine(self, site: Site, intents: Intents) -> Engine[R]:
        return Engine(
            self, self._records(site), self._drivers, self._claims, self.listeners, intents
        )

    @contextmanager
    def _cleaning(self) -> Iterator[Engine[R]]:
        """Yield the engine; if ``init()`` found no uplink, one that may only look and remove."""
        if self._engine is not None or self._no_site is None:
            yield self._ready()
            return
        self._check_usable()
        with ExitStack() as taken:
            if not self.read_only:
                taken.enter_context(self._host.claim(self.api_timeout))
            site = stand_in(self.config, self.owner, self._drivers)
            yield self._new_engine(site, self._intents())

    @abstractmethod
    def _records(self, site: Site) -> R:
        """Return empty records of this node."""

    def close(self) -> None:
        """Close sockets, threads and the lock; change nothing in the kernel.

        Every later call raises InvalidRequest.  Waits up to ``api_timeout`` for calls under
        way.  Those that take longer, and a call of the same thread (in a hook or a signal
        handler), keep what they use, the lock included, until they end.  May be repeated.
        """
        if self._pid == os.getpid():
            self._claims.close(self._resources.close, self.api_timeout)
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_usable(self) -> None:
        if self._closed:
            raise InvalidRequest(f"{self.owner} is closed: make a new one")
        if self._pid != os.getpid():
            raise InvalidRequest(f"{self.owner} was made before a fork: make a new one here")

    # -- calls -----------------------------------------------------------------------

    def _ready(self) -> Engine[R]:
        """Return the engine; raise InvalidRequest if the node may not be called now."""
        self._check_usable()
        if self._engine is None:
            raise InvalidRequest(f"{self.owner} is not ready: call init() first")
        return self._engine

    def _run(
        self,
        call: Call[R, Any, Any, T],
        timeout: float | None = None,
        cancel: CancelToken | None = None,
        *,
        limited: bool = True,
    ) -> T:
        """Run a call that may change the host."""
        return self._ready().run(call, self._deadline(call.what, timeout, cancel, limited))

    def _deadline(
        self, what: str, timeout: float | None, cancel: CancelToken | None, limited: bool = True
    ) -> Deadline:
        """Return the deadline of a call that changes the host; refuse it on a read-only node."""
        if self.read_only:
            raise InvalidRequest(f"{self.owner} is read-only: it refuses {what}")
        if timeout is None and limited:
            timeout = self.api_timeout
        deadline = Deadline(what, timeout, cancel)
        deadline.check()
        return deadline

    def rely_on(self, followed: Callable[[], bool]) -> None:
        """Let ``reconcile`` rely on what the node knows while ``followed()`` is true.

        ``followed`` says whether the caller notices what others change, and repairs it.
        """
        self._ready().followed = check_callable(followed, "followed")

    def _preview(self, call: Call[R, Any, Any, Any]) -> Plan:
        """Return what a call would do now; a read-only node may do this too."""
        deadline = Deadline(f"plan of {call.what}", self.api_timeout, None)
        return self._ready().preview(call, deadline)

    # -- the whole node --------------------------------------------------------------

    def rebuild_topology(
        self, *, timeout: float | None = None, cancel: CancelToken | None = None
    ) -> Report:
        """Read back the topology from the kernel alone, and repair what is incomplete.

        Orphans are reported and left alone.  The report has an ADD event for every
        tunnel.  A read-only node repairs nothing.
        """
        deadline = Deadline("rebuild_topology", timeout, cancel)
        deadline.check()
        return self._ready().run(Rebuild(changes=not self.read_only), deadline)

    def verify(
        self,
        *,
        quick: bool = False,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> list[str]:
        """Return what differs between the topology and the kernel, one line each.

        Changes nothing.  With ``quick`` it looks only at what the drivers' alarms do not report,
        such as kernel parameters and rules of legacy iptables.

        No other call runs while the host is listed.  Waits for calls under way up to ``timeout``
        seconds (``api_timeout`` by default), then raises Timeout.

        If ``init()`` found no uplink, one line says why, and how many objects are on the host.
        """
        timeout = self.api_timeout if timeout is None else timeout
        deadline = Deadline("verify", timeout, cancel)
        deadline.check()
        if self._engine is None:
            with self._cleaning() as engine, engine.look(deadline) as host:
                left = len(host.seen(engine.records).ours)
            return [
                f"{self._no_site}; {left} objects of {self.owner} are on this host, which "
                f"{self.clearing} removes"
            ]
        return compare(self._ready(), deadline, quick=quick)

    def repair(self, *, timeout: float | None = None, cancel: CancelToken | None = None) -> Report:
        """Make the kernel agree with the topology, and remove leftovers of this node.

        Orphans of a rebuild are removed too.  The report names what could not be done, and what
        changed on the host that is not the node's, with the command that corrects it.
        """
        report = self._run(Repair(), timeout, cancel, limited=False)
        engine = self._ready()
        with engine.look() as host:
            report.orphans += changed_inputs(engine, host)
        return report

    def _clear(self, what: str, timeout: float | None, cancel: CancelToken | None) -> Report:
        """Remove everything of this node; ``Incomplete`` lists what could not be removed."""
        deadline = self._deadline(what, timeout, cancel, limited=False)
        with self._cleaning() as engine:
            report = engine.run(Clear(what), deadline)
        noted.forget(self._host, self.owner)
        return report

    # -- what it is ------------------------------------------------------------------

    @property
    def routed(self) -> bool:
        """Whether tenants' traffic is routed instead of tunnelled."""
        return self.config.mode is NetworkMode.ROUTED

    @property
    def id(self) -> str:
        return self.owner.id

    @property
    def backend(self) -> Driver:
        return self._drivers.backend

    @property
    def drivers(self) -> Drivers:
        """The drivers of this node."""
        return self._drivers

    @property
    def uplinks(self) -> tuple[Uplink, ...]:
        """All uplinks, by ifindex, then in the kernel's order.

        The first compute one is used, or the one whose address the tunnels have.
        """
        self._ready()
        return self._uplinks

    @property
    def compute_ip(self) -> IPAddress:
        """The node's address on the compute network: its end of every tunnel."""
        return self.site.ip

    @property
    def site(self) -> Site:
        """The site of this node: what all of its objects depend on."""
        return self._ready().records.site

    def dump_firewall(self) -> str:
        """Return what the firewall driver has set, as text."""
        with self._ready().look():
            return self._drivers.firewall.dump()
