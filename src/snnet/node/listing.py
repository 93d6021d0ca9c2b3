"""What a draft lists of the host, once, whoever asks for it."""

from __future__ import annotations

from functools import cached_property

from snnet.contract import Address, Driver, Key, Link, Noun, Route
from snnet.core import identity as ids
from snnet.core.identity import Owner
from snnet.core.surroundings import Surroundings


class Listing:
    """Lists of the host, each read when it is first asked for."""

    def __init__(self, backend: Driver, owner: Owner) -> None:
        self._backend = backend
        self._owner = owner

    @cached_property
    def places(self) -> dict[Key, Noun]:
        """All links, addresses and routes."""
        return self._backend.snapshot({Link, Address, Route})

    @cached_property
    def surroundings(self) -> Surroundings:
        """What else than this node's is on the host."""
        return Surroundings(self._owner, self.places.values())

    @cached_property
    def strays(self) -> dict[tuple[str, ...], Link]:
        """Links that claim an identity of this owner without its name, by that identity."""
        found = self._backend.snapshot({Link}).values()
        return {
            identity: link
            for link in found
            if isinstance(link, Link) and (identity := ids.stray(link, self._owner))
        }

    def stray(self, kind: str, identity: tuple[str, ...]) -> list[Link]:
        """The link that claims this identity without its name, if there is one."""
        link = self.strays.get((kind, *identity))
        return [] if link is None else [link]
