"""Waits for what agents report, and follows all changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from snnet.contract import Changed, Compacted, Registry

from . import keys
from .documents import PENDING, Vnic, Wanted

W = TypeVar("W", bound=Wanted)
T = TypeVar("T")

_KINDS = {prefix: kind for kind, prefix in keys.PREFIXES.items() if kind != Vnic.kind}


def until(
    registry: Registry,
    prefixes: tuple[str, ...],
    look: Callable[[], T],
    done: Callable[[T], bool],
    timeout: float,
    concerns: Callable[[str], bool] = lambda key: True,
) -> T:
    """Look, and look again after each change under the prefixes, until ``done`` or time is up.

    Returns what was seen last.  ``timeout`` is in seconds.  Changes of keys that it does not
    ``concern`` cost no look.
    """
    end = time.monotonic() + timeout
    found = look()
    if done(found) or timeout <= 0:
        return found
    watch = registry.watch(*prefixes, after=registry.read().revision)
    try:
        while not done(found := look()):
            is_new = False
            while not is_new:
                left = end - time.monotonic()
                if left <= 0:
                    return look()
                try:
                    is_new = any(concerns(change.key) for change in watch.next(left))
                except Compacted:
                    watch.close()
                    watch = registry.watch(*prefixes, after=registry.read().revision)
                    is_new = True
        return found
    finally:
        watch.close()


def is_settled(wanted: Wanted) -> bool:
    """Whether its agent has tried it."""
    return wanted.state != PENDING


@dataclass(frozen=True, slots=True)
class Event:
    """Something about one object changed: it, or what its agent says of it.

    ``kind`` is "network", "group", "vnic", "forward" or "public-ip", or "node" (then ``tenant`` is
    empty); "" stands for all objects: so much changed that everything must be read again.
    """

    kind: str
    tenant: str = ""
    name: str = ""


def follow(registry: Registry, timeout: float | None) -> Iterator[Event]:
    """Yield an event for each change from now on; end after ``timeout`` quiet seconds."""
    watch = registry.watch(keys.ROOT, after=registry.read().revision)
    try:
        while True:
            try:
                changes = watch.next(timeout)
            except Compacted:
                watch.close()
                watch = registry.watch(keys.ROOT, after=registry.read().revision)
                yield Event("")
                continue
            if not changes:
                return
            events = dict.fromkeys(map(_event, changes))
            yield from (event for event in events if event)
    finally:
        watch.close()


def _event(change: Changed) -> Event | None:
    match change.key.split("/"):
        case [_, "status", _, kind, tenant, name, ""]:
            return Event(kind, tenant, name)
        case [_, "nodes" | "alive", name, ""]:
            return Event("node", name=name)
        case [_, "vnics", _, tenant, name, ""]:
            return Event(Vnic.kind, tenant, name)
        case [version, kind, tenant, name, ""] if f"{version}/{kind}/" in _KINDS:
            return Event(_KINDS[f"{version}/{kind}/"], tenant, name)
        case _:
            return None
