"""The read-only look at the host that calls draft with."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from itertools import islice

from snnet.contract import (
    Conflict,
    IPAddress,
    Key,
    Link,
    Noun,
    Owned,
    Path,
    TunnelGuard,
    Unsupported,
    keyed,
)
from snnet.core import identity as ids
from snnet.core.records import Records
from snnet.core.site import Site

from .drivers import Drivers

_log = logging.getLogger("snnet.node")

NAMES_TRIED = 16
"""Candidate names to try before raising Conflict."""

HALF_BORN_GRACE = 0.2
"""Seconds to wait for a link without an alias: another process may be creating it now."""


class HostView:
    """What a draft may ask about the host; it cannot change anything.

    ``looking`` is False for a draft that may take what the node knows for granted:
    the driver refuses the plan where that is wrong, and the engine then drafts again
    with a view that is looking.
    """

    def __init__(
        self, drivers: Drivers, site: Site, optional: frozenset[type[Noun]], *, looking: bool
    ) -> None:
        self.site = site
        self.looking = looking
        self._drivers = drivers
        self._optional = optional

    def link(self, name: str) -> Link | None:
        """The link of this name, whosever it is."""
        found = self._drivers.backend.find(Link(name=name))
        return found if isinstance(found, Link) else None

    def find(self, nouns: Iterable[Noun]) -> dict[Key, Noun]:
        """Those of the nouns that are on the host, as they are there."""
        return self._drivers.find(nouns)

    def snapshot(self, kinds: Iterable[type[Noun]]) -> dict[Key, Noun]:
        """Everything of these kinds that the backend shows."""
        return self._drivers.backend.snapshot(kinds)

    def carried(self, nouns: Iterable[Noun]) -> dict[Key, Noun]:
        """The nouns, without optional ones that no driver carries here."""
        return {
            noun.key: noun
            for noun in nouns
            if type(noun) not in self._optional or self._drivers.missing(noun) is None
        }

    def locate(
        self, kind: str, identity: tuple[str, ...], known: Link | None = None
    ) -> tuple[str, Link | None]:
        """The link name for an object of ours, and the link if it is there.

        The name of the link as it is known comes first, then those of the hash; a
        name that a foreign link has is passed over.  Raises Conflict where foreign
        links have all candidate names.
        """
        owner = self.site.owner
        if known is not None:
            link = self.link(known.name)
            if link is None or link == known or ids.is_ours(link, owner):
                return known.name, link
        name = ""
        for name in islice(ids.names(owner, kind, *identity), NAMES_TRIED):
            link = self.link(name)
            if link is None:
                if kind != ids.CONTAINER or self.link(ids.peer_name(name)) is None:
                    return name, None
            elif ids.is_ours(link, owner):
                return name, link
        raise Conflict(
            f"foreign links have all {NAMES_TRIED} names of this {kind}, {name} the last: "
            "rename or remove one of them"
        )

    def name(self, kind: str, identity: tuple[str, ...]) -> str:
        """The best name for an object of ours, without looking whether it is free."""
        return next(ids.names(self.site.owner, kind, *identity))

    def check_path(self, remote: IPAddress) -> None:
        """Unsupported where a tunnel would not come from the node's own address.

        A geneve device has no local address: the kernel takes the one of the route
        to the far end (geneve_get_v4_rt, drivers/net/geneve.c).
        """
        if self.site.tunnel != "geneve":
            return
        path = self._drivers.backend.find(Path(remote=remote))
        if isinstance(path, Path) and path.source != self.site.ip:
            raise Unsupported(
                f"the route to {remote} has the source {path.source}, the uplink is "
                f"{self.site.ip}: geneve cannot choose its source; set tunnel 'vxlan' or "
                "correct the route"
            )

    def ours(self, records: Records) -> dict[Key, Noun]:
        """Everything of this node that is on the host."""
        owner = self.site.owner
        found = self._drivers.backend.snapshot(records.kinds)
        links = {
            noun.name
            for noun in found.values()
            if isinstance(noun, Link) and ids.is_ours(noun, owner)
        }
        ours = {
            key: noun
            for key, noun in found.items()
            if (isinstance(noun, Link) and noun.name in links)
            or (noun.within is not None and noun.within[1] in links)
        }
        for driver in self._drivers.all[1:]:
            found |= driver.snapshot()
        ours |= keyed(
            noun for noun in found.values() if isinstance(noun, Owned) and noun.owner == str(owner)
        )
        return ours | keyed(records.apart(found))

    def settled(self, records: Records) -> dict[Key, Noun]:
        """``ours``, once no object in it can still be in the middle of its creation."""
        ours = self.ours(records)
        if any(isinstance(noun, Link) and not noun.alias for noun in ours.values()):
            time.sleep(HALF_BORN_GRACE)
            ours = self.ours(records)
        return ours

    def warn_of_unguarded(self, nouns: Iterable[Noun]) -> None:
        """Log each tunnel that will take frames from any sender, and why."""
        for line in self._unguarded(nouns):
            _log.warning("%s", line)

    def _unguarded(self, nouns: Iterable[Noun]) -> Iterator[str]:
        for noun in nouns:
            if isinstance(noun, TunnelGuard) and (reason := self._drivers.missing(noun)):
                yield (
                    f"tunnel {noun.link} takes frames from any sender, not from {noun.remote} "
                    f"alone: {reason}"
                )

    def left_out(self, nouns: Iterable[Noun]) -> Iterable[str]:
        """Rules that the firewall cannot set here though it sets others, and why."""
        nouns = list(nouns)
        yield from self._unguarded(nouns)
        rules = {
            type(noun): noun
            for noun in nouns
            if type(noun) in self._optional and not isinstance(noun, TunnelGuard)
        }
        reasons = {
            kind: self._drivers.missing(noun)
            for kind, noun in rules.items()
            if kind in self._drivers.firewall.carries
        }
        if None in reasons.values():
            for kind, reason in reasons.items():
                if reason is not None:
                    yield f"not set, as for all {kind.__name__}: {rules[kind]}: {reason}"

    def obstacles(self) -> Iterable[str]:
        """What others have set on the host that breaks what the drivers have set."""
        for driver in self._drivers.all:
            yield from driver.obstacles()
