"""What one fake kernel holds, and the relations between its parts.

Rules (``links.py``, ``addresses.py`` ...) decide what may happen; this
module only keeps nouns and their indexes consistent.
"""

from __future__ import annotations

import dataclasses
import threading
from hashlib import blake2b
from typing import Any

from snnet.contract import (
    RULES,
    Address,
    IPAddress,
    IPNetwork,
    Key,
    Link,
    LinkEvent,
    Neighbour,
    Noun,
    Other,
    Route,
    link_key,
)

from .fib import Fib, Hop
from .rulebook import Rulebook
from .watch import FakeWatch


class Changes:
    """A count that several states may share."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class State:
    """All nouns of one network namespace by key, with the look-ups that rules need."""

    def __init__(self, hostname: str) -> None:
        self.hostname = hostname
        self.nouns: dict[Key, Noun] = {}
        self.changes = Changes()
        """Counts every change, so that what was worked out from the state can expire."""
        self.fib = Fib()
        self.rules = Rulebook()
        """The firewall's rules, by what a packet is looked up by."""
        self.local: dict[IPAddress, list[str]] = {}
        """The links that have this address; Linux answers for it on any link."""
        self.connected: dict[str, set[IPNetwork]] = {}
        """Networks each link reaches without a gateway, by its addresses."""
        self.ports: dict[str, dict[str, None]] = {}
        """Ports by bridge, in the order they joined."""
        self.uppers: dict[str, dict[str, None]] = {}
        """Macvtaps by the link below them."""
        self.held: dict[str, dict[Key, None]] = {}
        """What a link's removal takes along: addresses, routes, neighbours, fdb entries."""
        self.indexes: dict[int, str] = {}
        self.tunnels: dict[tuple[object, ...], str] = {}
        """Tunnels by what tells them apart on the wire."""
        self.own_mtu: set[str] = set()
        self.own_mac: set[str] = set()
        """Bridges whose MTU or MAC was set, and no longer follows the ports."""
        self.sysctls: dict[str, str] = {}
        self.records: dict[str, dict[str, Any]] = {}
        self.lock = threading.RLock()
        """Held by drivers while they carry out an operation or read all of it."""
        self._watches: list[FakeWatch] = []
        self._last_index = 0

    # -- links -----------------------------------------------------------------

    def link(self, name: str) -> Link | None:
        found = self.nouns.get(("link", name))
        return found if isinstance(found, Link) else None

    def put_link(self, link: Link) -> None:
        """Store a link as it is now and tell those who watch."""
        self.nouns["link", link.name] = link
        self.changes.count += 1
        if self._watches:
            self._announce(LinkEvent(link.name, link.index, False))

    def update_link(self, link: Link, **changes: object) -> Link:
        changed: Link = dataclasses.replace(link, **changes)  # type: ignore[arg-type]
        self.put_link(changed)
        return changed

    def drop_link(self, link: Link) -> None:
        del self.nouns["link", link.name]
        del self.indexes[link.index]
        self.changes.count += 1
        if self._watches:
            self._announce(LinkEvent(link.name, link.index, True))

    def take_index(self, name: str, wanted: int = 0) -> int:
        """Give the link this ifindex, or the next free one.

        An index once given is not given again (``dev_index_reserve``,
        net/core/dev.c); one asked for does not move the count.
        """
        index = wanted
        while not index:
            self._last_index += 1
            if self._last_index not in self.indexes:
                index = self._last_index
        self.indexes[index] = name
        return index

    def make_mac(self, name: str) -> str:
        """The MAC a link gets that was given none: stable, local, another on each host.

        The kernel rolls dice (``eth_hw_addr_random``); tests want the same text
        each time.
        """
        digest = blake2b(f"{self.hostname}/{name}".encode(), digest_size=5).digest()
        return "0e:" + digest.hex(":")

    def watch(self) -> FakeWatch:
        """Open a stream of link events."""
        with self.lock:
            watch = FakeWatch(self._unwatch)
            self._watches.append(watch)
            return watch

    def _unwatch(self, watch: FakeWatch) -> None:
        with self.lock:
            if watch in self._watches:
                self._watches.remove(watch)

    def _announce(self, event: LinkEvent) -> None:
        for watch in self._watches:
            watch.put(event)

    # -- what hangs on links -----------------------------------------------------

    def put(self, noun: Noun) -> None:
        """Store anything but a link."""
        if type(noun) in RULES:
            self.rules.replace(self.nouns.get(noun.key), noun)
        self.nouns[noun.key] = noun
        self.changes.count += 1
        if noun.within is not None:
            self.held.setdefault(noun.within[1], {})[noun.key] = None

    def drop(self, noun: Noun) -> None:
        del self.nouns[noun.key]
        if type(noun) in RULES:
            self.rules.replace(noun, None)
        self.changes.count += 1
        if noun.within is not None:
            keys = self.held[noun.within[1]]
            del keys[noun.key]
            if not keys:
                del self.held[noun.within[1]]

    def on_link(self, name: str) -> list[Noun]:
        """What hangs on the link, oldest first."""
        return [self.nouns[key] for key in self.held.get(name, ())]

    def addresses(self, link: str, version: int) -> list[Address]:
        """Addresses of one family on the link, oldest first."""
        return [
            noun
            for noun in self.on_link(link)
            if isinstance(noun, Address) and noun.address.version == version
        ]

    def routes(self, link: str, version: int) -> list[Route]:
        return [
            noun
            for noun in self.on_link(link)
            if isinstance(noun, Route) and noun.destination.version == version
        ]

    def neighbours(self, link: str) -> list[Neighbour]:
        return [noun for noun in self.on_link(link) if isinstance(noun, Neighbour)]

    def put_route(self, route: Route) -> None:
        self.put(route)
        self.fib.add(route.destination, Hop(route.link, route.gateway))

    def drop_route(self, route: Route) -> None:
        self.drop(route)
        self.fib.discard(route.destination, Hop(route.link, route.gateway))

    def is_up(self, name: str) -> bool:
        link = self.link(name)
        return link is not None and link.up

    def loopback(self) -> Other:
        """Make ``lo`` as every new namespace has it, up."""
        lo = Other(
            name="lo",
            other_kind="loopback",
            mtu=65536,
            index=self.take_index("lo"),
        )
        self.nouns[link_key("lo")] = lo
        return lo
