"""The built-in chains and tables that iptables-nft created for us.

With the first rule in a built-in chain iptables-nft creates that chain in nf_tables, and its
table; both stay when the rule goes.  Which of them were absent before is recorded ahead of the
change, so that the last of our rules can take them along.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from snnet.contract import Host
from snnet.firewall.epochs import Within
from snnet.system import nf_tables
from snnet.system.netlink import NetlinkError
from snnet.system.nfnetlink import Nfnetlink, attribute, attributes

from .layout import Section

_ACCEPT = 1  # NF_ACCEPT
_NON_RECURSIVE = 0x100  # NLM_F_NONREC: refused while there is something inside
_RECORD = "iptables-made"
_WHOLE = "*"
"""Stands for a table that was absent."""


@dataclass(slots=True)
class _Table:
    """What nf_tables has of one table: all that is in it, and its empty built-in chains."""

    use: int = 0
    chains: set[str] = field(default_factory=set)
    empty: set[str] = field(default_factory=set)


class Bases:
    """Knows which built-in chains and tables are there for our rules alone."""

    def __init__(self, host: Host, within: Within) -> None:
        self._host = host
        self._kernel = Nfnetlink(
            host.netns.descriptor_for("iptables", "firewall"), nf_tables.SUBSYSTEM
        )
        self.close = self._kernel.close
        self._within = within

    def note(self, hooks: Mapping[Section, Collection[str]]) -> None:
        """Record which of the built-in chains that are about to be used are absent."""
        found = self._look({section.family for section in hooks})
        if found is None:
            return
        with self._host.record(_RECORD) as record:
            for section, chains in hooks.items():
                table = found.get(section)
                absent = [_WHOLE] if table is None else sorted(set(chains) - table.chains)
                name = " ".join(section)
                if absent:
                    known = [] if table is None else record.get(name, [])
                    record[name] = sorted({*known, *absent})

    def sweep(self) -> None:
        """Remove what is recorded, empty, and accepts what no rule decides.

        What has rules, or a policy, by now is somebody else's and stays; so does everything
        where somebody changes rules meanwhile.
        """
        with self._host.record(_RECORD) as record:
            noted = {Section(*name.split(" ")): set(made) for name, made in record.items()}
            if not noted or (generation := self._generation()) is None:
                return
            if (found := self._look({section.family for section in noted})) is None:
                return
            for section, made in noted.items():
                table, name = found.get(section, _Table()), " ".join(section)
                whole = _WHOLE in made and table.use == len(table.empty)
                gone = table.empty if whole else table.empty & made
                there = section in found and (gone or whole)
                if there and self._within(partial(self._remove, section, gone, whole, generation)):
                    generation += 1
                    table.chains -= gone
                    made = made - {_WHOLE} if whole else made
                if left := made & {_WHOLE, *table.chains} if section in found else set():
                    record[name] = sorted(left)
                else:
                    del record[name]

    def _remove(
        self, section: Section, chains: Iterable[str], table: bool, generation: int
    ) -> bool:
        """Remove these in one transaction; return whether it could be."""
        name = attribute(nf_tables.TABLE_NAME, section.table.encode() + b"\0")
        requests = [
            (nf_tables.DELETE_CHAIN, name + attribute(nf_tables.CHAIN_NAME, chain.encode() + b"\0"))
            for chain in sorted(chains)
        ]
        requests += [(nf_tables.DELETE_TABLE, name)] if table else []
        family = nf_tables.FAMILIES[section.family]
        whole = [(kind, _NON_RECURSIVE, family, data) for kind, data in requests]
        with suppress(NetlinkError):
            self._kernel.transact(whole, generation=generation)
            return True
        return False

    def _look(self, families: Collection[str]) -> dict[Section, _Table] | None:
        """What nf_tables has of these families; None where it does not say."""
        found: dict[Section, _Table] = {}
        try:
            for family in families:
                number = nf_tables.FAMILIES[family]
                for table in self._dump(nf_tables.GET_TABLE, number):
                    use = int.from_bytes(table.get(nf_tables.TABLE_USE, b""), "big")
                    found[Section(family, _text(table[nf_tables.TABLE_NAME]))] = _Table(use)
                for chain in self._dump(nf_tables.GET_CHAIN, number):
                    if (
                        known := found.get(Section(family, _text(chain[nf_tables.CHAIN_TABLE])))
                    ) is None:
                        continue
                    if nf_tables.CHAIN_HOOK not in chain:
                        continue
                    known.chains.add(_text(chain[nf_tables.CHAIN_NAME]))
                    use = int.from_bytes(chain.get(nf_tables.CHAIN_USE, b"\1"), "big")
                    policy = int.from_bytes(chain.get(nf_tables.CHAIN_POLICY, b"\0"), "big")
                    if use == 0 and policy == _ACCEPT:
                        known.empty.add(_text(chain[nf_tables.CHAIN_NAME]))
        except (NetlinkError, OSError):
            return None
        return found

    def _dump(self, kind: int, family: int) -> Iterator[dict[int, bytes]]:
        return map(dict, map(attributes, self._kernel.dump(kind, family=family)))

    def _generation(self) -> int | None:
        with contextlib.suppress(NetlinkError, OSError):
            return nf_tables.generation(self._kernel)
        return None


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode(errors="replace")
