"""The programs in memory say what the real ones say: each is asked all that the driver asks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from snnet.contract import Add, Remove, Zone
from snnet.firewall.iptables import IptablesFirewall, reference
from snnet.firewall.nft import Nft
from snnet.firewall.nftables import NftablesFirewall
from snnet.firewall.nftables.reader import FAMILIES, Reader
from snnet.firewall.nftables.steps import ElementChange
from snnet.firewall.nftables.tables import Table, sets_of
from snnet.firewall.nftables.writer import Writer
from snnet.system import process
from snnet.system.conntrack import Conntrack
from snnet.system.host import RealHost
from snnet.system.process import Completed

from .conftest import refuse
from .iptables.nouns import ALL, OWNER
from .nf_tables import NfTables
from .nftables.test_words import WORDS
from .xtables import Xtables

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_iptables_and_its_like(
    variant: str, netns: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The words of refusals differ from version to version, what is listed does not."""
    real, tables = process._run, Xtables()
    asked: list[str] = []

    def both(program: str, argv: Sequence[str], text: str | None, timeout: float) -> Completed:
        done = real(program, argv, text, timeout)
        if not argv[0].endswith("-save"):
            simulated = tables(argv, text or "")
            assert _outcome(simulated) == _outcome(done), f"{' '.join(argv)}\n{text or ''}"
            asked.append(argv[0])
        return done

    monkeypatch.setattr(process, "_run", both)
    monkeypatch.setattr(reference, "new_netns", refuse)  # the simulation has one namespace
    host = RealHost(netns, owner=OWNER, runtime=tmp_path / "run")
    driver = IptablesFirewall(host, variant=variant)
    assert not driver.apply([Add(noun) for noun in ALL]).errors
    assert len(driver.snapshot()) == len(ALL)
    assert not driver.apply([Remove(noun) for noun in reversed(ALL)]).errors
    driver.close()
    host.close()
    assert {"ebtables", "arptables", "iptables", "ip6tables"} <= {
        name.split("-")[0] for name in asked
    }


def _outcome(done: Completed) -> tuple[bool, list[str]]:
    """Whether it succeeded, and what it printed; counters of entries may come and go."""
    lines = [re.sub(r", entries: \d+", "", line) for line in done.stdout.splitlines()]
    return done.returncode == 0, [line.strip() for line in lines if line.strip()]


def test_nft(netns: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same scripts and changes make the same tables, chains, rules and elements in both."""
    tables, scripts = NfTables(), []
    run, change = Nft.run, Writer.change

    def both(self: Nft, commands: Iterable[str], *, as_json: bool = False) -> str:
        scripts.append("\n".join(commands))
        return run(self, scripts[-1].splitlines(), as_json=as_json)

    def over_netlink(self: Writer, changes: Sequence[ElementChange], *epoch: int) -> bool:
        scripts.append("\n".join(map(str, changes)))
        return change(self, changes, *epoch)

    monkeypatch.setattr(Nft, "run", both)
    monkeypatch.setattr(Writer, "change", over_netlink)
    monkeypatch.setattr(Conntrack, "forget", lambda self, matches, spare=None: 0)
    host = RealHost(netns, owner="cnci:c-1", runtime=tmp_path / "run")
    driver, reader = NftablesFirewall(host), Reader(host.netns.fd)
    nouns = [
        Zone(owner="cnci:c-1", zone="t1", outbound=True),
        *(noun for noun, _ in WORDS.values()),
    ]

    def listed() -> dict[str, object]:
        found = [Table(family, "cnci:c-1") for family in FAMILIES if reader.tables(family)]
        return {
            str(table): (
                sorted(reader.chains(table)),
                {
                    name: (bool(chain.hook), len(chain.rules))
                    for name, chain in reader.content(table).items()
                },
                {name: sorted(reader.elements(table, name)) for name in sets(table.family)},
            )
            for table in found
        }

    for operations in ([Add(noun) for noun in nouns], [Remove(nouns[2]), Remove(nouns[5])]):
        assert not driver.apply(operations).errors
        by_kernel = listed()
        while scripts:
            assert tables(["nft", "-f", "-"], scripts.pop(0)).returncode == 0
        with monkeypatch.context() as patch:
            tables.answer(patch)
            assert listed() == by_kernel
    reader.close()
    driver.close()
    host.close()


def sets(family: str) -> list[str]:
    """All sets without intervals, which the kernel begins at 0."""
    names = [name for name in sets_of(family) if name not in ("closed_nets", "tunnel_nets")]
    return [*names, "links-t1", "members-t1"]
