"""The drivers of one node as one: every noun finds the driver that carries it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from snnet.backends.iproute2 import render
from snnet.contract import Check, Driver, Key, Noun, Operation, Outcome, Plan, Unsupported


class Drivers:
    """A backend, a firewall and perhaps a DHCP server, on one host."""

    def __init__(self, backend: Driver, firewall: Driver, dhcp: Driver | None = None) -> None:
        self.backend = backend
        self.firewall = firewall
        self.dhcp = dhcp
        self.all = (backend, firewall) if dhcp is None else (backend, firewall, dhcp)
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
        for start, driver, part in self._parts(operations):
            outcome = Outcome()
            try:
                driver.apply(part, check=check, keep_going=keep_going, into=outcome)
            finally:
                whole.include(outcome, start)
            if outcome.errors and not keep_going:
                break
        return whole

    def _parts(
        self, operations: Sequence[Operation]
    ) -> Iterator[tuple[int, Driver, Sequence[Operation]]]:
        """Runs of operations of one driver: the position of the first, the driver, the run."""
        start = 0
        for driver, run in groupby(operations, lambda operation: self.of(operation.noun)):
            part = list(run)
            yield start, driver, part
            start += len(part)

    def preview(self, plan: Plan) -> Plan:
        """The same plan, able to print itself as shell commands."""
        return Plan(plan.operations, render=self._commands)

    def _commands(self, operation: Operation) -> Sequence[str]:
        lines = self.of(operation.noun).commands(operation)
        return render(operation) if lines is None else lines
