"""A node in the registry: its document, the session that shows it is alive, and its number."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Iterator, Sequence

import snnet
from snnet.cluster import NodeInfo, keys
from snnet.cluster.drafts import seen
from snnet.cluster.mirror import Mirror
from snnet.config import NODE_NUMBER_MAX
from snnet.contract import (
    Conflict,
    Delete,
    Denied,
    Host,
    Link,
    Put,
    Registry,
    Session,
    SessionLost,
    SnnetError,
    Stale,
)
from snnet.contract.registries import Write
from snnet.core import identity as ids
from snnet.core.site import Site
from snnet.node import ComputeNode
from snnet.system.host import boot_id

SESSION_TTL = 15.0
"""Seconds after which an agent that says nothing counts as gone, by default."""


def claim_of(node: str) -> str:
    """What the agent of a node claims on its host (``Host.claim``)."""
    return f"agent:{node}"


def check_name(registry: Registry, node: ComputeNode) -> None:
    """Raise ``Conflict`` if the host seems to be another node, of another name.

    Then it has links of that node, whose agent is gone, and none of its own: what it would make
    would collide with them.
    """
    links = node.backend.snapshot({Link}).values()
    owners = {ids.owner_of(link) for link in links if isinstance(link, Link)}
    parts = [owner.partition(":") for owner in sorted(owners)]
    others = [name for role, _, name in parts if role == node.role]
    if not others or str(node.owner) in owners:
        return
    try:
        entries = registry.read(keys.NODES, keys.ALIVE).entries
    except Denied:  # its roles let it read no other node's documents
        return
    for name in others:
        if keys.node(name) in entries and keys.alive(name) not in entries:
            raise Conflict(
                f"this host has the links of node {name!r}, whose agent is not running: if it is "
                f"that node, set 'node: {name}' in its settings; if not, remove them with 'snnet "
                f"host reset', and the node with 'snnet node forget {name}'"
            )


class Membership:
    """Registers a node, and keeps its session alive; one thread at a time may use it.

    Two hosts with one name for their node would have the same guests, so the host is told from
    all others by its boot and its namespace.  On the ``host`` itself one process at a time has
    the node: what an earlier one said is taken over at once.  Methods raise ``Unavailable`` if
    the registry does not answer.
    """

    def __init__(
        self,
        registry: Registry,
        node: str,
        host: Host,
        roles: Sequence[str],
        topology: str,
        ttl: float,
    ) -> None:
        self._registry = registry
        self._node, self._roles, self._topology = node, tuple(roles), topology
        self._claims, self._here = contextlib.ExitStack(), host
        self._host = f"{boot_id()}/{host.netns.id}"
        self._ttl = ttl
        self._session: Session | None = None
        self._renew_at = 0.0
        self._number: int | None = None
        self._claimed = 0
        """The revision of the claim of that number."""
        self.compute_ip: str | None = None
        self.mtu: int | None = None
        self.problem: str | None = None
        """What prevents the agent from doing its work, for others to see."""
        self._told: str | None = None
        self._told_at = 0
        """The revision of the document that goes with the session."""
        self._is_claimed = False
        self._said: object = None
        """What the registry has of the node, by the last answer."""

    def learn(self, site: Site) -> None:
        """Take in what others must know of the node; ``register`` writes it."""
        self.compute_ip, self.mtu = str(site.ip), site.mtu

    def connect(self, mirror: Mirror, *, at_once: bool = False) -> bool:
        """Be registered, with what is known by now, and alive: renew the session when due.

        ``mirror`` shows what others made of that by now.  ``at_once``: also if it is not due, so
        that the registry has certainly answered.

        Return whether it was not registered: what the node said may have been removed by then.
        Raises ``Conflict`` if another process of this host has the node.
        """
        self._claim()
        now = time.monotonic()
        if self._session is not None and not self._is_seen(mirror):
            self._session = None
        try:
            if self._session is not None and (at_once or now >= self._renew_at):
                self._session.renew()
                self._renew_at = now + self._ttl / 3
            if self._session is not None and self._told != self.problem:
                alive = self._alive(self._session)
                self._told_at = self._registry.commit([alive], {alive.key: self._told_at})
                self._told = self.problem
        except (SessionLost, Stale):
            self._session = None
        is_new = self._session is None
        if is_new or self._said != (self.compute_ip, self._number, self.mtu):
            self.register()
        return is_new

    def _is_seen(self, mirror: Mirror) -> bool:
        """Whether the node's documents are there, and the last word of the session is ours."""
        if mirror.revision < self._told_at:  # it has not come to our last word
            return True
        alive = mirror.get(keys.alive(self._node))
        known = mirror.get(keys.node(self._node))
        return known is not None and alive is not None and alive.revision <= self._told_at

    def _claim(self) -> None:
        """Have the node on this host for this process alone, until ``close``."""
        if self._is_claimed:
            return
        try:
            self._claims.enter_context(self._here.claim(0.0, claim_of(self._node)))
        except Conflict as error:
            raise Conflict(
                f"another agent on this host runs as node {self._node!r}: stop it, or this one; "
                f"{error}"
            ) from error
        except (SnnetError, OSError):
            return  # what prevents it prevents the node itself, too, which then says so
        self._is_claimed = True

    def register(self) -> None:
        """Write the node's document, with a new session.

        Raises ``Conflict`` if an agent on another host has the name, or if its number belongs to
        another node: while it had no session it may have been forgotten, and its number given
        away.
        """
        key, alive = keys.node(self._node), keys.alive(self._node)
        reading = self._registry.read(key, alive)
        known, running = reading.entries.get(key), reading.entries.get(alive)
        if running is not None and running.document.get("host", self._host) != self._host:
            address = known.document.get("compute_ip") if known else None
            raise Conflict(
                f"an agent on another host ({address or 'its address is not known yet'}) runs "
                f"as node {self._node!r}: give each host a name of its own ('node' in the "
                "settings), or stop that agent; after a crash of this host its session ends by "
                "itself"
            )
        expected = seen(reading, [key, alive])
        if self._number is not None:
            claim = keys.node_number(self.number(self._number))
            expected[claim] = self._claimed
        session = self._registry.session(self._ttl)
        info = NodeInfo(
            name=self._node,
            roles=self._roles,
            topology=self._topology,
            compute_ip=self.compute_ip,
            number=self._number,
            mtu=self.mtu,
            # Somebody else's word: a restart does not take it back.
            draining=bool(known and known.document.get("draining")),
            version=snnet.__version__,
        )
        self._told_at = self._registry.commit(
            [
                Put(key, info.document()),
                self._alive(session),
            ],
            expected,
        )
        replaced, self._session = self._session, session
        self._renew_at = time.monotonic() + self._ttl / 3
        self._said, self._told = (info.compute_ip, info.number, info.mtu), self.problem
        if replaced is not None:
            with contextlib.suppress(SnnetError):
                replaced.close()

    def _alive(self, session: Session) -> Put:
        problem = {} if self.problem is None else {"problem": self.problem}
        document = {"host": self._host, "pid": os.getpid(), **problem}
        return Put(keys.alive(self._node), document, session.id)

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Renew the session also while the block takes long; it may replace the session."""
        over = threading.Event()

        def renew() -> None:
            while not over.wait(self._ttl / 3):
                session = self._session
                # What is wrong with it is seen, and told, at the next ``connect``.
                with contextlib.suppress(SnnetError):
                    if session is not None:
                        session.renew()

        thread = threading.Thread(target=renew, name=f"session-{self._node}")
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def number(self, wanted: int | None) -> int:
        """Claim a number for the node, the same one at every start; ``wanted`` if it is given.

        Raises ``Conflict`` if another node has the wanted number, or no number is free.
        """
        while True:
            entries = self._registry.read(keys.NODE_NUMBERS).entries
            holders = {
                number: str(entry.document.get("node"))
                for number, entry in keys.numbers(entries, keys.NODE_NUMBERS).items()
            }
            mine = [number for number, holder in holders.items() if holder == self._node]
            if wanted in mine or (wanted is None and mine):
                number = wanted if wanted is not None else mine[0]
                self._number, self._claimed = number, entries[keys.node_number(number)].revision
                return number
            if wanted in holders:
                advice = "choose another, or leave it to the registry"
                if self._number is not None:
                    advice = f"{self._node!r} was forgotten meanwhile; restart its agent"
                raise Conflict(
                    f"node_number {wanted} belongs to node {holders[wanted]!r}: {advice}"
                )
            number = self._free(holders) if wanted is None else wanted
            key = keys.node_number(number)
            writes: list[Write] = [Put(key, {"node": self._node})]
            writes += [Delete(keys.node_number(old)) for old in mine]
            with contextlib.suppress(Stale):
                self._claimed = self._registry.commit(writes, {key: 0})
                self._number = number
                return number

    def _free(self, taken: dict[int, str]) -> int:
        """A free number.  Nodes begin to look at different ones, so that few want the same."""
        seed = int.from_bytes(hashlib.sha256(self._node.encode()).digest()[:8], "big")
        for step in range(NODE_NUMBER_MAX + 1):
            number = (seed + step) % (NODE_NUMBER_MAX + 1)
            if number not in taken:
                return number
        raise Conflict(f"all {NODE_NUMBER_MAX + 1} node numbers are taken: forget a node")

    def close(self, *, silently: bool = False) -> None:
        """End the session: the agent is gone at once.  May be repeated.

        ``silently``: let it run out, since the registry does not answer.
        """
        if self._session is not None and not silently:
            with contextlib.suppress(SnnetError):
                self._session.close()
        self._session = None
        self._claims.close()
        self._is_claimed = False
