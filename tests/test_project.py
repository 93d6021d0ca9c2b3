"""The project's own files agree with each other: versions, commands, links."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import snnet

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
PAGES = sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/*.md"))

_LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")


def workflow() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    return loaded


def supported() -> list[str]:
    """The versions of Python that the classifiers name."""
    pattern = re.compile(r"Programming Language :: Python :: (3\.\d+)")
    found = map(pattern.fullmatch, PROJECT["project"]["classifiers"])
    return [match[1] for match in found if match]


def test_the_version_has_one_source() -> None:
    assert "version" not in PROJECT["project"]
    assert importlib.metadata.version("snnet") == snnet.__version__


def test_hosted_ci_runs_every_supported_python() -> None:
    matrix = workflow()["jobs"]["fake"]["strategy"]["matrix"]["python"]
    assert matrix == supported()
    assert PROJECT["project"]["requires-python"] == f">={supported()[0]}"


def test_hosted_ci_runs_what_is_there() -> None:
    commands = [
        step["run"]
        for job in workflow()["jobs"].values()
        for step in job["steps"]
        if "run" in step and not step["run"].startswith("apt-get")
    ]
    assert "bash .ci/run" in commands
    assert (ROOT / ".ci" / "run").is_file()
    for command in commands:
        program, *words = command.split()
        assert program in {"make", "bash"}
        assert program == "bash" or set(words) <= TARGETS


def test_commits_are_checked_with_the_tools_of_make_lint() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks = [hook["entry"] for repo in config["repos"] for hook in repo["hooks"]]
    lint = MAKEFILE.split("\nlint:", 1)[1].split("\n\n", 1)[0]
    assert {hook.split()[0].removeprefix(".venv/bin/") for hook in hooks} == set(
        re.findall(r"\$\(BIN\)/(\S+)", lint)
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = [link for link in _LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert not broken
