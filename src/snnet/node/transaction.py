"""Carrying out plans: set-up is all or nothing, tear-down presses on."""

from __future__ import annotations

from snnet.contract import (
    ApiError,
    Check,
    FatalError,
    Missing,
    Outcome,
    Plan,
    Remove,
    SnnetError,
)

from .drivers import Drivers


def set_up(drivers: Drivers, plan: Plan, check: Check, what: str) -> Outcome:
    """Carry out the whole plan, or none of it.

    On failure what took effect is undone in reverse and the cause is raised
    again, in its own class, naming ``what`` failed.  Where the undoing fails
    too, FatalError lists what is left.
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
            f"{what} failed ({error}) and could not be undone; left are: "
            + "; ".join(map(str, left))
            + ": call repair()",
            leftovers=left,
        ) from error
    raise _said_of(error, what) from error


def tear_down(drivers: Drivers, plan: Plan) -> Outcome:
    """Carry out as much of the plan as can be; what is gone already counts as done."""
    outcome = drivers.apply(plan.operations, keep_going=True)
    for number, error in list(outcome.errors.items()):
        if _already_gone(plan.operations[number], error):
            del outcome.errors[number]
            outcome.done.add(number)
    return outcome


def _already_gone(operation: object, error: SnnetError) -> bool:
    return isinstance(operation, Remove) and isinstance(error, Missing)


def _said_of(error: SnnetError, what: str) -> SnnetError:
    message = f"{what} failed and was rolled back: {error}"
    if isinstance(error, ApiError):
        kind = type(error)
        try:
            return kind(message, errno=error.errno, operation=error.operation)
        except TypeError:
            return ApiError(message, errno=error.errno, operation=error.operation)
    return ApiError(message)
