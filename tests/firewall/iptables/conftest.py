"""A driver in a fresh namespace, once for each variant of iptables."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from snnet.firewall.iptables import IptablesFirewall
from snnet.system.host import RealHost

OWNER = "cnci:tester"


@pytest.fixture(params=["nft", "legacy"])
def variant(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def host(netns: str, tmp_path: Path) -> Iterator[RealHost]:
    host = RealHost(netns, owner=OWNER, runtime=tmp_path / "run")
    yield host
    host.close()


@pytest.fixture
def driver(host: RealHost, variant: str) -> Iterator[IptablesFirewall]:
    driver = IptablesFirewall(host, variant=variant)
    yield driver
    driver.close()


class Shell:
    """Somebody else at work in the namespace, with the same variant of iptables."""

    def __init__(self, netns: str, variant: str) -> None:
        self.netns = netns
        self.variant = variant

    def __call__(self, *argv: str) -> str:
        """Run a program; ``iptables`` and ``ip6tables`` are those of the variant."""
        name, *rest = argv
        if name.startswith(("iptables", "ip6tables")):
            tool, _, verb = name.partition("-")
            name = "-".join(filter(None, (tool, self.variant, verb)))
        done = subprocess.run(
            ["ip", "netns", "exec", self.netns, name, *rest],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{argv}: {done.stderr}"
        return done.stdout

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
def shell(netns: str, variant: str) -> Shell:
    return Shell(netns, variant)
