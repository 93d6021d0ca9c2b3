"""A look at all foreign rules of a host, of nftables and of both variants of iptables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from snnet.contract import ApiError, HostPacket
from snnet.system.netns import in_netns
from snnet.system.process import find_program, run

from ..nft import Nft
from . import nft as by_nft
from . import saved as by_iptables
from .stops import Chains, stopped

_OURS = "snnet-"
_OUR_CHAINS = "SNNET-"
_PROGRAMS = {"ip": ("iptables", 4), "ip6": ("ip6tables", 6)}
_NAMES = {"ip": "ip_tables_names", "ip6": "ip6_tables_names"}
_XTABLES = {"filter", "nat", "mangle", "raw", "security"}


def stops(netns: int, packets: Iterable[HostPacket]) -> list[str]:
    """Return a line for each foreign chain of the namespace that stops some of the packets."""
    wanted = list(packets)
    return stopped(_tables(netns), wanted) if wanted else []


def _tables(netns: int) -> Iterator[Chains]:
    nft = Nft(netns)
    try:
        found = nft.ruleset() if nft.missing() is None else []
        theirs = [item for item in found if not _table(item)[1].startswith(_OURS)]
        saved = set[tuple[str, str]]()
        for family, names in _by_iptables_nft(theirs).items():
            program = f"{_PROGRAMS[family][0]}-nft-save"
            if find_program(program):
                saved |= {(family, name) for name in names}
                yield from _saved(netns, program, family)
        rest = [item for item in theirs if _table(item) not in saved]
        yield from by_nft.chains(rest, nft.elements)
    except ApiError:
        return  # the driver itself reports what it cannot read
    finally:
        nft.close()
    for family, file in _NAMES.items():
        program = f"{_PROGRAMS[family][0]}-legacy-save"
        # Reading a table of iptables-legacy creates it.
        with suppress(OSError):
            there = in_netns(netns, Path("/proc/thread-self/net", file).read_text).strip()
            if there and find_program(program):
                yield from _saved(netns, program, family)


def _table(item: by_nft.Item) -> tuple[str, str]:
    part = next(iter(item.values()))
    return str(part.get("family")), str(part.get("table", part.get("name", "")))


def _by_iptables_nft(ruleset: Sequence[by_nft.Item]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for item in ruleset:
        family, name = _table(item)
        if family in _PROGRAMS and name in _XTABLES and "chain" in item:
            found.setdefault(family, set()).add(name)
    return found


def _saved(netns: int, program: str, family: str) -> list[Chains]:
    text = run([program], netns=netns, check=False).stdout
    name = program.removesuffix("-save")
    return by_iptables.chains(text, name, _PROGRAMS[family][1], _OUR_CHAINS)
