"""The read-only look at the host that calls draft with."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice

from snnet.contract import (
    Address,
    Attached,
    Conflict,
    DhcpLease,
    DockerAccept,
    Inside,
    IPAddress,
    Key,
    Link,
    Listener,
    Macvtap,
    Namespace,
    Noun,
    Nouns,
    Other,
    Owned,
    Path,
    TunnelGuard,
    Unsupported,
    keyed,
)
from snnet.core import identity as ids
from snnet.core.leftovers import unfinished
from snnet.core.own_packets import own_packets
from snnet.core.records import Records
from snnet.core.site import Site
from snnet.core.tunnels import KINDS as TUNNEL_KINDS

from .drivers import Drivers
from .inputs import Inputs
from .intents import Intents
from .listing import Listing
from .parameters import changed_parameters
from .rivals import Rivals
from .seen import Seen

_log = logging.getLogger("snnet.node")

HALF_BORN_GRACE = 0.2
"""Seconds to wait for a link without an alias: another process may be creating it now."""

_FOUND_ONLY = (Inside, Attached, DockerAccept)
"""Nouns that no snapshot contains."""


class HostView:
    """What a draft may ask about the host; it cannot change anything.

    ``looking`` is False for a draft that may take what the node knows for granted:
    the driver refuses the plan where that is wrong, and the engine then drafts again
    with a view that is looking.
    """

    def __init__(
        self,
        drivers: Drivers,
        site: Site,
        optional: frozenset[type[Noun]],
        intents: Intents,
        *,
        looking: bool,
        inputs: Inputs | None = None,
        drafting: bool = False,
    ) -> None:
        self.site = site
        self.looking = looking
        self._drivers = drivers
        self._optional = optional
        self._intents = intents
        self.inputs = Inputs(drivers) if inputs is None else inputs
        self._listing: Listing | None = None
        self.drafting = drafting
        """Whether a list of the host, once read, is good for all who ask."""

    def for_draft(self) -> HostView:
        """Return a view that lists what is on the host once, whoever asks for it."""
        return HostView(
            self._drivers, self.site, self._optional, self._intents,
            looking=self.looking, inputs=self.inputs, drafting=True,
        )  # fmt: skip

    @property
    def listing(self) -> Listing:
        """Lists of what is on the host."""
        listing = self._listing
        if listing is None:
            listing = Listing(self._drivers.backend, self.site.owner)
        if self.drafting:
            self._listing = listing
        return listing

    def recorded(self) -> Iterable[str]:
        """What somebody changed of the record of intents."""
        return self._intents.differences()

    def remembered(self) -> dict[Key, Noun]:
        """What the node was asked for and no alias can hold, by the record of intents."""
        return self._intents.nouns()

    def epoch(self) -> Hashable | None:
        """See :meth:`snnet.contract.Driver.epoch`, of the firewall."""
        return self._drivers.firewall.epoch()

    def rivals(self) -> Rivals:
        """Return the rules of other nodes."""
        return Rivals(self._drivers.firewall, str(self.site.owner))

    def link(self, name: str) -> Link | None:
        """Return the link of this name, ours or foreign."""
        return self.link_now(Link(name=name))

    def link_now(self, link: Link) -> Link | None:
        """Return the link that has the name of this one, as it is now."""
        found = self._drivers.backend.find(link)
        if isinstance(found, Macvtap):
            return self._as_made(found)
        return found if isinstance(found, Link) else None

    def _as_made(self, link: Macvtap) -> Macvtap:
        """A macvtap with the uplink that it was made on.

        The kernel puts one made on a macvlan onto the macvlan's own lower link
        (macvlan_common_newlink, drivers/net/macvlan.c).
        """
        name = self.site.uplink.link_name
        if link.lower == name:
            return link
        uplink = self.listing.link(name)
        if isinstance(uplink, Other) and uplink.lower == link.lower:
            return replace(link, lower=name)
        return link

    def find(self, nouns: Iterable[Noun]) -> dict[Key, Noun]:
        """Return those of the nouns that are on the host, as found."""
        return self._drivers.find(nouns)

    def find_ours(self, nouns: Collection[Noun]) -> dict[Key, Noun]:
        """Like ``find``, without what others have under names of ours, and what is in or on it."""
        found, owner = self._drivers.find(nouns), self.site.owner
        foreign = {
            noun.key
            for noun in nouns
            if (one := found.get(noun.key)) != noun
            and (
                (isinstance(one, Link) and not ids.is_ours(one, owner))
                or (isinstance(one, Namespace) and not ids.space_of(one, owner))
            )
        }
        return {key: noun for key, noun in found.items() if not foreign & {key, noun.within}}

    def rules(self, nouns: Nouns) -> dict[Key, Noun]:
        """Those of the firewall's rules that are there, by one look at all of them."""
        found = self._drivers.firewall.snapshot({type(noun) for noun in nouns.values()})
        return {key: noun for key, noun in found.items() if key in nouns}

    def snapshot(self, kinds: Iterable[type[Noun]]) -> dict[Key, Noun]:
        """Return everything of these kinds from the backend."""
        return keyed(chain.from_iterable(map(self.listing.of, kinds)))

    def leases(self) -> list[DhcpLease]:
        """Return the leases that guests hold of the node's DHCP servers."""
        assert self._drivers.dhcp is not None
        found = self._drivers.dhcp.snapshot({DhcpLease}).values()
        return [noun for noun in found if isinstance(noun, DhcpLease)]

    def carried(self, nouns: Iterable[Noun], there: Collection[Key] = ()) -> dict[Key, Noun]:
        """Return the nouns that are ``there``, or not optional, or that a driver carries here."""
        return self._drivers.carried(nouns, self._optional, there)

    def locate(
        self,
        kind: str,
        identity: tuple[str, ...],
        known: Link | None = None,
        *,
        strays: Mapping[tuple[str, ...], str] | None = None,
    ) -> tuple[str, Link | None]:
        """Return the link name for an object of ours, and the link if it exists.

        The known name of the link is tried first, then the names from the hash; names of
        foreign links are skipped.  Raises Conflict if foreign links have all candidate
        names.

        With ``strays`` (those that the node knows), also raises Conflict if the object does
        not exist by name and another link claims its identity: it would exist twice.
        """
        name, link = self._locate(kind, identity, known)
        if link is None and strays is not None:
            wanted = (kind, *identity)
            stray = None
            if known is not None:
                stray = self.listing.strays.get(wanted)
            elif wanted in strays:
                stray = self.link(strays[wanted])
            if stray is not None and ids.stray(stray, self.site.owner) == wanted:
                raise Conflict(
                    f"link {stray.name} has the alias of {name} and not its name: rename it to "
                    f"{name}, or delete it"
                )
        return name, link

    def missing(self, noun: Noun) -> str | None:
        """Why the noun cannot be carried here, or None."""
        return self._drivers.missing(noun)

    def _locate(
        self, kind: str, identity: tuple[str, ...], known: Link | None
    ) -> tuple[str, Link | None]:
        owner = self.site.owner
        if known is not None:
            link = self.link_now(known)
            if link is None or link == known or ids.is_ours(link, owner):
                return known.name, link
        for name in islice(ids.names(owner, kind, *identity), ids.NAMES_TRIED):
            link = self.link(name)
            if link is None:
                if kind != ids.CONTAINER or self.link(ids.peer_name(name)) is None:
                    return name, None
            elif ids.is_ours(link, owner):
                return name, link
        raise Conflict(
            f"foreign links have all {ids.NAMES_TRIED} names of this {kind}, {name} the last: "
            "rename or remove one of them"
        )

    def locate_namespace(self, identity: tuple[str, str], known: Namespace | None) -> str:
        """Return the name for a concentrator's namespace: its own, or the first that is free."""
        owner = self.site.owner
        candidates = islice(ids.names(owner, ids.SPACE, *identity), ids.NAMES_TRIED)
        for name in (*([known.name] if known else []), *candidates):
            found = self._drivers.backend.find(Namespace(name=name))
            if not isinstance(found, Namespace):
                return name
            fields = ids.space_of(found, owner) or {}
            if (fields.get(ids.TENANT), fields.get(ids.CONCENTRATOR)) == identity:
                return name
        raise Conflict(
            f"foreign namespaces have all {ids.NAMES_TRIED} names of this concentrator, {name} the "
            "last: remove one of them"
        )

    def listeners(self) -> Sequence[Listener]:
        """Return the sockets that listen on the host."""
        return self._drivers.backend.host.listeners()

    def name(self, kind: str, identity: tuple[str, ...]) -> str:
        """Return the best name for an object of ours, without checking that it is free."""
        return ids.name(self.site.owner, kind, *identity)

    def path(self, remote: IPAddress) -> Path | None:
        """How the host reaches an address now."""
        found = self._drivers.backend.find(Path(remote=remote))
        return found if isinstance(found, Path) else None

    def answering(self, asked: Collection[IPAddress], source: IPAddress) -> set[IPAddress]:
        """Which addresses other hosts on the uplink answer for, where they can be asked."""
        return self._drivers.answering(self.site.uplink.link_name, asked, source)

    def check_path(self, remote: IPAddress) -> None:
        """Raise Unsupported if a tunnel would not come from the node's own address.

        If the link has no local address, the kernel uses that of the route to the far
        end.
        """
        if TUNNEL_KINDS[self.site.tunnel].noun.has_local:
            return
        path = self.path(remote)
        if path is not None and path.source != self.site.ip:
            raise Unsupported(
                f"the route to {remote} has the source {path.source}, the uplink is "
                f"{self.site.ip}: {self.site.tunnel} cannot choose its source; set tunnel "
                "'vxlan' or correct the route"
            )

    def unreported(self, records: Records) -> tuple[dict[Key, Noun], dict[Key, Noun]]:
        """Return what no alarm reports and is not as the node needs it: found, wanted."""
        kinds, firewall = self._drivers.unreported(), self._drivers.firewall.carries
        wanted = self.carried(noun for noun in records.nouns() if type(noun) in kinds)
        rules = {key: noun for key, noun in wanted.items() if type(noun) in firewall}
        found = self.find(noun for key, noun in wanted.items() if key not in rules)
        found |= self.rules(rules) if rules else {}
        changed, parameters = self.parameters(records, {})
        return found | changed, wanted | parameters

    def parameters(self, records: Records, there: Nouns) -> tuple[dict[Key, Noun], dict[Key, Noun]]:
        """Parameters of the links that are ``there`` that somebody changed: found, wanted."""
        return changed_parameters(self._drivers.backend, records, there)

    def changed_inputs(self, records: Records) -> Iterable[str]:
        """What changed on the host that is not the node's, and that it depends on."""
        return self.inputs.differences(records, self.snapshot({Link, Address}).values())

    def check_address(self) -> None:
        """Conflict where the node's own address is gone: tunnels and events would name it."""
        uplink = self.site.uplink
        if self._drivers.backend.find(Address(link=uplink.link_name, address=uplink.address)):
            return
        raise Conflict(
            f"the address {uplink.address} of this node is not on {uplink.link_name} any more: put "
            "it back, or start the node again to use another (an agent does so by itself)"
        )

    def seen(self, records: Records) -> Seen:
        """Everything of this node that is on the host, and strays; lists everything once."""
        owner, nouns = self.site.owner, list(records.nouns())
        known = keyed(noun for noun in nouns if isinstance(noun, Link))
        found = self.snapshot(records.kinds)
        ours, strays = dict[Key, Noun](), dict[tuple[str, ...], Link]()
        for key, noun in found.items():
            if not isinstance(noun, Link):
                continue
            # What is as the node knows it need not be asked whose it is.
            one = known.get(key)
            if (one and one.is_like(noun)) or (whose := ids.ours_or_stray(noun, owner)) is True:
                ours[key] = noun
            elif whose:
                strays[whose] = noun
        ours |= {
            key: noun
            for key, noun in found.items()
            if (noun.within is not None and noun.within in ours)
            or (isinstance(noun, Namespace) and ids.space_of(noun, owner))
        }
        ours |= keyed(self._as_made(noun) for noun in ours.values() if isinstance(noun, Macvtap))
        for driver in self._drivers.all[1:]:
            found |= driver.snapshot()
        ours |= keyed(
            noun for noun in found.values() if isinstance(noun, Owned) and noun.owner == str(owner)
        )
        marks = keyed(self.listing.marks(records.kinds))
        ours |= keyed(records.apart({**self.remembered(), **marks, **found}))
        return Seen(ours | self.looked_up(nouns), strays)

    def looked_up(self, nouns: Iterable[Noun]) -> dict[Key, Noun]:
        """Those of the nouns that no snapshot contains, as they are on the host."""
        return self._drivers.find(noun for noun in nouns if isinstance(noun, _FOUND_ONLY))

    def settled(self, records: Records) -> Seen:
        """``seen``, once no object in it can still be in the middle of its creation."""
        seen = self.seen(records)
        if any(map(unfinished, seen.ours.values())):
            time.sleep(HALF_BORN_GRACE)
            self._listing = None
            seen = self.seen(records)
        return seen

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

    def left_out(self, nouns: Collection[Noun]) -> Iterable[str]:
        """Rules that the firewall cannot set here though it sets others, and why."""
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

    def stopped(self, nouns: Iterable[Noun]) -> Iterable[str]:
        """What others have set on the host that drops the node's own packets."""
        return self._drivers.firewall.stopped(own_packets(self.site, nouns))
