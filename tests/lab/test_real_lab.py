"""The demo on the real kernel."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import snnet
from snnet.config import NetworkMode
from snnet.lab import demo_scenario, run
from snnet.lab.lab import Lease
from snnet.lab.leftovers import own_links, runtime_files
from snnet.lab.real import RealLab
from snnet.system.namespaces import processes_in

from .conftest import Recorder, StopAt

pytestmark = pytest.mark.kernel


def real_lab(
    kind: type[RealLab] = RealLab,
    tunnel: str = "vxlan",
    stop: StopAt | None = None,
    mode: NetworkMode = NetworkMode.GRE_TUNNEL,
) -> RealLab:
    return kind(
        demo_scenario(mode),
        backend="netlink",
        firewall="nftables",
        tunnel=tunnel,
        cancel=stop or StopAt(),
    )


def machine(mark: str) -> dict[str, set[str]]:
    """What a lab could leave: its namespaces, processes, files and links.

    Its processes are those that have the mark in their environment.
    """
    nodes = ("cn-1-", "cn-2-", "nn-1-", "cnci-blue", "cnci-green")
    return {
        "descriptors": {
            target
            for fd in os.listdir("/proc/self/fd")
            if (target := _target(fd)).startswith(("net:", "/dev/tap", "/dev/net"))
        },
        "processes": set(_processes(mark)),
        "files": {
            file.name for file in runtime_files() if any(name in file.name for name in nodes)
        },
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
    before = machine(mark)
    yield
    after = machine(mark)
    left = {what: new for what in after if (new := after[what] - before[what])}
    deadline = time.monotonic() + 60
    while set(left) == {"files"} and time.monotonic() < deadline:
        # Another run of these tests may have made them, and removes them; ours would stay.
        time.sleep(0.5)
        left = {"files": new} if (new := left["files"] & machine(mark)["files"]) else {}
    assert left == {}


@pytest.mark.parametrize(
    ("tunnel", "mtu"),
    [
        ("vxlan", 1450),
        pytest.param("gre", 1458, marks=pytest.mark.needs("gretap")),
        pytest.param("geneve", 1450, marks=pytest.mark.needs("geneve")),
    ],
)
def test_every_guest_gets_a_lease_and_reaches_its_own_tenant_only(
    recorder: Recorder, tunnel: str, mtu: int
) -> None:
    report = run(real_lab(tunnel=tunnel), recorder)
    assert report.problems == []
    assert report.matrix == report.expected
    assert len(report.leases) == 16
    assert {lease.mtu for lease in report.leases} == {mtu}


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
        assert f"default via {guest.subnet.gateway} dev eth0" in said


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
