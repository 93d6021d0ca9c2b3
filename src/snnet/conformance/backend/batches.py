"""One ``apply`` of many operations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from snnet.contract import (
    Add,
    ApiError,
    Bridge,
    Cancelled,
    Change,
    DhcpScope,
    Exists,
    Missing,
    Noun,
    Operation,
    Remove,
    SnnetError,
    Tap,
    Timeout,
    Unsupported,
)

from .base import BackendTests, is_gone, is_there
from .nouns import (
    BRIDGE,
    MACVTAP,
    MESH,
    PAIR,
    TAP,
    VETH,
    VXLAN,
    address,
    fdb,
    neighbour,
    proxy,
    route,
)
from .nouns import MAC as _MAC
from .place import Place
from .steps import add, do, need, remove

_MANY = 30
_SUBNET: tuple[Noun, ...] = (
    BRIDGE,
    MESH,
    replace(VXLAN, master="br"),
    replace(TAP, master="br"),
    replace(VETH, master="br"),
    PAIR,
    replace(MACVTAP, lower="low"),
    address("10.1.0.1/24", "br"),
    address("fd01::1/64", "br"),
    neighbour("10.1.0.9", name="br"),
    proxy("10.4.0.9", "br"),
    fdb(_MAC, "192.0.2.9"),
    route("10.3.0.0/24", "10.1.0.9", "br"),
)


def _taps(count: int) -> list[Tap]:
    return [Tap(name=f"t{number}", alias=str(number)) for number in range(count)]


def _stopper(after: int, error: SnnetError) -> Callable[[], None]:
    """Return a check that passes ``after`` times and then always raises."""
    left = [after]

    def check() -> None:
        if not left[0]:
            raise error
        left[0] -= 1

    return check


class BatchTests(BackendTests):
    def test_everything_comes_and_goes_in_one(self, place: Place) -> None:
        """Each operation sees what earlier ones made; all can be removed in reverse."""
        before = place.driver.snapshot()
        add(place, *_SUBNET)
        assert all(is_there(place, noun) for noun in _SUBNET)
        remove(place, *reversed(_SUBNET))
        assert place.driver.snapshot() == before

    def test_comes_goes_and_comes_again(self, place: Place) -> None:
        """Nouns may be added, removed and added again in one ``apply``; the last one counts."""
        need(place, *_SUBNET)
        back: list[Operation] = [Remove(noun) for noun in reversed(_SUBNET)]
        do(place, *map(Add, _SUBNET), *back, *map(Add, _SUBNET))
        assert all(is_there(place, noun) for noun in _SUBNET)

    def test_an_empty_batch_does_nothing(self, place: Place) -> None:
        """Without operations, ``apply`` does nothing and reports no error."""
        before = place.driver.snapshot()
        do(place)
        assert place.driver.snapshot() == before

    def test_many_links_go_at_once(self, place: Place) -> None:
        """Many links can be added, and removed, by one ``apply``."""
        taps = _taps(_MANY)
        before = place.names()
        add(place, *taps)
        assert place.names() - before == {tap.name for tap in taps}
        remove(place, *taps)
        assert place.names() == before

    def test_the_first_error_ends_the_work(self, place: Place) -> None:
        """Operations before the first error stay and are reported; later ones are not tried."""
        nouns = (BRIDGE, replace(TAP, master="nowhere"), VXLAN)
        need(place, *nouns)
        outcome = place.driver.apply([Add(noun) for noun in nouns])
        assert outcome.done == {0}
        assert {at: type(error) for at, error in outcome.errors.items()} == {1: Missing}
        assert [is_there(place, noun) for noun in nouns] == [True, False, False]
        taps = _taps(4)
        add(place, taps[2])
        outcome = place.driver.apply([Add(tap) for tap in taps])
        assert outcome.done == {0, 1}
        assert list(outcome.errors) == [2]
        assert isinstance(outcome.error, Exists)
        assert is_gone(place, taps[3])
        outcome = place.driver.apply([Remove(tap) for tap in (taps[0], taps[3], taps[1])])
        assert outcome.done == {0}
        assert list(outcome.errors) == [1]
        assert isinstance(outcome.error, Missing)
        assert [is_gone(place, tap) for tap in taps] == [True, False, False, True]

    def test_a_tear_down_presses_on(self, place: Place) -> None:
        """With ``keep_going`` later operations are tried, and every error is reported."""
        taps = _taps(4)
        add(place, taps[1], taps[3])
        outcome = place.driver.apply([Remove(tap) for tap in taps], keep_going=True)
        assert outcome.done == {1, 3}
        assert {at: type(error) for at, error in outcome.errors.items()} == {0: Missing, 2: Missing}
        assert outcome.error is outcome.errors[0]
        assert all(is_gone(place, tap) for tap in taps)

    def test_a_set_up_presses_on_if_asked(self, place: Place) -> None:
        """``keep_going`` applies to additions of any kind too."""
        nouns = (BRIDGE, replace(TAP, master="nowhere"), VXLAN)
        need(place, *nouns)
        before = place.names()
        for operation in (Add, Remove):
            outcome = place.driver.apply([operation(noun) for noun in nouns], keep_going=True)
            assert outcome.done == {0, 2}
            assert {at: type(error) for at, error in outcome.errors.items()} == {1: Missing}
        assert place.names() == before

    def test_one_link_twice(self, place: Place) -> None:
        """Add and Remove are strict within one ``apply`` too."""
        need(place, TAP)
        outcome = place.driver.apply([Add(TAP), Add(TAP)])
        assert outcome.done == {0}
        assert isinstance(outcome.errors[1], Exists)
        outcome = place.driver.apply([Remove(TAP), Remove(TAP)])
        assert outcome.done == {0}
        assert isinstance(outcome.errors[1], Missing)

    def test_an_error_names_its_operation(self, place: Place) -> None:
        """The error has the operation that failed, as an object and in its text."""
        tap = Tap(name="absent")
        need(place, tap)
        for operation in (Remove(tap), Change(replace(tap, mtu=1400), tap), Remove(PAIR)):
            error = place.driver.apply([operation]).error
            assert isinstance(error, ApiError)
            assert error.operation == operation
            name = operation.noun.key[1]
            assert name in str(error)

    @pytest.mark.parametrize("keep_going", [False, True])
    @pytest.mark.parametrize("passes", range(4))
    def test_check_is_looked_at_before_each_addition(
        self, place: Place, passes: int, keep_going: bool
    ) -> None:
        """A deadline that passes during ``apply`` stops it there; its error is reported."""
        taps = _taps(3)
        need(place, *taps)
        late = Timeout("too late")
        outcome = place.driver.apply(
            [Add(tap) for tap in taps], check=_stopper(passes, late), keep_going=keep_going
        )
        assert outcome.done == set(range(passes))
        assert outcome.errors.get(passes) is (late if passes < len(taps) else None)
        assert [is_there(place, tap) for tap in taps] == [n < passes for n in range(3)]

    @pytest.mark.parametrize("passes", [0, 1, 2])
    def test_check_is_looked_at_before_each_removal(self, place: Place, passes: int) -> None:
        """So it is for removals, however the driver groups them."""
        taps = _taps(3)
        add(place, *taps)
        stop = Cancelled("no more")
        outcome = place.driver.apply([Remove(tap) for tap in taps], check=_stopper(passes, stop))
        assert outcome.done == set(range(passes))
        assert outcome.errors == {passes: stop}
        assert [is_gone(place, tap) for tap in taps] == [n < passes for n in range(3)]

    def test_check_is_called_once_an_operation(self, place: Place) -> None:
        """``check`` is called exactly once for each operation."""
        need(place, BRIDGE, address("10.1.0.1/24", "br"))
        calls: list[int] = []
        operations: list[Operation] = [
            Add(BRIDGE),
            Change(replace(BRIDGE, mtu=1400), BRIDGE),
            Add(address("10.1.0.1/24", "br")),
            Remove(replace(BRIDGE, mtu=1400)),
        ]
        outcome = place.driver.apply(operations, check=lambda: calls.append(1))
        assert outcome.errors == {}
        assert len(calls) == len(operations)

    def test_nouns_of_other_drivers(self, place: Place) -> None:
        """Nouns of other drivers are declared missing, and Add is ``Unsupported``."""
        scope = DhcpScope(link="br", subnets=(route("10.1.0.0/24").destination,), mtu=1500)
        assert place.driver.missing(scope)
        error = place.driver.apply([Add(scope)]).error
        assert isinstance(error, Unsupported)
        assert place.driver.snapshot([DhcpScope]) == {}
        outcome = place.driver.apply([Remove(scope), Add(Bridge(name="b"))])
        assert outcome.done == set()
