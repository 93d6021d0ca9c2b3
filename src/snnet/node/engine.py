"""The engine of a node: it runs calls, each in the same few steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic

from snnet.contract import (
    NOTHING,
    Conflict,
    Exists,
    FatalError,
    Incomplete,
    Missing,
    Outcome,
    Plan,
    SnnetError,
    State,
)
from snnet.core.events import ContainerInfo, TunnelEvent
from snnet.plugins import Listeners

from .call import Call, D, Done, K, Mode, R, T
from .claims import WHOLE_NODE, Claim, Claims, Thing
from .deadline import Deadline
from .drivers import Drivers
from .host import HostView
from .intents import Intents
from .outbox import Outbox, Turn
from .results import Event


@dataclass(slots=True)
class _Account:
    """What listeners will hear of a call."""

    plan: Plan = NOTHING
    events: Sequence[Event] = ()
    turn: Turn = field(default_factory=lambda: Turn(()))


class Engine(Generic[R]):
    """Runs the calls of one node against its records and its drivers.

    Claim, read, draft, ask the listeners, apply, publish, tell the listeners: once
    a call.  The lock is held only while a call claims, reads and publishes, and
    listeners hear the outcome after the claim is given back, of each subnet in the order
    in which its events came true.
    """

    def __init__(
        self,
        node: object,
        records: R,
        drivers: Drivers,
        claims: Claims,
        listeners: Listeners,
        intents: Intents,
    ) -> None:
        self.records = records
        self.claims = claims
        self.intents = intents
        self._node = node
        self._drivers = drivers
        self._listeners = listeners
        self._outbox = Outbox()
        view = partial(HostView, drivers, records.site, records.optional, intents)
        self.host = view(looking=True)
        self._trusting = view(looking=False)

    @contextmanager
    def whole(self, deadline: Deadline) -> Iterator[Claim]:
        """Keep the whole node for several calls, which are run with the claim given."""
        claim = self.claims.take(lambda _: WHOLE_NODE, deadline)
        try:
            yield claim
        finally:
            self.claims.release(claim)

    def run(self, call: Call[R, K, D, T], deadline: Deadline, claim: Claim | None = None) -> T:
        """Carry the call out, under a claim of its own or the one given.

        Raises what the mode of the call says.
        """
        account = _Account()
        node, told = self._node, self._listeners
        try:
            result = self._run(call, deadline, account, claim)
        except SnnetError as error:
            failed = partial(told.failed, node, account.plan, error)
            self._outbox.tell(account.turn, failed if account.plan else _nothing)
            raise
        except BaseException:
            self._outbox.tell(account.turn, _nothing)
            raise
        hears = bool(account.plan or account.events)
        applied = partial(told.applied, node, account.plan, account.events)
        self._outbox.tell(account.turn, applied if hears else _nothing)
        return result

    def draft(self, call: Call[R, K, D, T], deadline: Deadline) -> D:
        """What the call would do now, by a look at the host; changes nothing."""
        claim = self.claims.take(partial(call.claim, self.records, False), deadline)
        try:
            with self.claims.lock:
                known = call.read(self.records, claim)
            return call.draft(known, self.host)
        finally:
            self.claims.release(claim)

    def preview(self, call: Call[R, Any, Any, Any], deadline: Deadline) -> Plan:
        """The plan of the call as it would be now, able to print itself as commands."""
        plan: Plan = self.draft(call, deadline).plan
        self._drivers.require(plan)
        return self._drivers.preview(plan)

    def _run(
        self, call: Call[R, K, D, T], deadline: Deadline, account: _Account, given: Claim | None
    ) -> T:
        # Listeners that are asked must see the very plan that is carried out.
        host = self._trusting if call.trusts and not self._listeners else self.host
        alone = False
        while True:
            decide = partial(call.claim, self.records, alone)
            own = claim = given or self.claims.take(decide, deadline)
            try:
                with self.claims.lock:
                    # Under a claim that was given, what the call would have claimed itself.
                    own = call.claim(self.records, True, _nobody) if given else claim
                    known = call.read(self.records, claim)
                draft = call.draft(known, host)
                if draft.plan.operations and not claim.everything and not _covered(draft, claim):
                    assert not alone, f"{call.what} plans more than it claims"
                    alone = True
                    continue
                account.plan = draft.plan
                self.intents.expect(call.intents(draft))
                try:
                    done = self._apply(call, draft.plan, deadline)
                except (Exists, Missing) as error:
                    if host.looking and isinstance(error, Exists):
                        raise _collision(error) from error
                    if host.looking:
                        raise
                    # What was taken for granted is not so: look, and repair what is shared.
                    host, alone, account.plan = self.host, True, NOTHING
                    continue
                except FatalError:
                    with self.claims.lock:
                        call.abandon(self.records, draft)
                    raise
                if call.inspects:
                    call.inspect(draft, self.host)
                with self.claims.lock:
                    result, events = call.publish(self.records, draft, done)
                    if self._listeners:
                        account.turn = self._outbox.take(events)
            finally:
                self._settle(own)
                if given is None:
                    self.claims.release(claim)
            account.events = events
            if done.outcome.errors and call.mode is Mode.PRESS_ON:
                raise _incomplete(call.what, done, account.events)
            return result

    def _settle(self, claim: Claim) -> None:
        """Have the record of intents say what the records say of the things of a call."""
        with self.claims.lock:
            entries = self.records.intents(None if claim.everything else claim.alone)
        self.intents.settle(entries, whole=claim.everything)

    def _apply(self, call: Call[Any, Any, Any, Any], plan: Plan, deadline: Deadline) -> Done:
        operations = plan.operations
        if not operations:
            return Done(plan, Outcome(), set())
        if call.mode is Mode.ALL_OR_NOTHING:
            self._drivers.require(plan)
            self._listeners.before_apply(self._node, plan)
            return Done(plan, self._drivers.set_up(plan, deadline.check, call.what), set())
        self._listeners.before_apply(self._node, plan)
        outcome = self._drivers.tear_down(plan)
        return Done(plan, outcome, {operations[number].noun.key for number in outcome.errors})


def _nothing() -> None:
    """Tell nobody."""


def _nobody(thing: Thing) -> bool:
    """What is held beside a claim of the whole node."""
    return False


def _covered(draft: D, claim: Claim) -> bool:
    """Whether the call holds for itself alone everything that its plan touches."""
    touched = {operation.noun.key for operation in draft.plan.operations}
    for thing, keys in draft.scope.items():
        if thing in claim.alone:
            touched -= keys
    return not touched


def _collision(error: Exists) -> Conflict:
    """A conflict with an object of somebody else, which only the kernel could see."""
    conflict = Conflict(
        f"{error}; another object of this host has that name, key or address: remove it or "
        "choose another",
        errno=error.errno,
        operation=error.operation,
    )
    conflict.state = State.ROLLED_BACK
    return conflict


def _incomplete(what: str, done: Done, events: Sequence[Event]) -> Incomplete:
    """The error of a tear-down that could not do everything."""
    errors = done.outcome.errors
    reasons = "; ".join(str(errors[number]) for number in sorted(errors))
    return Incomplete(
        f"{what} is unfinished: {reasons}; call it again to finish",
        leftovers=[done.plan.operations[number].noun for number in sorted(errors)],
        tunnel_event=next((event for event in events if isinstance(event, TunnelEvent)), None),
        container_info=next((event for event in events if isinstance(event, ContainerInfo)), None),
    )
