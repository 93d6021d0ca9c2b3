"""A kind of tunnel is five files, and none of them can be forgotten."""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from snnet import contract
from snnet.backends.fake.kinds import KINDS as FAKE_KINDS
from snnet.backends.iproute2.kinds import CODECS as SHELL_CODECS
from snnet.backends.netlink.kinds import CODECS as NETLINK_CODECS
from snnet.cli.app import snnet as command_line
from snnet.config import TUNNELS as CONFIGURABLE
from snnet.config import NetworkConfig
from snnet.conformance.backend import nouns as kit
from snnet.contract import TUNNELS, Geneve, Link, Other, Tunnel
from snnet.core.tunnels import KINDS

ROOT = Path(__file__).parents[1]
PRODUCT = ROOT / "src" / "snnet"
PAGE = ROOT / "docs" / "adding-a-tunnel-kind.md"


def links() -> set[type[Link]]:
    """Every kind of link that snnet makes."""
    there = (*vars(contract.links).values(), *vars(contract.tunnels).values())
    nouns = {noun for noun in there if isinstance(noun, type) and issubclass(noun, Link)}
    return nouns - {Link, Tunnel, Other}


def test_every_kind_of_link_has_a_codec_in_each_backend() -> None:
    assert set(NETLINK_CODECS) == links()
    assert set(SHELL_CODECS) == links()
    assert set(FAKE_KINDS) == links() | {Other}


def test_every_tunnel_of_subnets_has_a_descriptor() -> None:
    assert {kind.noun for kind in KINDS.values()} == set(TUNNELS)
    assert list(KINDS) == [noun.protocol for noun in TUNNELS]
    meshes = {kind.mesh for kind in KINDS.values()}
    assert set(TUNNELS) | meshes == {noun for noun in links() if issubclass(noun, Tunnel)}


def test_what_can_be_chosen_is_what_there_is() -> None:
    assert tuple(KINDS) == CONFIGURABLE
    for name in KINDS:
        assert NetworkConfig(tunnel=name).tunnel == name
    helped = CliRunner().invoke(command_line, ["demo", "--help"]).output
    assert all(name in helped for name in KINDS)


def test_the_kit_tries_every_kind() -> None:
    for nouns in (kit.LINKS, kit.EXTREME_LINKS):
        assert {type(noun) for noun in nouns} == links()


def test_every_kind_is_exported() -> None:
    for noun in links():
        assert getattr(contract, noun.__name__) is noun


def test_the_kinds_that_the_kernel_names_belong_to_one_noun() -> None:
    kinds = [kind for noun in links() for kind in noun.kinds]
    assert len(kinds) == len(set(kinds))


@pytest.mark.parametrize("noun", TUNNELS)
def test_no_other_file_names_a_kind_of_tunnel(noun: type[Tunnel]) -> None:
    """Those on the page, and the list of exports.

    ``Vxlan`` and ``Gretap`` have more: the mesh's forwarding entries hang on vxlans,
    gre is short for multipoint gre too.
    """
    rows = re.findall(r"^\| `(src/snnet/\S+\.py)` \|", PAGE.read_text(), re.MULTILINE)
    allowed = {Path(path.replace("geneve", noun.protocol)) for path in rows}
    assert len(allowed) == 5
    allowed.add(Path("src/snnet/contract/__init__.py"))
    word = re.compile(rf"\b{noun.__name__}\b")
    naming = {
        path.relative_to(ROOT) for path in PRODUCT.rglob("*.py") if word.search(path.read_text())
    }
    assert naming >= allowed
    if noun.protocol == "geneve":
        assert naming == allowed


def test_a_kind_that_is_made_of_these_files_carries_guests(tmp_path: Path) -> None:
    """A copy of geneve under another name: the demo builds its data centre with it."""
    product = tmp_path / "snnet"
    shutil.copytree(PRODUCT, product, ignore=shutil.ignore_patterns("__pycache__"))
    add_to(product / "contract/tunnels.py", toy(inspect.getsource(Geneve)), "TUNNELS += (Toy,)")
    add_to(product / "contract/__init__.py", "from .tunnels import TUNNELS, Toy")
    add_to(
        product / "core/tunnels.py",
        "from snnet.contract import Toy",
        'KINDS["toy"] = TunnelKind(Toy, port=lambda local, remote: GENEVE_PORT)',
    )
    for backend in ("netlink", "iproute2", "fake"):
        kinds = product / "backends" / backend / "kinds"
        (kinds / "toy.py").write_text(toy((kinds / "geneve.py").read_text()))
    done = subprocess.run(
        [sys.executable, "-m", "snnet", "demo", "--backend", "fake", "--tunnel", "toy", "--json"],
        env={"PYTHONPATH": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    report = json.loads(done.stdout)
    assert (report["tunnel"], report["ok"]) == ("toy", True)
    assert {lease["mtu"] for lease in report["leases"]} == {1450}


def toy(text: str) -> str:
    return text.replace("Geneve", "Toy").replace("geneve", "toy")


def add_to(file: Path, *blocks: str) -> None:
    file.write_text("\n\n".join((file.read_text(), *blocks)) + "\n")
