"""What the runtime directory has about namespaces that are gone is removed, and nothing else."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from snnet.system import sweep as module
from snnet.system.netns import in_netns, netns_id, open_netns
from snnet.system.sweep import _sees_all, sweep
from tests.conftest import ip

pytestmark = pytest.mark.kernel


def files(runtime: Path, number: str) -> set[str]:
    """Make one file of each kind about a namespace; return their names."""
    names = {
        f"record-sysctl-{number}.json",
        f"record-sysctl-{number}.lock",
        f"journal-intents-cnci:c-1-{number}.jsonl",
        f"claim-cn:cn-1-{number}.lock",
    }
    for name in names:
        (runtime / name).write_text("x")
    folder = runtime / f"dhcp@{number}@cnci:c-1@scb-abc"
    folder.mkdir()
    (folder / "hosts").write_text("x")
    return {*names, folder.name}


def number_of(netns: str) -> str:
    fd = open_netns(netns)
    try:
        return netns_id(fd).replace(":", ".")
    finally:
        os.close(fd)


def left(runtime: Path) -> set[str]:
    return {path.name for path in runtime.iterdir()}


def test_what_is_about_a_dead_namespace_goes(tmp_path: Path, make_netns: Callable[[], str]) -> None:
    ip("netns", "add", "snnet-test-dies")
    dead = number_of("snnet-test-dies")
    ip("netns", "del", "snnet-test-dies")
    alive = files(tmp_path, number_of(make_netns()))
    others = {"else.json", "record-sysctl.json", "dhcp@x@y@z", "4.4026532177"}
    for name in others:
        (tmp_path / name).write_text("x")
    gone = files(tmp_path, dead)
    assert sweep(tmp_path) == [], "it may be on its way to a process"
    if not _sees_all():
        assert sweep(tmp_path, age=-1) == [], "processes of others may be in any of them"
        return
    assert set(sweep(tmp_path, age=-1)) == gone
    assert left(tmp_path) == alive | others | {"swept"}
    assert sweep(tmp_path, age=-1) == []


@pytest.mark.parametrize("held", ["descriptor", "thread"])
def test_a_namespace_that_is_only_held_is_alive(tmp_path: Path, held: str) -> None:
    ip("netns", "add", "snnet-test-held")
    fd = open_netns("snnet-test-held")
    kept = files(tmp_path, number_of("snnet-test-held"))
    ready, done = threading.Event(), threading.Event()

    def stay() -> None:
        ready.set()
        done.wait(10)

    thread = threading.Thread(target=in_netns, args=(fd, stay))
    if held == "thread":
        thread.start()
        ready.wait(10)
        os.close(fd)
    ip("netns", "del", "snnet-test-held")
    try:
        assert sweep(tmp_path, age=-1) == []
        assert left(tmp_path) - {"swept"} == kept
    finally:
        done.set()
        if held == "thread":
            thread.join()
        else:
            os.close(fd)


def test_who_does_not_see_all_processes_removes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = files(tmp_path, "4.1")
    monkeypatch.setattr(module, "_FIRST_PID_NAMESPACE", 1)
    assert sweep(tmp_path, age=-1) == []
    monkeypatch.undo()
    monkeypatch.setattr(module, "has_capability", lambda number: False)
    assert sweep(tmp_path, age=-1) == []
    assert left(tmp_path) == kept


def test_all_processes_are_looked_at_once_an_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent starts a node for each of its concentrators; their records are old by then."""
    looks: list[Path] = []

    def alive() -> set[int]:
        looks.append(tmp_path)
        return {1}

    monkeypatch.setattr(module, "_sees_all", lambda: True)
    monkeypatch.setattr(module, "namespaces_alive", alive)
    files(tmp_path, "4.1")
    hours_ago = time.time() - 7200
    for path in tmp_path.iterdir():
        os.utime(path, (hours_ago, hours_ago))
    for _ in range(3):
        assert sweep(tmp_path) == []
    assert len(looks) == 1
    for at in (hours_ago, time.time() + 7200):
        os.utime(tmp_path / "swept", (at, at))
        sweep(tmp_path)
    assert len(looks) == 3
