"""The pages name every field, setting, extra and key, and their files can be read."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from snnet.agent.settings import AgentSettings
from snnet.cli.documents import read_documents
from snnet.cluster import keys
from snnet.cluster.applying import read_documents as checked
from snnet.cluster.kinds import KINDS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "objects.md").read_text(encoding="utf-8")
SET_BY_SNNET = {"closing", "managed_by"}


def section(text: str, title: str) -> str:
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def first_cells(text: str) -> list[str]:
    """What the rows of tables have in backquotes in their first cell."""
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return [name for cell in rows for name in re.findall(r"`(\w+)`", cell)]


def chosen_by(kind: str) -> set[str]:
    """The fields that a file may have."""
    return {item.name for item in fields(KINDS[kind]) if item.compare and item.init} - SET_BY_SNNET


DESCRIBED = [title for title in re.findall(r"^## (\S+)$", PAGE, re.MULTILINE) if title in KINDS]


def test_the_kinds_are_described() -> None:
    assert {"network", "vnic", "forward", "public-ip"} <= {*DESCRIBED}
    assert all(f"`{name}`" in section(PAGE, "Not in files") for name in SET_BY_SNNET)


@pytest.mark.parametrize("kind", DESCRIBED)
def test_every_field_is_described_and_no_other(kind: str) -> None:
    text = section(PAGE, kind)
    assert {*first_cells(text)} == chosen_by(kind)
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| `")]
    fixed = {cells[1].strip(" `") for cells in rows if "Fixed." in cells[3]}
    assert fixed == KINDS[kind].fixed - SET_BY_SNNET


def test_the_example_can_be_applied() -> None:
    text = PAGE.partition("```yaml\n")[2].partition("```")[0]
    items = checked(read_documents(text.encode(), "example"))
    assert {item.wanted.kind for item in items} >= {"network", "vnic", "forward", "public-ip"}


def test_every_setting_of_the_agent_is_described() -> None:
    text = section((ROOT / "docs" / "agent.md").read_text(encoding="utf-8"), "Settings")
    assert sorted(first_cells(text)) == sorted(item.name for item in fields(AgentSettings))


def test_every_extra_is_described() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = section((ROOT / "README.md").read_text(encoding="utf-8"), "Use it as a library")
    assert {*first_cells(text)} == {*project["optional-dependencies"]} - {"dev"}


def agents_files() -> list[tuple[str, str]]:
    """The blocks of YAML with settings of an agent, and the page of each."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    blocks = [
        (page.name, block.removeprefix("yaml\n"))
        for page in pages
        for block in page.read_text(encoding="utf-8").split("```")[1::2]
        if block.startswith("yaml\n")
    ]
    return [(name, block) for name, block in blocks if re.search("^roles:", block, re.MULTILINE)]


@pytest.mark.parametrize(("page", "text"), agents_files(), ids=lambda value: value[:9])
def test_an_agents_file_of_a_page_joins_the_hosts_that_share_its_registry(
    page: str, text: str, tmp_path: Path
) -> None:
    """Topology "local", the default here, makes no tunnel: with etcd it says another one."""
    path = tmp_path / "agent.yaml"
    path.write_text(text)
    settings = AgentSettings.read(path)
    assert settings.registry.startswith("etcd:")
    assert settings.network.topology in ("hub", "mesh")


def test_the_three_pages_about_many_hosts_have_such_a_file() -> None:
    assert [page for page, _ in agents_files()] == ["README.md", "hub.md", "mesh.md"]


def test_every_prefix_of_the_registry_is_described() -> None:
    rows = section((ROOT / "docs" / "registry.md").read_text(encoding="utf-8"), "Keys")
    described = {f"{keys.ROOT}{key}" for key in re.findall(r"`([a-z-]+/[^`]*)`", rows)}
    prefixes = [value for value in vars(keys).values() if isinstance(value, str)]
    known = [value for value in prefixes if value.startswith(keys.ROOT) and value != keys.ROOT]
    assert len(known) > 15
    assert [one for one in known if not any(key.startswith(one) for key in described)] == []
