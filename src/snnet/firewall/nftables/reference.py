"""Rules as this kernel and this nft make them from their text.

The kernel shows rules as expressions in bytes, and nft prints them in words that depend on
its version.  Neither can be computed from the text of a rule.  So the rules are made once
more, where they affect nothing: in a network namespace that only this process has.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping, Sequence
from itertools import chain as chained

from snnet.firewall.nft import Nft
from snnet.system.netns import new_netns

from . import tables
from .reader import Reader, StoredChain
from .tables import Table

_OWNER = "reference:snnet"

_MAC = re.compile(r"\b0x([0-9a-f]{12})\b")
_MODEL_MAC = "02a1b2c3d4e5"
"""Stands for all MACs in rules that differ only in a MAC."""


class Reference:
    """Knows the kernel's bytes for rules and hooks; it makes each of them once."""

    def __init__(self) -> None:
        self._rules: dict[tuple[str, str], bytes] = {}
        self._hooks: dict[tuple[str, str], bytes] = {}
        self._possible = True
        self._lock = threading.Lock()

    def chains(
        self,
        family: str,
        rules: Mapping[str, Sequence[str]],
        hooks: Mapping[str, str],
        sets: Mapping[str, str],
    ) -> dict[str, StoredChain] | None:
        """Return the chains with these rules and hooks, as a kernel shows them.

        ``sets`` are those that the rules use beside the static ones.  Return None if this
        process may not make a network namespace: it lacks CAP_SYS_ADMIN.
        """
        with self._lock:
            texts = set(chained.from_iterable(rules.values()))
            if any((family, _templated(text)) not in self._rules for text in texts) or any(
                (family, spec) not in self._hooks for spec in hooks.values()
            ):
                self._make(family, rules, hooks, sets)
            if not self._possible:
                return None
            return {
                name: StoredChain(
                    self._hooks[family, hooks[name]] if name in hooks else b"",
                    tuple(self._bytes(family, text) for text in rules[name]),
                )
                for name in rules
            }

    def _bytes(self, family: str, text: str) -> bytes:
        made, mac = self._rules[family, _templated(text)], _MAC.search(text)
        return made.replace(bytes.fromhex(_MODEL_MAC), bytes.fromhex(mac[1])) if mac else made

    def _make(
        self,
        family: str,
        rules: Mapping[str, Sequence[str]],
        hooks: Mapping[str, str],
        sets: Mapping[str, str],
    ) -> None:
        if not self._possible:
            return
        try:
            netns = new_netns()
        except PermissionError:
            self._possible = False
            return
        try:
            nft, reader = Nft(netns), Reader(netns)
            try:
                self._learn(family, rules, hooks, sets, nft, reader)
            finally:
                nft.close()
                reader.close()
        finally:
            os.close(netns)

    def _learn(
        self,
        family: str,
        rules: Mapping[str, Sequence[str]],
        hooks: Mapping[str, str],
        sets: Mapping[str, str],
        nft: Nft,
        reader: Reader,
    ) -> None:
        table = Table(family, _OWNER)
        parts = tables.parts_of(table)
        static = {chain for part in parts for chain in tables.chains_of(part)}
        # Rules that differ only in a MAC are made once.
        wanted = {text: name for name in rules for text in map(_templated, rules[name])}
        commands = [line for part in parts for line in tables.base(part)]
        commands += [f"add set {table} {name} {spec}" for name, spec in sets.items()]
        commands += [f"add chain {table} {name}" for name in rules if name not in static]
        commands += [f"flush chain {table} {name}" for name in rules]
        commands += [f"add rule {table} {name} {text}" for text, name in wanted.items()]
        nft.run(commands)
        made = reader.content(table)
        nft.run([f"delete table {table}"])
        shown = {name: iter(made[name].rules) for name in rules}
        self._rules |= {(family, text): next(shown[name]) for text, name in wanted.items()}
        self._hooks |= {(family, spec): made[name].hook for name, spec in hooks.items()}


def _templated(text: str) -> str:
    return _MAC.sub(f"0x{_MODEL_MAC}", text)
