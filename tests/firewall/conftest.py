"""Programs and the kernel's tables in memory, for tests without root."""

from __future__ import annotations

from pathlib import Path

import pytest

from snnet.firewall.iptables import programs as iptables_programs
from snnet.system.conntrack import Conntrack, Match

from . import programs
from .xtables import NAMES, Xtables


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> list[Match]:
    """The connections that the kernel was asked to forget."""
    matches: list[Match] = []
    monkeypatch.setattr(Conntrack, "forget", lambda self, asked: matches.extend(asked))
    return matches


@pytest.fixture
def xtables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, forgotten: list[Match]) -> Xtables:
    """iptables and its like are the only programs there are; the kernel speaks IPv6."""
    tables = Xtables()
    programs.install(monkeypatch, tmp_path / "bin", NAMES, tables)
    names = {"ip_tables_names": "raw nat filter", "ip6_tables_names": "raw nat filter"}
    monkeypatch.setattr(
        iptables_programs,
        "_read",
        lambda path: names.get(path.rpartition("/")[2], "Ip6InReceives 0"),
    )
    return tables
