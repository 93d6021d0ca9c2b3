"""Each foreign change is named and repaired, or named, or docs/drift.md says that it is not."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import snnet
from tests.conftest import ip

from .changes import Foreign, changes
from .world import DriftWorld

DOCUMENT = Path(__file__).parents[2] / "docs" / "drift.md"
CHANGES = list(changes())

REPAIRED, NAMED, NOT_OURS = "Named and repaired", "Named", "Not checked"

DEAF = "10.1.0.10"
"""The neighbour that pings while others change things."""


def documented() -> dict[str, str]:
    """What the document says of each change, by its name."""
    found: dict[str, str] = {}
    heading = ""
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            heading = line[3:]
        elif line.startswith("- "):
            for name in line[2:].split("; "):
                assert name not in found, name
                found[name] = heading
    return found


def test_the_document_has_each_change_once() -> None:
    names = [change.name for change in CHANGES]
    assert len(set(names)) == len(names) >= 120
    assert sorted(documented()) == sorted(names)
    assert {*documented().values()} == {REPAIRED, NAMED, NOT_OURS}


class Worlds:
    """One world for all changes; a new one where a change has left something."""

    def __init__(self, firewall: str = "nftables") -> None:
        self._firewall = firewall
        self._netns: list[str] = []
        self._world: DriftWorld | None = None

    def get(self) -> DriftWorld:
        if self._world is None:
            self._world = DriftWorld(self._make, self._firewall)
        return self._world

    def _make(self) -> str:
        name = f"snnet-drift-{time.monotonic_ns():x}"
        ip("netns", "add", name)
        self._netns.append(name)
        ip("link", "set", "lo", "up", netns=name)
        return name

    def drop(self) -> None:
        world, self._world = self._world, None
        try:
            if world is not None:
                world.close()
        finally:
            for name in self._netns:
                ip("netns", "del", name)
            self._netns.clear()


@pytest.fixture(scope="module")
def worlds() -> Iterator[Worlds]:
    made = Worlds()
    yield made
    made.drop()


def node_of(world: DriftWorld, change: Foreign) -> snnet.ComputeNode | snnet.Cnci:
    return world.node if change.host == "cn" else world.cnci


@pytest.mark.kernel
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_a_foreign_change(worlds: Worlds, change: Foreign) -> None:
    world = worlds.get()
    node = node_of(world, change)
    netns = getattr(world, change.host)
    kept = False
    try:
        assert node.verify() == []
        world.sh(netns, change.do)
        said = node.verify()
        node.repair()
        left = node.verify()
        outcome = NOT_OURS if not said else NAMED if left else REPAIRED
        assert outcome == documented()[change.name], (said, left)
        world.sh(netns, change.undo)
        node.repair()
        kept = node.verify() == []
        assert kept, node.verify()
    finally:
        if not kept:
            worlds.drop()


# Without those that themselves stop the neighbour.
SAMPLE = (
    "tap isolated",
    "tunnel mtu",
    "bridge mac",
    "file hosts emptied",
    "DHCP server STOP",
    "forward gone",
    "all rules flushed",
    "public address gone",
    "mesh deleted",
    "bridge forwarding off",
)


@pytest.fixture
def pinging(worlds: Worlds) -> Iterator[Callable[[], tuple[int, int]]]:
    """A container that pings its gateway ten times a second; returns what was sent, and lost."""
    worlds.drop()
    world = worlds.get()
    world.sh(world.cn, f"ip link set {{peer}} netns {world.guest} name eth0")
    ip("link", "set", "eth0", "up", netns=world.guest)
    ip("address", "add", f"{DEAF}/24", "dev", "eth0", netns=world.guest)
    argv = ["ip", "netns", "exec", world.guest, "ping", "-n", "-i", "0.1", "-W", "2", "10.1.0.1"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as ping:
        assert ping.stdout is not None

        def result() -> tuple[int, int]:
            ping.send_signal(2)
            text = ping.communicate()[0]
            line = next(one for one in text.splitlines() if "packets transmitted" in one)
            sent, received = (int(part.split()[0]) for part in line.split(", ")[:2])
            return sent, sent - received

        time.sleep(1)  # ARP
        yield result
        ping.kill()
    worlds.drop()


@pytest.mark.kernel
def test_a_neighbour_loses_nothing_meanwhile(
    worlds: Worlds, pinging: Callable[[], tuple[int, int]]
) -> None:
    world = worlds.get()
    for change in CHANGES:
        if change.name in SAMPLE:
            node = node_of(world, change)
            world.sh(getattr(world, change.host), change.do)
            assert node.verify(), change.name
            node.repair()
            assert node.verify() == [], change.name
    time.sleep(0.3)
    sent, lost = pinging()
    assert sent > 10
    assert lost == 0, (sent, lost)
