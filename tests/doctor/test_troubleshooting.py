"""docs/troubleshooting.md, walked literally: each breakage is found, and its command mends it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner

from snnet.cli.app import snnet
from snnet.doctor.fixes import ADVICE, fix_of
from snnet.system.netns import in_netns, open_netns
from tests.conftest import ip
from tests.drift.changes import Foreign, changes
from tests.drift.test_drift import NAMED, REPAIRED, documented
from tests.drift.world import DriftWorld
from tests.sample import sampled

PAGE = Path(__file__).parents[2] / "docs" / "troubleshooting.md"
ROUNDS = 10
"""How often doctor may name something more."""

_SECTION = re.compile(r"^## (.+?)\n.*?```console\n(.+?)```", re.MULTILINE | re.DOTALL)


class Section(NamedTuple):
    """What is typed on which host; what is found then, and the command beneath it."""

    title: str
    host: str
    breaking: list[str]
    found: str
    fix: str


def sections() -> list[Section]:
    made = []
    for title, block in _SECTION.findall(PAGE.read_text(encoding="utf-8")):
        *typed, found, fix = block.splitlines()
        hosts, commands = zip(*(line.split("# ", 1) for line in typed), strict=True)
        assert len(set(hosts)) == 1, title
        assert commands[-1] == "snnet host doctor", title
        assert fix.startswith("    "), title
        made.append(Section(title, hosts[0], list(commands[:-1]), found, fix.strip()))
    return made


SECTIONS = sections()


def test_the_page_has_twenty_breakages() -> None:
    headings = re.findall(r"^## ", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(SECTIONS) == len(headings) >= 20
    assert len({section.title for section in SECTIONS}) == len(SECTIONS)


def is_command(fix: str) -> bool:
    """Whether this is to be typed, and no advice."""
    program = fix.split()[0]
    return program == "snnet" or shutil.which(program) is not None


class Place:
    """The two hosts of the page, whose nodes no process holds."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self.world = world = DriftWorld(self._make)
        world.cnci.close()
        world.node.close()
        self._hosts = {"compute": world.cn, "concentrator": world.hub}
        names = world.names
        self._links = {
            "TAP": names["tap"],
            "BRIDGE": names["bridge"],
            "TUNNEL": names["tunnel"],
            "SUBNET_BRIDGE": names["cbridge"],
            "SERVER": names["server"],
        }

    def _make(self) -> str:
        name = f"snnet-trouble-{time.monotonic_ns():x}"
        ip("netns", "add", name)
        self._names.append(name)
        ip("link", "set", "lo", "up", netns=name)
        return name

    def said(self, text: str) -> str:
        """A line of the page with the names of this place."""
        return re.sub(r"\$([A-Z_]+)", lambda match: self._links[match[1]], text)

    def sh(self, host: str, command: str) -> None:
        argv = ["ip", "netns", "exec", self._hosts[host], "sh", "-ec", command]
        done = subprocess.run(
            argv, capture_output=True, text=True, env={**os.environ, **self._links}
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"

    def snnet(self, host: str, *words: str) -> tuple[int, str]:
        """Run a command of snnet in the network namespace of a host; its exit code and output."""
        fd = open_netns(self._hosts[host])
        try:
            result = in_netns(fd, lambda: CliRunner().invoke(snnet, list(words)))
        finally:
            os.close(fd)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.output
        return result.exit_code, result.output

    def doctor(self, host: str) -> dict[str, str]:
        """What is found, with the command beneath it."""
        code, output = self.snnet(host, "host", "doctor")
        lines = output.splitlines()
        assert (code == 0) == (lines == ["nothing wrong was found"]), output
        return {
            what.removeprefix("- "): fix.strip()
            for what, fix in zip(lines[::2], lines[1::2], strict=code == 1)
        }

    def mend(self, host: str, fix: str) -> None:
        """Run a command that was printed; what is only advice follows from something else."""
        if not is_command(fix):
            return
        if fix.startswith("snnet "):
            code, output = self.snnet(host, *fix.split()[1:])
            left = [line.partition(": left: ")[2] for line in output.splitlines()]
            assert code == 0 or any(left), output
            for line in filter(None, left):
                self.mend(host, fix_of(line))
        else:
            self.sh(host, fix)

    def mend_all(self, host: str, found: dict[str, str]) -> dict[str, str]:
        """Run what was printed until nothing is found any more; return what is left."""
        for _ in range(ROUNDS):
            for fix in dict.fromkeys(found.values()):
                self.mend(host, fix)
            if not (found := self.doctor(host)):
                break
        return found

    def close(self) -> None:
        for host in self._hosts:
            self.snnet(host, "host", "reset", "--yes")
        for name in self._names:
            ip("netns", "del", name)


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    made = Place()
    yield made
    made.close()


@pytest.mark.kernel
@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.title)
def test_a_breakage_is_found_and_mended(place: Place, section: Section) -> None:
    assert place.doctor(section.host) == {}
    for command in section.breaking:
        place.sh(section.host, command)
    found = place.doctor(section.host)
    wanted = place.said(section.found)
    fixes = {fix for what, fix in found.items() if wanted in what}
    assert place.said(section.fix) in fixes, (wanted, found)
    assert place.mend_all(section.host, found) == {}


_OURS = ("bridge", "tunnel", "tap", "veth", "cbridge", "ctunnel", "mesh")
ONLY_HELD = {
    *(f"{link} deleted" for link in _OURS),
    "record of intents gone",
    "record of intents damaged",
    "exit by somebody else",
    "masquerade by somebody else",
}
"""What only the process that holds the node can tell from what the node has itself."""

DRIFT = [
    change
    for change in changes()
    if documented()[change.name] == REPAIRED and change.name not in ONLY_HELD
]


class Places:
    """A place for many changes; a new one where something was left."""

    def __init__(self) -> None:
        self._place: Place | None = None

    def get(self) -> Place:
        if self._place is None:
            self._place = Place()
        return self._place

    def drop(self) -> None:
        place, self._place = self._place, None
        if place is not None:
            place.close()


@pytest.fixture(scope="module")
def places() -> Iterator[Places]:
    made = Places()
    yield made
    made.drop()


@pytest.mark.kernel
@pytest.mark.parametrize("change", sampled(DRIFT), ids=lambda change: change.name)
def test_drift_is_found_and_mended(places: Places, change: Foreign) -> None:
    """What a node repairs is found, and mended, from the command line too."""
    place = places.get()
    host = "compute" if change.host == "cn" else "concentrator"
    left = {"it was not found": ""}
    try:
        place.world.sh(getattr(place.world, change.host), change.do)
        if found := place.doctor(host):
            left = place.mend_all(host, found)
        assert left == {}
        place.world.sh(getattr(place.world, change.host), f"{change.undo} || true")
        left = place.mend_all(host, place.doctor(host))
        assert left == {}
    finally:
        if left:
            places.drop()


ASK_AGAIN = {
    "start its agent, or create its VNIC again",
    "create one of its VNICs again to name it",
}
"""What is advised about a link of which nobody here knows what it is for, and about its subnet."""

REPORTED = [change for change in changes() if documented()[change.name] == NAMED]


@pytest.mark.kernel
@pytest.mark.parametrize("change", sampled(REPORTED), ids=lambda change: change.name)
def test_what_is_not_ours_is_named_with_what_helps(places: Places, change: Foreign) -> None:
    """What a node only names is found from the command line, and what is printed mends it.

    Where all that is printed is advice, it is undone by hand.
    """
    place = places.get()
    host = "compute" if change.host == "cn" else "concentrator"
    netns = getattr(place.world, change.host)
    left = {"it was not found": ""}
    try:
        place.world.sh(netns, change.do)
        found = place.doctor(host)
        assert found
        assert {*place.mend_all(host, found).values()} <= {ADVICE, *ASK_AGAIN}
        place.world.sh(netns, f"({change.undo}) || true")
        if change.name.startswith("iptables"):  # the rules that mended it
            place.world.sh(netns, f"{change.name.split()[0]} -F")
        left = place.mend_all(host, place.doctor(host))
        assert left == {}
    finally:
        if left:
            places.drop()
