"""One ``apply`` of many operations."""

from __future__ import annotations

import threading
from ipaddress import IPv4Address

from snnet.conformance.endpoints import A1, A2, B1
from snnet.conformance.rig import Rig
from snnet.contract import (
    Add,
    AntiSpoof,
    BridgeAccept,
    Cancelled,
    Driver,
    Exists,
    HostIsolation,
    Missing,
    Noun,
    Operation,
    PortForward,
    Remove,
    Timeout,
    ZoneLink,
    keyed,
)

from .base import FirewallTests, add, do, exit_by, forward, public, remove_all, tenants

_MANY = 200


def _everything(rig: Rig) -> list[Noun]:
    return [
        *tenants(rig),
        BridgeAccept(owner=rig.owner, bridge="br0"),
        HostIsolation(owner=rig.owner, link="in-c"),
        AntiSpoof(owner=rig.owner, link=A1.link, mac=A1.mac, addresses=(A1.ip,)),
        *exit_by(rig),
        public(rig),
        forward(rig),
    ]


def _doors(rig: Rig, count: int, first: int = 20000) -> list[PortForward]:
    return [forward(rig, port=first + number, target_port=number + 1) for number in range(count)]


class BatchTests(FirewallTests):
    def test_everything_comes_and_goes_in_one(self, rig: Rig) -> None:
        """Rules of all kinds are added by one ``apply`` and removed by another."""
        rules = _everything(rig)
        add(rig, *rules)
        assert rig.driver.snapshot() == keyed(rules)
        do(rig, *(Remove(rule) for rule in reversed(rules)))
        assert rig.driver.snapshot() == {}

    def test_operations_of_one_batch_see_each_other(self, rig: Rig) -> None:
        """Rules may be added, removed and added again in one ``apply``; the last one counts."""
        rules = _everything(rig)
        back: list[Operation] = [Remove(rule) for rule in reversed(rules)]
        do(rig, *map(Add, rules), *back, *map(Add, rules), *back, *map(Add, rules))
        assert rig.driver.snapshot() == keyed(rules)

    def test_an_empty_batch_does_nothing(self, rig: Rig) -> None:
        """Without operations, ``apply`` does nothing and reports no error."""
        do(rig)
        assert rig.driver.snapshot() == {}

    def test_a_large_batch(self, rig: Rig) -> None:
        """Hundreds of rules can be added at once; all are found."""
        doors = _doors(rig, _MANY)
        add(rig, *doors)
        assert rig.driver.snapshot() == keyed(doors)

    def test_the_first_error_ends_the_work(self, rig: Rig) -> None:
        """Operations before the first error stay and are reported; later ones are not tried."""
        one, two, three, four = _doors(rig, 4)
        add(rig, three)
        outcome = rig.driver.apply([Add(one), Add(two), Add(three), Add(four)])
        assert outcome.done == {0, 1}
        assert list(outcome.errors) == [2]
        assert isinstance(outcome.error, Exists)
        assert rig.driver.snapshot() == keyed([one, two, three])

    def test_a_tear_down_presses_on(self, rig: Rig) -> None:
        """With ``keep_going`` later operations are tried, and every error is reported."""
        one, two, three, four = _doors(rig, 4)
        add(rig, one, four)
        outcome = rig.driver.apply(
            [Remove(two), Remove(one), Remove(three), Remove(four)], keep_going=True
        )
        assert outcome.done == {1, 3}
        assert {at: type(error) for at, error in outcome.errors.items()} == {
            0: Missing,
            2: Missing,
        }
        assert rig.driver.snapshot() == {}

    def test_an_error_names_its_operation(self, rig: Rig) -> None:
        """The error has the operation that failed, as an object and in its text."""
        operation = Remove(forward(rig, port=12345))
        error = rig.driver.apply([operation]).error
        assert isinstance(error, Missing)
        assert error.operation == operation
        assert "12345" in str(error)

    def test_one_batch_refuses_twice_the_same(self, rig: Rig) -> None:
        """Add and Remove are strict within one ``apply`` too."""
        rule = forward(rig)
        outcome = rig.driver.apply([Add(rule), Add(rule)])
        assert outcome.done == {0}
        assert isinstance(outcome.errors[1], Exists)
        lonely = ZoneLink(owner=rig.owner, link="in-a", zone="nowhere")
        outcome = rig.driver.apply([Add(lonely), Remove(rule), Remove(rule)], keep_going=True)
        assert outcome.done == {1}
        assert {type(error) for error in outcome.errors.values()} == {Missing}

    def test_check_is_called_before_each(self, rig: Rig) -> None:
        """A deadline that passes during ``apply`` ends it at the next operation."""
        calls: list[None] = []
        doors = _doors(rig, 4)

        def check() -> None:
            calls.append(None)
            if len(calls) == 3:
                raise Timeout("the deadline passed")

        outcome = rig.driver.apply([Add(door) for door in doors], check=check)
        assert isinstance(outcome.error, Timeout)
        # A driver may carry out several at once; it then calls check for all of them first.
        assert outcome.done <= {0, 1}
        assert rig.driver.snapshot() == keyed(doors[at] for at in sorted(outcome.done))

    def test_a_cancelled_batch_does_nothing(self, rig: Rig) -> None:
        """If ``check`` raises before the first operation, nothing is changed."""

        def check() -> None:
            raise Cancelled("no longer wanted")

        for keep_going in (False, True):
            outcome = rig.driver.apply([Add(forward(rig))], check=check, keep_going=keep_going)
            assert isinstance(outcome.error, Cancelled)
            assert not outcome.done
        assert rig.driver.snapshot() == {}

    def test_check_that_agrees_is_no_hindrance(self, rig: Rig) -> None:
        """``check`` is called at least once for each operation."""
        calls: list[None] = []
        rules = _everything(rig)
        outcome = rig.driver.apply(list(map(Add, rules)), check=lambda: calls.append(None))
        assert outcome.error is None
        assert len(calls) >= len(rules)

    def test_threads_and_drivers_at_once(self, rig: Rig) -> None:
        """No rule is lost when threads share a driver and several drivers work at once."""
        parts = [_doors(rig, 10, first=30000 + 100 * number) for number in range(6)]
        second = rig.another()
        failed: list[Exception] = []

        def work(driver: Driver, doors: list[PortForward]) -> None:
            for door in doors:
                outcome = driver.apply([Add(door)])
                failed.extend(outcome.errors.values())

        threads = [
            threading.Thread(target=work, args=((rig.driver, second)[number % 2], doors))
            for number, doors in enumerate(parts)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed
        assert rig.driver.snapshot() == keyed(door for doors in parts for door in doors)

    def test_one_of_many_threads_wins(self, rig: Rig) -> None:
        """One thread adds a rule; the others get ``Exists``."""
        rule = forward(rig, target=B1)
        second = rig.another()
        outcomes = []

        def work(driver: Driver) -> None:
            outcomes.append(driver.apply([Add(rule)]))

        threads = [
            threading.Thread(target=work, args=((rig.driver, second)[number % 2],))
            for number in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(not outcome.errors for outcome in outcomes) == 1
        assert {type(outcome.error) for outcome in outcomes if outcome.errors} == {Exists}

    def test_nothing_is_left_after_the_last(self, rig: Rig) -> None:
        """With the last rule the driver removes its tables, chains, maps and sets."""
        before = rig.ruleset()
        rules = _everything(rig)
        add(rig, *rules)
        assert rig.ruleset() != before
        remove_all(rig)
        assert rig.ruleset() == before

    def test_nothing_is_left_of_what_comes_and_goes_at_once(self, rig: Rig) -> None:
        """Rules that one call adds and removes leave no table and no chain, also beside others."""
        alone = AntiSpoof(owner=rig.owner, link="x", mac=A2.mac, addresses=(A2.ip,))
        for there in ([], tenants(rig)):
            add(rig, *there)
            before = len(rig.ruleset().splitlines())
            new = [rule for rule in _everything(rig) if rule not in there]
            for rules in ([alone], new):
                do(rig, *map(Add, rules), *map(Remove, reversed(rules)))
                # What stays may be in another order, and print a default that it has now.
                assert len(rig.ruleset().splitlines()) == before

    def test_nothing_is_left_after_a_refusal(self, rig: Rig) -> None:
        """A refused operation leaves nothing, on a host without rules and with some."""
        lonely = ZoneLink(owner=rig.owner, link="in-a", zone="nowhere")
        for rules in ([], _everything(rig)):
            add(rig, *rules)
            before = rig.ruleset()
            assert isinstance(rig.driver.apply([Add(lonely)]).error, Missing)
            assert rig.ruleset() == before

    def test_rules_come_and_go_in_any_order(self, rig: Rig) -> None:
        """The rule set depends on the rules only, not on their history."""
        doors = [forward(rig, port=port, target=A2) for port in (1, 2, 3)]
        extra = AntiSpoof(
            owner=rig.owner, link="x", mac=A2.mac, addresses=(A2.ip, IPv4Address("10.1.0.7"))
        )
        add(rig, doors[0])
        alone = rig.driver.dump()
        add(rig, doors[1], extra, doors[2])
        do(rig, Remove(extra), Remove(doors[1]), Remove(doors[2]))
        assert rig.driver.dump() == alone
