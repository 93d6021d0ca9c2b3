"""What is listed of the host, once, whoever asks for it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache, cached_property
from itertools import chain

from snnet.contract import (
    Address,
    Driver,
    Link,
    Namespace,
    Noun,
    Nouns,
    ProxyNeighbour,
    Redirect,
    Route,
    Shaper,
    keyed,
)
from snnet.contract.network import SNNET_PROTOCOL
from snnet.core import identity as ids
from snnet.core.identity import Owner
from snnet.core.marked import is_marked
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
        """Everything of a kind; of namespaces those with a name of this node's role."""
        if kind is Namespace and kind not in self._found:
            prefix, dash, _ = ids.name(self._owner, ids.SPACE).partition("-")
            self._found[kind] = keyed(self._backend.namespaces(prefix + dash))
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

    def marks(self, kinds: Collection[type[Noun]]) -> Collection[Noun]:
        """What says whose the routes and proxy entries with snnet's mark are, beside these kinds.

        All routes are listed only if there are such entries at all.
        """
        if Route in kinds:
            return ()
        if any(map(is_marked, self.of(ProxyNeighbour))) or self._backend.routes_of(SNNET_PROTOCOL):
            return self.of(Route)
        return ()

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
