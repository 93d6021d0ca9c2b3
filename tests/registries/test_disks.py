"""The registry in a file on a disk that is full or read-only: on real file systems."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel

WORK = """
import os, sys
from snnet.contract import Delete, Put, Unavailable
from snnet.registries.sqlite import SqliteRegistry

def remount(options):
    assert os.system(f"mount -o remount,{options} {sys.argv[1]}") == 0

def fill():
    filler = os.open(f"{sys.argv[1]}/filler", os.O_CREAT | os.O_WRONLY)
    try:
        while True:
            os.write(filler, b"x" * 4096)
    except OSError:
        os.close(filler)

url = f"//{sys.argv[1]}/registry.db"
"""

FULL = """
with SqliteRegistry(url) as registry:
    registry.commit([Put("first", {"n": 1})])
    watch = registry.watch("", after=registry.read().revision)
    stored = failed = 0
    while failed < 3:
        try:
            registry.commit([Put(f"k{stored}", {"t": "x" * 20_000})])
            stored += 1
        except Unavailable as error:
            assert error.unwritten, error
            assert "is full: free some space" in str(error), error
            failed += 1
    found = registry.read("").entries
    assert len(found) == stored + 1, (len(found), stored)
    assert stored > 3
    assert found["first"].document == {"n": 1}
    with SqliteRegistry(url) as second:
        assert len(second.read("").entries) == stored + 1
    remount("size=8m")
    registry.commit([Put("last", {})])
    assert len(registry.read("").entries) == stored + 2
    while "last" not in [change.key for change in watch.next(5)]:
        pass
print("done")
"""

READ_ONLY = """
with SqliteRegistry(url) as registry:
    registry.commit([Put("first", {"n": 1})])
remount("ro")
try:
    SqliteRegistry(url)
except Unavailable as error:
    assert error.unwritten
    assert "is read-only: remount it for writing" in str(error), error
    print("done")
remount("rw")
with SqliteRegistry(url) as registry:
    assert list(registry.read("").entries) == ["first"]
"""

ENDED_ON_FULL = """
import logging, time
logging.basicConfig(stream=open(sys.argv[2], "w"), format="%(message)s")
with SqliteRegistry(url) as registry, SqliteRegistry(url) as other:
    kept = registry.session(3)
    registry.commit([Put("alive", {}, session=kept.id)])
    watches = [one.watch("", after=one.read().revision) for one in (registry, other)]
    fill()
    try:
        while True:
            registry.commit([Put("last", {"t": "x" * 1000})])
    except Unavailable:
        pass
    time.sleep(4)
    for _ in range(20):
        assert "alive" in registry.read("").entries
    lines = open(sys.argv[2]).read().splitlines()
    assert len(lines) == 2, (len(lines), lines[:3])  # one of each process, here of each registry
    remount("size=8m")
    for watch in watches:
        while "alive" not in [change.key for change in watch.next(5)]:
            pass
print("done")
"""

NEW_ON_FULL = """
fill()
try:
    SqliteRegistry(url)
except Unavailable as error:
    assert error.unwritten
    print("done")
assert os.listdir(sys.argv[1]) == ["filler"], os.listdir(sys.argv[1])
os.unlink(f"{sys.argv[1]}/filler")
SqliteRegistry(url).close()
"""


@pytest.mark.parametrize(
    "work", [FULL, READ_ONLY, ENDED_ON_FULL, NEW_ON_FULL], ids=["full", "ro", "ended", "new"]
)
def test_a_bad_disk_is_told_and_nothing_is_lost(work: str, tmp_path: Path) -> None:
    """What cannot be stored fails unwritten; what was stored is read; then all goes on."""
    script = tmp_path / "work.py"
    script.write_text(WORK + work)
    disk = tmp_path / "disk"
    disk.mkdir()
    result = subprocess.run(
        [
            *("unshare", "--mount", "--propagation", "private", "sh", "-ec"),
            'mount -t tmpfs -o size=1m none "$1"; exec "$2" "$3" "$1" "$4"',
            *("sh", str(disk), sys.executable, str(script), str(tmp_path / "log")),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (result.returncode, result.stdout) == (0, "done\n"), result.stderr
