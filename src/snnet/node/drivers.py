"""The drivers of one node as one: plans carried out, each noun by the driver that carries it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from snnet.backends.iproute2 import render
from snnet.contract import (
    Check,
    Driver,
    FatalError,
    Key,
    Missing,
    Noun,
    Operation,
    Outcome,
    Plan,
    Remove,
    SnnetError,
    State,
    Unsupported,
    raised_from,
)

from .sysctls import SharedSysctls


class Drivers:
    """A backend, a firewall and, for a concentrator, a DHCP server, on one host."""

    def __init__(self, backend: Driver, firewall: Driver, dhcp: Driver | None = None) -> None:
        self.backend = backend
        self.firewall = firewall
        self.dhcp = dhcp
        sysctls = SharedSysctls(backend)
        self.all = tuple(driver for driver in (backend, sysctls, firewall, dhcp) if driver)
        self._by_noun = {cls: driver for driver in self.all for cls in driver.carries}

    def of(self, noun: Noun) -> Driver:
        """The driver that carries this noun; Unsupported where none does."""
        driver = self._by_noun.get(type(noun))
        if driver is None:
            raise Unsupported(f"no driver of this node carries {noun}")
        return driver

    def missing(self, noun: Noun) -> str | None:
        """Why the noun cannot be carried here, or None if it can."""
        driver = self._by_noun.get(type(noun))
        if driver is None:
            return f"no driver of this node carries {noun}"
        return driver.missing(noun)

    def require(self, plan: Plan) -> None:
        """Unsupported, before anything is touched, where a noun cannot be carried."""
        for operation in plan:
            reason = self.missing(operation.noun)
            if reason:
                raise Unsupported(reason, operation=operation)

    def find(self, nouns: Iterable[Noun]) -> dict[Key, Noun]:
        """Those of the nouns that are on the host, as they are there."""
        found = {}
        for noun in nouns:
            existing = self.of(noun).find(noun)
            if existing is not None:
                found[noun.key] = existing
        return found

    def apply(
        self,
        operations: Sequence[Operation],
        *,
        check: Check | None = None,
        keep_going: bool = False,
        into: Outcome | None = None,
    ) -> Outcome:
        """As ``Driver.apply``, each operation by its own driver, order kept."""
        whole = Outcome() if into is None else into
        start, count = 0, len(operations)
        while start < count and (keep_going or not whole.errors):
            driver = self._by_noun[type(operations[start].noun)]
            end = start + 1
            while end < count and self._by_noun[type(operations[end].noun)] is driver:
                end += 1
            outcome = whole if end - start == count else Outcome()
            try:
                part = operations[start:end]
                driver.apply(part, check=check, keep_going=keep_going, into=outcome)
            finally:
                if outcome is not whole:
                    whole.include(outcome, start)
            start = end
        return whole

    def set_up(self, plan: Plan, check: Check, what: str) -> Outcome:
        """Carry out the whole plan, or none of it.

        On failure what took effect is undone in reverse and the cause is raised with
        ``what`` in front of its message.  Where the undoing fails too, FatalError lists
        what is left.
        """
        outcome = Outcome()
        try:
            self.apply(plan.operations, check=check, into=outcome)
        except BaseException as error:
            self._undo(plan, outcome, error, what)
            raise
        if outcome.error is not None:
            self._undo(plan, outcome, outcome.error, what)
            raise raised_from(
                outcome.error, f"{what} failed and was rolled back", State.ROLLED_BACK
            )
        return outcome

    def _undo(self, plan: Plan, outcome: Outcome, error: BaseException, what: str) -> None:
        """Undo in reverse what took effect, or may have; FatalError lists what is left."""
        outcome.close_fds()
        took_effect = sorted(outcome.done | outcome.unsure, reverse=True)
        undo = [plan.operations[number].inverse() for number in took_effect]
        undone = self.apply(undo, keep_going=True)
        left = [
            undo[number].noun
            for number, failure in sorted(undone.errors.items())
            if not _is_so_already(undo[number], failure)
        ]
        if left:
            raise FatalError(
                f"{what} failed ({error}) and could not be undone: call repair(); left are: "
                + "; ".join(map(str, left)),
                leftovers=left,
            ) from error

    def tear_down(self, plan: Plan) -> Outcome:
        """Carry out as much of the plan as possible; what is gone already counts as done."""
        outcome = self.apply(plan.operations, keep_going=True)
        for number, error in list(outcome.errors.items()):
            if _is_so_already(plan.operations[number], error):
                del outcome.errors[number]
                outcome.done.add(number)
        return outcome

    def preview(self, plan: Plan) -> Plan:
        """The same plan, able to print itself as shell commands."""
        return Plan(plan.operations, render=self._commands)

    def _commands(self, operation: Operation) -> Sequence[str]:
        lines = self.of(operation.noun).commands(operation)
        return render(operation) if lines is None else lines


def _is_so_already(operation: Operation, error: SnnetError) -> bool:
    """Whether an operation failed because there was nothing to do."""
    return isinstance(operation, Remove) and isinstance(error, Missing)
