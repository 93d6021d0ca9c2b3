"""The host: runtime directory, records and claims."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import stat
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from snnet.contract import Conflict, InvalidRequest, SnnetError
from snnet.system.host import RealHost


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    return tmp_path / "snnet"


@pytest.fixture
def host(runtime: Path) -> Iterator[RealHost]:
    host = RealHost(owner="cn:cn-1", runtime=runtime)
    yield host
    host.close()


def test_opening_a_host_changes_nothing(host: RealHost, runtime: Path) -> None:
    assert not runtime.exists()
    assert host.runtime == runtime
    assert stat.S_IMODE(runtime.stat().st_mode) == 0o700


def test_close_may_be_repeated_and_leaks_nothing(runtime: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    host = RealHost(owner="cn:cn-1", runtime=runtime)
    with host.record("a") as record:
        record["x"] = 1
    with host.claim(0):
        pass
    host.close()
    host.close()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("owner", ["", "../x", "a/b", "x\n", "a" * 200])
def test_an_owner_that_fits_no_file_name_is_refused(owner: str, runtime: Path) -> None:
    with pytest.raises(InvalidRequest, match="owner"):
        RealHost(owner=owner, runtime=runtime)


def test_without_a_place_for_the_runtime_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    host = RealHost(owner="cn:cn-1")
    with pytest.raises(SnnetError, match="XDG_RUNTIME_DIR"):
        _ = host.runtime
    host.close()


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_directory_others_may_write_to_is_refused(
    host: RealHost, runtime: Path, mode: int
) -> None:
    runtime.mkdir()
    runtime.chmod(mode)
    with pytest.raises(SnnetError, match="other users can write"):
        _ = host.runtime


def test_a_directory_of_somebody_else_is_refused(
    host: RealHost, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime.mkdir()
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    with pytest.raises(SnnetError, match=f"belongs to uid {uid}"):
        _ = host.runtime


def test_a_symbolic_link_is_no_runtime_directory(
    host: RealHost, runtime: Path, tmp_path: Path
) -> None:
    runtime.symlink_to(tmp_path)
    with pytest.raises(SnnetError, match="not a directory"):
        _ = host.runtime


# Records


def test_a_record_is_kept_across_hosts(host: RealHost, runtime: Path) -> None:
    with host.record("sysctl") as record:
        assert record == {}
        record["net.ipv4.ip_forward"] = ["0", "cn:cn-1"]
    other = RealHost(owner="cnci:x", runtime=runtime)
    with other.record("sysctl") as record:
        assert record == {"net.ipv4.ip_forward": ["0", "cn:cn-1"]}
        record.clear()
    assert os.listdir(runtime) == []
    other.close()


def test_a_record_is_looked_at_while_another_process_keeps_it(
    host: RealHost, runtime: Path
) -> None:
    other = RealHost(owner="cnci:x", runtime=runtime)
    assert other.recorded("a") == {}
    with host.record("a") as record:
        record["x"] = [1]
        assert other.recorded("a") == {}
    with host.record("a") as record:
        record["x"] = [2]
        found = other.recorded("a")
        assert found == {"x": [1]}
        found["x"].append(3)
    assert other.recorded("a") == host.recorded("a") == {"x": [2]}
    other.close()


def test_nothing_is_written_when_the_block_raises(host: RealHost) -> None:
    with host.record("a") as record:
        record["list"] = [1]

    def fail() -> None:
        with host.record("a") as record:
            record["list"].append(2)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with host.record("a") as record:
        assert record == {"list": [1]}


def test_threads_take_turns(runtime: Path) -> None:
    def count() -> None:
        host = RealHost(owner="cn:cn-1", runtime=runtime)
        for _ in range(10):
            with host.record("n") as record:
                record["n"] = record.get("n", 0) + 1
        host.close()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    host = RealHost(owner="cn:cn-1", runtime=runtime)
    with host.record("n") as record:
        assert record["n"] == 40
    host.close()


@pytest.mark.parametrize("text", ["", "{", "[1]", '"x"', '{"netns": %d, "record": [1]}'])
def test_a_damaged_record_is_empty_and_put_aside(host: RealHost, runtime: Path, text: str) -> None:
    with host.record("a") as record:
        record["x"] = 1
    (path,) = runtime.glob("record-a-*.json")
    cookie = json.loads(path.read_text())["netns"]
    damaged = text % cookie if "%" in text else text
    path.write_text(damaged)
    assert host.recorded("a") == {}
    with host.record("a") as record:
        assert record == {}
        record["x"] = 2
    with host.record("a") as record:
        assert record == {"x": 2}
    assert path.with_name(f"{path.name}.damaged").read_text() == damaged


def test_a_record_of_a_namespace_that_is_gone_is_forgotten(host: RealHost, runtime: Path) -> None:
    """The kernel gives the inode numbers of namespaces out again."""
    with host.record("a") as record:
        record["x"] = 1
    (path,) = runtime.glob("record-a-*.json")
    document = json.loads(path.read_text())
    if not document["netns"]:
        return  # before Linux 5.14 namespaces have no cookie
    path.write_text(json.dumps({**document, "netns": 1 << 60}))
    assert host.recorded("a") == {}
    with host.record("a") as record:
        assert record == {}
    assert not path.exists()


def test_a_record_of_an_earlier_boot_is_forgotten(host: RealHost, runtime: Path) -> None:
    with host.record("a") as record:
        record["x"] = 1
    (path,) = runtime.glob("record-a-*.json")
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "boot": "another"}))
    with host.record("a") as record:
        assert record == {}


def test_a_record_without_a_boot_is_one_of_an_earlier_version(
    host: RealHost, runtime: Path
) -> None:
    with host.record("a") as record:
        record["x"] = 1
    (path,) = runtime.glob("record-a-*.json")
    document = json.loads(path.read_text())
    del document["boot"]
    path.write_text(json.dumps(document))
    with host.record("a") as record:
        assert record == {"x": 1}


def test_a_runtime_directory_that_is_removed_is_made_again(host: RealHost, runtime: Path) -> None:
    with host.record("a") as record:
        record["x"] = 1
    journal = host.journal("j")
    journal.replace(["1"])
    shutil.rmtree(runtime)
    assert not journal.append(["2"])
    journal.replace(["1", "2"])
    with host.record("a") as record:
        assert record == {}
        record["x"] = 2
    assert journal.read() == ["1", "2"]


# Journals


def test_a_journal_has_the_lines_in_order(host: RealHost, runtime: Path) -> None:
    journal = host.journal("j")
    assert journal.read() == []
    assert not journal.append(["lost"])
    assert list(runtime.iterdir()) == []
    journal.replace(["a"])
    assert journal.append(["b", "ü"])
    assert journal.append([])
    other = RealHost(owner="cn:cn-1", runtime=runtime)
    assert other.journal("j").read() == ["a", "b", "ü"]
    assert other.journal("k").read() == []
    other.close()
    journal.replace([])
    assert list(runtime.iterdir()) == []


def test_a_line_that_was_cut_off_is_a_line(host: RealHost, runtime: Path) -> None:
    """So that the reader sees the damage, and does not append to it."""
    journal = host.journal("j")
    journal.replace(["abc", "def"])
    (path,) = runtime.glob("journal-j-*")
    path.write_text(path.read_text()[:-2])
    assert journal.read() == ["abc", "de"]


@pytest.mark.parametrize("what", ["netns", "boot"])
def test_a_journal_of_another_namespace_is_none(host: RealHost, runtime: Path, what: str) -> None:
    journal = host.journal("j")
    journal.replace(["a"])
    (path,) = runtime.glob("journal-j-*")
    header, *lines = path.read_text().split("\n")
    path.write_text("\n".join([json.dumps({**json.loads(header), what: "another"}), *lines]))
    assert journal.read() == []
    assert not journal.append(["b"]), "nobody would read it"
    journal.replace(["b"])
    assert journal.append(["c"])
    assert journal.read() == ["b", "c"]


def test_no_journal_is_written_through_a_symbolic_link(host: RealHost, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    journal = host.journal("j")
    journal.replace(["a"])
    (path,) = host.runtime.glob("journal-j-*")
    path.unlink()
    path.symlink_to(victim)
    for attempt in (journal.read, lambda: journal.append(["b"])):
        with pytest.raises(SnnetError):
            attempt()
    assert victim.read_text() == "untouched"


def test_no_symbolic_link_is_followed(host: RealHost, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    with host.record("a") as record:
        record["x"] = 1
    (path,) = host.runtime.glob("record-a-*.json")
    for name in (f"{path.name}.new", f"{path.stem}.lock"):
        (host.runtime / name).symlink_to(victim)
        with pytest.raises((SnnetError, OSError)), host.record("a") as record:
            record["x"] = record["x"] + 1
        (host.runtime / name).unlink()
    assert victim.read_text() == "untouched"


@pytest.mark.kernel
def test_every_namespace_has_records_of_its_own(netns: str, host: RealHost) -> None:
    with host.record("a") as record:
        record["x"] = 1
    inside = RealHost(netns, owner="cn:cn-1", runtime=host.runtime)
    with inside.record("a") as record:
        assert record == {}
    with host.claim(0), inside.claim(0):
        pass
    inside.close()


# Claims


def test_a_claim_keeps_others_out_and_names_the_pid(host: RealHost, runtime: Path) -> None:
    other = RealHost(owner="cn:cn-1", runtime=runtime)
    with host.claim(0):
        start = time.monotonic()
        with pytest.raises(Conflict, match=f"process {os.getpid()}"), other.claim(0.1):
            pass
        assert 0.1 <= time.monotonic() - start < 10
    with other.claim(0):
        pass
    assert os.listdir(runtime) == []
    other.close()


def test_other_owners_have_claims_of_their_own(host: RealHost, runtime: Path) -> None:
    other = RealHost(owner="cnci:cn-1", runtime=runtime)
    with host.claim(0), other.claim(0):
        pass
    other.close()


def test_a_claim_waits_for_its_turn(host: RealHost) -> None:
    claimed, done = threading.Event(), threading.Event()

    def hold() -> None:
        with host.claim(1):
            claimed.set()
            time.sleep(0.08)
            done.set()

    thread = threading.Thread(target=hold)
    thread.start()
    claimed.wait()
    with host.claim(30):
        assert done.is_set()
    thread.join()


def test_never_two_at_once(runtime: Path) -> None:
    """Lock files come and go under those who wait for them."""
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        host = RealHost(owner="cn:cn-1", runtime=runtime)
        for _ in range(5):
            with host.claim(30):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.001)
                inside.pop()
        host.close()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 30


def _claim_and_fork(runtime: Path, pipe: Connection) -> None:
    host = RealHost(owner="cn:cn-1", runtime=runtime)
    with host.claim(0):
        child = os.fork()
        if child == 0:
            time.sleep(30)
            os._exit(0)
        pipe.send(child)
        time.sleep(30)


def test_a_forked_child_does_not_keep_the_claim_of_a_killed_parent(
    host: RealHost, runtime: Path
) -> None:
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("fork")
    parent = context.Process(target=_claim_and_fork, args=(runtime, theirs))
    parent.start()
    child = ours.recv()
    try:
        parent.kill()
        parent.join()
        os.kill(child, 0)  # it lives
        with host.claim(1):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        ours.close()
        theirs.close()


def test_a_forked_child_cannot_release_the_claim(host: RealHost, runtime: Path) -> None:
    claim = host.claim(0)
    with claim:
        child = os.fork()
        if child == 0:
            try:
                claim.__exit__(None, None, None)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        other = RealHost(owner="cn:cn-1", runtime=runtime)
        with pytest.raises(Conflict), other.claim(0):
            pass
        other.close()
