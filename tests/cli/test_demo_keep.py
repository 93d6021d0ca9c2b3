"""``snnet demo --keep`` and ``--remove``, in a mount namespace with a /run of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel

SNNET = [sys.executable, "-m", "snnet", "demo"]
Completed = subprocess.CompletedProcess[str]


class Machine:
    """Runs commands where /run is private: no kept demo of this machine is in the way."""

    def __init__(self, pid: int) -> None:
        self.prefix = ["nsenter", f"--mount=/proc/{pid}/ns/mnt", f"--wd={os.getcwd()}"]
        self.run_folder = Path(f"/proc/{pid}/root/run")

    def run(self, *argv: str) -> Completed:
        return subprocess.run(
            [*self.prefix, *argv],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env={**os.environ, "COLUMNS": "80"},
        )

    def demo(self, *arguments: str) -> Completed:
        return self.run(*SNNET, *arguments)

    @property
    def left(self) -> set[str]:
        """Names of namespaces, and runtime files."""
        folders = (self.run_folder / "netns", self.run_folder / "snnet")
        return {file.name for folder in folders if folder.exists() for file in folder.iterdir()}

    @property
    def holder(self) -> int:
        return int((self.run_folder / "snnet" / "demo.lock").read_text())


@pytest.fixture
def machine() -> Iterator[Machine]:
    script = "mount -t tmpfs tmpfs /run && echo ready && exec sleep 600"
    with subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        machine = Machine(process.pid)
        try:
            yield machine
            assert machine.left == set()
        finally:
            machine.demo("--remove")
            process.kill()


def is_alive(pid: int) -> bool:
    """Whether it may still hold a lock: a thread closes files before it is a zombie (do_exit)."""
    process = Path(f"/proc/{pid}")
    try:
        stats = [task.read_text() for task in (process / "task").glob("*/stat")]
    except (FileNotFoundError, ProcessLookupError):  # a thread ended meanwhile
        return process.exists()
    return any(stat.rpartition(")")[2].split()[0] not in ("Z", "X") for stat in stats)


@pytest.mark.parametrize(
    "arguments", [(), ("--mode", "routed", "--firewall", "iptables")], ids=["tunnels", "routed"]
)
def test_every_printed_command_works(machine: Machine, arguments: tuple[str, ...]) -> None:
    kept = machine.demo("--keep", *arguments)
    assert kept.returncode == 0, kept.stderr
    _, _, shown = kept.stdout.partition("The data centre is up")
    commands = [line.strip() for line in shown.splitlines() if line.startswith("  ")]
    commands = [line for line in commands if not line.startswith("#")]
    assert len(commands) == 6
    assert len(kept.stdout.splitlines()[0]) <= 80
    for line in commands[:-1]:
        done = machine.run("sh", "-c", line.replace("bash", "true"))
        assert done.returncode == 0, (line, done.stderr)
        assert done.stdout or line.endswith("bash")

    again = machine.demo("--keep")
    assert again.returncode == 1
    assert f"already up, held by process {machine.holder}: remove it first" in again.stderr

    holder = machine.holder
    removed = machine.run("sh", "-c", commands[-1])
    assert removed.returncode == 0, removed.stderr
    assert removed.stdout.endswith("nothing left over\n")
    assert not is_alive(holder)
    assert machine.left == set()
    assert machine.demo("--remove").stdout.startswith("nothing to remove")


def test_what_a_killed_process_left_is_named_and_removed(machine: Machine) -> None:
    kept = json.loads(machine.demo("--keep", "--json").stdout)
    assert kept["ok"] is True
    assert kept["remove"].endswith("demo --remove")
    assert kept["namespaces"]["snnet-demo-cn-1"] == "compute node, 192.0.2.11"
    assert set(kept["namespaces"]) < machine.left
    holder = machine.holder
    os.kill(holder, signal.SIGKILL)
    while is_alive(holder):  # its lock ends with it
        time.sleep(0.01)
    (machine.run_folder / "netns" / "snnet-demo-stale").touch()  # names no namespace

    again = machine.demo("--keep")
    assert again.returncode == 1
    assert "24 network namespaces of an earlier demo are left (snnet-demo-" in again.stderr
    assert '"snnet demo --remove"' in again.stderr

    sleeping = subprocess.Popen(
        [*machine.prefix, "ip", "netns", "exec", "snnet-demo-cn-1", "sleep", "600"]
    )
    with sleeping:
        time.sleep(0.5)
        removed = json.loads(machine.demo("--remove", "--json").stdout)
    assert sleeping.returncode == -signal.SIGKILL
    assert removed["ok"] is True
    assert set(removed["namespaces"]) == {*kept["namespaces"], "snnet-demo-stale"}
    assert removed["processes"] >= 1 + 2  # and dnsmasq of each concentrator


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_it_builds_it_keeps_nothing(
    machine: Machine, number: signal.Signals
) -> None:
    with subprocess.Popen(
        [*machine.prefix, *SNNET, "--keep"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "VNICs" in line:
                break
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 1, stderr
    assert "The data centre is up" not in stdout
    assert stderr.rstrip().endswith("snnet: interrupted; nothing left over")
    assert machine.left == set()
