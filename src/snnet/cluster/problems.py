"""Checks that report every problem at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from snnet.contract import Document, InvalidRequest, NoDocument

DAMAGED = (InvalidRequest, LookupError, TypeError, ValueError, AttributeError)
"""What reading a document raises that nobody checked when it was written."""


class Problems(InvalidRequest):
    """Several things are wrong with what was given; nothing was written.

    ``problems`` has a line for each.
    """

    def __init__(self, problems: Iterable[InvalidRequest]) -> None:
        self.problems = tuple(str(problem) for problem in problems)
        super().__init__("; ".join(self.problems))


def check_document(document: Document) -> None:
    """Raise ``InvalidRequest`` for what the registry has in place of a document."""
    if isinstance(document, NoDocument):
        raise InvalidRequest("it is not a JSON object")


def raise_all(problems: list[InvalidRequest]) -> None:
    """Raise one problem as it is, and several together.  Nothing is raised for none."""
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise Problems(problems)


def check_fields(thing: Any, checks: Mapping[str, Callable[[Any, str], Any]]) -> None:
    """Put the checked values of a frozen object's fields in place, or raise all problems."""
    problems = []
    for name, check in checks.items():
        try:
            object.__setattr__(thing, name, check(getattr(thing, name), name))
        except InvalidRequest as problem:
            problems.append(problem)
    raise_all(problems)


def optional(check: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    """The same check for a value that may be None."""
    return lambda value, field: None if value is None else check(value, field)
