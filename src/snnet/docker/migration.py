"""Takes over the database of snnet 0.1, which was not a registry yet."""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
from pathlib import Path
from typing import Any

from snnet.contract import COMMIT_MAX, Delete, Put, Registry, SnnetError, Write

from .state import batched

_SCHEMA = 1
"""The only schema (PRAGMA user_version) that those databases have."""

_log = logging.getLogger("snnet.docker")


def migrate(old: Path, registry: Registry, prefix: str) -> None:
    """Move all documents from the file ``old``, if there is one, to the registry.

    They replace what the registry has under the prefix.  The file is renamed at the end, so
    that a migration that was interrupted is done again.  Raises ``SnnetError`` if the file
    cannot be read; it is then left as it is.
    """
    if not old.exists():
        return
    documents = _read(old)
    stale = registry.read(prefix).entries.keys() - {prefix + key for key in documents}
    writes: list[Write] = [Delete(key) for key in sorted(stale)]
    writes += [Put(prefix + key, document) for key, document in documents.items()]
    for batch in batched(writes, COMMIT_MAX):
        registry.commit(batch)
    old.replace(old.with_name(f"{old.name}.migrated"))
    _log.info("moved %d documents from %s to the registry", len(documents), old)


def _read(old: Path) -> dict[str, dict[str, Any]]:
    try:
        with contextlib.closing(sqlite3.connect(old)) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version != _SCHEMA:
                raise SnnetError(f"cannot read the database {old}: it has schema {version}, not 1")
            rows = connection.execute("SELECT bucket, key, document FROM documents").fetchall()
        return {f"{table}/{key}": json.loads(document) for table, key, document in rows}
    except (sqlite3.Error, TypeError, ValueError) as error:
        raise SnnetError(
            f"cannot read the database {old}: {error}; restore it, or remove it and all networks "
            "of this driver in Docker"
        ) from error
