"""The iproute_shell backend in a namespace of its own, and netlink to look at the same."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from snnet.backends.iproute_shell import IprouteShellBackend, shell
from snnet.backends.netlink import NetlinkBackend
from snnet.contract import Address, Driver, Link, Noun, Outcome, Sysctl
from snnet.contract.operations import Operation
from snnet.system.host import RealHost
from snnet.system.process import Completed
from tests.conftest import ip

from .nouns import CHANGES, GROUND, LINKS

KERNELS_OWN = {"lo", "gre0", "gretap0", "erspan0", "ip6gre0", "ip6tnl0", "sit0", "tunl0"}
"""Links of every new namespace, where the modules are loaded."""

Opener = Callable[[type[Driver], str], Any]


@pytest.fixture
def open_driver(tmp_path: Path) -> Iterator[Opener]:
    """Open a driver in a namespace, by name."""
    with ExitStack() as opened:

        def open_(cls: Any, netns: str) -> Any:
            host = RealHost(netns, owner="cn:test", runtime=tmp_path / "run")
            opened.callback(host.close)
            driver = cls(host)
            opened.callback(driver.close)
            return driver

        yield open_


@pytest.fixture
def backend(open_driver: Opener, netns: str) -> IprouteShellBackend:
    driver: IprouteShellBackend = open_driver(IprouteShellBackend, netns)
    return driver


@pytest.fixture
def seen(open_driver: Opener, netns: str) -> NetlinkBackend:
    """The netlink backend in the same namespace."""
    driver: NetlinkBackend = open_driver(NetlinkBackend, netns)
    return driver


@pytest.fixture
def done(backend: IprouteShellBackend) -> Callable[..., Outcome]:
    """Apply operations that must all succeed."""

    def apply(*operations: Operation) -> Outcome:
        outcome = backend.apply(operations)
        assert outcome.errors == {}
        assert outcome.done == set(range(len(operations)))
        return outcome

    return apply


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that were run and changed something, one by one."""
    commands: list[list[str]] = []
    real = runner()

    def run(argv: list[str], **options: Any) -> Any:
        completed = real(argv, **options)
        if argv[:2] == ["ip", "-batch"]:
            lines = options["input"].splitlines()
            failed = re.search(r"Command failed -:(\d+)", completed.stderr)
            last = int(failed[1]) if failed else len(lines)
            commands.extend(["ip", *shlex.split(line)] for line in lines[:last])
        elif not reads(argv):
            commands.append(argv)
        return completed

    monkeypatch.setattr(shell, "run", run)
    return commands


def runner() -> Callable[..., Completed]:
    """What runs the backend's programs."""
    real: Callable[..., Completed] = vars(shell)["run"]
    return real


def reads(argv: list[str]) -> bool:
    """Whether the command only looks."""
    if argv[0] == "sysctl":
        return "-w" not in argv
    if argv == ["tc", "-batch", "-"]:  # in another namespace
        return True
    return not {"-json", "get", "show", "-Version"}.isdisjoint(argv)


def names(netns: str) -> set[str]:
    """What links there are besides the kernel's own, as ``ip`` sees it."""
    lines = ip("-o", "link", "show", netns=netns).splitlines()
    return {line.split(": ")[1].split("@")[0] for line in lines} - KERNELS_OWN


def view(driver: Driver, noun: Noun) -> dict[str, Any] | None:
    """All the driver knows of the noun, by look-up and by snapshot alike."""
    found = driver.find(noun)
    listed = driver.snapshot([type(noun)]).get(noun.key)
    assert (found and found.to_dict()) == (listed and listed.to_dict())
    return None if found is None else found.to_dict()


def state(driver: NetlinkBackend) -> dict[Any, Any]:
    """All that netlink sees, without what chance decides."""
    found = {}
    for key, noun in driver.snapshot().items():
        data = noun.to_dict()
        if isinstance(noun, Address):  # how long ago it was added
            data["flags"] = [flag for flag in data["flags"] if flag != "tentative"]
        if isinstance(noun, Link):
            del data["index"]
            by_chance = noun.mac is not None and noun.mac not in _MACS
            if by_chance:
                del data["mac"]
            for sysctl in ("ipv4.conf.{}.proxy_arp", "ipv4.neigh.{}.proxy_delay"):
                name = sysctl.format(noun.name.replace(".", "/"))
                setting = driver.find(Sysctl(name=f"net.{name}"))
                data[sysctl] = setting and setting.to_dict()["value"]
        found[key] = data
    return found


_MACS = {getattr(noun, "mac", None) for noun in [*GROUND, *LINKS, *(old for old, _ in CHANGES)]}
