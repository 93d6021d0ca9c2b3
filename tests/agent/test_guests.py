"""Real guests on a host with a real agent, started by the programs in ``examples``."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from snnet.system.process import find_program

from .guest import boot_options
from .lan import HOST_IP, OUTSIDE_IP, Lan

pytestmark = pytest.mark.kernel

EXAMPLE = Path(__file__).parents[2] / "examples" / "one-host"
FETCH = (
    "import sys, urllib.request\n"
    "with urllib.request.urlopen(sys.argv[1], timeout=5) as page:\n"
    "    print(page.read().decode(), end='')\n"
)
PORT_OF_HOST = f"http://{HOST_IP}:8080/"
VM_IP, CONTAINER_IP, GATEWAY = "10.1.0.10", "10.1.0.2", "10.1.0.1"


class Guests:
    """Programs of the example, each in a process group of its own, with what they print."""

    def __init__(self, lan: Lan, folder: Path) -> None:
        self.lan, self.folder = lan, folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *argv: str) -> None:
        with (self.folder / name).open("wb") as output:
            self.running[name] = subprocess.Popen(
                [*self.lan.enter(self.lan.host), *argv],
                env=self.lan.environment(), stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def said(self, name: str) -> str:
        return (self.folder / name).read_text(errors="replace").replace("\r", "")

    def until_said(self, name: str, line: str) -> None:
        self.lan.until(
            lambda: line in self.said(name).splitlines(), 60, lambda: f"{line}: {self.said(name)}"
        )

    def end(self, name: str) -> None:
        process = self.running.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)

    def close(self) -> None:
        for name in [*self.running]:
            self.end(name)


@pytest.fixture
def guests(lan: Lan, tmp_path: Path) -> Iterator[Guests]:
    for program in ("qemu-system-x86_64", "busybox"):
        if find_program(program) is None:
            pytest.skip(f"{program} is not installed")
    guests = Guests(lan, tmp_path)
    yield guests
    guests.close()


def test_a_vm_and_a_container_of_the_example(lan: Lan, guests: Guests, tmp_path: Path) -> None:
    """The file, the launcher of VMs and the container by unshare, as their README says.

    A real QEMU guest boots, takes its lease from the agent's dnsmasq, and is reached through
    the port forward; it and the container reach each other and the outside.
    """
    lan.snnet(f"apply -f {EXAMPLE}/web.yaml")
    lan.snnet("status --wait")
    lan.snnet("network update web --mtu 1400")
    assert lan.json("vnic show c1")["ip"][0] == CONTAINER_IP

    asking = (
        f"until {shlex.join([sys.executable, '-c', FETCH, f'http://{VM_IP}/'])} 2>/dev/null;"
        "do sleep 0.3; done;"
        f"ping -q -c 1 -W 10 {OUTSIDE_IP} >/dev/null && echo reaches {OUTSIDE_IP};"
        "hostname; exec sleep 1000"
    )
    guests.start("c1", "sh", f"{EXAMPLE}/container.sh", "c1", "sh", "-c", asking)
    targets = (GATEWAY, CONTAINER_IP, OUTSIDE_IP)
    options = boot_options(tmp_path, targets)
    vm = [sys.executable, f"{EXAMPLE}/vm.py", "v1", "--accel", "tcg", "--", *options]
    guests.start("v1", *vm)

    guests.until_said("v1", "serving")
    said = guests.said("v1").splitlines()
    assert f"lease {VM_IP} via {GATEWAY} dns {GATEWAY}" in said
    assert "mtu 1400" in said, "the NIC says how much fits"
    assert {f"reaches {target}" for target in targets} <= {*said}, said
    lan.snnet("network create none --subnet fd00:7::/48 --no-wait")  # which dnsmasq cannot serve
    assert VM_IP in lan.snnet("lease list")
    lan.snnet("network delete none")

    guests.start("outside", *lan.enter(lan.outside), sys.executable, "-c", FETCH, PORT_OF_HOST)
    guests.until_said("outside", "this is v1")
    guests.until_said("c1", "c1")
    assert guests.said("c1").splitlines() == ["this is v1", f"reaches {OUTSIDE_IP}", "c1"]

    # A container that ends takes its link along; the agent makes it again for the next one.
    ended = lan.json("vnic show c1")["link_name"]
    guests.end("c1")
    lan.until(lambda: ended in lan.links())
    guests.start("again", "sh", f"{EXAMPLE}/container.sh", "c1", "sh", "-c", asking)
    guests.until_said("again", "c1")
