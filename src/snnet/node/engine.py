"""The engine of a node: finding what is there, carrying out plans, telling listeners."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import ClassVar

from snnet import plugins
from snnet.contract import (
    Add,
    Conflict,
    Driver,
    Exists,
    Incomplete,
    IPAddress,
    Key,
    Link,
    Noun,
    Nouns,
    Outcome,
    Owned,
    Path,
    Plan,
    Remove,
    SnnetError,
    Unsupported,
    Zone,
    keyed,
)
from snnet.core import identity as ids
from snnet.core.events import ContainerInfo, TunnelEvent
from snnet.core.planner import plan as make_plan

from .deadline import Deadline
from .lifecycle import Lifecycle
from .transaction import set_up, tear_down

NAMES_TRIED = 16
"""How many names of the hash are tried before strangers are held to have them all."""

HALF_BORN_GRACE = 0.2
"""Seconds a link without an alias is given: its creator may be alive in another process."""


class Taken(Conflict):
    """What a plan was to add is there already, and was not when it was planned."""


@dataclass(slots=True)
class Telling:
    """What a call has to tell: its plan, and the events that came of it."""

    plan: Plan = field(default_factory=Plan)
    events: list[plugins.Event] = field(default_factory=list)

    def add(self, *events: plugins.Event | None) -> None:
        self.events += [event for event in events if event is not None]


class Engine(Lifecycle):
    """A node that can look at its host and carry out plans on it."""

    _kinds: tuple[type[Noun], ...] = (Link,)
    """What a node of this role has on its host, as far as the backend carries it."""

    _optional: ClassVar[frozenset[type[Noun]]] = frozenset()
    """Nouns a node of this role goes without where its firewall does not carry them."""

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
        path = self.backend.find(Path(remote=remote))
        if isinstance(path, Path) and path.source != self.site.uplink.ip:
            raise Unsupported(
                f"the route to {remote} has the source {path.source}, the uplink is "
                f"{self.site.uplink.ip}: geneve cannot choose, set tunnel 'vxlan' or mend the route"
            )

    def _link(self, name: str) -> Link | None:
        found = self.backend.find(Link(name=name))
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
        ours |= keyed(self._ours_elsewhere(found))
        for driver in filter(None, (self._drivers.firewall, self._drivers.dhcp)):
            ours |= {
                key: noun
                for key, noun in driver.snapshot().items()
                if isinstance(noun, Owned) and noun.owner == str(self.owner)
            }
        return ours

    def _ours_elsewhere(self, found: Nouns) -> Iterable[Noun]:
        """What is this owner's and neither is a link of its own nor hangs on one."""
        return ()

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

    # -- another firewall ------------------------------------------------------------

    def _migrate(self) -> list[str]:
        """Move this node's rules from other firewall drivers to its own, without a gap.

        They are in both for a moment, and connections go on.  Raises what the new
        firewall says, with everything as before.
        """
        from snnet.system.host import RealHost

        firewall = self._drivers.firewall
        any_rule = Zone(owner=str(self.owner), zone="any")
        if not isinstance(self._host, RealHost) or firewall.missing(any_rule) is not None:
            return []
        moved: list[str] = []
        for name in plugins.installed(plugins.FIREWALLS):
            if name != firewall.name:
                moved += self._take_over(name, firewall)
        return moved

    def _take_over(self, name: str, firewall: Driver) -> list[str]:
        try:
            other = plugins.open_driver(plugins.FIREWALLS, name, self._host)
        except SnnetError:
            return []  # what cannot be opened here has set nothing here
        try:
            try:
                found = other.snapshot()
            except SnnetError:
                return []
            rules = [
                noun
                for noun in sorted(found.values(), key=lambda noun: noun.rank)
                if isinstance(noun, Owned) and noun.owner == str(self.owner)
            ]
            new = [Add(rule) for rule in rules if firewall.find(rule) is None]
            outcome = firewall.transfer(new)
            if outcome.error is not None:
                done = [new[number].inverse() for number in sorted(outcome.done, reverse=True)]
                firewall.transfer(done)
                raise outcome.error
            other.transfer([Remove(rule) for rule in reversed(rules)])
            return [f"{rule}: from {name} to {firewall.name}" for rule in rules]
        finally:
            other.close()

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
            raise Taken(
                f"{error}; another link of this host has that name, key or address: "
                "remove it or choose another",
                errno=error.errno,
                operation=error.operation,
            ) from error

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
        if telling.plan or telling.events:
            self.listeners.applied(self, telling.plan, telling.events)


def undone(plan: Plan, outcome: Outcome) -> set[Key]:
    """Identities of what the operations that failed were about."""
    return {plan.operations[number].noun.key for number in outcome.errors}


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
