"""A backend that reads each table of the kernel once, however often it is asked."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

from snnet.contract import Driver, Host, Key, Link, Noun, Operation, Unsupported, Watch


class Once(Driver):
    """Answers from one reading of ``inner``, which is borrowed; changes nothing.

    A look at a host asks for the same links several times, and means the same moment.
    """

    def __init__(self, inner: Driver) -> None:
        self._inner = inner
        self._read: dict[type[Noun], dict[Key, Noun]] = {}

    @classmethod
    def of(cls, inner: Driver) -> Once:
        """Wrap a driver; the wrapper has its name and carries the same nouns."""
        alike: Any = type(cls.__name__, (cls,), {"name": inner.name, "carries": inner.carries})
        made: Once = alike(inner)
        made.host = inner.host
        return made

    def on(self, host: Host) -> Once:
        """The same readings for another node, whose host this is."""
        made = type(self)(self._inner)
        made.host, made._read = host, self._read
        return made

    def missing(self, noun: Noun) -> str | None:
        return self._inner.missing(noun)

    def snapshot(self, types: Iterable[type[Noun]] | None = None) -> dict[Key, Noun]:
        wanted = tuple(self.carries if types is None else types)
        tables = {
            Link if issubclass(kind, Link) else kind
            for kind in self.carries
            if issubclass(kind, wanted)
        }
        if new := tables - self._read.keys():
            found = self._inner.snapshot(new)
            for table in new:
                self._read[table] = {
                    key: noun for key, noun in found.items() if isinstance(noun, table)
                }
        return {
            key: noun
            for table in tables
            for key, noun in self._read[table].items()
            if isinstance(noun, wanted)
        }

    def find(self, noun: Noun) -> Noun | None:
        return self._inner.find(noun)

    def inside(self, namespace: str, alias: str | None = None) -> AbstractContextManager[Driver]:
        return self._inner.inside(namespace, alias)

    def perform(self, operation: Operation) -> None:
        raise Unsupported(f"cannot {operation}: this backend only looks", operation=operation)

    def watch(self) -> Watch:
        raise Unsupported("this backend only looks, and watches nothing")

    def close(self) -> None:
        pass
