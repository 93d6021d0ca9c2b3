"""Where an owner's part of the firewall is: tables, chain names, records of nouns.

Nouns are kept in comments: ``snnet1 k=port-forward protocol=tcp device=eth0 ...``.  A
comment has at most 255 characters (iptables-extensions(8)); a longer record continues in
the next rule, whose comment begins with ``snnet1+``.  The first record of a chain names
the owner.
"""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from hashlib import blake2b
from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple, TypeVar

from snnet.contract import (
    AntiSpoof,
    BridgeAccept,
    ExternalForward,
    HostIsolation,
    HostServices,
    Key,
    Masquerade,
    Noun,
    OpenAddress,
    PortForward,
    ProtectedNetwork,
    PublicIp,
    TranslatedSource,
    Zone,
    ZoneLink,
)

N = TypeVar("N", bound=Noun)

PREFIX = "SNNET-"

RECORDS = "rec"
SOURCES, FORWARD, INPUT, SERVICES = "src", "fwd", "in", "srv"
DNAT, SNAT, HAIRPIN, BACK = "dnat", "snat", "hair", "back"
FROM, TO, EXIT = "from", "to", "exit"
SERVICE_DROP, PROTECTED_DROP, UNTRANSLATED_DROP = "srv-drop", "prot-drop", "untr-drop"

# A final "+" is a wildcard of iptables, quotes and blanks would need escapes, and a
# leading "-" or "!" would be an option.
_LINK = re.compile(r"[A-Za-z0-9._@][A-Za-z0-9._@~,-]{0,14}")
_ID = re.compile(r"[A-Za-z0-9._:-]{0,128}")


def chain(owner: str, part: str, of: str | None = None) -> str:
    """Return the owner's chain for ``part``, or for the part of one link or zone.

    Owners and ids are hashed, because a chain name has at most 28 characters (iptables(8)).
    """
    name = f"{PREFIX}{_short(owner)}-{part}"
    return name if of is None else f"{name}-{_short(of)}"


def records_of(line: str) -> str | None:
    """Return the records chain that a line of ``iptables-save`` declares, or None."""
    match = re.match(rf":({PREFIX}[a-z2-7]{{8}}-{RECORDS}) ", line)
    return match[1] if match else None


def is_link(name: str) -> bool:
    """Whether a rule can name exactly this link."""
    return _LINK.fullmatch(name) is not None


def is_id(text: str) -> bool:
    """Whether a record can contain this id."""
    return _ID.fullmatch(text) is not None


@functools.lru_cache(4096)
def _short(text: str) -> str:
    """Return 40 bits of a hash: among 1,000 ids two are equal on one host in two million."""
    return base64.b32encode(blake2b(text.encode(), digest_size=5).digest()).decode().lower()


IP, IP6, ARP, BRIDGE = "ip", "ip6", "arp", "bridge"


OfLinks = HostServices | ZoneLink
"""Rules that share their chains with those of other links."""
OfLink = AntiSpoof | BridgeAccept | HostIsolation | OfLinks
"""Rules that drop packets of one link."""


class Section(NamedTuple):
    """One table of one family."""

    family: str
    table: str


PORTS = Section(BRIDGE, "nat")
PORTS_INPUT = Section(BRIDGE, "filter")
NEIGHBOURS = Section(ARP, "filter")
RAW, RAW6 = Section(IP, "raw"), Section(IP6, "raw")
NAT, NAT6 = Section(IP, "nat"), Section(IP6, "nat")
FILTER, FILTER6 = Section(IP, "filter"), Section(IP6, "filter")

SECTIONS = (PORTS, PORTS_INPUT, NEIGHBOURS, RAW6, NAT6, FILTER6, RAW, NAT, FILTER)
"""In the order of additions.  The records in ``RAW`` and ``FILTER`` also stand for the
sections of bridge and arp, which have none.  NAT comes before the filter, so that
nothing leaves without it."""

RECORDED = frozenset({RAW, RAW6, NAT, NAT6, FILTER, FILTER6})
"""Sections with records: ebtables and arptables have no comments."""

UNRECORDED = (ARP, BRIDGE)
"""Families whose sections have no records."""


class Rule(NamedTuple):
    """One rule of a chain, without ``-A chain``, and the noun that it is for."""

    text: str
    key: Key
    drops: tuple[str, str] | None = None
    """If it drops: the link that its packets count for, and why it drops them."""


@dataclass(slots=True)
class Content:
    """The content of one section for one owner: nouns, and the rules made from them."""

    nouns: dict[Key, Noun] = field(default_factory=dict)
    chains: dict[str, list[Rule]] = field(default_factory=dict)
    jumps: dict[str, str] = field(default_factory=dict)
    """From a built-in chain to one of ours."""

    def add(self, chain: str, noun: Noun, *texts: str) -> None:
        """Append rules to a chain."""
        self.chains.setdefault(chain, []).extend(Rule(text, noun.key) for text in texts)

    def drop(self, chain: str, noun: OfLink, why: str, *matches: str) -> None:
        """Append a rule for each match, which drops packets of the noun's link."""
        link = noun.bridge if isinstance(noun, BridgeAccept) else noun.link
        self.chains.setdefault(chain, []).extend(
            Rule(f"{match} -j DROP".lstrip(), noun.key, (link, why)) for match in matches
        )

    def drop_all(self, chain: str, side: str, nouns: Sequence[OfLinks], why: str) -> None:
        """Append rules that drop what gets here: one for each link, as each counts.

        ``side`` is the option that matches a link.  The last rule takes all: nothing of other
        links gets here.
        """
        *others, last = nouns
        for one in others:
            self.drop(chain, one, why, f"{side} {one.link}")
        self.drop(chain, last, why, "")

    def jump(self, chain: str, *hooks: str) -> None:
        """Let packets of these built-in chains enter ours, unless ours is empty."""
        if chain in self.chains:
            self.jumps |= dict.fromkeys(hooks, chain)

    def lines(self) -> Iterable[str]:
        """Return everything as text for comparison."""
        yield from (
            f"-A {chain} {rule.text}" for chain in self.chains for rule in self.chains[chain]
        )
        yield from (f"-I {hook} -j {chain}" for hook, chain in self.jumps.items())


class Chains:
    """A section while it is written: its nouns by class, and the names of its chains."""

    def __init__(self, owner: str, section: Section, content: Content) -> None:
        self.owner = owner
        self.section = section
        self.content = content

    def chain(self, part: str, of: str | None = None) -> str:
        return chain(self.owner, part, of)

    def all(self, cls: type[N]) -> list[N]:
        return [noun for noun in self.content.nouns.values() if isinstance(noun, cls)]


_VERSION = "snnet1"
_MORE = "snnet1+"
_ROOM = 240

KINDS: dict[str, type[Noun]] = {
    "zone": Zone,
    "protected-network": ProtectedNetwork,
    "zone-link": ZoneLink,
    "bridge-accept": BridgeAccept,
    "host-isolation": HostIsolation,
    "host-services": HostServices,
    "anti-spoof": AntiSpoof,
    "masquerade": Masquerade,
    "external-forward": ExternalForward,
    "port-forward": PortForward,
    "public-ip": PublicIp,
    "translated-source": TranslatedSource,
    "open-address": OpenAddress,
}
"""The first word of the key of each."""
_NAMES = {cls: kind for kind, cls in KINDS.items()}

_OWNER = "owner"
_COMMENT = re.compile(r'--comment (?:"([^"\\]*)"|(\S+))')
"""Quoted where it has blanks; no record has a quote or a backslash."""


def _flag(text: str) -> bool:
    return {"True": True, "False": False}[text]


def _addresses(text: str) -> tuple[Any, ...]:
    return tuple(map(ip_address, filter(None, text.split(","))))


def _networks(text: str) -> tuple[Any, ...]:
    return tuple(map(ip_network, filter(None, text.split(","))))


_READ: dict[str, Callable[[str], Any]] = {
    "address": ip_address,
    "addresses": _addresses,
    "arp": _flag,
    "bridged": _flag,
    "closed": _flag,
    "gateway": ip_address,
    "internal": ip_address,
    "nat66": _flag,
    "open_address": ip_address,
    "network": ip_network,
    "networks": _networks,
    "outbound": _flag,
    "port": int,
    "public": ip_address,
    "source": ip_address,
    "sources": _networks,
    "target": ip_address,
    "target_port": int,
}
"""How to read the fields that are not text."""


@dataclass(slots=True)
class Records:
    """The content of one records chain: its owner and nouns.

    ``owner`` is None if the chain does not name it; then nothing in it counts.
    """

    owner: str | None = None
    nouns: list[Noun] = field(default_factory=list)


def write_records(owner: str, nouns: Iterable[Noun]) -> list[str]:
    """Return the rules of the records chain, which no packet ever enters."""
    texts = [f"k={_OWNER} {_OWNER}={owner}", *map(_text, nouns)]
    return [f'-m comment --comment "{part}"' for text in texts for part in _parts(text)]


def read_records(lines: Iterable[str]) -> Records:
    """Read the records in the rules of a chain; leave out anything else."""
    records = Records()
    for text in _joined(lines):
        try:
            data = dict(word.split("=", 1) for word in text.split(" "))
            kind = data.pop("k")
            if kind == _OWNER:
                records.owner = data[_OWNER]
            elif records.owner is not None:
                values = {name: _READ.get(name, str)(value) for name, value in data.items()}
                records.nouns.append(KINDS[kind](owner=records.owner, **values))  # type: ignore[call-arg]
        except (KeyError, TypeError, ValueError):
            continue
    return records


def _text(noun: Noun) -> str:
    words = [f"k={_NAMES[type(noun)]}"]
    for item in fields(noun):
        value = getattr(noun, item.name)
        if isinstance(value, tuple):
            value = ",".join(map(str, value))
        if value is not None and item.name != _OWNER:
            words.append(f"{item.name}={value}")
    return " ".join(words)


def _parts(text: str) -> Iterator[str]:
    start, version = 0, _VERSION
    while start < len(text):
        end = min(start + _ROOM, len(text))
        while " " in text[end - 1 : end + 1]:
            end -= 1  # a blank at the end of a part would be lost
        yield f"{version} {text[start:end]}"
        start, version = end, _MORE


def _joined(lines: Iterable[str]) -> Iterator[str]:
    """Join the texts of the records from their parts."""
    text = ""
    for line in lines:
        version, _, part = _comment(line).partition(" ")
        if version == _MORE and text:
            text += part
        elif version == _VERSION:
            if text:
                yield text
            text = part
    if text:
        yield text


def _comment(line: str) -> str:
    """Return the comment of a rule as ``iptables -S`` prints it, or an empty string."""
    match = _COMMENT.search(line)
    return (match[1] or match[2] or "") if match else ""
