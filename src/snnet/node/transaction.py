"""Carrying out plans: set-up is all or nothing, tear-down presses on."""

from __future__ import annotations

from snnet.contract import (
    Check,
    FatalError,
    Missing,
    Operation,
    Outcome,
    Plan,
    Remove,
    SnnetError,
    State,
    raised_from,
)

from .drivers import Drivers


def set_up(drivers: Drivers, plan: Plan, check: Check, what: str) -> Outcome:
    """Carry out the whole plan, or none of it.

    On failure what took effect is undone in reverse and the cause is raised with
    ``what`` in front of its message.  Where the undoing fails too, FatalError lists
    what is left.
    """
    outcome = drivers.apply(plan.operations, check=check)
    error = outcome.error
    if error is None:
        return outcome
    outcome.close_fds()
    undo = [plan.operations[number].inverse() for number in sorted(outcome.done, reverse=True)]
    undone = drivers.apply(undo, keep_going=True)
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


def tear_down(drivers: Drivers, plan: Plan) -> Outcome:
    """Carry out as much of the plan as possible; what is gone already counts as done."""
    outcome = drivers.apply(plan.operations, keep_going=True)
    for number, error in list(outcome.errors.items()):
        if _already_gone(plan.operations[number], error):
            del outcome.errors[number]
            outcome.done.add(number)
    return outcome


def _already_gone(operation: Operation, error: SnnetError) -> bool:
    return isinstance(operation, Remove) and isinstance(error, Missing)
