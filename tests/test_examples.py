"""The examples: their types are right, and those of one host do what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from snnet import Agent, FakeKernel, NetworkConfig
from snnet.cli.documents import read_documents
from snnet.cluster.applying import read_documents as check_documents

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "one-host"


PROGRAMS = sorted(
    path for pattern in ("*/*.py", "*/src/*/*.py") for path in (ROOT / "examples").glob(pattern)
)


def test_the_python_passes_mypy_strict(tmp_path: Path) -> None:
    """With no settings of this project, and snnet's types as they are installed."""
    settings = tmp_path / "mypy.ini"
    # What the IPDB example needs is not installed here, and has no types.
    settings.write_text(
        "[mypy]\nstrict = true\n[mypy-pr2modules.*]\nignore_missing_imports = true\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", str(settings),
         "--cache-dir", str(tmp_path), *map(str, PROGRAMS)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", sorted(EXAMPLE.glob("*.yaml")), ids=lambda path: path.name)
def test_the_files_can_be_applied(path: Path) -> None:
    documents = read_documents(path.read_bytes(), path.name)
    kinds = [item.wanted.kind for item in check_documents(documents)]
    assert {"network", "vnic", "forward"} <= {*kinds}


def test_the_program_runs_and_may_run_again(tmp_path: Path) -> None:
    registry = f"sqlite://{tmp_path}/registry.db"
    kernel = FakeKernel()
    kernel.add_uplink("eth0", "192.0.2.11/24")
    drivers: dict[str, Any] = {"backend": kernel, "firewall": "fake", "dhcp": "fake"}
    with Agent("host-1", NetworkConfig(topology="local"), registry=registry, **drivers) as agent:
        agent.step(0)
        agent.start()
        for _ in range(2):
            done = subprocess.run(
                [sys.executable, EXAMPLE / "program.py"],
                env={**os.environ, "SNNET_REGISTRY": registry},
                capture_output=True, text=True,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            made = {vnic.vnic_id: vnic.link_name for vnic in agent.node.topology().vnics}
            assert done.stdout.splitlines() == [
                f"db: ready, 10.2.0.2, link {made['db']}",
                f"api: ready, 10.2.0.3, link {made['api']}",
            ]
