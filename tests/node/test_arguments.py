"""Every argument of every method of the nodes, replaced by what it cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

import snnet
from tests.node.every_call import CASES, Case
from tests.node.world import FakeWorld

MESSAGE_MAX = 1000
"""Characters of an error about one argument."""

STRANGE: tuple[Any, ...] = (
    None, "", -1, 1.5, float("nan"), True, 10**5000, b"x", "x" * 10_000, "\ud800", "10.1.0.0/24\n",
    [], {}, ("a",), [None], ["\0"], [object()], {"a": object()}, object, range(9),
)  # fmt: skip

cases = pytest.mark.parametrize("case", CASES, ids=str)


def giving(args: tuple[Any, ...]) -> Callable[[Any], tuple[Any, ...]]:
    return lambda node: args


def with_each_argument(case: Case, node: Any, value: Any) -> Iterator[tuple[str, Case]]:
    """The case with one argument after the other replaced by the value, and its name."""
    args = case.args(node)
    for at, name in enumerate(case.names[: len(args)]):
        yield name, replace(case, args=giving((*args[:at], value, *args[at + 1 :])))
    limits = [name for name in ("timeout", "cancel") if case.takes(name)]
    for name in (*case.options, *limits):
        yield name, replace(case, options={**case.options, name: value})


def refusal(case: Case, node: Any) -> snnet.SnnetError | None:
    try:
        case(node)
    except snnet.SnnetError as error:
        return error
    return None


@cases
def test_an_object_that_means_nothing_is_refused_by_the_name_of_the_field(case: Case) -> None:
    world = FakeWorld("gre")
    node = case.prepare(world)
    before = world.text()
    for name, wrong in with_each_argument(case, node, object()):
        with pytest.raises(snnet.InvalidRequest) as caught:
            wrong(node)
        assert caught.value.field == name
    assert world.text() == before
    world.close()


@cases
def test_a_strange_value_is_taken_or_refused_in_few_words(case: Case) -> None:
    world = FakeWorld("gre")
    node = case.prepare(world)
    for value in STRANGE:
        for _, wrong in with_each_argument(case, node, value):
            error = refusal(wrong, node)
            assert len(str(error)) <= MESSAGE_MAX
            assert not isinstance(error, snnet.InvalidRequest) or error.field, error
    world.close()
