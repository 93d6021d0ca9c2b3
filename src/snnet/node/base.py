"""What compute nodes and concentrators share: drivers, life cycle, carrying out plans."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, ClassVar

from snnet import plugins
from snnet.config import (
    MTU_MIN,
    NetworkConfig,
    NetworkMode,
    check_bool,
    check_id,
    check_int,
    shown,
)
from snnet.contract import (
    Add,
    Change,
    Conflict,
    Driver,
    Exists,
    Host,
    Incomplete,
    InvalidRequest,
    IPAddress,
    IPNetwork,
    Key,
    Link,
    Noun,
    Nouns,
    Operation,
    Outcome,
    Owned,
    Path,
    Plan,
    Remove,
    SnnetError,
    Unsupported,
    keyed,
    link_key,
    path_key,
)
from snnet.contract import Address as AddressNoun
from snnet.core import identity as ids
from snnet.core.compute import Site
from snnet.core.events import ContainerInfo, TunnelEvent
from snnet.core.identity import Owner
from snnet.core.planner import plan as make_plan
from snnet.core.uplinks import Uplink, find_uplinks

from .claims import WHOLE_NODE, Claims
from .deadline import CancelToken, Deadline, check_seconds
from .drivers import Drivers
from .reports import Report
from .transaction import set_up, tear_down

if TYPE_CHECKING:
    from typing import Self

DriverChoice = str | Driver

PLANNED_FIREWALLS = ("nftables", "iptables")

NAMES_TRIED = 16
"""How many names of the hash are tried before strangers are held to have them all."""

HALF_BORN_GRACE = 0.2
"""Seconds a link without an alias is given: its creator may be alive in another process."""


@dataclass(slots=True)
class Telling:
    """What a call has to tell: its plan, and the events that came of it."""

    plan: Plan = field(default_factory=Plan)
    events: list[plugins.Event] = field(default_factory=list)

    def add(self, *events: plugins.Event | None) -> None:
        self.events += [event for event in events if event is not None]


class Node:
    """One node of the data centre, as the owner of links on its host.

    Any number of threads may call it.  Construction opens the drivers and
    changes nothing; ``init()`` comes before everything else.
    """

    role: ClassVar[str]

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
        listeners: Sequence[object],
    ) -> None:
        self.owner = Owner(self.role, check_id(node_id, "node_id"))
        if not isinstance(config, NetworkConfig):
            raise InvalidRequest(f"{shown(config)} is not a NetworkConfig", field="config")
        if config.mode is NetworkMode.ROUTED:
            raise Unsupported("routed mode is still to come: set mode=NetworkMode.GRE_TUNNEL")
        if firewall in PLANNED_FIREWALLS:
            raise Unsupported(
                f"firewall {firewall!r} is still to come: say firewall='none', "
                "and the rules of this host are yours to set"
            )
        self.config = config
        self.api_timeout = check_seconds(api_timeout, "api_timeout")
        self.read_only = check_bool(read_only, "read_only")
        self.listeners = plugins.Listeners(listeners)
        self._claims = Claims(check_int(max_api_concurrency, "max_api_concurrency", 1, 2**16))
        self._ready = False
        self._closed = False
        self._pid = os.getpid()
        self._resources = ExitStack()
        with ExitStack() as opened:
            self._drivers = self._open(opened, backend, firewall, dhcp, netns)
            self._resources = opened.pop_all()
        self._uplinks: tuple[Uplink, ...] = ()
        self._site: Site | None = None

    # -- life cycle ------------------------------------------------------------

    def _open(
        self,
        opened: ExitStack,
        backend: DriverChoice,
        firewall: DriverChoice,
        dhcp: DriverChoice | None,
        netns: str | int | os.PathLike[str] | None,
    ) -> Drivers:
        nets: tuple[IPNetwork, ...] = tuple(self.config.compute_nets)  # type: ignore[arg-type]
        if isinstance(backend, Driver):
            if netns is not None:
                raise InvalidRequest("a backend instance has its own namespace", field="netns")
            first, host = backend, backend.host
        else:
            from snnet.system.host import SystemHost

            host = SystemHost(str(self.owner), netns, nets)
            opened.callback(host.close)
            first = _choose("backend", backend, host, opened)
            # The fake's host is its kernel, and so the host of what works beside it.
            host = first.host
        others = [_choose("firewall", firewall, host, opened)]
        if dhcp is not None:
            others.append(_choose("dhcp", dhcp, host, opened))
        self._host: Host = host
        return Drivers(first, *others)

    def init(self) -> None:
        """Find the uplinks, rebuild the topology from the kernel, heal what is half-born.

        Takes the lock that keeps other processes from running this node in
        this namespace: waits up to ``api_timeout``, then Conflict naming the
        pid.  Raises InvalidRequest where no link matches the nets.  On failure
        nothing is kept; may be repeated.
        """
        self._check_usable()
        if self._ready:
            return
        with ExitStack() as taken:
            if not self.read_only:
                taken.enter_context(self._host.claim(self.api_timeout))
            self._find_uplinks()
            self._start()
            self._resources.push(taken.pop_all())
        self._ready = True

    def _start(self) -> None:
        raise NotImplementedError

    def _find_uplinks(self) -> None:
        config = self.config
        found = self.backend.snapshot({Link, AddressNoun})
        self._uplinks = find_uplinks(found.values(), config.compute_nets, config.management_nets)  # type: ignore[arg-type]
        compute = next(uplink for uplink in self._uplinks if uplink.compute)
        self._site = Site(
            owner=self.owner,
            uplink=compute,
            tunnel=config.tunnel,
            mtu_cap=config.mtu,
            macvtap_mode=config.macvtap_mode,
        )
        if self._site.mtu < MTU_MIN:
            raise InvalidRequest(
                f"{compute.link_name} has {compute.mtu}, which leaves {self._site.mtu} for "
                f"tenants: {MTU_MIN} is the least",
                field="mtu",
            )

    def close(self) -> None:
        """Let go of sockets, threads and the lock; changes nothing in the kernel.

        May be repeated; any other call afterwards is InvalidRequest.
        """
        self._closed = True
        if self._pid == os.getpid():
            self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_usable(self) -> None:
        if self._closed:
            raise InvalidRequest(f"{self.owner} is closed: make a new one")
        if self._pid != os.getpid():
            raise InvalidRequest(f"{self.owner} was made before a fork: make a new one here")

    def _check_ready(self) -> None:
        self._check_usable()
        if not self._ready:
            raise InvalidRequest(f"{self.owner} is not ready: call init() first")

    def _begin(
        self,
        what: str,
        timeout: float | None,
        cancel: CancelToken | None,
        *,
        limited: bool = True,
        changes: bool = True,
    ) -> Deadline:
        """The deadline of a call, once the node may be called at all."""
        self._check_ready()
        if changes and self.read_only:
            raise InvalidRequest(f"{self.owner} is read-only: it refuses {what}")
        if timeout is None and limited:
            timeout = self.api_timeout
        deadline = Deadline(what, timeout, cancel)
        deadline.check()
        return deadline

    # -- what it is ----------------------------------------------------------------

    @property
    def id(self) -> str:
        return self.owner.id

    @property
    def backend(self) -> Driver:
        return self._drivers.backend

    @property
    def uplinks(self) -> tuple[Uplink, ...]:
        """All uplinks, by ifindex, then address; the first compute one is used."""
        self._check_ready()
        return self._uplinks

    @property
    def compute_ip(self) -> IPAddress:
        """The node's address on the compute network: its end of every tunnel."""
        self._check_ready()
        return self.site.uplink.ip

    @property
    def site(self) -> Site:
        """What all that this node makes depends on."""
        if self._site is None:
            self._check_ready()
        assert self._site is not None
        return self._site

    def dump_firewall(self) -> str:
        """What the firewall driver has set, as text."""
        self._begin("dump_firewall", None, None, changes=False)
        return self._drivers.all[1].dump()

    _kinds: ClassVar[tuple[type[Noun], ...]] = (Link,)
    """What a node of this role has on its host, as far as the backend carries it."""

    # -- finding -------------------------------------------------------------------

    def _locate(
        self, kind: str, identity: tuple[str, ...], known: Link | None = None
    ) -> tuple[str, Link | None]:
        """The link name for an object of ours, and the link if it is there.

        The name of the link as it is known first, then those of the hash; a
        name that a stranger has is passed over.
        """
        if known is not None:
            link = self._link(known.name)
            if link is None or link == known or ids.is_ours(link, self.owner):
                return known.name, link
        for name in islice(ids.names(self.owner, kind, *identity), NAMES_TRIED):
            link = self._link(name)
            if link is None:
                if kind != ids.CONTAINER or self._link(ids.peer_name(name)) is None:
                    return name, None
            elif ids.is_ours(link, self.owner):
                return name, link
        raise Conflict(f"strangers have every name for this {kind}, {name} the last")

    def _check_path(self, remote: IPAddress) -> None:
        """Unsupported where a tunnel would not come from the address it is known by.

        A geneve device has no local address: the kernel takes the one that the
        route to the far end says (geneve_get_v4_rt, drivers/net/geneve.c).
        """
        if self.site.tunnel != "geneve":
            return
        path = self.backend.find(path_key(remote))
        if isinstance(path, Path) and path.source != self.site.uplink.ip:
            raise Unsupported(
                f"the route to {remote} has the source {path.source}, the uplink is "
                f"{self.site.uplink.ip}: geneve cannot choose, set tunnel 'vxlan' or mend the route"
            )

    def _link(self, name: str) -> Link | None:
        found = self.backend.find(link_key(name))
        return found if isinstance(found, Link) else None

    def _ours(self) -> dict[Key, Noun]:
        """Everything of this owner that is on the host, by identity."""
        found = self.backend.snapshot(self._kinds)
        links = {
            noun.name
            for noun in found.values()
            if isinstance(noun, Link) and ids.is_ours(noun, self.owner)
        }
        ours = {
            key: noun
            for key, noun in found.items()
            if (isinstance(noun, Link) and noun.name in links)
            or (noun.within is not None and noun.within[1] in links)
        }
        for driver in self._drivers.all[1:]:
            ours |= {
                key: noun
                for key, noun in driver.snapshot().items()
                if isinstance(noun, Owned) and noun.owner == str(self.owner)
            }
        return ours

    def _settled(self) -> dict[Key, Noun]:
        """``_ours``, once nothing in it may still be being born elsewhere."""
        ours = self._ours()
        if any(isinstance(noun, Link) and not noun.alias for noun in ours.values()):
            time.sleep(HALF_BORN_GRACE)
            ours = self._ours()
        return ours

    def _carried(self, nouns: Iterable[Noun]) -> dict[Key, Noun]:
        """The nouns less those that this firewall leaves to the operator."""
        return keyed(
            noun
            for noun in nouns
            if type(noun) not in self._optional or self._drivers.missing(noun) is None
        )

    _optional: ClassVar[frozenset[type[Noun]]] = frozenset()

    # -- doing ---------------------------------------------------------------------

    def _set_up(self, told: Telling, plan: Plan, deadline: Deadline, what: str) -> Outcome:
        """All of the plan or none of it; listeners are asked first."""
        if not plan:
            return Outcome()
        told.plan = plan
        self._drivers.require(plan)
        self.listeners.before_apply(self, plan)
        try:
            return set_up(self._drivers, plan, deadline.check, what)
        except Exists as error:
            raise _taken(error) from error

    def _tear_down(self, told: Telling, found: Nouns, wanted: Nouns | None = None) -> Outcome:
        """As much of the way from found to wanted (default: nothing) as can be gone."""
        told.plan = make_plan(found, wanted or {})
        if not told.plan:
            return Outcome()
        self.listeners.before_apply(self, told.plan)
        return tear_down(self._drivers, told.plan)

    @contextmanager
    def _telling(self) -> Iterator[Telling]:
        """Tell the listeners of a call's plan once its block, and its claims, are over."""
        telling = Telling()
        try:
            yield telling
        except SnnetError as error:
            if telling.plan:
                self.listeners.failed(self, telling.plan, error)
            raise
        if telling.plan:
            self.listeners.applied(self, telling.plan, telling.events)

    # -- upkeep --------------------------------------------------------------------

    def _nouns(self) -> Iterable[Noun]:
        """Everything the node wants on its host, by what it knows."""
        raise NotImplementedError

    def _read(self, ours: Nouns) -> tuple[Report, set[Key]]:
        """Replace what the node knows by what its objects tell.

        Also gives the identities of what is of no use to anybody: half-born
        links, and what a killed call left.
        """
        raise NotImplementedError

    def rebuild_topology(
        self, *, timeout: float | None = None, cancel: CancelToken | None = None
    ) -> Report:
        """Learn the topology anew from the kernel alone, and mend what is half-built.

        What cannot be placed is left alone and reported.  Every tunnel is
        announced again.
        """
        deadline = self._begin("rebuild_topology", timeout, cancel, limited=False, changes=False)
        with self._telling() as told, self._claims.hold(lambda: WHOLE_NODE, deadline):
            return self._rebuild(told)

    def _rebuild(self, told: Telling) -> Report:
        ours = self._ours() if self.read_only else self._settled()
        report, useless = self._read(ours)
        wanted = self._carried(self._nouns())
        found = {key: noun for key, noun in ours.items() if key in wanted or key in useless}
        told.add(*report.tunnel_events)
        if not self.read_only:
            outcome = self._tear_down(told, found, wanted)
            account(report, told.plan, outcome)
        return report

    def verify(self) -> list[str]:
        """What differs between the topology and the kernel, a line each; changes nothing."""
        deadline = self._begin("verify", None, None, limited=False, changes=False)
        with self._claims.hold(lambda: WHOLE_NODE, deadline):
            plan = make_plan(self._ours(), self._carried(self._nouns()))
            return [*map(_as_difference, plan), *self._warnings()]

    def _warnings(self) -> Iterable[str]:
        """What is as wanted and may hurt all the same."""
        return ()

    def repair(self, *, timeout: float | None = None, cancel: CancelToken | None = None) -> Report:
        """Bring the kernel back to the topology: mend, make anew, remove leftovers of ours.

        Orphans of a rebuild go too.  What could not be done is in the report.
        """
        deadline = self._begin("repair", timeout, cancel, limited=False)
        report = Report()
        with self._telling() as told, self._claims.hold(lambda: WHOLE_NODE, deadline):
            outcome = self._tear_down(told, self._settled(), self._carried(self._nouns()))
            account(report, told.plan, outcome)
        return report


def account(report: Report, plan: Plan, outcome: Outcome) -> None:
    for number, operation in enumerate(plan):
        if number in outcome.done:
            report.healed.append(str(operation))
        elif number in outcome.errors:
            report.orphans.append(f"{operation.noun}: {outcome.errors[number]}")


def _as_difference(operation: Operation) -> str:
    match operation:
        case Add(noun):
            return f"missing: {noun}"
        case Remove(noun):
            return f"unexpected: {noun}"
        case Change(noun, old):
            return f"different: {old}, should be: {noun}"


def incomplete(
    what: str,
    plan: Plan,
    outcome: Outcome,
    *,
    event: TunnelEvent | None = None,
    info: ContainerInfo | None = None,
) -> Incomplete:
    """The error of a tear-down that could not do everything."""
    left = [plan.operations[number].noun for number in sorted(outcome.errors)]
    reasons = "; ".join(str(outcome.errors[number]) for number in sorted(outcome.errors))
    return Incomplete(
        f"{what} is unfinished: {reasons}; call it again to finish",
        leftovers=left,
        tunnel_event=event,
        container_info=info,
    )


def _taken(error: Exists) -> Conflict:
    return Conflict(
        f"{error}; another link of this host has that name, key or address: "
        "remove it or choose another",
        errno=error.errno,
        operation=error.operation,
    )


_GROUPS = {"backend": plugins.BACKENDS, "firewall": plugins.FIREWALLS, "dhcp": plugins.DHCP}


def _choose(what: str, choice: DriverChoice, host: Host, opened: ExitStack) -> Driver:
    """An installed driver by name, opened and to be closed; an instance is borrowed."""
    if isinstance(choice, Driver):
        return choice
    if not isinstance(choice, str):
        raise InvalidRequest(f"{shown(choice)} is neither a driver's name nor a driver", field=what)
    driver = plugins.open_driver(_GROUPS[what], choice, host)
    opened.callback(driver.close)
    return driver
