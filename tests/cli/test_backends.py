"""``snnet backends``: every installed driver is listed, whatever it does."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from snnet import contract
from snnet.cli.app import snnet as command
from snnet.cli.samples import samples
from tests.distributions import install, on_the_path

GOOD = """
from snnet.backends.fake import FakeKernel

class Own(FakeKernel):
    def __init__(self, host):
        super().__init__(gaps={"gre"})

class Picky(Own):
    def __init__(self, host):
        host.netns.descriptor_for("picky", "backend")  # as drivers of the real kernel do
        super().__init__(host)
"""

BAD = """
import sys
from snnet.backends.fake import FakeKernel

print("hello, I am a plugin")

class Constructor(FakeKernel):
    def __init__(self, host):
        raise RuntimeError("no such luck")

class Missing(FakeKernel):
    def __init__(self, host):
        super().__init__()
    def missing(self, noun):
        raise KeyError(type(noun).__name__)

class Closing(FakeKernel):
    def __init__(self, host):
        super().__init__()
    def close(self):
        raise OSError("stuck")

class Carrying(FakeKernel):
    carries = 7
    def __init__(self, host):
        super().__init__()

number = 7

def a_dict(host):
    return {}
"""


@pytest.fixture(autouse=True)
def without_root(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """These tests are the same for everybody."""
    if not request.node.get_closest_marker("kernel"):
        monkeypatch.setattr(os, "geteuid", lambda: 1000)


@pytest.fixture
def third_parties(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(
        tmp_path,
        "acme-net",
        {"snnet.backends": {"own": "acme_good:Own", "picky": "acme_good:Picky"}},
        {"acme_good": GOOD},
        version="2.5",
    )
    install(
        tmp_path,
        "bad-net",
        {
            "snnet.backends": {
                "no-module": "bad_net_is_not_there:Driver",
                "import-error": "bad_import:Driver",
                "at-import": "bad_at_import:Driver",
                "exit": "bad_exit:Driver",
                "no-attribute": "bad_net:Nothing",
                "number": "bad_net:number",
                "dict": "bad_net:a_dict",
                "constructor": "bad_net:Constructor",
                "missing": "bad_net:Missing",
                "closing": "bad_net:Closing",
                "carrying": "bad_net:Carrying",
            },
            "snnet.registries": {"filing": "bad_net:a_dict"},
        },
        {
            "bad_net": BAD,
            "bad_import": "import bad_library_that_nobody_has",
            "bad_at_import": "raise ZeroDivisionError('at import')",
            "bad_exit": "raise SystemExit('I quit')",
        },
    )
    on_the_path(monkeypatch, tmp_path)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(command, ["backends", *arguments], env={"COLUMNS": "80"})


def listed() -> dict[tuple[str, str], dict[str, Any]]:
    result = invoke("--json")
    assert result.exit_code == 0, result.output
    drivers = json.loads(result.stdout)["drivers"]
    return {(driver["group"], driver["name"]): driver for driver in drivers}


def test_what_comes_with_snnet_is_listed() -> None:
    found = listed()
    fake = found["snnet.backends", "fake"]
    assert (fake["distribution"], fake["loads"], fake["reason"]) == ("snnet", True, None)
    assert fake["supports"][:3] == ["bridge", "tap", "veth"]
    assert "gretap" in fake["supports"]
    assert fake["lacks"] == {}
    assert ("snnet.backends", "netlink") in found
    assert found["snnet.firewalls", "fake"]["supports"][:2] == ["Zone", "ProtectedNetwork"]
    assert found["snnet.dhcp", "fake"]["supports"] == ["DhcpScope"]
    none = found["snnet.firewalls", "none"]
    assert none["supports"] == []
    assert "choose firewall='nftables'" in none["lacks"]["Zone"]


def test_without_root_it_says_so() -> None:
    assert json.loads(invoke("--json").stdout)["asked_kernel"] is False
    netlink = listed()["snnet.backends", "netlink"]
    assert netlink["loads"]
    assert netlink["reason"] == "run as root to see what it can do here"
    assert invoke().stdout.endswith("not root: drivers of the real kernel were not asked\n")


@pytest.mark.usefixtures("third_parties")
def test_a_third_partys_driver_is_listed_with_its_distribution() -> None:
    own = listed()["snnet.backends", "own"]
    assert (own["distribution"], own["version"]) == ("acme-net", "2.5")
    assert own["entry_point"] == "acme_good:Own"
    assert own["loads"]
    assert "bridge" in own["supports"]
    assert own["lacks"] == {"gre": "this kernel has no gre: load ip_gre or set tunnel 'vxlan'"}


@pytest.mark.usefixtures("third_parties")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no-module", "ModuleNotFoundError: No module named 'bad_net_is_not_there'"),
        ("import-error", "ModuleNotFoundError: No module named 'bad_library_that_nobody_has'"),
        ("at-import", "ZeroDivisionError: at import"),
        ("exit", "SystemExit: I quit"),
        ("no-attribute", "has no attribute 'Nothing'"),
    ],
)
def test_what_does_not_load_is_listed_with_its_reason(name: str, reason: str) -> None:
    found = listed()["snnet.backends", name]
    assert not found["loads"]
    assert reason in found["reason"]
    assert found["supports"] == []


@pytest.mark.usefixtures("third_parties")
def test_a_missing_that_raises_is_a_reason_for_each_noun() -> None:
    found = listed()["snnet.backends", "missing"]
    assert (found["loads"], found["supports"]) == (True, [])
    assert found["lacks"]["bridge"] == "missing() failed: KeyError: 'Bridge'"
    assert found["lacks"]["Fdb"] == "missing() failed: KeyError: 'Fdb'"


@pytest.mark.usefixtures("third_parties")
def test_other_mischief_does_no_harm() -> None:
    found = listed()
    assert found["snnet.backends", "closing"]["supports"]
    assert "'int' object is not iterable" in found["snnet.backends", "carrying"]["reason"]
    assert found["snnet.backends", "fake"]["supports"]
    registry = found["snnet.registries", "filing"]
    assert (registry["loads"], registry["reason"], registry["asked"]) == (True, None, None)


@pytest.mark.kernel
@pytest.mark.usefixtures("third_parties")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("number", "backend 'number' cannot be opened: TypeError: 'int' object is not callable"),
        ("dict", "backend 'dict' returned a dict, not a snnet Driver"),
        ("constructor", "backend 'constructor' cannot be opened: RuntimeError: no such luck"),
    ],
)
def test_what_cannot_be_opened_is_listed_with_its_reason(name: str, reason: str) -> None:
    found = listed()["snnet.backends", name]
    assert (found["loads"], found["reason"]) == (False, reason)


def test_two_of_one_name_are_no_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("twin-a", "open_kernel"), ("twin-b", "FakeKernel")):
        value = f"snnet.backends.fake:{value}"
        install(tmp_path, name, {"snnet.backends": {"twin": value}})
    on_the_path(monkeypatch, tmp_path)
    found = json.loads(invoke("--json").stdout)["drivers"]
    twins = [driver for driver in found if driver["name"] == "twin"]
    assert [twin["distribution"] for twin in twins] == ["twin-a", "twin-b"]
    for twin in twins:
        assert not twin["loads"]
        assert "uninstall all but one of twin-a, twin-b" in twin["reason"]


@pytest.mark.usefixtures("third_parties")
def test_the_table_is_readable_in_80_columns() -> None:
    result = invoke()
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in result.stdout
    assert lines[1].split() == ["for", "name", "from", "supports"]
    assert any(line.split()[:4] == ["firewalls", "fake", "snnet", "0.1.0"] for line in lines)
    words = " ".join(result.stdout.split())
    assert "at-import bad-net 1.0 backend 'at-import' cannot be loaded:" in words
    assert "Traceback" not in result.output


@pytest.mark.usefixtures("third_parties")
def test_what_plugins_print_does_not_mix_with_json() -> None:
    result = invoke("--json")
    assert json.loads(result.stdout)
    assert "hello, I am a plugin" not in result.stdout


def test_there_is_a_sample_of_every_noun() -> None:
    """A noun that is new in the contract has to be asked for here as well."""
    nouns = {
        thing
        for name in contract.__all__
        if isinstance(thing := getattr(contract, name), type) and issubclass(thing, contract.Noun)
    }
    abstract = {contract.Noun, contract.Owned, contract.Link, contract.Tunnel}
    read_only = {contract.Other, contract.DhcpLease}
    engines_own = {contract.DockerAccept, contract.Inside, contract.SharedSysctl}
    assert {type(noun) for noun in samples("cn:x")} == nouns - abstract - read_only - engines_own


@pytest.mark.kernel
def test_as_root_the_kernel_is_asked_in_a_namespace_that_is_gone_afterwards() -> None:
    before = set(os.listdir("/proc/self/fd"))
    netlink = listed()["snnet.backends", "netlink"]
    assert netlink["asked"] == "namespace"
    assert {"bridge", "tap", "veth", "Address"} <= set(netlink["supports"])
    assert listed()["snnet.dhcp", "fake"]["asked"] == "fake host"
    assert set(os.listdir("/proc/self/fd")) == before
