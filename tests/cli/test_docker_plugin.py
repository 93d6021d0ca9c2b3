"""``snnet docker-plugin serve``."""

from __future__ import annotations

import configparser
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from snnet.cli.app import snnet
from tests.docker.client import GATEWAY, Client
from tests.docker.conftest import ENDPOINT, IPAM_OPTIONS, NETWORK, OPTIONS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="snnet-") as name:
        yield Path(name)


def arguments(folder: Path) -> list[str]:
    config = folder / "network.yaml"
    config.write_text("compute_nets: [192.0.2.0/24]\n")
    return [
        "docker-plugin", "serve", "--node-id", "cn-1", "--config", str(config),
        "--backend", "fake", "--firewall", "fake",
        "--plugin-dir", str(folder), "--data-dir", str(folder / "data"),
    ]  # fmt: skip


def test_as_a_service(folder: Path) -> None:
    """It says when it is ready, tells of tunnels, and ends at once when it is asked to."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(folder / "notify"))
        systemd.settimeout(30)
        service = subprocess.Popen(
            [sys.executable, "-m", "snnet", *arguments(folder)],
            env={**os.environ, "NOTIFY_SOCKET": str(folder / "notify")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert systemd.recv(100) == b"READY=1"
        (folder / "snnet.sock").unlink()
        while not (folder / "snnet.sock").exists():  # it is made again
            assert service.poll() is None
            time.sleep(0.05)
        docker = Client(folder / "snnet.sock")
        docker.address(docker.make_pool(**IPAM_OPTIONS), **GATEWAY)
        docker.create_network(NETWORK, OPTIONS)
        docker.create_endpoint(NETWORK, ENDPOINT, "10.1.0.9/24")
        docker.leave(NETWORK, ENDPOINT)
        service.send_signal(signal.SIGTERM)
        out, err = service.communicate(timeout=30)
        assert systemd.recv(100) == b"STOPPING=1"
    assert service.returncode == 0
    events = [json.loads(line) for line in out.splitlines()]
    assert [(event["type"], event["subnet_key"]) for event in events] == [("add", 7), ("del", 7)]
    assert f"snnet: snnet listens at unix://{folder}/snnet.sock" in err
    assert not (folder / "snnet.sock").exists()
    assert (folder / "data" / "registry.db").exists()


def refused(*words: str) -> Result:
    return CliRunner().invoke(snnet, list(words))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--config", "/nowhere"], "does not exist"),
        (["--name", "A/B"], "snnet: name: 'A/B' is not a valid name"),
        (["--address", "127.0.0.1:9999"], "snnet: tls: is needed for a TCP address"),
        (["--registry", "no:where"], "snnet: no registry 'no' is installed"),
        (["--backend", "nope"], "snnet: no backend 'nope' is installed"),
        (["--tls-ca", __file__], "snnet: tls: --tls-cert, --tls-key, --tls-client-cert, --tls-cl"),
    ],
)
def test_what_cannot_be_served(folder: Path, words: list[str], said: str) -> None:
    result = refused(*arguments(folder), *words)
    assert said in result.output
    assert result.exit_code == (1 if "installed" in said else 2)
    assert "Traceback" not in result.output
    assert not list(folder.glob("*.sock"))


def test_help_names_what_is_set_by_itself() -> None:
    text = refused("docker-plugin", "serve", "--help").output
    for words in ("/run/docker/plugins", "(the host's name)", "Start it before", "sqlite"):
        assert words in text


def test_the_unit_starts_what_there_is() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(ROOT / "contrib" / "snnet-docker-plugin.service")
    program, *words = unit["Service"]["ExecStart"].split()
    assert program.endswith("/snnet")
    options = {word for word in words if word.startswith("-")}
    assert options <= set(refused(*words[:2], "--help").output.split())
    assert unit["Service"]["Type"] == "notify"
    assert unit["Unit"]["Before"] == "docker.service"
