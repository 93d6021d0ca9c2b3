"""The process runner, on programs every system has."""

from __future__ import annotations

import errno
import os
import random
import time
from pathlib import Path

import pytest

from snnet.contract import ApiError, Denied, Exists, Missing, Timeout, Unsupported
from snnet.system.process import Completed, errno_in, failure, run


def test_gives_what_the_program_said() -> None:
    done = run(["sh", "-c", "echo out; echo err >&2"])
    assert done == Completed(0, "out\n", "err\n")


def test_arguments_reach_the_program_as_they_are() -> None:
    words = ["a b", "$HOME", "'", "*", ""]
    assert run(["printf", "<%s>", *words]).stdout == "".join(f"<{word}>" for word in words)


def test_input_is_its_stdin_and_else_there_is_none() -> None:
    assert run(["cat"], input="x" * 300_000).stdout == "x" * 300_000
    assert run(["cat"]).stdout == ""


def test_a_program_that_does_not_read_its_input_is_no_error() -> None:
    assert run(["true"], input="x" * 300_000).returncode == 0


def test_environment_is_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("SECRET", "x")
    names = {line.partition("=")[0] for line in run(["env"]).stdout.splitlines()}
    assert names == {"LC_ALL", "PATH"}
    assert "LC_ALL=C\n" in run(["env"]).stdout


def test_descriptors_are_not_inherited() -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    try:
        listed = run(["ls", "/proc/self/fd"]).stdout.split()
    finally:
        os.close(reader)
        os.close(writer)
    assert len(listed) == 4  # stdin, stdout, stderr, and the directory itself


def test_runs_in_a_session_of_its_own() -> None:
    stat = run(["cat", "/proc/self/stat"]).stdout.rpartition(")")[2].split()
    assert int(stat[3]) != os.getsid(0)


def test_sbin_is_searched_whatever_path_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert run(["true"]).returncode == 0
    monkeypatch.delenv("PATH")
    assert run(["true"]).returncode == 0


def test_path_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "true"
    fake.write_text("#!/bin/sh\necho mine\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(["true"]).stdout == "mine\n"


@pytest.mark.parametrize(
    ("program", "package"), [("dnsmasq", "dnsmasq-base"), ("ip", "iproute2"), ("nft", "nftables")]
)
def test_a_missing_program_names_its_package(
    monkeypatch: pytest.MonkeyPatch, program: str, package: str
) -> None:
    monkeypatch.setattr("snnet.system.process._SYSTEM_PATH", "/nowhere")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Unsupported, match=f"apt-get install {package}"):
        run([program])


def test_a_missing_program_of_unknown_package() -> None:
    with pytest.raises(Unsupported, match="'no-such-program' is not installed"):
        run(["no-such-program"])


def test_a_file_that_is_no_program(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF")
    broken.chmod(0o755)
    with pytest.raises(ApiError, match="cannot start"):
        run([str(broken)])


def test_time_limit_ends_the_whole_group() -> None:
    length = f"61.{random.randrange(10**9):09}"  # another run of this test has another
    started = time.monotonic()
    with pytest.raises(Timeout, match=r"killed after 0\.1 s"):
        # The child of the shell would hold the pipes open for a minute.
        run(["sh", "-c", f"sleep {length} & wait"], timeout=0.1)
    assert time.monotonic() - started < 30
    assert length not in _command_lines()


def test_an_interrupt_stays_one_when_the_program_ends_just_then() -> None:
    """``communicate`` gives an interrupted program a quarter of a second to end by itself."""
    with pytest.raises(KeyboardInterrupt):
        run(["sh", "-c", "sleep 0.2; kill -INT $PPID; sleep 0.1"])


def test_failure_names_command_code_and_reason() -> None:
    with pytest.raises(ApiError, match=r"cannot run sh -c .*exit code 3: broken"):
        run(["sh", "-c", "echo broken >&2; exit 3"])
    assert run(["sh", "-c", "exit 3"], check=False).returncode == 3


def test_a_program_ended_by_a_signal() -> None:
    with pytest.raises(ApiError, match="killed by SIGKILL"):
        run(["sh", "-c", "kill -9 $$"])


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("RTNETLINK answers: File exists\n", Exists),
        ("Cannot find device: No such device\n", Missing),
        ("ip: Operation not permitted\n", Denied),
        ("nothing the kernel would say\n", ApiError),
    ],
)
def test_the_kernels_text_decides_the_class(said: str, expected: type[ApiError]) -> None:
    assert type(failure(["ip"], Completed(2, "", said))) is expected


def test_errno_is_found_at_the_end_of_a_line_only() -> None:
    assert errno_in("note\nx: Address already in use\n") == errno.EADDRINUSE
    assert errno_in("File exists, so I carry on") is None
    assert errno_in("") is None


@pytest.mark.kernel
def test_runs_in_a_network_namespace(netns: str) -> None:
    with open(f"/run/netns/{netns}") as namespace:
        inside = run(["readlink", "/proc/self/ns/net"], netns=namespace.fileno()).stdout
        expected = os.fstat(namespace.fileno()).st_ino
    assert inside == f"net:[{expected}]\n"
    assert inside != run(["readlink", "/proc/self/ns/net"]).stdout


def _command_lines() -> str:
    texts = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            texts.append((folder / "cmdline").read_text(errors="replace"))
        except OSError:
            continue
    return "\n".join(texts)
