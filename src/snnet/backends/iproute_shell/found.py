"""Conversion of links from the output of ``ip -json -details link`` to nouns."""

from __future__ import annotations

import contextlib
from pathlib import Path

from snnet.backends.iproute2.codec import Row
from snnet.backends.iproute2.kinds import CODECS
from snnet.backends.kinds import by_kernel_kind
from snnet.backends.settings import OF_KINDS, OF_PORTS, PORT, STATES, changed
from snnet.contract import Link, Other
from snnet.contract.links import Settings

_GROUP_FILES = (Path("/etc/iproute2/group"), Path("/usr/share/iproute2/group"))


def link_noun(row: Row) -> Link:
    """Return the link as a noun; ``Other`` if snnet cannot have created it."""
    ethernet = row.get("link_type") == "ether"
    common: Row = {
        "name": row["ifname"],
        "alias": row.get("ifalias", ""),
        "group": _group(str(row.get("group", "default"))),
        "mac": row.get("address") if ethernet else None,
        "mtu": row["mtu"],
        "master": row.get("master"),
        "up": "UP" in row["flags"],
        "index": row["ifindex"],
    }
    info: Row = row.get("linkinfo", {})
    running = "UP" in row["flags"] and "NO-CARRIER" not in row["flags"]
    if (settings := _settings(info, running)) is not None:
        common["settings"] = settings
    if (read := _READERS.get(info.get("info_kind", ""))) is not None:
        link = read(row, common, info.get("info_data", {}))
        if link is not None:
            return link
    kind = _kind(row, info)
    return Other(other_kind=kind, lower=row.get("link") if kind == "macvlan" else None, **common)


def _settings(info: Row, running: bool) -> Settings | None:
    """Return the settings that are not usual; None if all are."""
    found = []
    if info.get("info_slave_kind") == "bridge":
        found += changed(PORT, OF_PORTS, _numbers(info.get("info_slave_data", {})), running=running)
    kind = info.get("info_kind", "")
    if kind in OF_KINDS:
        found += changed(kind, OF_KINDS[kind], _numbers(info.get("info_data", {})), running=running)
    return tuple(found) or None


def _numbers(data: Row) -> dict[str, int]:
    """Return all settings that are numbers; ``ip`` prints some as words or in text."""
    numbers = {}
    for name, value in data.items():
        if isinstance(value, int):  # booleans too
            numbers[name] = int(value)
        elif value in STATES:
            numbers[name] = STATES.index(value)
        elif isinstance(value, str):
            with contextlib.suppress(ValueError):
                numbers[name] = int(value, 0)
    return numbers


def _kind(row: Row, info: Row) -> str:
    kind: str = info.get("info_kind", "")
    if not kind:
        return "loopback" if row.get("link_type") == "loopback" else "physical"
    return kind


def _group(text: str) -> int:
    """Return the number of a link group; ``ip`` prints the name of a group that it knows."""
    if text.lstrip("-").isdigit():
        return int(text) & 0xFFFFFFFF  # printed as a signed number
    if text == "default":
        return 0
    for file in _GROUP_FILES:
        try:
            lines = file.read_text(errors="replace").splitlines()
        except OSError:
            continue
        for words in map(str.split, lines):
            if words[1:2] == [text]:
                return int(words[0], 0)
    return 0


_READERS = {kind: codec.read for kind, codec in by_kernel_kind(CODECS).items()}
