"""Histories with faults of a real etcd; here some of those that ``make test-long`` tries."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.registries.members import binary

from .etcd_histories import ALONE, FAULT_KINDS
from .machine import child_of

pytestmark = pytest.mark.kernel

HISTORIES = int(os.environ.get("SNNET_TEST_HISTORIES", "2"))
SEED = os.environ.get("SEED")


def test_faults_of_etcd_lose_nothing(record_property: Callable[..., None]) -> None:
    if shutil.which("nft") is None or binary() is None:
        pytest.skip("this needs nft and etcd")
    done = subprocess.run(
        [*ALONE, sys.executable, "-m", "tests.agent.etcd_histories",
         "--histories", str(HISTORIES), *(["--seed", SEED] if SEED else [])],
        capture_output=True, text=True, timeout=120 + 60 * HISTORIES,
    )  # fmt: skip
    sys.stdout.write(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    record_property("histories", HISTORIES)
    last = done.stdout.splitlines()[-1]
    assert last.startswith(f"{HISTORIES} histories, {min(HISTORIES, len(FAULT_KINDS))} kinds")


def test_nothing_is_left_of_histories_that_are_killed() -> None:
    code = "from tests.agent.etcd_histories import *; Wires(); print('up', flush=True); input()"
    pipe = subprocess.PIPE
    with subprocess.Popen([*ALONE, sys.executable, "-c", code], stdin=pipe, stdout=pipe) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"up\n"
        first = child_of(running.pid)
        running.kill()
    end = time.monotonic() + 30
    while Path(f"/proc/{first}").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not Path(f"/proc/{first}").exists()
    assert not Path("/run/netns/member-0").exists()
