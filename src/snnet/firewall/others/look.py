"""A look at all foreign rules of a host, of nftables and of both variants of iptables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from snnet.contract import ApiError, HostPacket
from snnet.contract.translating import as_error
from snnet.system import nf_tables
from snnet.system.netlink import NetlinkError
from snnet.system.netns import in_netns
from snnet.system.nfnetlink import Nfnetlink
from snnet.system.process import find_program, run

from ..nft import Nft
from . import nft as by_nft
from . import saved as by_iptables
from .stops import Chains, stopped

_OURS = "snnet-"
_OUR_CHAINS = "SNNET-"
_PROGRAMS = {"ip": ("iptables", 4), "ip6": ("ip6tables", 6)}
_NAMES = {"ip": "ip_tables_names", "ip6": "ip6_tables_names"}
_ON_LINKS = ("ingress", "egress")
_DEVICES = re.compile(
    r"chain (\S+) \{\s+type \S+ hook \S+ devices?(?: =)? (\{[^}]*\}|\S+) priority"
)
_XTABLES = {"filter", "nat", "mangle", "raw", "security"}


def stops(netns: int, packets: Iterable[HostPacket]) -> list[str]:
    """Return a line for each foreign chain of the namespace that stops some of the packets."""
    wanted = list(packets)
    # The driver itself reports what it cannot read.
    return stopped(tables(gather(netns), _OUR_CHAINS), wanted) if wanted else []


def gather(netns: int) -> dict[str, Any]:
    """Read the rules that are not in tables of snnet's own, as plain data.

    ``nft`` are items of libnftables-json(5) with the elements of sets; ``saved`` what each
    ``iptables-save`` prints, with its family; ``unread`` says what could not be read.
    """
    nft = Nft(netns)
    found: dict[str, Any] = {"nft": [], "saved": [], "unread": []}
    try:
        if (reason := nft.missing()) is not None:
            found["unread"].append(reason)
        theirs = [] if reason else _tables(netns)
        for family, name in theirs:
            if name.startswith(_OURS):
                continue
            items = _items(nft, family, name)
            # As text only where it must be: the sets of a table may be huge.
            if any(item.get("chain", {}).get("hook") in _ON_LINKS for item in items):
                _add_devices(items, nft.run([f"list table {family} {name}"]))
            program = f"{_PROGRAMS[family][0]}-nft-save" if family in _PROGRAMS else ""
            xtables = program and name in _XTABLES and any("chain" in item for item in items)
            if not xtables or not find_program(program):
                found["nft"] += items
            elif [program, family] not in (saved[:2] for saved in found["saved"]):
                found["saved"].append([program, family, _saved(netns, program)])
    except ApiError as error:
        found["unread"].append(str(error))
    finally:
        nft.close()
    for family, file in _NAMES.items():
        program = f"{_PROGRAMS[family][0]}-legacy-save"
        # Reading a table of iptables-legacy creates it.
        with suppress(OSError):
            there = in_netns(netns, Path("/proc/thread-self/net", file).read_text).strip()
            if there and find_program(program):
                found["saved"].append([program, family, _saved(netns, program)])
            elif there:
                found["unread"].append(f"{there.split()} of iptables-legacy: no {program}")
    return found


def _tables(netns: int) -> list[tuple[str, str]]:
    """Return all tables by family and name; nft itself would read all sets of all of them."""
    with closing(Nfnetlink(netns, nf_tables.SUBSYSTEM)) as kernel:
        try:
            return [
                (family, name)
                for family in nf_tables.FAMILIES
                for name in nf_tables.tables(kernel, family)
            ]
        except NetlinkError as error:
            raise as_error(error, "list firewall rules") from error


def _items(nft: Nft, family: str, name: str) -> list[by_nft.Item]:
    """Return what is in a table; nothing of one that is dormant: its chains see no packets."""
    try:
        items = nft.table(family, name)
        flagged = any("flags" in item.get("table", {}) for item in items)
    except ApiError:
        if not _is_dormant(nft, family, name):
            raise
        return []
    # The flag itself is not in the JSON of nft 1.0.6, but whatever is in that memory by then.
    return [] if flagged and _is_dormant(nft, family, name) else items


def _is_dormant(nft: Nft, family: str, name: str) -> bool:
    text = nft.run([f"list table {family} {name}"])
    return bool(re.search(r"^\tflags .*\bdormant\b", text, re.MULTILINE))


def tables(found: Mapping[str, Any], ours: str | None = None) -> list[Chains]:
    """Return the chains of what was gathered, without rules that lead to chains of ``ours``."""
    elements = _elements(found["nft"])
    read = by_nft.chains(found["nft"], elements)
    for program, family, text in found["saved"]:
        name, version = program.removesuffix("-save"), _PROGRAMS[family][1]
        read += by_iptables.chains(text, name, version, ours)
    return read


def _add_devices(items: Iterable[by_nft.Item], text: str) -> None:
    """Add the links of chains at hooks of links, which older nft prints as text alone."""
    found = {match[1]: re.findall(r"[^\s,\"{}]+", match[2]) for match in _DEVICES.finditer(text)}
    for item in items:
        chain = item.get("chain", {})
        if "hook" in chain and "dev" not in chain and chain["name"] in found:
            chain["dev"] = found[chain["name"]]


def _elements(items: Iterable[by_nft.Item]) -> by_nft.Elements:
    sets = {
        (kind, part["family"], part["table"], part["name"]): part.get("elem", [])
        for item in items
        for kind, part in item.items()
        if kind in ("set", "map")
    }

    def look_up(kind: str, family: str, table: str, name: str) -> Sequence[Any] | None:
        return sets.get((kind, family, table, name))

    return look_up


def _saved(netns: int, program: str) -> str:
    return run([program], netns=netns, check=False).stdout
