"""The look of all tables that are drawn with rich."""

from __future__ import annotations

from typing import Any

from rich.box import HORIZONTALS, Box
from rich.table import Table


def titled_table(title: str, *columns: str, box: Box = HORIZONTALS, **style: Any) -> Table:
    """Return a table without rows; each of these columns stays on one line."""
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box,
        show_edge=False,
        border_style="dim",
        **style,
    )
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table
