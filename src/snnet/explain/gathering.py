"""Asks the agents of hosts for snapshots, through the registry alone.

The question is one document, which the agents watch.  It lives as long as its session: until
everybody has answered, or the one who asks has waited long enough or is gone.  Each agent puts
its answer below its own prefix, and removes it when the question is gone.  When nobody asks,
nothing is written.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Any

from snnet.cluster import NodeInfo, keys
from snnet.cluster.mirror import Mirror
from snnet.cluster.views import read_nodes, read_placements
from snnet.contract import (
    Document,
    InvalidRequest,
    IPAddress,
    Put,
    Reading,
    Registry,
    SessionLost,
    SnnetError,
)

from .packing import unpack
from .snapshot import Snapshot

QUESTION_TTL = 30.0
"""Seconds after which the question of a command that was killed is gone."""

_LOOK = 1.0


@dataclass(frozen=True, slots=True)
class Silent:
    """A host without an answer, and why there is none."""

    host: str
    why: str


@dataclass(frozen=True, slots=True)
class Gathered:
    """What hosts answered.

    ``ages`` are seconds since each snapshot was taken; ``addresses`` those by which others reach
    a host and the concentrators on it, also where it gave no answer.
    """

    asked_at: float
    snapshots: tuple[Snapshot, ...] = ()
    ages: Mapping[str, float] = field(default_factory=dict)
    silent: tuple[Silent, ...] = ()
    addresses: Mapping[str, Sequence[IPAddress]] = field(default_factory=dict)

    def without(self, host: str, why: str) -> Gathered:
        """Return the same without the answer of a host, which is of no use."""
        return replace(
            self,
            snapshots=tuple(one for one in self.snapshots if one.host != host),
            ages={name: age for name, age in self.ages.items() if name != host},
            silent=(*self.silent, Silent(host, why)),
        )

    def to_list(self) -> list[dict[str, Any]]:
        """Each host with the age of its snapshot, or with the reason why there is none."""
        found: list[dict[str, Any]] = [
            {"host": one.host, "age": round(self.ages[one.host], 1)} for one in self.snapshots
        ]
        return found + [{"host": one.host, "error": self.reason(one)} for one in self.silent]

    def reason(self, one: Silent) -> str:
        """Return why there is no answer, in one sentence."""
        since = time.strftime("%H:%M:%S", time.localtime(self.asked_at))
        return f"no answer from host {one.host} since {since}: {one.why}"


def gather(registry: Registry, nodes: Collection[str] | None, timeout: float) -> Gathered:
    """Ask agents, all or those of ``nodes``, for snapshots; wait at most ``timeout`` seconds.

    An agent that is not running is not waited for, and an answer that is damaged is one host's
    alone.  Raises ``Unavailable`` if the registry does not answer.
    """
    reading = registry.read(keys.NODES, keys.ALIVE, keys.CONCENTRATORS)
    wanted = [one for one in read_nodes(reading) if nodes is None or one.name in nodes]
    asked_at = time.time()
    answers = _Answers(one.name for one in wanted if one.alive)
    late = f"did not answer within {timeout:g} s"
    if answers.missing:
        try:
            _ask(registry, answers, timeout)
        except SessionLost:  # what came in before is as good as ever
            late = "did not answer before the registry forgot the question"
    snapshots, ages = [], {}
    unknown = set(nodes or ()) - {one.name for one in wanted}
    silent = [Silent(name, "it is not registered") for name in sorted(unknown)]
    for one in wanted:
        try:
            if not one.alive:
                raise InvalidRequest("its agent is not running")
            if one.name in answers.missing:
                raise InvalidRequest(f"its agent (snnet {one.version}) {late}")
            snapshots.append(answers.snapshot(one.name))
            ages[one.name] = answers.age(one.name)
        except InvalidRequest as error:
            silent.append(Silent(one.name, str(error)))
    addresses = {one.name: _addresses(reading, one) for one in wanted}
    return Gathered(asked_at, tuple(snapshots), ages, tuple(silent), addresses)


def _ask(registry: Registry, answers: _Answers, timeout: float) -> None:
    """Put the question, and take in answers until all are there or time is up."""
    id = secrets.token_hex(8)
    end = time.monotonic() + timeout
    nodes = {f"{keys.answers(node)}{id}/": node for node in answers.missing}
    mirror = Mirror(registry)
    session = registry.session(QUESTION_TTL)
    try:
        mirror.follow(keys.ANSWERS)
        question = {"nodes": sorted(answers.missing)}
        registry.commit([Put(keys.question(id), question, session.id)])
        renew = time.monotonic() + QUESTION_TTL / 3
        while answers.missing and (left := end - time.monotonic()) > 0:
            if time.monotonic() >= renew:
                session.renew()
                renew = time.monotonic() + QUESTION_TTL / 3
            for key in mirror.refresh(min(left, _LOOK)):
                node = nodes.get(f"{key.rstrip('/').rpartition('/')[0]}/")
                entry = mirror.get(key)
                if node is not None and entry is not None:
                    answers.add(node, entry.document)
    finally:
        mirror.close()
        with suppress(SnnetError):  # then it runs out by itself
            session.close()


class _Answers:
    """The parts that came in, by node."""

    def __init__(self, awaited: Iterable[str]) -> None:
        self.missing = set(awaited)
        """The nodes that have not answered in full."""
        self._whole: dict[str, float] = {}
        """When the others had (time.monotonic)."""
        self._parts: dict[str, dict[int, Document]] = {}
        self._waited: dict[str, float] = {}

    def add(self, node: str, document: Document) -> None:
        """Take in a part; one that cannot be read ends the node's answer."""
        if node not in self.missing:
            return
        parts = self._parts.setdefault(node, {})
        try:
            waited, count = float(document.get("waited", 0)), int(document.get("of", 1))
            parts[int(document.get("part", 0))] = document
        except (TypeError, ValueError, OverflowError) as error:
            parts[0] = {"error": f"its answer is damaged: {error}"}
            waited, count = 0.0, len(parts)
        self._waited[node] = max(waited, self._waited.get(node, 0.0))
        if len(parts) >= count:
            self._whole[node] = time.monotonic()
            self.missing.discard(node)

    def snapshot(self, node: str) -> Snapshot:
        """Return a node's snapshot.  Raises InvalidRequest if it has none, or a damaged one."""
        parts = list(self._parts[node].values())
        for part in parts:
            if error := part.get("error"):
                raise InvalidRequest(str(error))
        found = unpack(parts)
        return Snapshot(node, found.spaces)

    def age(self, node: str) -> float:
        """Return how long ago a node took its snapshot, by the clock of neither alone."""
        return self._waited[node] + time.monotonic() - self._whole[node]


def _addresses(reading: Reading, node: NodeInfo) -> tuple[IPAddress, ...]:
    """Return the address of a node, and those of the concentrators placed on it."""
    placed = [entry.document for entry in read_placements(reading).values()]
    texts = [node.compute_ip]
    texts += [one.get("address") for one in placed if one.get("node") == node.name]
    return tuple(dict.fromkeys(filter(None, map(read_address, texts))))


def read_address(text: object) -> IPAddress | None:
    """Return the address that a text stands for in any notation; None if it is not one."""
    try:
        return ip_address(str(text))
    except ValueError:
        return None
