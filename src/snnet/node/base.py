"""What compute nodes and concentrators share, their upkeep included."""

from __future__ import annotations

from collections.abc import Iterable

from snnet.contract import Add, Change, Key, Noun, Nouns, Operation, Outcome, Plan, Remove
from snnet.core.planner import plan as make_plan

from .claims import WHOLE_NODE
from .deadline import CancelToken
from .engine import Engine, Telling, undone
from .reports import Report


class Node(Engine):
    """One node of the data centre, as the owner of links on its host.

    Any number of threads may call it.  Construction opens the drivers and
    changes nothing; ``init()`` comes before everything else.
    """

    def _nouns(self) -> Iterable[Noun]:
        """Everything the node wants on its host, by what it knows."""
        raise NotImplementedError

    def _read(self, ours: Nouns) -> tuple[Report, set[Key]]:
        """Replace what the node knows by what its objects tell.

        Also gives the identities of what is of no use to anybody: half-born
        links, and what a killed call left.
        """
        raise NotImplementedError

    def _forget_useless(self, report: Report, left: set[Key]) -> None:
        """Know what was of no use no more, but for what is left; report what went."""

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
        if not self.read_only:
            nouns = self._carried(self._nouns())
            wanted = {key: noun for key, noun in nouns.items() if key not in useless}
            found = {key: noun for key, noun in ours.items() if key in wanted or key in useless}
            outcome = self._tear_down(told, found, wanted)
            account(report, told.plan, outcome)
            self._forget_useless(report, undone(told.plan, outcome))
        told.add(*report.tunnel_events)
        return report

    def verify(self) -> list[str]:
        """What differs between the topology and the kernel, a line each; changes nothing."""
        deadline = self._begin("verify", None, None, limited=False, changes=False)
        with self._claims.hold(lambda: WHOLE_NODE, deadline):
            plan = make_plan(self._ours(), self._carried(self._nouns()))
            return [
                *map(_as_difference, plan),
                *self._warnings(),
                *self._left_out(),
                *(line for driver in self._drivers.all for line in driver.obstacles()),
            ]

    def _left_out(self) -> Iterable[str]:
        """Rules that a firewall which sets others cannot set here, and why."""
        kinds = {type(noun): noun for noun in self._nouns() if type(noun) in self._optional}
        reasons = {kind: self._drivers.missing(noun) for kind, noun in kinds.items()}
        if None in reasons.values():
            for kind, reason in reasons.items():
                if reason is not None:
                    yield f"not set, as for all {kind.__name__}: {kinds[kind]}: {reason}"

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
    """Add to the report what a plan did, and what it could not do."""
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
