"""Programs in memory: what would be started is answered by a function instead.

The one process runner (``snnet.system.process``) is where they are put in, so that all
above it is the product's own: arguments, texts, the reading of answers and of errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest

from snnet.system import process
from snnet.system.process import Completed

Program = Callable[[Sequence[str], str], Completed]
"""From its arguments and stdin to how it ended."""


def install(
    patch: pytest.MonkeyPatch, folder: Path, names: Iterable[str], program: Program
) -> None:
    """Make these the only programs there are, all answered by the function."""
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch(mode=0o755)
    patch.setattr(process, "_search_path", lambda: str(folder))
    patch.setattr(process, "_run", lambda found, argv, text, timeout: program(argv, text or ""))
