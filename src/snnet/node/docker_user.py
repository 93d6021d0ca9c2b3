"""The driver of accepts in Docker's chain, where the host has that."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import ClassVar

from snnet.contract import (
    Add,
    DockerAccept,
    Driver,
    Exists,
    Key,
    Missing,
    Noun,
    Operation,
)

from .over_backend import OverBackend


class DockerAccepts(OverBackend):
    """Carries ``DockerAccept`` by the host's chain DOCKER-USER.

    Without the chain the noun is missing: then nothing of Docker is in the way, or nothing
    can be done about it here, and ``verify()`` names what drops the packets.
    """

    name: ClassVar[str] = "docker-user"
    carries: ClassVar[frozenset[type[Noun]]] = frozenset({DockerAccept})

    def __init__(self, backend: Driver, firewall: Driver) -> None:
        super().__init__(backend)
        self._firewall = firewall

    def missing(self, noun: Noun) -> str | None:
        there = self._accepted() is not None
        return None if there else "the host has no chain DOCKER-USER"

    def unreported(self) -> Collection[type[Noun]]:
        """See :meth:`snnet.contract.Driver.unreported`: the chain may be legacy iptables'."""
        return (DockerAccept,)

    def _accepted(self) -> list[tuple[str, bool]] | None:
        return self.host.docker_user(self._firewall.forward_chains()).accepted()

    def snapshot(self, types: Iterable[type[Noun]] | None = None) -> dict[Key, Noun]:
        return {}

    def find(self, noun: Noun) -> Noun | None:
        assert isinstance(noun, DockerAccept)
        there = (noun.link, noun.bridged) in (self._accepted() or ())
        return noun if there else None

    def perform(self, operation: Operation) -> None:
        noun = operation.noun
        assert isinstance(noun, DockerAccept)
        chain, there = self.host.docker_user(self._firewall.forward_chains()), self.find(noun)
        if isinstance(operation, Add):
            if there is not None:
                raise Exists(f"cannot add {noun}: it is there already")
            chain.add(noun.link, bridged=noun.bridged)
        else:
            if there is None:
                raise Missing(f"cannot remove {noun}: it is not there")
            chain.remove(noun.link, bridged=noun.bridged)
