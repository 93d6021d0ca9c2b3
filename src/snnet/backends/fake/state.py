"""The state of one fake kernel: its nouns, and indexes of them.

This module keeps nouns and indexes consistent.  The rules that decide what may happen are
elsewhere (``links.py``, ``addresses.py`` ...).
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import threading
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

from snnet.contract import (
    RULES,
    Address,
    DhcpLease,
    IPAddress,
    IPNetwork,
    Key,
    Link,
    LinkEvent,
    Neighbour,
    Noun,
    Other,
    PolicyRule,
    Route,
    link_key,
)
from snnet.contract.network import MAIN_TABLE

from .fib import Fib, Hop
from .rulebook import Rulebook
from .watch import Changes, FakeWatch


class State:
    """All nouns of one network namespace by key, with the indexes that rules need."""

    def __init__(self, hostname: str, parent: State | None = None) -> None:
        """With ``parent``: a namespace of the same host."""
        self.hostname = hostname
        self.nouns: dict[Key, Noun] = {}
        self.claims: set[str] = parent.claims if parent else set()
        """What one process at a time may run on the host."""
        self.changes: Changes = parent.changes if parent else Changes()
        """Counts every change, so that caches of the state can expire."""
        self.fib = Fib()
        self.tables: dict[int, Fib] = {}
        """The tables beside the main one."""
        self.rules = Rulebook()
        """The firewall rules, indexed for packets."""
        self.local: dict[IPAddress, list[str]] = {}
        """The links that have an address; Linux answers for it on any link."""
        self.connected: dict[str, set[IPNetwork]] = {}
        """The networks of connected routes, by link."""
        self.ports: dict[str, dict[str, None]] = {}
        """Ports by bridge, in the order in which they joined."""
        self.uppers: dict[str, dict[str, None]] = {}
        """Macvtaps by lower link."""
        self.held: dict[str, dict[Key, None]] = {}
        """Nouns that are removed with a link: addresses, routes, neighbours, fdb entries."""
        self.indexes: dict[int, str] = {}
        self.tunnels: dict[tuple[object, ...], str] = {}
        """Tunnels by identity (``Tunnel.wire_identity``)."""
        self.own_mtu: set[str] = set()
        self.own_mac: set[str] = set()
        """Bridges whose MTU or MAC was set and no longer follows the ports."""
        self.targets: set[str] = set()
        """Links that redirects led to since they were made."""
        self.sysctls: dict[str, str] = {}
        self.tuned: dict[str, dict[str, None]] = {}
        """The names of the parameters that were set, by link."""
        self.entered: set[str] = set()
        """Links that have had entries of their bridge (``BridgeFdb``)."""
        self.leases: dict[Key, DhcpLease] = {}
        """The leases that guests took from the scopes here."""
        self.records: dict[str, dict[str, Any]] = {}
        self.lasting: dict[str, dict[str, Any]] = parent.lasting if parent else {}
        """Records of the machine; give them to a kernel that stands for its next boot."""
        self.journals: dict[str, list[str]] = {}
        self.children: dict[str, State] = {}
        """The other namespaces of the host, by name."""
        self.far: dict[str, tuple[State, str]] = {}
        """Veths whose other end is in another namespace, and those ends."""
        self.docker_user: dict[str, bool] | None = None
        """The links that Docker lets through, and whether as bridges; None without Docker."""
        self.lock: threading.RLock = parent.lock if parent else threading.RLock()
        """Held by drivers during an operation or a snapshot."""
        self._watches: list[FakeWatch] = []
        self._last_index = 0

    @contextlib.contextmanager
    def document(self, documents: dict[str, dict[str, Any]], name: str) -> Iterator[dict[str, Any]]:
        """Yield one of the records, and keep what the block makes of it."""
        with self.lock:
            document = copy.deepcopy(documents.get(name, {}))
            yield document
            documents.pop(name, None)
            if document:
                documents[name] = document

    # -- links -----------------------------------------------------------------

    def link(self, name: str) -> Link | None:
        found = self.nouns.get(("link", name))
        return found if isinstance(found, Link) else None

    def put_link(self, link: Link) -> None:
        """Store a link and notify watches."""
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
        """Reserve the wanted ifindex for the link, or the next free one; return it.

        Chosen indexes are never reused (``dev_index_reserve``, net/core/dev.c).  A wanted
        index does not advance the counter.
        """
        index = wanted
        while not index:
            self._last_index += 1
            if self._last_index not in self.indexes:
                index = self._last_index
        self.indexes[index] = name
        return index

    def make_mac(self, name: str) -> str:
        """Return the MAC for a link without one: local, stable, different on each host.

        The kernel uses a random MAC (``eth_hw_addr_random``); tests need the same text in
        each run.
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

    # -- nouns of links ----------------------------------------------------------

    def put(self, noun: Noun) -> None:
        """Store a noun that is not a link."""
        if type(noun) in RULES:
            self.put_rule(noun, self.nouns.get(noun.key))
            return
        self.changes.count += 1
        self.nouns[noun.key] = noun
        if noun.within is not None:
            self.held.setdefault(noun.within[1], {})[noun.key] = None

    def drop(self, noun: Noun) -> None:
        if type(noun) in RULES:
            self.drop_rule(noun)
            return
        del self.nouns[noun.key]
        self.changes.count += 1
        if noun.within is not None:
            keys = self.held[noun.within[1]]
            del keys[noun.key]
            if not keys:
                del self.held[noun.within[1]]

    def put_rule(self, rule: Noun, old: Noun | None = None) -> None:
        """Store a rule of the firewall in place of an old one, if there is one."""
        self.changes.count += 1
        self.rules.replace(old, rule)
        self.nouns[rule.key] = rule

    def drop_rule(self, rule: Noun) -> None:
        self.changes.count += 1
        self.rules.replace(rule, None)
        del self.nouns[rule.key]

    def on_link(self, name: str) -> list[Noun]:
        """Return the nouns that belong to the link, oldest first."""
        return [self.nouns[key] for key in self.held.get(name, ())]

    def addresses(self, link: str, version: int) -> list[Address]:
        """Return the link's addresses of one IP version, oldest first."""
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
        self.table(route.table).add(route.destination, Hop(route.link, route.gateway))

    def drop_route(self, route: Route) -> None:
        self.drop(route)
        self.table(route.table).discard(route.destination, Hop(route.link, route.gateway))

    def table(self, number: int) -> Fib:
        """The routing table of this number; a new one is empty."""
        return self.fib if number == MAIN_TABLE else self.tables.setdefault(number, Fib())

    def lookup(self, target: IPAddress, source: IPAddress) -> Hop | None:
        """Return the hop for a packet, by the rules about its source (fib_rules_lookup)."""
        if self.tables:
            rules = [noun for noun in self.nouns.values() if isinstance(noun, PolicyRule)]
            for rule in sorted(rules, key=lambda rule: rule.priority):
                if source.version != rule.source.version or source not in rule.source:
                    continue
                found = self.table(rule.table)
                hop = next(iter(found.closest(target)), None) if rule.specific else None
                hop = hop if rule.specific else found.find(target)
                if hop is not None:
                    return hop
        return self.fib.find(target)

    def is_up(self, name: str) -> bool:
        link = self.link(name)
        return link is not None and link.up

    def loopback(self) -> Other:
        """Add ``lo``, up, as in every new namespace."""
        lo = Other(
            name="lo",
            other_kind="loopback",
            mtu=65536,
            index=self.take_index("lo"),
        )
        self.nouns[link_key("lo")] = lo
        return lo
