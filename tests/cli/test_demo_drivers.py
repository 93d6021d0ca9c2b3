"""``snnet demo`` with drivers of third parties, and with drivers that cannot run it."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from snnet.cli.app import snnet as command
from snnet.contract import Gretap, Noun
from tests.distributions import install, on_the_path

DRIVERS = """
from snnet.backends.fake import FakeFirewall, FakeKernel
from snnet.backends.netlink import NetlinkBackend
from snnet.contract import Masquerade, Vxlan
from snnet.firewall.nftables import NftablesFirewall

class Wires(NetlinkBackend):
    name = "wires"

class Walls(NftablesFirewall):
    name = "walls"

class PaperWalls(FakeFirewall):
    name = "paper-walls"

class InMemory(FakeKernel):
    name = "in-memory"
    def __init__(self, host):
        super().__init__()

class NoVxlan(NetlinkBackend):
    name = "no-vxlan"
    def missing(self, noun):
        return "no vxlan here" if isinstance(noun, Vxlan) else super().missing(noun)

class NoNat(NftablesFirewall):
    name = "no-nat"
    def missing(self, noun):
        return "no NAT here" if isinstance(noun, Masquerade) else super().missing(noun)

class Picky(NetlinkBackend):
    name = "picky"
    carries = frozenset()
    def missing(self, noun):
        return None
"""


@pytest.fixture(autouse=True)
def third_parties(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(
        tmp_path,
        "acme-net",
        {
            "snnet.backends": {
                "wires": "acme_net:Wires",
                "in-memory": "acme_net:InMemory",
                "no-vxlan": "acme_net:NoVxlan",
                "picky": "acme_net:Picky",
            },
            "snnet.firewalls": {
                "walls": "acme_net:Walls",
                "paper-walls": "acme_net:PaperWalls",
                "no-nat": "acme_net:NoNat",
            },
        },
        {"acme_net": DRIVERS},
    )
    on_the_path(monkeypatch, tmp_path)


def demo(*arguments: str) -> Result:
    return CliRunner().invoke(command, ["demo", *arguments], env={"COLUMNS": "80"})


def error_of(result: Result, code: int = 1) -> str:
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()[-1:]
    return line


def test_a_firewall_of_a_third_party_runs_on_the_fake() -> None:
    result = demo("--backend", "fake", "--firewall", "paper-walls", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["firewall"] == "paper-walls"


def test_a_name_that_is_not_installed_is_wrong_usage() -> None:
    result = demo("--firewall", "no-such")
    assert result.exit_code == 2
    assert "'no-such' is not installed; installed: fake, iptables, nftables" in result.stderr


def test_names_are_completed() -> None:
    demo = command.get_command(click.Context(command), "demo")
    assert demo is not None
    option = next(param for param in demo.params if param.name == "firewall")
    context = command.make_context("snnet", ["demo"])
    assert [item.value for item in option.shell_complete(context, "p")] == ["paper-walls"]


@pytest.mark.parametrize("backend", ["auto", "fake"])
def test_what_is_in_memory_cannot_be_kept(backend: str) -> None:
    arguments = ["--backend", backend, *(["--firewall", "fake"] if backend == "auto" else [])]
    assert "there is nothing to keep" in error_of(demo("--keep", *arguments), 2)


def test_without_root_nothing_is_kept_on_the_fake_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "run as root" in error_of(demo("--keep"))
    assert "run as root" in error_of(demo("--remove"))


def test_keep_and_remove_exclude_each_other() -> None:
    assert demo("--keep", "--remove").exit_code == 2


@pytest.mark.kernel
@pytest.mark.parametrize("mode", ["gre_tunnel", "routed"])
def test_drivers_of_a_third_party_run_on_the_kernel(mode: str) -> None:
    result = demo("--backend", "wires", "--firewall", "walls", "--mode", mode, "--json")
    assert result.exit_code == 0, result.stderr
    data = json.loads(result.stdout)
    assert (data["backend"], data["firewall"], data["ok"]) == ("wires", "walls", True)


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--backend", "in-memory"], "'in-memory' cannot run the demo: it creates no links in"),
        (["--backend", "picky"], "backend 'picky' cannot run the demo: it does not carry Bridge"),
        (["--firewall", "no-nat"], "firewall 'no-nat' cannot run the demo: no NAT here"),
        (
            ["--backend", "no-vxlan", "--tunnel", "vxlan"],
            "tunnel 'vxlan' cannot be used here: no vxlan here, or use backend 'fake'",
        ),
    ],
)
def test_what_a_driver_lacks_is_said_before_the_start(arguments: list[str], said: str) -> None:
    result = demo(*arguments)
    assert said in error_of(result)
    assert len(result.stderr.splitlines()) == 1


@pytest.fixture
def without_gretap(monkeypatch: pytest.MonkeyPatch) -> None:
    from snnet.backends.netlink import NetlinkBackend

    real = NetlinkBackend.missing

    def missing(self: NetlinkBackend, noun: Noun) -> str | None:
        return "no gretap here" if isinstance(noun, Gretap) else real(self, noun)

    monkeypatch.setattr(NetlinkBackend, "missing", missing)


@pytest.mark.kernel
@pytest.mark.usefixtures("without_gretap")
@pytest.mark.parametrize("backend", ["auto", "netlink"])
def test_a_named_tunnel_never_becomes_a_fake_one(backend: str) -> None:
    said = error_of(demo("--tunnel", "gre", "--backend", backend))
    assert said == (
        "snnet: tunnel 'gre' cannot be used here: no gretap here, or use backend 'fake'"
    )


@pytest.mark.kernel
@pytest.mark.usefixtures("without_gretap")
def test_an_automatic_tunnel_is_another_one() -> None:
    result = demo("--json")
    assert result.exit_code == 0
    assert "tunnel vxlan: no gretap here" in result.stderr
    data = json.loads(result.stdout)
    assert (data["backend"], data["tunnel"]) == ("netlink", "vxlan")
