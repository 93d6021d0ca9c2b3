"""Frozen values that are set by plain assignments: nobody sees that they were open once."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, field, fields, replace

import pytest

import snnet.contract
import snnet.core.meshing
import snnet.core.policies
from snnet.contract import Noun, Tap
from snnet.contract.frozen import changed, frozen

CLASSES = [
    kind
    for module in (snnet.contract, snnet.core.meshing, snnet.core.policies)
    for kind in vars(module).values()
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


@pytest.mark.parametrize("kind", [Tap, type("Slotted", (Tap,), {"__slots__": ()})])
def test_a_changed_copy_is_what_replace_makes(kind: type[Tap]) -> None:
    one = kind(name="t", alias="a", mtu=1400)
    two = changed(one, "index", 7)
    assert two == replace(one, index=7)
    assert type(two) is kind
    assert (two.key, one.index) == (one.key, 0)
    with pytest.raises(FrozenInstanceError):
        two.index = 8  # type: ignore[misc]


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


def test_no_noun_of_snnet_is_a_dataclass_of_another_kind() -> None:
    """Such a noun would have no key."""
    for kind in _kinds(Noun):
        if kind.__module__.startswith("snnet."):
            made = kind.__dict__.get("__init__")
            assert made is None or "make_key" in made.__code__.co_names, kind


def _kinds(of: type[Noun]) -> Iterator[type[Noun]]:
    for kind in of.__subclasses__():
        yield kind
        yield from _kinds(kind)
