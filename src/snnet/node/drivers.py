"""The drivers of a node: each operation of a plan goes to the driver of its noun."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from itertools import groupby, repeat
from operator import attrgetter

from snnet.backends.iproute2 import render
from snnet.contract import (
    Add,
    Change,
    Check,
    Driver,
    Exists,
    FatalError,
    Inside,
    IPAddress,
    Key,
    Missing,
    Namespace,
    Noun,
    Operation,
    Outcome,
    Plan,
    Remove,
    SnnetError,
    State,
    Unsupported,
    namespace_of,
    raised_from,
)

from .docker_user import DockerAccepts
from .insides import Insides
from .sysctls import SharedSysctls

ASKING = 0.3
"""Seconds to wait for hosts that have an address already; each is asked three times."""


_noun = attrgetter("noun")

_HERE = (None, False)
"""The place of an operation in a plan without namespaces."""


class Drivers:
    """A backend, a firewall and, for a concentrator, a DHCP server, on one host."""

    def __init__(self, backend: Driver, firewall: Driver, dhcp: Driver | None = None) -> None:
        self.backend = backend
        self.firewall = firewall
        self.dhcp = dhcp
        self._insides = Insides(backend)
        own = (SharedSysctls(backend), self._insides, DockerAccepts(backend, firewall))
        self.all = tuple(driver for driver in (backend, *own, firewall, dhcp) if driver)
        self._by_noun = {cls: driver for driver in self.all for cls in driver.carries}

    def of(self, noun: Noun) -> Driver:
        """Return the driver that carries this noun; raise Unsupported if there is none."""
        driver = self._by_noun.get(type(noun))
        if driver is None:
            raise Unsupported(f"no driver of this node carries {noun}")
        return driver

    def missing(self, noun: Noun) -> str | None:
        """Return why the noun cannot be carried here, or None if it can."""
        driver = self._by_noun.get(type(noun))
        if driver is None:
            return f"no driver of this node carries {noun}"
        return driver.missing(noun)

    def carried(
        self, nouns: Iterable[Noun], asked: Collection[type[Noun]], there: Collection[Key]
    ) -> dict[Key, Noun]:
        """Return the nouns without those of the classes ``asked`` that no driver carries here.

        For those that are ``there`` no driver is asked.
        """
        found: dict[Key, Noun] = {}
        for noun in nouns:
            key, kind = noun.key, type(noun)
            if kind in asked and key not in there:
                driver = self._by_noun.get(kind)
                if driver is None or driver.missing(noun) is not None:
                    continue
            found[key] = noun
        return found

    def require(self, plan: Plan, asked: Collection[type[Noun]]) -> None:
        """Raise Unsupported, before anything is touched, if a noun cannot be carried.

        Nouns of the classes ``asked`` are known to be carried.
        """
        for operation in plan.operations:
            if type(operation.noun) in asked:
                continue
            reason = self.missing(operation.noun)
            if reason:
                raise Unsupported(reason, operation=operation)

    def unreported(self) -> frozenset[type[Noun]]:
        """See :meth:`snnet.contract.Driver.unreported`, of all drivers."""
        return frozenset().union(*(driver.unreported() for driver in self.all))

    def find(self, nouns: Iterable[Noun]) -> dict[Key, Noun]:
        """Return those of the nouns that are on the host, as found."""
        found: dict[Key, Noun] = {}
        inside: list[Inside] = []
        for noun in nouns:
            if isinstance(noun, Inside):
                inside.append(noun)
                continue
            existing = self.of(noun).find(noun)
            if existing is not None:
                found[noun.key] = existing
        return found | self._insides.found(inside)

    def answering(
        self, link: str, asked: Collection[IPAddress], source: IPAddress
    ) -> set[IPAddress]:
        """Which addresses other hosts on the link answer for; none where they cannot be asked."""
        with contextlib.suppress(OSError, Unsupported):
            return self.backend.answering(link, asked, source, ASKING)
        return set()

    def apply(
        self,
        operations: Sequence[Operation],
        outcome: Outcome,
        *,
        check: Check | None = None,
        keep_going: bool = False,
    ) -> None:
        """Like ``Driver.apply``, each operation by its own driver, in the same order.

        What is to be in a namespace that could not be added is not carried out: another
        namespace may have the name.
        """
        kinds = [*map(type, map(_noun, operations))]
        carriers = map(self._by_noun.__getitem__, kinds)
        places = map(_place, operations) if Namespace in kinds else repeat(_HERE)
        lost = set[str | None]()
        first = 0
        for (driver, (space, makes)), run in groupby(zip(carriers, places, strict=False)):
            end = first + len(list(run))
            part = operations[first:end]
            if space in lost:
                errors = (Missing(f"cannot {one}: there is no namespace {space}") for one in part)
                outcome.errors.update(enumerate(errors, first))
            else:
                driver.apply(part, check=check, keep_going=keep_going, into=outcome, first=first)
            if outcome.errors and not keep_going:
                return
            if makes and first in outcome.errors:
                lost.add(space)
            first = end

    def undo(self, plan: Plan, outcome: Outcome, error: BaseException, what: str) -> None:
        """Undo, in reverse order, what took effect of a plan that ``error`` has ended.

        A SnnetError gets ``what`` in front of its message.  If undoing fails too,
        FatalError lists what is left.  A driver's own FatalError stays one: it may have left
        what is no noun.
        """
        outcome.close_fds()
        doubtful = (outcome.unsure | outcome.errors.keys()) - outcome.done
        done = outcome.done | {
            number
            for number in doubtful
            # In doubt it is undone: ``restore`` accepts what is so already.
            if self._took_effect(plan.operations[number], outcome.errors.get(number)) is not False
        }
        undo = [plan.operations[number].inverse() for number in sorted(done, reverse=True)]
        self.restore(Plan(tuple(undo)), error, what)
        if isinstance(error, FatalError):
            raised_from(error, f"{what} failed: call repair()", State.INCONSISTENT)
        elif isinstance(error, SnnetError):
            raised_from(error, f"{what} failed and was rolled back", State.ROLLED_BACK)

    def restore(self, plan: Plan, error: BaseException, what: str) -> None:
        """Carry out a plan that brings the host back; FatalError where it cannot be."""
        errors = self.tear_down(plan, looked=True).errors
        left = [
            number
            for number, refusal in errors.items()
            if not (isinstance(refusal, Exists) and self._is_there(plan.operations[number].noun))
        ]
        if left:
            nouns = [plan.operations[number].noun for number in sorted(left)]
            raise FatalError(
                f"{what} failed ({error}) and could not be undone: call repair(); left are: "
                + "; ".join(map(str, nouns)),
                leftovers=nouns,
            ) from error

    def _is_there(self, noun: Noun) -> bool:
        """Whether exactly this is on the host, as far as it can be looked at."""
        try:
            found = self.of(noun).find(noun)
        except SnnetError:
            return False
        return found is not None and not noun.differences(found)

    def _took_effect(self, operation: Operation, error: SnnetError | None) -> bool | None:
        """Whether an operation took effect although it failed, because its answer was lost.

        None if the host cannot be looked at.
        """
        if isinstance(error, (Exists, Missing, Unsupported)):
            return False  # an answer: the driver had nothing to do with the object
        try:
            found = self.of(operation.noun).find(operation.noun)
        except Exception:
            return None
        match operation:
            case Add():
                return found is not None
            case Remove():
                return found is None
            case Change(old=old):
                return found is not None and bool(old.differences(found))

    def tidy(self) -> None:
        """See :meth:`snnet.contract.Driver.tidy`, of all drivers."""
        for driver in self.all:
            driver.tidy()

    def tear_down(self, plan: Plan, *, looked: bool) -> Outcome:
        """Carry out as much of the plan as possible; what is already so counts as done.

        Descriptors of taps that are created on the way are closed.  If nobody has ``looked``
        whether it was all there, raises the Missing of what was not, after trying everything.
        """
        outcome = Outcome()
        try:
            self.apply(plan.operations, outcome, keep_going=True)
        finally:
            outcome.close_fds()
        if not looked:
            for error in outcome.errors.values():
                if isinstance(error, Missing):
                    raise error
        for number, error in list(outcome.errors.items()):
            if self._is_so_already(plan.operations[number], error):
                del outcome.errors[number]
                outcome.done.add(number)
        return outcome

    def _is_so_already(self, operation: Operation, error: SnnetError) -> bool:
        """Whether a failed operation has nothing left to do, or only its answer was lost."""
        if isinstance(operation, Remove) and isinstance(error, Missing):
            return True
        return self._took_effect(operation, error) is True

    def preview(self, plan: Plan) -> Plan:
        """Return the same plan, which can print itself as shell commands."""
        return Plan(plan.operations, render=Commands(self, plan.operations))


def _place(operation: Operation) -> tuple[str | None, bool]:
    """Return the namespace that an operation is about, and whether it adds it."""
    noun = operation.noun
    return namespace_of(noun), isinstance(noun, Namespace) and isinstance(operation, Add)


class Commands:
    """The operations of a plan as commands, those that a driver repeats only once.

    What several rules need, their table for example, comes with the first of them.
    """

    def __init__(self, drivers: Drivers, operations: Sequence[Operation]) -> None:
        self._drivers = drivers
        self._operations = operations

    @cached_property
    def _lines(self) -> dict[int, list[str]]:
        seen: set[str] = set()
        lines = {}
        for operation in self._operations:
            own = self._drivers.of(operation.noun).commands(operation)
            # dict.fromkeys: a driver may also repeat itself within one operation.
            new = render(operation) if own is None else dict.fromkeys(own)
            lines[id(operation)] = [line for line in new if own is None or line not in seen]
            seen.update(own or ())
        return lines

    def __call__(self, operation: Operation) -> Sequence[str]:
        return self._lines[id(operation)]
