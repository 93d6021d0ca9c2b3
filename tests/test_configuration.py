"""docs/configuration.md has every setting, with its default."""

from __future__ import annotations

from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Any

import snnet

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"


def _rows() -> dict[str, str]:
    rows = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if line.startswith("| `"):
            rows[cells[1].strip("`")] = cells[2]
    return rows


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, Enum):
        value = value.value
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{'[]' if value == () else text}`"


def test_every_setting_is_there_and_no_other() -> None:
    assert set(_rows()) == {field.name for field in fields(snnet.NetworkConfig)}


def test_the_defaults_are_those_of_the_class() -> None:
    config = snnet.NetworkConfig()
    assert _rows() == {
        field.name: _shown(getattr(config, field.name)) for field in fields(snnet.NetworkConfig)
    }


def test_the_example_is_read(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8").partition("```yaml\n")[2].partition("```")[0]
    path = tmp_path / "network.yaml"
    path.write_text(text)
    config = snnet.NetworkConfig.from_yaml(path)
    assert (config.tunnel, config.domain_name) == ("vxlan", "cloud.example")
