"""The registry of many hosts: a client of etcd, which keeps the documents.

Every method is one transaction of etcd, or one reading at a revision.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from snnet.contract import (
    COMMIT_MAX,
    Compacted,
    InvalidRequest,
    Reading,
    Registry,
    RegistryWatch,
    Session,
    SessionLost,
    Stale,
    Write,
    check_commit,
    check_prefixes,
    check_revision,
    check_ttl,
)

from .etcd_url import Address
from .feeds import Change
from .gateway import Gateway, Json, Refused, after, decode, decode_document, encode
from .ranges import after_prefix
from .streams import Streams, Written

_PAGE = 2000
"""Documents of one answer."""


@dataclass(slots=True)
class _Pages:
    """What is in a range, and how many keys it has, also those that a filter leaves out."""

    pairs: list[Json] = field(default_factory=list)
    count: int = 0


class EtcdRegistry(Registry):
    """Documents in etcd, under the keys "NAMESPACE/KEY".

    ``url`` is ``//[USER@]HOST[:PORT][,HOST...][/NAMESPACE][?ca=FILE[&cert=FILE&key=FILE]]``;
    the namespace is "snnet" by default, and the password is in ``SNNET_ETCD_PASSWORD``.
    With a CA the connections use TLS, with ``cert`` and ``key`` the client has a certificate.

    A call is tried at one member after the other.  A commit is sent again only if it is
    certain that it was not carried out.  Times to live are rounded up to whole seconds, and
    etcd lengthens short ones.  Watches outlive members, and raise ``Unavailable`` about once
    a second while none with a leader answers.
    """

    def __init__(self, url: str) -> None:
        address = Address.parse(url)
        self._namespace = address.namespace
        # A transaction of no operation would be answered by a member that lags behind.
        self._any: Json = {"key": encode(self._namespace), "keys_only": True}
        self._gateway = Gateway(address)
        self._streams = Streams(self._gateway, self)
        self._pid = os.getpid()
        self._closed = False
        try:
            self.read()
        except BaseException:
            self.close()
            raise

    def read(self, *prefixes: str) -> Reading:
        """See :meth:`snnet.contract.Registry.read`."""
        self._check()
        ranges = [self.range(prefix) for prefix in check_prefixes(prefixes)]
        revision, pages = self._pages(ranges, 0)
        pairs = (pair for page in pages for pair in page.pairs)
        found = sorted(map(self.change, pairs), key=lambda change: change.key)
        return Reading(revision, {change.key: change.entry() for change in found})

    def commit(self, writes: Sequence[Write], expected: Mapping[str, int] | None = None) -> int:
        """See :meth:`snnet.contract.Registry.commit`."""
        self._check()
        encoded, conditions = check_commit(writes, expected)
        operations: list[Json] = []
        for write in encoded:
            key = self._key(write.key)
            if write.text is None:
                operations.append({"request_delete_range": {"key": key}})
                continue
            put = {"key": key, "value": encode(write.text)}
            if write.session is not None:
                put["lease"] = _lease(write.session, write.key)
            operations.append({"request_put": put})
        if not operations:
            operations.append({"request_range": self._any})
        try:
            answer = self._gateway.call(
                "/v3/kv/txn",
                {
                    "compare": [
                        {"key": self._key(key), "target": "MOD", "mod_revision": str(revision)}
                        for key, revision in conditions.items()
                    ],
                    "success": operations,
                    "failure": [
                        {"request_range": {"key": self._key(key), "keys_only": True}}
                        for key in conditions
                    ],
                },
                repeatable=not encoded,
            )
        except Refused as error:
            if "lease not found" in error.reason:
                raise SessionLost("a session of this commit has ended: open another") from error
            raise
        if not answer.get("succeeded"):
            found = [_revision_in(response) for response in answer["responses"]]
            stale = [
                key
                for (key, revision), at in zip(conditions.items(), found, strict=True)
                if revision != at
            ]
            raise Stale(f"changed by somebody else: {', '.join(stale)}", keys=stale)
        return int(answer["header"]["revision"])

    def watch(self, *prefixes: str, after: int) -> RegistryWatch:
        """See :meth:`snnet.contract.Registry.watch`."""
        return self.watch_groups([prefixes], after=after)

    def watch_groups(self, groups: Sequence[Sequence[str]], *, after: int) -> RegistryWatch:
        """See :meth:`snnet.contract.Registry.watch_groups`."""
        self._check()
        every = check_prefixes(list(chain.from_iterable(groups)))
        kept: list[list[str]] = []
        for group in groups:
            kept.append([prefix for prefix in every if prefix in group])
            every = [prefix for prefix in every if prefix not in group]
        return self._streams.watch(kept, check_revision(after))

    def session(self, ttl: float) -> Session:
        """See :meth:`snnet.contract.Registry.session`."""
        self._check()
        answer = self._gateway.call("/v3/lease/grant", {"TTL": math.ceil(check_ttl(ttl))})
        return EtcdSession(self, str(answer["ID"]))

    def compact(self, revision: int) -> None:
        """Forget what happened up to a revision; watches that start before it are refused."""
        self._check()
        self._gateway.call("/v3/kv/compaction", {"revision": str(check_revision(revision))})

    def close(self) -> None:
        """See :meth:`snnet.contract.Registry.close`.  In a forked child it changes nothing."""
        if self._closed or self._pid != os.getpid():
            return
        self._closed = True
        self._streams.close()
        self._gateway.close()

    def renew_session(self, identity: str) -> None:
        self._check()
        answer = self._gateway.call("/v3/lease/keepalive", {"ID": identity})
        if int(answer.get("result", {}).get("TTL", 0)) <= 0:
            raise SessionLost(f"session {identity} has ended: open another")

    def end_session(self, identity: str) -> None:
        if self._closed or self._pid != os.getpid():
            return
        try:
            self._gateway.call("/v3/lease/revoke", {"ID": identity})
        except Refused as error:
            if "lease not found" not in error.reason:
                raise

    def range(self, prefix: str) -> Json:
        """The range of etcd's keys under a prefix."""
        key = self._namespace + prefix
        end = after_prefix(key)
        return {"key": encode(key), "range_end": "AA==" if end is None else encode(end)}

    def change(self, pair: Json, *, removed: bool = False) -> Change:
        """What etcd says of a key."""
        key = decode(pair["key"]).removeprefix(self._namespace)
        # The gateway leaves out what is empty.
        text = None if removed else decode_document(pair.get("value", ""))
        return Change(key, text, int(pair["mod_revision"]))

    def keys(self, prefixes: Sequence[str], at: int = 0) -> tuple[int, set[str]]:
        """A revision, the present one or ``at``, and the keys under the prefixes then.

        Raises ``Compacted`` if nothing is known of that revision.
        """
        ranges = [{**self.range(prefix), "keys_only": True} for prefix in prefixes]
        revision, pages = self._pages(ranges, at)
        pairs = (pair for page in pages for pair in page.pairs)
        return revision, {self.change(pair, removed=True).key for pair in pairs}

    def written(
        self, prefixes: Sequence[str], after: int, seen: int = 0
    ) -> tuple[int, list[Written]]:
        """The present revision, and for each prefix what was written after a revision.

        With ``seen`` that of one member does, which need not ask the others for it, if it is
        that revision or a later one.
        """
        first = str(after + 1)
        ranges = [{**self.range(prefix), "min_mod_revision": first} for prefix in prefixes]
        revision, pages = self._pages(ranges, 0, alone=seen > 0)
        if revision < seen:
            revision, pages = self._pages(ranges, 0)
        return revision, [Written(list(map(self.change, page.pairs)), page.count) for page in pages]

    def _pages(
        self, requests: Sequence[Json], revision: int, *, alone: bool = False
    ) -> tuple[int, list[_Pages]]:
        """All that is in some ranges at one revision, 0 for the present one.

        ``alone``: for the one that the member has that is asked, which may lag behind.
        """
        if not requests:
            return self._ranges([self._any])[0], []
        found = [_Pages() for _ in requests]
        waiting = list(zip(requests, found, strict=True))
        while waiting:
            batch, waiting = waiting[:COMMIT_MAX], waiting[COMMIT_MAX:]
            common = {"limit": _PAGE, "revision": str(revision)}
            if alone and not revision:  # a given one may not have come to the member yet
                common["serializable"] = True
            present, answers = self._ranges([{**request, **common} for request, _ in batch])
            revision = revision or present
            for (request, pages), answer in zip(batch, answers, strict=True):
                pairs = answer.get("kvs", [])
                pages.count = pages.count if pages.pairs else int(answer.get("count", 0))
                pages.pairs += pairs
                if answer.get("more"):
                    rest = {**request, "key": after(pairs[-1]["key"])}
                    waiting.append((rest, pages))
        return revision, found

    def _ranges(self, requests: Sequence[Json]) -> tuple[int, Iterator[Json]]:
        try:
            answer = self._gateway.call(
                "/v3/kv/txn", {"success": [{"request_range": request} for request in requests]}
            )
        except Refused as error:
            if "required revision" in error.reason:
                raise Compacted(f"{error.reason}: read again, and watch from there") from error
            raise
        ranges = (response["response_range"] for response in answer["responses"])
        return int(answer["header"]["revision"]), ranges

    def _key(self, key: str) -> str:
        return encode(self._namespace + key)

    def _check(self) -> None:
        if self._closed:
            raise InvalidRequest("this registry is closed: open it again")
        if self._pid != os.getpid():
            raise InvalidRequest("this registry was opened before a fork: open it again here")


class EtcdSession(Session):
    def __init__(self, registry: EtcdRegistry, identity: str) -> None:
        self._registry = registry
        self.id = identity

    def renew(self) -> None:
        """See :meth:`snnet.contract.Session.renew`."""
        self._registry.renew_session(self.id)

    def close(self) -> None:
        """See :meth:`snnet.contract.Session.close`."""
        self._registry.end_session(self.id)


def _revision_in(response: Json) -> int:
    """The revision of the only key in an answer, 0 if it is not there."""
    pairs = response["response_range"].get("kvs", [])
    return int(pairs[0]["mod_revision"]) if pairs else 0


def _lease(session: str, key: str) -> str:
    if not session.isascii() or not session.isdecimal():
        raise SessionLost(f"{key}: there is no session {session!r}")
    return session
