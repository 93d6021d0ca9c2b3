"""What a node knows, whatever its role."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, Self

from snnet.contract import Key, Macvtap, Noun, Nouns, SharedSysctl

from .events import TunnelEvent
from .nat import Rule
from .site import Site
from .subnet_index import SubnetIndex

Thing = tuple[object, ...]
"""Something that calls work on, a subnet or a rule, say: its kind, then its names."""


class Records(ABC):
    """What a node of one role knows about its objects on the host.

    Not thread-safe: the engine guards it by a lock, which it holds while a call
    reads from the records or publishes to them.
    """

    optional: ClassVar[frozenset[type[Noun]]] = frozenset({SharedSysctl})
    """Nouns that a node of this role can do without if no driver carries them."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.orphans: list[str] = []
        """Objects of this owner that have no place in the records, and why."""
        self.strays: dict[tuple[str, ...], str] = {}
        """Names of links that claim an identity without its name, as the last rebuild saw them."""
        self.unremoved: frozenset[Key] = frozenset()
        """The keys of what the last rebuild, repair or removal of everything had to leave.

        What said that it is the node's may be gone."""
        self.forwarding: frozenset[int] = frozenset()
        """The IP versions whose packets the node needs the host to forward now."""

    @property
    @abstractmethod
    def kinds(self) -> frozenset[type[Noun]]:
        """The nouns of the backend that a node of this role has on its host."""

    @abstractmethod
    def nouns(self) -> Iterator[Noun]:
        """Yield everything that the node wants on its host."""

    @abstractmethod
    def sysctls(self, versions: Collection[int]) -> Iterator[SharedSysctl]:
        """Yield the kernel parameters that the node needs to forward these IP versions."""

    @abstractmethod
    def apart(self, found: Nouns) -> Iterable[Noun]:
        """Return the objects of this node that are not its links, and not on its links."""

    @abstractmethod
    def read(self, ours: Nouns, remembered: Nouns = MappingProxyType({})) -> tuple[Self, set[Key]]:
        """New records from the node's objects on the host, and the keys of useless objects.

        ``remembered`` is what was asked for by the record of intents.  Useless are half-born
        links and what a killed call left.
        """

    @abstractmethod
    def intents(self, things: Iterable[Thing] | None) -> dict[tuple[str, ...], Sequence[Noun]]:
        """What to remember of these things, or of everything, that no alias can hold.

        Of a thing without nouns nothing is remembered.
        """

    @abstractmethod
    def rebuilt(self, left: Collection[Key] | None) -> list[TunnelEvent]:
        """Return the events of a rebuild: ADD for every tunnel, DEL for removed ones.

        ``left`` are the keys of useless objects that could not be removed; the others are
        forgotten.  None means that the rebuild removes nothing.
        """

    @abstractmethod
    def lost(self, left: Collection[Key]) -> list[TunnelEvent]:
        """Return the events of removing everything except what is ``left``."""

    def remaining(self, left: Nouns) -> Self:
        """Return the records after removing everything except what is ``left``."""
        return self.read(left)[0]

    def copy(self) -> Self:
        """Return a copy that does not change with these records."""
        other = copy.copy(self)
        for name, value in self.__dict__.items():
            if isinstance(value, dict):
                setattr(other, name, {key: _copied(one) for key, one in value.items()})
            elif isinstance(value, (list, SubnetIndex)):
                setattr(other, name, copy.copy(value))
        return other

    def take(self, other: Self) -> None:
        """Replace the contents of these records by those of ``other``."""
        self.__dict__.update(other.__dict__)

    def outside(self) -> Iterable[Rule]:
        """The rules about links that are not the node's."""
        return ()

    def refreshed(self, found: Nouns) -> dict[Key, Rule]:
        """The rules that must change since a device's addresses did, as they should be."""
        return {}

    def take_rules(self, rules: Mapping[Key, Rule]) -> None:
        """Know the rules like this from now on."""
        assert not rules, "a node of this role has none"

    def routers(self) -> Iterator[str]:
        """The links of this node whose packets the host forwards."""
        yield from ()

    @abstractmethod
    def reindex(self, link: Macvtap) -> None:
        """Record the index of a macvtap that was recreated."""

    def gaps(self) -> Iterator[str]:
        """Yield what is incomplete and cannot be completed from the host alone."""
        yield from ()

    def warnings(self) -> Iterator[str]:
        """Yield what is as wanted but may cause harm."""
        yield from ()


def _copied(value: object) -> object:
    return dict(value) if isinstance(value, dict) else value
