"""The drivers of one node as one: plans carried out, each noun by the driver that carries it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from snnet.backends.iproute_shell import render
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
    ) -> Outcome:
        """As ``Driver.apply``, each operation by its own driver, order kept."""
        whole = Outcome()
        start = 0
        while start < len(operations) and (keep_going or not whole.errors):
            driver = self.of(operations[start].noun)
            end = start + 1
            while end < len(operations) and self.of(operations[end].noun) is driver:
                end += 1
            if end - start == len(operations):
                return driver.apply(operations, check=check, keep_going=keep_going)
            part = driver.apply(operations[start:end], check=check, keep_going=keep_going)
            whole.done |= {start + number for number in part.done}
            whole.errors |= {start + number: error for number, error in part.errors.items()}
            whole.fds |= part.fds
            start = end
        return whole

    def set_up(self, plan: Plan, check: Check, what: str) -> Outcome:
        """Carry out the whole plan, or none of it.

        On failure what took effect is undone in reverse and the cause is raised with
        ``what`` in front of its message.  Where the undoing fails too, FatalError lists
        what is left.
        """
        outcome = self.apply(plan.operations, check=check)
        error = outcome.error
        if error is None:
            return outcome
        outcome.close_fds()
        undo = [plan.operations[number].inverse() for number in sorted(outcome.done, reverse=True)]
        undone = self.apply(undo, keep_going=True)
        left = [
            undo[number].noun
            for number, failure in sorted(undone.errors.items())
            if not _already_gone(undo[number], failure)
        ]
        if left:
            raise FatalError(
                f"{what} failed ({error}) and could not be undone: call repair(); left are: "
                + "; ".join(map(str, left)),
                leftovers=left,
            ) from error
        raise raised_from(error, f"{what} failed and was rolled back", State.ROLLED_BACK)

    def tear_down(self, plan: Plan) -> Outcome:
        """Carry out as much of the plan as possible; what is gone already counts as done."""
        outcome = self.apply(plan.operations, keep_going=True)
        for number, error in list(outcome.errors.items()):
            if _already_gone(plan.operations[number], error):
                del outcome.errors[number]
                outcome.done.add(number)
        return outcome

    def preview(self, plan: Plan) -> Plan:
        """The same plan, able to print itself as shell commands."""
        return Plan(plan.operations, render=self._commands)

    def _commands(self, operation: Operation) -> Sequence[str]:
        lines = self.of(operation.noun).commands(operation)
        return render(operation) if lines is None else lines


def _already_gone(operation: Operation, error: SnnetError) -> bool:
    return isinstance(operation, Remove) and isinstance(error, Missing)
