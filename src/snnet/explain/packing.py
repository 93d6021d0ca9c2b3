"""Snapshots as documents of a registry: compressed, and in parts that fit a commit."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from typing import Any

from snnet.contract import Document, InvalidRequest

from .snapshot import Snapshot

PART = 600_000
"""Characters of one part: a commit has at most 1 MiB."""

_BYTES_MAX = 2**28
"""Bytes of a snapshot as JSON; that of 5,000 VNICs has about 6 million."""


def pack(snapshot: Snapshot) -> list[dict[str, Any]]:
    """Return the parts of a snapshot, each a document; ``of`` says how many there are."""
    text = json.dumps(snapshot.to_dict(), separators=(",", ":"))
    data = base64.b64encode(zlib.compress(text.encode(), 6)).decode()
    parts = [data[start : start + PART] for start in range(0, len(data), PART)]
    return [{"part": number, "of": len(parts), "data": part} for number, part in enumerate(parts)]


def unpack(parts: Sequence[Document]) -> Snapshot:
    """Return the snapshot of all its parts.  Raises InvalidRequest if they are damaged."""
    try:
        ordered = sorted(parts, key=lambda part: int(part["part"]))
        data = base64.b64decode("".join(part["data"] for part in ordered), validate=True)
        reader = zlib.decompressobj()
        text = reader.decompress(data, _BYTES_MAX)
        if not reader.eof:
            raise ValueError("it is cut off, or too large")
        found = json.loads(text)
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise InvalidRequest(f"not a snapshot: {error}", field="snapshot") from error
    if not isinstance(found, dict):
        raise InvalidRequest("not a snapshot: no JSON object", field="snapshot")
    return Snapshot.from_dict(found)
