"""The demo on the real kernel."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address, ip_interface
from itertools import product
from pathlib import Path
from typing import TypeVar

import pytest

import snnet
from snnet.config import NetworkMode
from snnet.lab import VERSIONS, Guest, demo_scenario, real, run
from snnet.lab.lab import Lease
from snnet.lab.leftovers import files_about, own_links, runtime_files
from snnet.lab.real import UPLINK, RealLab
from snnet.system.namespaces import Namespace, processes_in
from snnet.system.sweep import namespaces_alive
from tests.sample import sampled

from .conftest import Recorder, StopAt

pytestmark = pytest.mark.kernel


L = TypeVar("L", bound=RealLab)


def real_lab(
    kind: type[L] = RealLab,  # type: ignore[assignment]
    tunnel: str = "vxlan",
    stop: StopAt | None = None,
    mode: NetworkMode = NetworkMode.GRE_TUNNEL,
    uplinks: int = 4,
    drivers: tuple[str, str] = ("netlink", "nftables"),
    versions: frozenset[int] = VERSIONS,
) -> L:
    backend, firewall = drivers
    return kind(
        demo_scenario(mode, uplinks=uplinks, versions=versions),
        backend=backend,
        firewall=firewall,
        tunnel=tunnel,
        cancel=stop or StopAt(),
    )


def machine(mark: str, made: list[Namespace]) -> dict[str, set[str]]:
    """What a lab could leave: its namespaces, processes, files and links.

    Its processes are those that have the mark in their environment.  Its files are about the
    namespaces that it made, but not about a new one of another process with the same number.
    """
    alive = namespaces_alive() if made else set()
    gone = [space for space in made if int(space.id.partition(":")[2]) not in alive]
    return {
        "descriptors": {
            target
            for fd in os.listdir("/proc/self/fd")
            if (target := _target(fd)).startswith(("net:", "/dev/tap", "/dev/net"))
        },
        "processes": set(_processes(mark)),
        "files": {file.name for file in files_about(gone, runtime_files())},
        "links": own_links("netlink"),
    }


def _processes(mark: str) -> Iterator[str]:
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (process / "environ").read_text(errors="replace"):
                yield (process / "cmdline").read_text(errors="replace")


def _target(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""


@pytest.fixture(autouse=True)
def untouched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # Of our environment, the programs that snnet starts see PATH alone.
    mark = f"/nonexistent/{uuid.uuid4()}"
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:{mark}")
    made: list[Namespace] = []

    class Noted(Namespace):
        def __init__(self, name: str) -> None:
            super().__init__(name)
            made.append(self)

    monkeypatch.setattr(real, "Namespace", Noted)
    before = machine(mark, made)
    yield
    after = machine(mark, made)
    assert {what: new for what in after if (new := after[what] - before[what])} == {}


@pytest.mark.parametrize(
    ("tunnel", "uplinks", "mtu"),
    [
        ("vxlan", 4, 1450),
        # The VM has shown gretap in the demo, before its tests.
        pytest.param("gre", 6, 1438, marks=pytest.mark.needs("ip6gretap")),
        pytest.param("geneve", 6, 1430, marks=pytest.mark.needs("geneve")),
    ],
)
def test_every_guest_gets_a_lease_and_reaches_its_own_tenant_only(
    recorder: Recorder, tunnel: str, uplinks: int, mtu: int
) -> None:
    report = run(real_lab(tunnel=tunnel, uplinks=uplinks), recorder)
    assert report.problems == []
    assert report.matrix == report.expected
    assert len(report.leases) == 16
    assert {lease.mtu for lease in report.leases} == {mtu}


@pytest.mark.parametrize(
    ("drivers", "mode", "uplinks"),
    sampled(
        [
            (drivers, mode, uplinks)
            for uplinks in (6, 4)
            for mode in NetworkMode
            for drivers in product(("netlink", "iproute_shell"), ("nftables", "iptables"))
            # The test above shows that one.
            if (drivers, mode, uplinks) != (("netlink", "nftables"), NetworkMode.GRE_TUNNEL, 4)
        ]
    ),
)
def test_both_families_over_uplinks_of_either(
    recorder: Recorder, drivers: tuple[str, str], mode: NetworkMode, uplinks: int
) -> None:
    report = run(real_lab(drivers=drivers, mode=mode, uplinks=uplinks), recorder)
    assert report.problems == []
    assert {connection.address.version for connection in report.connections} == {4, 6}


class Dhcp6Lab(RealLab):
    """Its guests get all that they have by DHCPv6 and router advertisements, with dhclient."""

    folder: Path

    def lease(self) -> list[Lease]:
        script = self.folder / "script"
        script.write_text(_DHCP6_SCRIPT)
        script.chmod(0o755)
        with ThreadPoolExecutor(4) as threads:
            return list(threads.map(self._ask, self._guests))

    def _ask(self, guest: Guest) -> Lease:
        from snnet.system.process import run as run_program

        space, name = self._guests[guest], str(self.folder / guest.name)
        space.ip(["link set lo up", f"link set {UPLINK} up"])

        def said(*words: str) -> str:
            return run_program(["ip", "-6", *words], netns=space.fd).stdout

        _until(lambda: "fe80::" in said("address") and "tentative" not in said("address"))
        command = [
            "dhclient", "-6", "-1", "-d", "-D", "LL", "-cf", "/dev/null", "-lf", f"{name}.leases",
            "-pf", f"{name}.pid", "-sf", str(self.folder / "script"), UPLINK,
        ]  # fmt: skip
        run_program(command, netns=space.fd, timeout=90.0, check=False)
        _until(lambda: "proto ra" in said("route", "show", "default"))
        words = said("route", "show", "default").split()
        (address,) = re.findall(r"inet6 (fd\S+)", said("address", "show", UPLINK))
        mtu = int(run_program(["cat", _MTU6], netns=space.fd).stdout)
        return Lease(guest.name, ip_interface(address), ip_address(words[2]), mtu)


_MTU6 = f"/proc/sys/net/ipv6/conf/{UPLINK}/mtu"
# dhclient would stay, to renew its lease.
_DHCP6_SCRIPT = """#!/bin/sh
[ "$reason" = BOUND6 ] || exit 0
ip -6 address add "$new_ip6_address/128" dev "$interface" nodad
kill $PPID
"""


def _until(ready: Callable[[], bool]) -> None:
    end = time.monotonic() + 75  # see tests/dhcp/test_dnsmasq_ipv6.py
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.skipif(shutil.which("dhclient") is None, reason="needs dhclient")
@pytest.mark.parametrize(
    ("drivers", "uplinks"),
    [(("netlink", "nftables"), 6), (("iproute_shell", "iptables"), 4)],
    ids=str,
)
def test_tenants_of_ipv6_alone(
    recorder: Recorder, drivers: tuple[str, str], uplinks: int, tmp_path: Path
) -> None:
    """From DHCPv6 to port forwards and public addresses, as with IPv4."""
    lab = real_lab(Dhcp6Lab, drivers=drivers, uplinks=uplinks, versions=frozenset({6}))
    lab.folder = tmp_path
    report = run(lab, recorder)
    assert report.problems == []
    assert {str(lease.gateway) for lease in report.leases} == {"fe80::1"}
    assert {lease.mtu for lease in report.leases} == {1430 if uplinks == 6 else 1450}
    assert {connection.what for connection in report.connections} >= {"port forward", "public IP"}


def test_guests_use_the_mtu_and_the_gateway_of_their_lease(recorder: Recorder) -> None:
    seen: dict[str, str] = {}

    class Curious(RealLab):
        def lease(self) -> list[Lease]:
            from snnet.system.process import run as run_program

            leases = super().lease()
            for guest, namespace in self._guests.items():
                seen[guest.name] = "\n".join(
                    run_program(["ip", *words], netns=namespace.fd).stdout
                    for words in (["-o", "address"], ["-o", "link"], ["-o", "route"])
                )
            return leases

    assert run(real_lab(Curious), recorder).ok
    for guest in demo_scenario().guests:
        said = seen[guest.name]
        assert f"{guest.ip}/24" in said
        assert "eth0: " in said or "eth0@" in said
        assert "mtu 1450" in said
        assert f"default via {guest.subnet.gateway(4)} dev eth0" in said


@pytest.mark.parametrize("number", [4, 9, 20, 45, 70, 90])
def test_stopped_at_any_moment_it_leaves_nothing(number: int, recorder: Recorder) -> None:
    with pytest.raises(snnet.Cancelled):
        run(real_lab(stop=StopAt(number)), recorder)


@pytest.mark.parametrize("number", [4, 9, 20, 30])
def test_routed_and_stopped_it_leaves_nothing_either(number: int, recorder: Recorder) -> None:
    with pytest.raises(snnet.Cancelled):
        run(real_lab(stop=StopAt(number), mode=NetworkMode.ROUTED), recorder)


@pytest.mark.parametrize("steps", range(1, 7))
def test_stopped_at_the_start_of_any_step_it_leaves_nothing(steps: int) -> None:
    stop = StopAt()

    class Stopping(Recorder):
        @contextlib.contextmanager
        def step(self, what: str) -> Iterator[None]:
            with super().step(what):
                if len(self.steps) == steps:
                    stop.number = 1
                yield

    recorder = Stopping()
    with pytest.raises(snnet.Cancelled):
        run(real_lab(stop=stop), recorder)
    assert len(recorder.steps) == steps + 1  # the last one removes everything


def test_stopped_while_guests_wait_for_a_lease_it_does_not_wait_for_them() -> None:
    class Patient(RealLab):
        """Nobody answers, so the clients would try for 20 seconds."""

        def lease(self) -> list[Lease]:
            for pid, namespace in list(processes_in(self._spaces)):
                assert namespace.name.startswith("cnci-")
                os.kill(pid, signal.SIGSTOP)
            stop = self.cancel
            assert isinstance(stop, StopAt)
            stop.number = stop.looks + 10
            try:
                return super().lease()
            finally:
                for pid, _ in list(processes_in(self._spaces)):
                    os.kill(pid, signal.SIGCONT)

    recorder = Recorder()
    with pytest.raises(snnet.Cancelled):
        run(real_lab(Patient), recorder)
    assert not recorder.placements


def test_what_is_left_is_reported_and_ended(recorder: Recorder) -> None:
    class Littering(RealLab):
        def close(self) -> list[str]:
            wire = self._spaces[0]
            number = wire.id.replace(":", ".")
            Path(f"/run/snnet/litter-{number}").mkdir()
            with subprocess.Popen(["nsenter", f"--net={wire.path}", "sleep", "60"]) as sleeping:
                deadline = time.monotonic() + 60
                while not list(processes_in(self._spaces)):
                    assert time.monotonic() < deadline
                    time.sleep(0.01)
                left = super().close()
            assert sleeping.returncode == -signal.SIGKILL
            return left

    report = run(real_lab(Littering), recorder)
    process, folder = report.left
    assert process.startswith("process ")
    assert process.endswith(" in wire")
    assert folder.startswith("/run/snnet/litter-")
    assert not Path(folder.split()[0]).exists()
    assert not report.ok


def test_a_bug_does_not_keep_it_from_removing_the_rest(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: snnet.Cnci) -> None:
        raise RuntimeError("as in a bug")

    monkeypatch.setattr(snnet.Cnci, "shutdown", broken)
    report = run(real_lab(), recorder)
    assert any("RuntimeError('as in a bug'), which is a bug" in what for what in report.left)
    assert any(what.startswith("process ") for what in report.left)
    assert any(what.startswith("/run/snnet/dhcp@") for what in report.left)
