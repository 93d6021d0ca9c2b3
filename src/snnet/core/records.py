"""What a node knows, whatever its role."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator
from typing import ClassVar, Self

from snnet.contract import Key, Macvtap, Noun, Nouns, SharedSysctl

from .events import TunnelEvent
from .site import Site


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
        self.forwarding = False
        """Whether the node needs the host to forward packets now."""

    @property
    @abstractmethod
    def kinds(self) -> frozenset[type[Noun]]:
        """The nouns of the backend that a node of this role has on its host."""

    @abstractmethod
    def nouns(self) -> Iterator[Noun]:
        """Yield everything that the node wants on its host."""

    @abstractmethod
    def sysctls(self) -> Iterator[SharedSysctl]:
        """Yield the kernel parameters that the node needs while ``forwarding``."""

    @abstractmethod
    def apart(self, found: Nouns) -> Iterable[Noun]:
        """Return the objects of this node that are not its links, and not on its links."""

    @abstractmethod
    def read(self, ours: Nouns) -> tuple[Self, set[Key]]:
        """Return new records from the node's objects, and the keys of useless objects.

        Useless objects are half-born links and what a killed call left.
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
            elif isinstance(value, list):
                setattr(other, name, list(value))
        return other

    def take(self, other: Self) -> None:
        """Replace the contents of these records by those of ``other``."""
        self.__dict__.update(other.__dict__)

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
