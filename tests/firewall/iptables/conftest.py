"""A driver in a fresh namespace for each variant of iptables, and one on programs in memory."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from snnet.firewall.iptables import IptablesFirewall
from snnet.system.host import RealHost
from tests.firewall.xtables import Xtables

OWNER = "cnci:tester"


class World(NamedTuple):
    """Where the tests run: with which iptables, on the kernel or in memory."""

    variant: str
    in_memory: bool


@pytest.fixture(
    params=[
        pytest.param(World("nft", True), id="in-memory"),
        pytest.param(
            World("nft", False), id="nft", marks=[pytest.mark.kernel, pytest.mark.sampled]
        ),
        pytest.param(
            World("legacy", False), id="legacy", marks=[pytest.mark.kernel, pytest.mark.sampled]
        ),
    ]
)
def world(request: pytest.FixtureRequest) -> World:
    world: World = request.param
    return world


@pytest.fixture
def variant(world: World) -> str:
    return world.variant


@pytest.fixture
def host(world: World, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RealHost]:
    """In memory the namespace is that of the tests: nothing is done in it."""
    netns = None if world.in_memory else request.getfixturevalue("netns")
    host = RealHost(netns, owner=OWNER, runtime=tmp_path / "run")
    yield host
    host.close()


@pytest.fixture
def tables(world: World, request: pytest.FixtureRequest) -> Xtables | None:
    """What stands for the kernel's tables in memory."""
    found: Xtables | None = request.getfixturevalue("xtables") if world.in_memory else None
    return found


@pytest.fixture
def driver(host: RealHost, variant: str, tables: Xtables | None) -> Iterator[IptablesFirewall]:
    driver = IptablesFirewall(host, variant=variant)
    yield driver
    driver.close()


class Shell:
    """Somebody else at work on the host, with the same variant of iptables."""

    def __init__(self, variant: str, netns: str | None, tables: Xtables | None) -> None:
        self.variant = variant
        self._netns = netns
        self._tables = tables

    def __call__(self, *argv: str) -> str:
        """Run a program; ``iptables`` and ``ip6tables`` are those of the variant."""
        name, *rest = argv
        if name.startswith(("iptables", "ip6tables")):
            tool, _, verb = name.partition("-")
            name = "-".join(filter(None, (tool, self.variant, verb)))
        return self._run(name, *rest)

    def other(self) -> Shell:
        """The same with the other variant of iptables."""
        other = "legacy" if self.variant == "nft" else "nft"
        return Shell(other, self._netns, self._tables)

    def _run(self, *argv: str) -> str:
        if self._tables is not None:
            code, said, error = self._tables.run(argv)
        else:
            assert self._netns is not None
            done = subprocess.run(
                ["ip", "netns", "exec", self._netns, *argv],
                capture_output=True,
                text=True,
                check=False,
            )
            code, said, error = done.returncode, done.stdout, done.stderr
        assert code == 0, f"{argv}: {error}"
        return said

    def rules(self) -> str:
        """All rules of the namespace, without counters and comments of the tools."""
        tools = ("iptables-save", "ip6tables-save", "ebtables-save", "arptables-save")
        return "\n".join(
            line.partition(" [")[0] if line.startswith(":") else line
            for tool in tools
            for line in self(tool).splitlines()
            if line and not line.startswith("#")
        )


@pytest.fixture
def shell(world: World, request: pytest.FixtureRequest, tables: Xtables | None) -> Shell:
    netns = None if world.in_memory else request.getfixturevalue("netns")
    return Shell(world.variant, netns, tables)
