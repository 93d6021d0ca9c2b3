"""Programs and the kernel's tables in memory, for tests without root."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from snnet.firewall import nft
from snnet.firewall.epochs import Epochs
from snnet.firewall.iptables import programs as iptables_programs
from snnet.firewall.iptables import reference as iptables_reference
from snnet.firewall.iptables.bases import Bases
from snnet.firewall.nftables import reference
from snnet.system.conntrack import Conntrack, Match
from snnet.system.netns import open_netns

from . import nf_tables as nf_tables_in_memory
from . import programs
from .nf_tables import NfTables
from .xtables import NAMES, Xtables


@pytest.fixture
def patch() -> Iterator[pytest.MonkeyPatch]:
    """Patches that stay when a test undoes its own."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture
def forgotten(patch: pytest.MonkeyPatch) -> list[Match]:
    """The connections that the kernel was asked to forget; it has some, and ends none by itself."""
    matches: list[Match] = []
    patch.setattr(Conntrack, "any", lambda self: True)
    patch.setattr(Conntrack, "sweep", lambda self, sweeps: False)
    patch.setattr(Conntrack, "forget", lambda self, asked, spare=None: matches.extend(asked))
    return matches


@pytest.fixture
def xtables(patch: pytest.MonkeyPatch, tmp_path: Path, forgotten: list[Match]) -> Xtables:
    """iptables and its like are the only programs there are; the kernel speaks IPv6."""
    tables = Xtables()
    programs.install(patch, tmp_path / "bin", NAMES, tables)
    patch.setattr(nft, "_binding", lambda: None)
    patch.setattr(iptables_programs, "_read", tables.read)
    patch.setattr(iptables_reference, "new_netns", refuse)  # there is but one kernel
    # The kernel knows nothing of tables in memory: every look begins an epoch.
    patch.setattr(Epochs, "_read", lambda self: None)
    patch.setattr(Bases, "_look", lambda self, families: None)
    return tables


@pytest.fixture
def nf_tables(patch: pytest.MonkeyPatch, tmp_path: Path, forgotten: list[Match]) -> NfTables:
    """``nft`` is the only program there is, and what it sets is what the kernel tells."""
    tables = NfTables()
    programs.install(patch, tmp_path / "nft", nf_tables_in_memory.NAMES, tables)
    patch.setattr(nft, "_binding", lambda: None)
    tables.answer(patch)
    patch.setattr(reference, "new_netns", open_netns)  # there is but one kernel
    return tables


def refuse() -> int:
    """Make no network namespace."""
    raise PermissionError
