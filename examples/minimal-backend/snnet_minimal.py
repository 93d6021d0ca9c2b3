"""The smallest backend: bridges that exist in memory, and nothing else."""

from __future__ import annotations

import errno
import re
import threading
from collections.abc import Iterable
from dataclasses import replace

from snnet.contract import (
    Add,
    Bridge,
    Change,
    Driver,
    Host,
    Key,
    Link,
    Noun,
    Operation,
    Other,
    Unsupported,
    Watch,
    error_for,
)

LOOPBACK = Other(name="lo", other_kind="loopback", mtu=65536)
UNICAST = re.compile(r"[0-9a-f][02468ace](:[0-9a-f]{2}){5}")


class MinimalBackend(Driver):
    """The bridges of one host; they exist as long as this object."""

    name = "minimal"
    carries = frozenset({Bridge, Other})

    def __init__(self, host: Host) -> None:
        self.host = host
        self.links: dict[Key, Link] = {LOOPBACK.key: LOOPBACK}
        self._lock = threading.Lock()

    def missing(self, noun: Noun) -> str | None:
        if type(noun) is Bridge:
            return None
        kind = getattr(noun, "kind", type(noun).__name__)
        return f"the minimal backend cannot create a {kind}: use backend 'netlink'"

    def snapshot(self, types: Iterable[type[Noun]] | None = None) -> dict[Key, Noun]:
        wanted = tuple(self.carries if types is None else types)
        with self._lock:
            return {key: link for key, link in self.links.items() if isinstance(link, wanted)}

    def find(self, noun: Noun) -> Noun | None:
        return self.links.get(noun.key)

    def perform(self, operation: Operation) -> None:
        with self._lock:
            self._carry_out(operation)

    def watch(self) -> Watch:
        raise Unsupported("the minimal backend has no link events")

    def close(self) -> None:
        pass

    # The difference between a dictionary and a kernel: which operations are refused, and how.

    def _carry_out(self, operation: Operation) -> None:
        noun = operation.noun
        if reason := self.missing(noun):
            raise Unsupported(f"cannot {operation}: {reason}")
        assert isinstance(noun, Bridge)
        if isinstance(operation, Add):
            indexes = {link.index for link in self.links.values()}
            if noun.key in self.links or (noun.index and noun.index in indexes):
                raise error_for(errno.EEXIST, str(operation))
            self._put(operation, noun)
            return
        old = operation.old if isinstance(operation, Change) else noun
        found = self.links.get(noun.key)
        if found is None or self._of(found) != self._of(old):  # gone, or now a foreign link
            raise error_for(errno.ENODEV, str(operation))
        if not isinstance(operation, Change):
            del self.links[noun.key]
        elif wrong := noun.differences(old) - noun.changeable:
            raise Unsupported(f"cannot {operation}: {', '.join(wrong)} cannot be changed in place")
        else:
            self._put(operation, noun, found)

    def _of(self, link: Noun) -> tuple[object, ...]:
        return type(link), getattr(link, "alias", None), getattr(link, "group", None)

    def _put(self, operation: Operation, noun: Bridge, found: Link | None = None) -> None:
        """Check first, then store the noun: an operation takes effect completely or not at all."""
        mtu = noun.mtu or (found and found.mtu) or 1500
        mac = (noun.mac or (found and found.mac) or "02:00:00:00:00:01").lower()
        name = noun.name
        if noun.master is not None:
            there = ("link", noun.master) in self.links
            raise error_for(errno.ELOOP if there else errno.ENODEV, str(operation))
        if len(name.encode()) > 15 or len(noun.alias.encode()) > 255:
            raise error_for(errno.ERANGE, str(operation))
        bad_name = not re.fullmatch(r"[^/:%\s\0]+", name) or name in (".", "..")
        if bad_name or not 68 <= mtu <= 65535 or not UNICAST.fullmatch(mac):
            raise error_for(errno.EINVAL, str(operation))
        index = found.index if found else noun.index
        self.links[noun.key] = replace(noun, mtu=mtu, mac=mac, index=index)
