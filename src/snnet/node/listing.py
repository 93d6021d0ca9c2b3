"""What is listed of the host, once, whoever asks for it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache, cached_property
from itertools import chain

from snnet.contract import Address, Driver, Link, Noun, Nouns, Redirect, Route, Shaper, keyed
from snnet.core import identity as ids
from snnet.core.identity import Owner
from snnet.core.surroundings import Surroundings

_TOGETHER: tuple[type[Noun], ...] = (Shaper, Redirect)
"""What backends list together: who needs one of them needs the other."""


class Listing:
    """Lists of the host, each read when it is first asked for."""

    def __init__(self, backend: Driver, owner: Owner) -> None:
        self._backend = backend
        self._owner = owner
        self._found: dict[type[Noun], Nouns] = {}
        self._addresses: dict[str, Collection[Address]] = {}
        self.link = cache(self._link)
        """Returns the link of a name, looked up once."""

    def of(self, kind: type[Noun]) -> Collection[Noun]:
        """Everything of a kind."""
        if kind not in self._found:
            kinds = _TOGETHER if kind in _TOGETHER else (kind,)
            found = self._backend.snapshot(kinds)
            for one in kinds:
                self._found[one] = keyed(noun for noun in found.values() if isinstance(noun, one))
        return self._found[kind].values()

    def addresses(self, link: str) -> Collection[Address]:
        """The addresses of one link, without a list of all that the host has."""
        if Address in self._found:
            found = self._found[Address].values()
            return [one for one in found if isinstance(one, Address) and one.link == link]
        if link not in self._addresses:
            self._addresses[link] = self._backend.addresses(link)
        return self._addresses[link]

    def _link(self, name: str) -> Link | None:
        found = self._backend.find(Link(name=name))
        return found if isinstance(found, Link) else None

    @property
    def places(self) -> Iterator[Noun]:
        """All links, addresses and routes."""
        return chain.from_iterable(map(self.of, (Link, Address, Route)))

    @cached_property
    def surroundings(self) -> Surroundings:
        """What else than this node's is on the host."""
        return Surroundings(self._owner, self.of, self.link)

    @cached_property
    def strays(self) -> dict[tuple[str, ...], Link]:
        """Links that claim an identity of this owner without its name, by that identity."""
        return {
            identity: link
            for link in self.of(Link)
            if isinstance(link, Link) and (identity := ids.stray(link, self._owner))
        }

    def stray(self, kind: str, identity: tuple[str, ...]) -> list[Link]:
        """The link that claims this identity without its name, if there is one."""
        link = self.strays.get((kind, *identity))
        return [] if link is None else [link]
