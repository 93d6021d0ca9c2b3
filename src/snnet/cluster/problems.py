"""Checks that report every problem at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from snnet.contract import Document, InvalidRequest, NoDocument

DAMAGED = (InvalidRequest, LookupError, TypeError, ValueError, AttributeError)
"""What reading a document raises that nobody checked when it was written."""


class Problems(InvalidRequest):
    """Several things are wrong with what was given; nothing was written.

    ``problems`` has each of them.
    """

    def __init__(self, problems: Iterable[InvalidRequest]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(map(str, self.problems)))


class DocumentProblem(InvalidRequest):
    """Something is wrong with one document of a list; nothing was written.

    ``number`` is the place of the document, the first is 1; ``field`` is the field of it that
    is to be corrected, None where it is not one field.
    """

    def __init__(self, problem: InvalidRequest, number: int, document: str) -> None:
        super().__init__(str(problem), field=document)
        self.field = problem.field
        self.number = number


def check_document(document: Document) -> None:
    """Raise ``InvalidRequest`` for what the registry has in place of a document."""
    if isinstance(document, NoDocument):
        raise InvalidRequest("it is not a JSON object")


def raise_all(problems: Sequence[InvalidRequest]) -> None:
    """Raise one problem as it is, and several together.  Nothing is raised for none."""
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise Problems(problems)


def each(error: InvalidRequest) -> tuple[InvalidRequest, ...]:
    """What ``raise_all`` was given."""
    return error.problems if isinstance(error, Problems) else (error,)


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
