"""The engine of a node, which runs all calls in the same steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, Generic

from snnet.contract import (
    ApiError,
    Conflict,
    Exists,
    FatalError,
    Incomplete,
    Missing,
    Noun,
    Nouns,
    Outcome,
    Plan,
    SharedSysctl,
    SnnetError,
    State,
)
from snnet.core.events import ContainerInfo, TunnelEvent
from snnet.core.planner import plan as make_plan
from snnet.core.planner import recalled
from snnet.plugins import Listeners

from .call import Call, D, Done, Draft, K, Mode, R, T
from .claims import WHOLE_NODE, Claim, Claims, nobody
from .deadline import NO_LIMIT, Deadline
from .drivers import Drivers
from .host import HostView
from .inputs import Inputs
from .intents import Intents
from .news import News, Whole
from .outbox import Outbox
from .results import Event


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
        self._outbox = Outbox()
        self._node = node
        self._drivers = drivers
        self._listeners = listeners
        view = partial(HostView, drivers, records.site, records.optional, intents)
        # A draft has a rule that the node can do without only if a driver carries it.
        self._asked = records.optional - {SharedSysctl}
        self._host = view(looking=True)
        self._trusting = view(looking=False)
        self.followed: Callable[[], bool] = lambda: False
        """Whether what others change is noticed and repaired by somebody else."""

    # -- looking ---------------------------------------------------------------------

    @contextmanager
    def look(self, deadline: Deadline = NO_LIMIT, whole: Whole | None = None) -> Iterator[HostView]:
        """Yield a look at the host; other calls continue, and the node cannot be closed."""
        if whole is not None:
            yield self._host
            return
        with self.claims.hold(lambda _: Claim(), deadline):
            yield self._host

    @property
    def inputs(self) -> Inputs:
        """What the node rests on and did not make."""
        return self._host.inputs

    def listed(self) -> HostView:
        """Return a look at the host that lists each kind of its objects once."""
        return self._host.for_draft()

    @contextmanager
    def drafting(self, call: Call[R, K, D, T], deadline: Deadline, host: HostView) -> Iterator[D]:
        """Yield what the call would do now, by a look at the host, with its claim held."""
        with self._claim(call, False, deadline, None) as claim:
            with self.claims.lock:
                known = call.read(self.records, claim)
            yield call.draft(known, host)

    def preview(self, call: Call[R, Any, Any, Any], deadline: Deadline) -> Plan:
        """Return the plan that the call would have now; it can print itself as commands."""
        with self.drafting(call, deadline, self.listed()) as draft:
            plan: Plan = draft.plan
            self._drivers.require(plan, self._asked)
        return self._drivers.preview(plan)

    # -- running ---------------------------------------------------------------------

    def run(
        self, call: Call[R, K, D, T], deadline: Deadline = NO_LIMIT, whole: Whole | None = None
    ) -> T:
        """Carry out the call, with its own claim or as a part of ``whole``.

        Raises errors as the mode of the call says.  If anything is raised, a set-up is
        undone, unless it was an interrupt after the call had published.
        """
        news = News(self._node, self._listeners, deadline)
        if whole is not None:
            whole.news.append(news)
        try:
            return self._run(call, deadline, news, whole)
        except BaseException as error:
            if not news.published or isinstance(error, Incomplete):
                setting_up = call.mode is Mode.ALL_OR_NOTHING
                news.fail(call.what, error, State.ROLLED_BACK if setting_up else State.UNFINISHED)
            raise
        finally:
            if whole is None:
                news.tell()

    @contextmanager
    def together(self, what: str, deadline: Deadline) -> Iterator[Whole]:
        """Hold the whole node for several calls, which run with the ``Whole`` that is yielded.

        If the block raises, host and records are restored, and listeners are notified that
        all the calls failed.  Raises FatalError if restoring fails.
        """
        with Whole().telling() as whole, self.claims.hold(lambda _: WHOLE_NODE, deadline):
            before = self.records.copy()
            there = recalled(self._host.seen(before).ours, before.nouns())
            try:
                try:
                    yield whole
                except BaseException as error:
                    self._restore(what, before, there, error)
                    if isinstance(error, SnnetError):
                        error.state = State.ROLLED_BACK
                    raise
            except BaseException as error:
                for news in whole.news:
                    news.fail(what, error, State.ROLLED_BACK)
                raise

    def _restore(self, what: str, before: R, there: Nouns, error: BaseException) -> None:
        plan = make_plan(self._host.settled(self.records).ours, there)
        with self.claims.lock:
            self.records.take(before)
        self._settle(WHOLE_NODE)
        self._drivers.restore(plan, error, what)

    def _claim(
        self, call: Call[R, Any, Any, Any], alone: bool, deadline: Deadline, whole: Whole | None
    ) -> AbstractContextManager[Claim]:
        if whole is not None:
            return nullcontext(WHOLE_NODE)
        return self.claims.hold(partial(call.claim, self.records, alone), deadline)

    def _run(
        self, call: Call[R, K, D, T], deadline: Deadline, news: News, whole: Whole | None
    ) -> T:
        # Listeners must be asked about exactly the plan that is carried out.
        host = self._trusting if call.trusts and not news.listening else self._host
        alone = False
        while True:
            with self._claim(call, alone, deadline, whole) as claim:
                intended = self._intended(call, claim)
                try:
                    with self.claims.lock:
                        known = call.read(self.records, claim)
                    draft = call.draft(known, host.for_draft())
                    if draft.plan.operations and not _covered(draft, claim):
                        if alone:
                            raise ApiError(
                                f"{call.what} plans more than it claims, which is a bug in snnet: "
                                "report it to its authors"
                            )
                        alone = True
                        continue
                    try:
                        done = self._carry_out(call, draft, deadline, news, host, claim)
                    except (Exists, Missing) as error:
                        if host.looking and isinstance(error, Exists):
                            raise _collision(error) from error
                        if host.looking:
                            raise
                        # The draft relied on something that is wrong: look, and repair it.
                        host = self._host
                        continue
                    result = self._publish(call, draft, done, news)
                finally:
                    if intended is not None:
                        self._settle(intended)
            if (done.outcome.errors or draft.strays) and call.mode is Mode.PRESS_ON:
                raise _incomplete(call.what, draft, done, news.events)
            return result

    def _intended(self, call: Call[R, Any, Any, Any], claim: Claim) -> Claim | None:
        """Return what the record of intents must agree about with the records after the call."""
        if not (call.intends or self.intents):
            return None
        if not claim.everything:
            return claim
        with self.claims.lock:  # as a part of several calls, what it would have claimed itself
            return call.claim(self.records, True, nobody)

    def _settle(self, claim: Claim) -> None:
        with self.claims.lock:
            entries = self.records.intents(None if claim.everything else claim.alone)
        self.intents.settle(entries, whole=claim.everything)

    def _carry_out(
        self,
        call: Call[R, Any, D, T],
        draft: D,
        deadline: Deadline,
        news: News,
        host: HostView,
        claim: Claim,
    ) -> Done:
        """Change the host as drafted; if this raises, a set-up is undone."""
        plan = draft.plan
        setting_up = call.mode is Mode.ALL_OR_NOTHING
        if plan.operations:
            if setting_up:
                self._drivers.require(plan, self._asked)
            news.ask(plan)
            if call.intends:
                self.intents.expect(call.intents(draft))
        if setting_up:
            outcome = Outcome()
            try:
                operations, check = plan.operations, deadline.check
                self._drivers.apply(operations, outcome, check=check)
                if outcome.error is not None:
                    raise outcome.error
                self._finish(call, draft)
                with self.claims.lock:
                    announced = call.announces(self.records, draft)
                if announced:
                    self._drivers.backend.announce(announced)
            except BaseException as error:
                try:
                    self._drivers.undo(plan, outcome, error, call.what)
                except FatalError:
                    with self.claims.lock:
                        call.abandon(self.records, draft)
                    raise
                raise
            return Done(outcome, set())
        self.claims.rest(claim)
        outcome = self._drivers.tear_down(plan, looked=host.looking)
        self._finish(call, draft)
        return Done(outcome, {plan.operations[number].noun.key for number in outcome.errors})

    def _finish(self, call: Call[R, Any, D, Any], draft: D) -> None:
        if call.tidies:
            self._drivers.tidy()
        if call.inspects:
            call.inspect(draft, self._host)

    def _publish(self, call: Call[R, Any, D, T], draft: D, done: Done, news: News) -> T:
        """Record what came true: from here on nothing is undone."""
        with self.claims.lock:
            result, events = call.publish(self.records, draft, done)
            news.happened(events, self._outbox)
            late = call.mode is not Mode.ALL_OR_NOTHING
            announced = call.announces(self.records, draft) if late else ()
        if announced:
            self._drivers.backend.announce(announced)
        return result


def _covered(draft: D, claim: Claim) -> bool:
    """Whether the call holds exclusively everything that its plan touches."""
    if claim.everything:
        return True
    touched = {operation.noun.key for operation in draft.plan.operations}
    for thing, keys in draft.scope.items():
        if thing in claim.alone:
            touched -= keys
    return not touched


def _collision(error: Exists) -> Conflict:
    """Return the conflict with a foreign object that only the kernel could detect."""
    conflict = Conflict(
        f"{error}; another object of this host has that name, key or address: remove it or "
        "choose another",
        errno=error.errno,
        operation=error.operation,
    )
    conflict.state = State.ROLLED_BACK
    return conflict


def _incomplete(what: str, draft: Draft, done: Done, events: Sequence[Event]) -> Incomplete:
    """Return the error of a tear-down that could not do everything."""
    errors = done.outcome.errors
    reasons = [*dict.fromkeys(str(errors[number]) for number in sorted(errors))]
    reasons += [
        f"link {link.name} has the alias of what was to be removed and another name: "
        "delete it, or give it its name back"
        for link in draft.strays
    ]
    left: list[Noun] = [draft.plan.operations[number].noun for number in sorted(errors)]
    return Incomplete(
        f"{what} is unfinished: {'; '.join(reasons)}; call it again to finish",
        leftovers=[*left, *draft.strays],
        tunnel_event=next((event for event in events if isinstance(event, TunnelEvent)), None),
        container_info=next((event for event in events if isinstance(event, ContainerInfo)), None),
        events=events,
    )
