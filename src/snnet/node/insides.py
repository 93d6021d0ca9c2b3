"""The driver of nouns that are inside other namespaces of the host."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import ClassVar

from snnet.contract import Driver, Inside, Key, Missing, Namespace, Noun, Operation, inner

from .over_backend import OverBackend


class Insides(OverBackend):
    """Carries ``Inside`` over a backend that can open itself in a namespace."""

    name: ClassVar[str] = "insides"
    carries: ClassVar[frozenset[type[Noun]]] = frozenset({Inside})

    def missing(self, noun: Noun) -> str | None:
        assert isinstance(noun, Inside)
        return self._backend.missing(noun.what)

    def snapshot(self, types: Iterable[type[Noun]] | None = None) -> dict[Key, Noun]:
        return {}

    def find(self, noun: Noun) -> Noun | None:
        assert isinstance(noun, Inside)
        return self.found([noun]).get(noun.key)

    def found(self, nouns: Iterable[Inside]) -> dict[Key, Noun]:
        """Return those of the nouns that are there; each namespace is entered once."""
        by_namespace: dict[Namespace, list[Inside]] = {}
        for noun in nouns:
            by_namespace.setdefault(noun.namespace, []).append(noun)
        found: dict[Key, Noun] = {}
        for namespace, inside in by_namespace.items():
            with contextlib.suppress(Missing), self._enter(namespace) as backend:
                for noun in inside:
                    what = backend.find(noun.what)
                    if what is not None:
                        found[noun.key] = Inside(namespace=namespace, what=what)
        return found

    def _enter(self, namespace: Namespace) -> AbstractContextManager[Driver]:
        return self._backend.inside(namespace.name, namespace.alias)

    def perform(self, operation: Operation) -> None:
        noun = operation.noun
        assert isinstance(noun, Inside)
        with self._enter(noun.namespace) as backend:
            outcome = backend.apply([inner(operation)])
        if outcome.error is not None:
            raise outcome.error
