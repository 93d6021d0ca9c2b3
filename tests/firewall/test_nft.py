"""nft by the library and by the program: what is handed to them, and what their words mean."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from snnet.contract import ApiError, Busy, Denied, Exists, Missing, Unsupported
from snnet.firewall import nft
from snnet.firewall.nft import Nft
from snnet.system.netns import open_netns
from snnet.system.process import Completed

from . import programs


@pytest.fixture
def netns() -> Iterator[int]:
    """The tests' own namespace, in which nothing is done."""
    fd = open_netns()
    yield fd
    os.close(fd)


class Library:
    """The binding's class, as far as it is used."""

    answer: tuple[int, str, str] = (0, "", "")

    def __init__(self) -> None:
        self.json = self.terse = False
        self.calls: list[tuple[str, bool, bool]] = []
        made.append(self)

    def set_json_output(self, on: bool) -> None:
        self.json = on

    def set_terse_output(self, on: bool) -> None:
        self.terse = on

    def cmd(self, script: str) -> tuple[int, str, str]:
        self.calls.append((script, self.json, self.terse))
        return self.answer


made: list[Library] = []


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> type[Library]:
    made.clear()
    monkeypatch.setattr(Library, "answer", (0, "", ""))
    monkeypatch.setattr(nft, "_binding", lambda: SimpleNamespace(Nftables=Library))
    return Library


def test_the_library_takes_all_commands_at_once_and_is_kept(
    netns: int, library: type[Library]
) -> None:
    tables = Nft(netns)
    assert made == [], "nothing is opened before it is needed"
    assert tables.missing() is None
    tables.run(["add table inet a", "add table inet b"])
    library.answer = (0, json.dumps({"nftables": [{"metainfo": {}}]}), "")
    assert tables.ruleset() == [{"metainfo": {}}]
    tables.run(["list table inet a"])
    (one,) = made
    assert one.calls == [
        ("add table inet a\nadd table inet b", False, False),
        ("list ruleset", True, True),
        ("list table inet a", False, False),
    ]
    tables.close()
    tables.close()
    tables.run(["list ruleset"])
    assert len(made) == 2


REFUSALS: list[tuple[str, type[ApiError]]] = [
    ("/dev/stdin:1:1-9: Error: Could not process rule: File exists\nadd x\n^^^^^\n", Exists),
    ("Error: Could not process rule: No such file or directory\ndelete x\n^^^\n", Missing),
    ("Error: No such file or directory; did you mean set 'y' in table ip 'z'?\n", Missing),
    ("Error: Could not process rule: Device or resource busy\n", Busy),
    ("Error: Could not process rule: Operation not supported\n", Unsupported),
    ("Operation not permitted (you must be root)\nError: Operation not permitted\n", Denied),
]


@pytest.mark.parametrize(("said", "error"), REFUSALS)
def test_a_refusal_is_the_class_of_the_kernels_words(
    netns: int, library: type[Library], said: str, error: type[ApiError]
) -> None:
    library.answer = (1, "", said)
    with pytest.raises(error) as caught:
        Nft(netns).run(["add x"])
    assert type(caught.value) is error
    assert next(line for line in said.splitlines() if "Error" in line) in str(caught.value)


def test_a_refusal_without_an_errno_keeps_nfts_words(netns: int, library: type[Library]) -> None:
    library.answer = (1, "", "Error: syntax error, unexpected string\nadd tabel\n    ^^^^^\n")
    with pytest.raises(ApiError) as caught:
        Nft(netns).run(["add tabel"])
    assert type(caught.value) is ApiError
    assert str(caught.value) == "nft: Error: syntax error, unexpected string"


def test_without_the_library_the_program_is_given_the_script(
    netns: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The binding alone does not help: the library itself may be missing."""
    said: list[tuple[list[str], str]] = []

    def program(argv: Any, text: str) -> Completed:
        said.append((list(argv), text))
        if text.startswith("delete"):
            return Completed(1, "", "/dev/stdin:1:1-9: Error: No such file or directory\n")
        return Completed(0, '{"nftables": []}', "")

    def absent() -> None:
        raise OSError("libnftables.so.1: cannot open shared object file")

    monkeypatch.setattr(nft, "_binding", lambda: SimpleNamespace(Nftables=absent))
    programs.install(monkeypatch, tmp_path / "bin", ["nft"], program)
    tables = Nft(netns)
    tables.run(["add table inet a", "add table inet b"])
    assert tables.ruleset() == []
    with pytest.raises(Missing):
        tables.run(["delete table inet c"])
    assert said == [
        (["nft", "-f", "-"], "add table inet a\nadd table inet b\n"),
        (["nft", "--json", "--terse", "list", "ruleset"], ""),
        (["nft", "-f", "-"], "delete table inet c\n"),
    ]


def test_one_thread_at_a_time_is_in_the_library(
    netns: int, library: type[Library], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not safe among threads: a rule for one protocol came out as one for another."""
    inside, most = [0], [0]

    def cmd(self: Library, script: str) -> tuple[int, str, str]:
        inside[0] += 1
        most[0] = max(*most, *inside)
        time.sleep(0.01)  # the others come meanwhile
        inside[0] -= 1
        return 0, "", ""

    monkeypatch.setattr(Library, "cmd", cmd)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: Nft(netns).run(["add table inet a"]), range(8)))
    assert most == [1]
    assert len(made) == 8


def test_a_child_process_does_not_wait_for_a_thread_of_its_parent(
    netns: int, library: type[Library], monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, leave = threading.Event(), threading.Event()

    def cmd(self: Library, script: str) -> tuple[int, str, str]:
        if script == "wait":
            entered.set()
            leave.wait(60)
        return 0, "", ""

    monkeypatch.setattr(Library, "cmd", cmd)
    thread = threading.Thread(target=Nft(netns).run, args=[["wait"]])
    thread.start()
    assert entered.wait(60)
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        Nft(netns).run(["add table inet a"])
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    leave.set()
    thread.join(60)


def test_with_neither_it_names_both(
    netns: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(nft, "_binding", lambda: None)
    programs.install(monkeypatch, tmp_path / "bin", [], lambda argv, text: Completed(0, "", ""))
    assert Nft(netns).missing() == (
        "neither libnftables nor the program nft is installed: "
        "apt-get install nftables, and for its speed pip install 'snnet[nftables]'"
    )


@pytest.mark.parametrize(
    ("module", "usable"),
    [(SimpleNamespace(Nftables=Library), True), (SimpleNamespace(other=1), False)],
)
def test_another_module_of_that_name_is_not_the_binding(
    monkeypatch: pytest.MonkeyPatch, module: SimpleNamespace, usable: bool
) -> None:
    monkeypatch.setattr(importlib, "import_module", lambda name: module)
    assert (nft._binding() is module) is usable


def test_a_binding_that_cannot_be_imported_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    assert nft._binding() is None


_CROWDED = """
import os, resource, sys
from snnet.firewall.nft import Nft
from snnet.system.netns import open_netns
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, most), most))
netns = open_netns(sys.argv[1])
early = Nft(netns)
early.run(["add table inet early"])
taken = [os.dup(netns) for _ in range(1500)]
early.run(["add chain inet early forward"])
late = Nft(netns)
late.run(["add table inet late"])
assert "table inet late" in late.run(["list tables"])
assert {item["table"]["name"] for item in early.ruleset() if "table" in item} == {"early", "late"}
for fd in taken:
    os.close(fd)
late.run(["delete table inet late"])
assert late.run(["list tables"]).split() == ["table", "inet", "early"]
"""


@pytest.mark.kernel
def test_a_process_may_have_more_descriptors_than_the_library_can_wait_for(
    request: pytest.FixtureRequest,
) -> None:
    """select(2), with which libmnl waits, would end the process."""
    argv = [sys.executable, "-c", _CROWDED, request.getfixturevalue("make_netns")()]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
