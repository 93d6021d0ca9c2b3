"""Rules that other nodes have on the host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from snnet.contract import Driver, Noun, Owned, PortForward


class Rivals:
    """Rules of other nodes, as of the last epoch of the firewall that was asked for."""

    def __init__(self, firewall: Driver, owner: str) -> None:
        self._firewall = firewall
        self._owner = owner

    @property
    def owners(self) -> list[str]:
        """The other nodes that may have rules on the host."""
        return sorted({*self._firewall.owners()} - {self._owner})

    def find(self, rules: Iterable[Owned]) -> Iterator[Noun]:
        """Yield the same rules of other nodes."""
        owners = self.owners
        nouns = [replace(rule, owner=owner) for rule in rules for owner in owners]
        yield from self._firewall.find_all(nouns).values()

    def forwards(self) -> Iterator[PortForward]:
        """Yield all port forwards of other nodes."""
        for noun in self._firewall.snapshot({PortForward}).values():
            if isinstance(noun, PortForward) and noun.owner != self._owner:
                yield noun
