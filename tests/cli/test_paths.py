"""Options that name files and folders: a wrong one is wrong usage, and leaves nothing."""

from __future__ import annotations

import os
import resource
import uuid
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from snnet import Cluster, SnnetError
from snnet.cli.app import snnet
from snnet.cli.paths import write_file

from .test_every_command import EVERY_COMMAND

WRITTEN = (
    ("topology", "--wanted", "--svg"),
    ("topology", "--wanted", "--html"),
    ("host", "report", "--yes"),
)  # fmt: skip
FOLDERS = ("--plugin-dir", "--data-dir", "--spec-dir")
READ = (
    ("topology", "--config"),
    ("status", "--config"),
    ("agent", "--config"),
    ("docker-plugin", "serve", "--config"),
    ("docker-plugin", "serve", "--tls-key"),
    ("apply", "-f"),
)  # fmt: skip


@pytest.fixture
def url() -> Iterator[str]:
    url = f"memory:{uuid.uuid4()}"
    with Cluster(url):
        yield url


def typed(url: str, *words: str) -> Result:
    given = CliRunner().invoke(snnet, words, env={"SNNET_REGISTRY": url, "COLUMNS": "200"})
    assert "[Errno" not in given.output
    assert "Traceback" not in given.output
    return given


def refused(url: str, *words: str) -> str:
    """What wrong usage says; nothing else was printed."""
    given = typed(url, *words)
    assert (given.exit_code, given.stdout) == (2, "")
    return given.stderr


@pytest.mark.parametrize("words", WRITTEN, ids=" ".join)
@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("missing/a", "there is no folder {missing}: create it"),
        ("file/a", "{file} is not a folder"),
        ("", "is a directory"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_done(
    words: tuple[str, ...], place: str, reason: str, url: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    path = str(tmp_path / place)
    said = refused(url, *words, path)
    assert reason.format(missing=tmp_path / "missing", file=tmp_path / "file") in said
    assert words[-1].replace("--yes", "FILE") in said
    assert [it.name for it in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def test_one_wrong_file_of_two_writes_neither(url: str, tmp_path: Path) -> None:
    right, wrong = tmp_path / "a.svg", tmp_path / "missing" / "a.html"
    refused(url, "topology", "--wanted", "--svg", str(right), "--html", str(wrong))
    assert not list(tmp_path.iterdir())


def test_what_only_the_system_knows_is_wrong_usage_too(url: str) -> None:
    """Nobody can make a file in /proc."""
    said = refused(url, "topology", "--wanted", "--svg", "/proc/a.svg")
    assert "'--svg': cannot write /proc/a.svg: No such file or directory; name another" in said


def test_a_full_disk_is_a_failure(url: str) -> None:
    given = typed(url, "topology", "--wanted", "--html", "/dev/full")
    assert given.exit_code == 1
    assert "--html: cannot write /dev/full: No space left on device; free some" in given.stderr


def test_a_report_is_a_new_file(url: str, tmp_path: Path) -> None:
    path = tmp_path / "r.tar.gz"
    path.write_text("mine")
    assert f"'FILE': {path} is there already" in refused(url, "host", "report", str(path))
    assert path.read_text() == "mine"


def test_a_file_is_replaced_whole_and_keeps_its_mode(url: str, tmp_path: Path) -> None:
    path, link = tmp_path / "a.svg", tmp_path / "link.svg"
    path.write_text("old")
    path.chmod(0o604)
    link.symlink_to(path)
    assert typed(url, "topology", "--wanted", "--svg", str(link)).exit_code == 0
    assert path.read_text().endswith("</svg>\n")
    assert path.stat().st_mode & 0o777 == 0o604
    assert link.is_symlink()


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file of this process can grow beyond some bytes: EFBIG, after a part was written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.usefixtures("small_disk")
def test_what_a_failure_has_begun_is_removed(private: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.svg"
    if not private:
        path.write_text("old")
    with pytest.raises(SnnetError, match=r"--svg: cannot write .*a\.svg: File too large"):
        write_file(path, bytes(200), "--svg", private=private)
    assert [it.read_text() for it in tmp_path.iterdir()] == ([] if private else ["old"])


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    write_file(Path(f"/dev/fd/{writer}"), b"<svg/>", "--svg")
    os.close(writer)
    with open(reader, "rb") as file:
        assert file.read() == b"<svg/>"


@pytest.mark.parametrize("option", FOLDERS)
def test_a_folder_that_cannot_be_made_is_refused(option: str, url: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    path = tmp_path / "file" / "folder"
    # The second one would be refused if the first were not: no server starts.
    second = ("--tls-key", str(tmp_path / "missing"))
    said = refused(url, "docker-plugin", "serve", option, str(path), *second)
    assert f"'{option}': {tmp_path / 'file'} is not a folder: name another one" in said


@pytest.mark.parametrize("words", READ, ids=" ".join)
def test_a_file_that_cannot_be_read_is_refused(
    words: tuple[str, ...], url: str, tmp_path: Path
) -> None:
    environment = "" if words[-1] == "--config" else url
    for path in (tmp_path / "missing.yaml", tmp_path):
        said = refused(environment, *words, str(path))
        assert str(path) in said
        assert words[-1].lstrip("-") in said


def test_a_file_that_breaks_off_is_refused(url: str) -> None:
    said = refused(url, "apply", "-f", "/proc/self/mem")
    assert "'--file': cannot read /proc/self/mem: Input/output error" in said


def test_a_registry_in_a_folder_that_is_missing_names_it(tmp_path: Path) -> None:
    words = ("network", "create", "web", "--subnet", "10.1.0.0/24")
    given = typed(f"sqlite://{tmp_path}/a/b/registry.db", *words)
    assert given.exit_code == 1
    assert f"create the folder {tmp_path}/a/b, or name another file" in given.stderr
    said = refused(f"sqlite://{tmp_path}", *words)
    assert f"is a folder: name a file in it, as sqlite://{tmp_path}/registry.db" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", EVERY_COMMAND, ids=" ".join)
def test_every_option_that_names_a_path_is_tried_here(words: tuple[str, ...]) -> None:
    """``--config`` and the certificates are the same option everywhere."""
    command: click.Command = snnet
    for word in words:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), word)
        assert found is not None
        command = found
    for param in command.params:
        if isinstance(param.type, (click.Path, click.File)):
            name = "--yes" if isinstance(param, click.Argument) else param.opts[0]
            tried = {row[-1] for row in (*WRITTEN, *READ)} | set(FOLDERS)
            assert name in tried or name.startswith("--tls-")
