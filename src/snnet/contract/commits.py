"""What every registry refuses before it stores anything: bad keys, documents and limits.

A registry calls these functions first, so that all registries accept the same requests.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import InvalidRequest, shown
from .registries import COMMIT_BYTES_MAX, COMMIT_MAX, DEPTH_MAX, KEY_MAX, TTL_MIN, Delete, Put

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_TTL_MAX = 1e9


@dataclass(frozen=True, slots=True)
class EncodedWrite:
    """A checked write: ``text`` is the document as JSON, or None to remove it."""

    key: str
    text: str | None
    session: str | None = None


def check_commit(
    writes: Sequence[Put | Delete], expected: Mapping[str, int] | None
) -> tuple[list[EncodedWrite], dict[str, int]]:
    """Return the writes as JSON and the conditions.  Raise ``InvalidRequest``.

    Equal documents of one order of keys give the same text.
    """
    if isinstance(writes, (str, bytes)) or not isinstance(writes, Sequence):
        raise InvalidRequest("writes must be a sequence of Put and Delete", field="writes")
    conditions = _conditions(expected)
    if len(writes) + len(conditions) > COMMIT_MAX:
        raise InvalidRequest(
            f"{len(writes)} writes and {len(conditions)} conditions: a commit has at most "
            f"{COMMIT_MAX} together",
            field="writes",
        )
    encoded = [_write(write) for write in writes]
    seen: set[str] = set()
    for write in encoded:
        if write.key in seen:
            raise InvalidRequest(f"key {write.key!r} is written twice", field="writes")
        seen.add(write.key)
    size = sum(len(write.text.encode()) for write in encoded if write.text is not None)
    if size > COMMIT_BYTES_MAX:
        raise InvalidRequest(
            f"the documents have {size} bytes as JSON: a commit has at most {COMMIT_BYTES_MAX}",
            field="writes",
        )
    return encoded, conditions


def check_key(key: object) -> str:
    """Return the key.  Raise ``InvalidRequest`` if the contract does not allow it."""
    if key == "":
        raise InvalidRequest("a key has at least one character", field="key")
    return _text(key, "key")


def check_prefixes(prefixes: Sequence[str]) -> list[str]:
    """Return the prefixes in order, without those that another one covers."""
    kept: list[str] = []
    for prefix in sorted(_text(prefix, "prefix") for prefix in prefixes):
        if not kept or not prefix.startswith(kept[-1]):
            kept.append(prefix)
    return kept


def check_revision(revision: object, field: str = "after") -> int:
    """Return the revision.  Raise ``InvalidRequest`` if it is not an integer from 0 on."""
    if isinstance(revision, bool) or not isinstance(revision, int) or revision < 0:
        raise InvalidRequest(
            f"{shown(revision)} is not a revision, an integer from 0 on", field=field
        )
    return revision


def check_ttl(ttl: object, field: str = "ttl") -> float:
    """Return the time to live in seconds.  Raise ``InvalidRequest`` if it is too short."""
    if (
        isinstance(ttl, bool)
        or not isinstance(ttl, (int, float))
        or not TTL_MIN <= ttl <= _TTL_MAX  # also refuses NaN
    ):
        raise InvalidRequest(
            f"{shown(ttl)} is not a time to live: give seconds, from {TTL_MIN:g} on",
            field=field,
        )
    return float(ttl)


def _conditions(expected: Mapping[str, int] | None) -> dict[str, int]:
    if expected is None:
        return {}
    if not isinstance(expected, Mapping):
        raise InvalidRequest("expected must map keys to revisions", field="expected")
    return {check_key(key): check_revision(value, "expected") for key, value in expected.items()}


def _write(write: object) -> EncodedWrite:
    if isinstance(write, Delete):
        return EncodedWrite(check_key(write.key), None)
    if not isinstance(write, Put):
        raise InvalidRequest(
            f"a write is a Put or a Delete, not {type(write).__name__}", field="writes"
        )
    key = check_key(write.key)
    if write.session is not None and not (isinstance(write.session, str) and write.session):
        raise InvalidRequest(f"{shown(key)}: session must be the id of a session", field="session")
    if not isinstance(write.document, Mapping):
        raise InvalidRequest(f"{shown(key)}: a document is a JSON object", field="document")
    try:
        plain = _plain(write.document, 1)
        text = json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text.encode()
    except ValueError as error:  # of UnicodeError too: text with half a surrogate pair
        raise InvalidRequest(
            f"{shown(key)}: the document is not JSON: {error}", field="document"
        ) from (error)
    return EncodedWrite(key, text, write.session)


def _plain(value: object, depth: int) -> Any:
    """Return the value as lists and dictionaries.  Raise ``ValueError`` if it is not JSON."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is not a JSON number")
        return value
    if depth > DEPTH_MAX:
        raise ValueError(f"it is nested more than {DEPTH_MAX} levels deep")
    if isinstance(value, Mapping):
        if bad := [name for name in value if not isinstance(name, str)]:
            raise ValueError(f"the name {bad[0]!r} is not text")
        return {name: _plain(item, depth + 1) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, depth + 1) for item in value]
    raise ValueError(f"a {type(value).__name__} has no JSON form")


def _text(text: object, field: str) -> str:
    if not isinstance(text, str):
        raise InvalidRequest(f"a {field} is text, not {type(text).__name__}", field=field)
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"{shown(text)} cannot be written as UTF-8", field=field) from error
    if size > KEY_MAX:
        raise InvalidRequest(
            f"{text[:40]!r}... has {size} bytes: a {field} has at most {KEY_MAX}", field=field
        )
    if _CONTROL.search(text):
        raise InvalidRequest(f"{shown(text)} has a control character", field=field)
    return text
