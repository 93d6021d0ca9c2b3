"""Host names (RFC 1123, section 2.1)."""

from __future__ import annotations

import re

from snnet.contract import InvalidRequest

_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


def check_hostname(value: object, field: str) -> str:
    """One label of a host name; lower-case when it comes back."""
    if isinstance(value, str) and _LABEL.fullmatch(value):
        return value.lower()
    raise InvalidRequest(
        f"{value!r} is not a host name: letters, digits and inner hyphens, 63 at most", field=field
    )
