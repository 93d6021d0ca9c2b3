"""Frozen values that are set by plain assignments: nobody sees that they were open once."""

from __future__ import annotations

import copy
import inspect
import pickle
from dataclasses import FrozenInstanceError, field, fields, replace

import pytest

import snnet.contract
from snnet.contract import Noun, Tap
from snnet.contract.frozen import frozen

CLASSES = [
    kind
    for kind in vars(snnet.contract).values()
    if isinstance(kind, type) and issubclass(kind, Noun)
]


@frozen(kw_only=False)
class Point:
    x: int
    y: int = 2
    total: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("below zero")
        object.__setattr__(self, "total", self.x + self.y)


def test_it_is_what_dataclass_makes() -> None:
    one = Point(1)
    assert one == Point(1, y=2) != Point(1, 3)
    assert hash(one) == hash(Point(1))
    assert repr(one) == "Point(x=1, y=2, total=3)"
    assert type(one) is Point
    assert replace(one, x=5).total == 7
    assert copy.deepcopy(one) == pickle.loads(pickle.dumps(one)) == one


def test_nothing_can_be_set_or_deleted_afterwards() -> None:
    one = Point(1)
    for name in ("x", "total"):
        with pytest.raises(FrozenInstanceError):
            setattr(one, name, 3)
    with pytest.raises(FrozenInstanceError):
        del one.x
    assert not hasattr(one, "__dict__")


def test_wrong_arguments_are_refused_in_the_usual_words() -> None:
    with pytest.raises(TypeError, match=r"Point.__init__\(\) got an unexpected .* argument 'z'"):
        Point(z=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
        Point(y=1)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="below zero"):
        Point(-1)


def test_a_subclass_keeps_its_class() -> None:
    class Slotted(Tap):
        __slots__ = ()

    class Open(Tap):
        """With a dictionary of its own."""

    for kind in (Slotted, Open):
        one = kind(name="t")
        assert type(one) is kind
        with pytest.raises(FrozenInstanceError):
            one.name = "u"  # type: ignore[misc]


def test_a_factory_is_refused() -> None:
    with pytest.raises(AssertionError, match="has a factory"):

        @frozen()
        class Wrong:
            many: list[int] = field(default_factory=list)


@pytest.mark.parametrize("kind", CLASSES)
def test_every_noun_takes_its_fields_by_name(kind: type[Noun]) -> None:
    parameters = inspect.signature(kind).parameters
    assert [*parameters] == [item.name for item in fields(kind) if item.init]
    assert all(one.kind is one.KEYWORD_ONLY for one in parameters.values())
