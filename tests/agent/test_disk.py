"""The registry on a disk that is full or read-only: the data plane stays, and all says why."""

from __future__ import annotations

import json
import signal
import sys
from typing import Any

import pytest

from .lan import OUTSIDE_IP
from .machine import Machine

pytestmark = pytest.mark.kernel

DISK = "/run/disk"
HEALTH = (
    "import urllib.error, urllib.request\n"
    "try:\n"
    "    page = urllib.request.urlopen('http://127.0.0.1:9102/health', timeout=5)\n"
    "except urllib.error.HTTPError as error:\n"
    "    page = error\n"
    "print(page.read().decode())\n"
)
FULL, READ_ONLY = "is full: free some space", "is read-only: remount it for writing"


@pytest.fixture
def on_disk(machine: Machine) -> Machine:
    """A machine whose agent keeps its registry on a small disk of its own."""
    machine.inside(machine.host, f"mkdir {DISK}")
    machine.inside(machine.host, f"mount -t tmpfs -o size=2m disk {DISK}")
    machine.registry = f"sqlite://{DISK}/registry.db"
    machine.log.with_name("agent.yaml").write_text("metrics: 127.0.0.1:9102\n")
    start(machine)
    machine.snnet("network create web --subnet 10.1.0.0/24")
    return machine


def start(machine: Machine) -> None:
    machine.start_agent("--config", str(machine.log.with_name("agent.yaml")))


def health(machine: Machine) -> dict[str, Any]:
    """What the agent says of itself; nothing while it does not listen yet."""
    done = machine.run(machine.host, sys.executable, "-c", HEALTH)
    found: dict[str, Any] = json.loads(done.stdout or '{"problem": null, "state": null}')
    return found


def refused(machine: Machine, line: str, reason: str) -> None:
    done = machine.try_snnet(line)
    assert (done.returncode, reason in done.stderr) == (1, True), done.stdout + done.stderr


def test_a_full_disk(on_disk: Machine) -> None:
    machine, host = on_disk, on_disk.host
    c1 = machine.container("c1")
    link = machine.json("vnic show c1")["link_name"]
    assert machine.reaches(c1, OUTSIDE_IP)

    machine.inside(host, f"dd if=/dev/zero of={DISK}/filler bs=4k", check=False)
    refused(machine, "vnic create v2 --network web", FULL)
    machine.until(lambda: FULL in (health(machine)["problem"] or ""))
    assert "c1" in machine.snnet("vnic list"), "what is stored can be read"
    # What others change is repaired all the same.
    machine.inside(host, f"ip link set {link} nomaster")
    machine.until(lambda: machine.reaches(c1, OUTSIDE_IP, patience=0))

    machine.inside(host, f"rm {DISK}/filler")
    assert "ready" in machine.snnet("vnic create v2 --network web")
    machine.until(lambda: health(machine)["state"] == "ready")


def test_a_read_only_disk(on_disk: Machine) -> None:
    """As after a boot with errors on the disk: the agent says what to do, and goes on then."""
    machine, host = on_disk, on_disk.host
    c1 = machine.container("c1")
    machine.end_agent(signal.SIGKILL)
    machine.inside(host, f"mount -o remount,ro {DISK}")
    refused(machine, "vnic create v2 --network web", READ_ONLY)
    start(machine)
    machine.until(lambda: READ_ONLY in (health(machine)["problem"] or ""))
    assert READ_ONLY in machine.log.read_text()
    assert machine.reaches(c1, OUTSIDE_IP)

    machine.inside(host, f"mount -o remount,rw {DISK}")
    assert "ready" in machine.snnet("vnic create v2 --network web")
    assert machine.reaches(c1, OUTSIDE_IP)
