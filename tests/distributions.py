"""Distributions that are not there: what an installer leaves on the path, and no more."""

from __future__ import annotations

from pathlib import Path

import pytest


def install(
    folder: Path,
    name: str,
    groups: dict[str, dict[str, str]],
    modules: dict[str, str] | None = None,
    *,
    version: str = "1.0",
) -> None:
    """Put a distribution with these entry points and modules into a folder."""
    metadata = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = []
    for group, entry_points in groups.items():
        lines.append(f"[{group}]")
        lines += [f"{name} = {value}" for name, value in entry_points.items()]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
    for module, source in (modules or {}).items():
        (folder / f"{module}.py").write_text(source)


def on_the_path(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let this process find what is installed in the folder."""
    from stevedore import ExtensionManager

    from snnet import plugins

    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(ExtensionManager, "ENTRY_POINT_CACHE", {})
    plugins._installed_listeners.cache_clear()
