"""The alarm of a DHCP server: folders whose events are lost, or that are other ones."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from snnet.dhcp.alarm import ServerAlarm


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "served"
    found.mkdir()
    for name in ("hosts", "options"):
        (found / name).touch()
    return found


@pytest.fixture
def alarm(folder: Path) -> Iterator[ServerAlarm]:
    alarm = ServerAlarm(lambda: ((), [folder]))
    yield alarm
    alarm.close()


def test_a_folder_is_watched_on_after_more_events_than_the_kernel_keeps(
    alarm: ServerAlarm, folder: Path
) -> None:
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    for number in range(most + 10):  # two files in turn: equal events are told once
        os.utime(folder / ("hosts", "options")[number % 2])
    assert alarm.noticed()
    assert not alarm.noticed()
    os.utime(folder / "hosts")
    assert alarm.noticed()


def test_a_folder_that_is_another_one_is_watched_by_the_next_extension(
    alarm: ServerAlarm, folder: Path
) -> None:
    folder.rename(folder.with_name("moved"))
    assert alarm.noticed()
    folder.mkdir()
    assert alarm.extend()
    (folder / "hosts").touch()
    assert alarm.noticed()
