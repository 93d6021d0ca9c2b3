"""Nouns in comments: ``snnet1 k=port-forward protocol=tcp device=eth0 ...``.

A comment holds 255 characters (iptables-extensions(8)); what is longer goes on
in the next rule, whose comment begins with ``snnet1+``.  The first record of a
chain tells the owner.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network
from typing import Any

from snnet.contract import (
    AntiSpoof,
    BridgeAccept,
    ExternalForward,
    HostIsolation,
    Masquerade,
    Noun,
    PortForward,
    PublicIp,
    Zone,
    ZoneLink,
)

_VERSION = "snnet1"
_MORE = "snnet1+"
_ROOM = 240

KINDS: dict[str, type[Noun]] = {
    "zone": Zone,
    "zone-link": ZoneLink,
    "bridge-accept": BridgeAccept,
    "host-isolation": HostIsolation,
    "anti-spoof": AntiSpoof,
    "masquerade": Masquerade,
    "external-forward": ExternalForward,
    "port-forward": PortForward,
    "public-ip": PublicIp,
}
"""What the key of each begins with."""
_NAMES = {cls: kind for kind, cls in KINDS.items()}

_OWNER = "owner"


def _flag(text: str) -> bool:
    return {"True": True, "False": False}[text]


def _addresses(text: str) -> tuple[Any, ...]:
    return tuple(map(ip_address, filter(None, text.split(","))))


def _networks(text: str) -> tuple[Any, ...]:
    return tuple(map(ip_network, filter(None, text.split(","))))


_READ: dict[str, Callable[[str], Any]] = {
    "addresses": _addresses,
    "arp": _flag,
    "bridged": _flag,
    "internal": IPv4Address,
    "network": IPv4Network,
    "networks": _networks,
    "outbound": _flag,
    "port": int,
    "public": IPv4Address,
    "target": IPv4Address,
    "target_port": int,
}
"""How the fields that are no text are read."""


@dataclass(slots=True)
class Records:
    """What one records chain holds: whose it is, and the nouns.

    ``owner`` is None where the chain does not tell: then nothing in it counts.
    """

    owner: str | None = None
    nouns: list[Noun] = field(default_factory=list)


def write(owner: str, nouns: Iterable[Noun]) -> list[str]:
    """The rules of the records chain; no packet ever comes there."""
    texts = [f"k={_OWNER} {_OWNER}={owner}", *map(_text, nouns)]
    return [f'-m comment --comment "{part}"' for text in texts for part in _parts(text)]


def read(lines: Iterable[str]) -> Records:
    """The records in the rules of a chain; what is not ours or does not parse is left out."""
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
            end -= 1  # a blank at the end of a part would get lost
        yield f"{version} {text[start:end]}"
        start, version = end, _MORE


def _joined(lines: Iterable[str]) -> Iterator[str]:
    """The texts of the records, each put together from its parts."""
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
    """The comment of a rule as ``iptables -S`` prints it, if it has one."""
    try:
        words = shlex.split(line)
        return words[words.index("--comment") + 1]
    except (ValueError, IndexError):
        return ""
