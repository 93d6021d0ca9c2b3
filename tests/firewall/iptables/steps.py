"""Operations that must succeed, or must change nothing."""

from __future__ import annotations

from snnet.contract import Add, Noun, Operation, Remove, SnnetError
from snnet.firewall.iptables import IptablesFirewall


def do(driver: IptablesFirewall, *operations: Operation) -> None:
    outcome = driver.apply(operations)
    assert outcome.errors == {}
    assert outcome.done == set(range(len(operations)))


def add(driver: IptablesFirewall, *nouns: Noun) -> None:
    do(driver, *map(Add, nouns))


def remove(driver: IptablesFirewall, *nouns: Noun) -> None:
    do(driver, *map(Remove, nouns))


def refusal(driver: IptablesFirewall, operation: Operation) -> SnnetError | None:
    """The error of an operation that leaves everything as it was."""
    before = driver.dump()
    outcome = driver.apply([operation])
    assert outcome.done == set()
    assert driver.dump() == before
    return outcome.error
