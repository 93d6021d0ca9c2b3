"""What the tables of one owner have dropped."""

from __future__ import annotations

import time
from collections.abc import Sequence

from snnet.contract import Dropped

from . import drops
from .reader import FAMILIES, Reader
from .tables import Table


def dropped_of(owner: str, reader: Reader) -> Sequence[Dropped]:
    """Return what was dropped, of which link, why and since when."""
    now = time.time()
    return [
        Dropped(
            link=one.key.rstrip(b"\0").decode(errors="replace"),
            why=why,
            packets=one.packets,
            since=now - drops.LIFETIME + one.left,
        )
        for family in FAMILIES
        for name, why in drops.REASONS.items()
        for one in reader.counted(Table(family, owner), name)
    ]
