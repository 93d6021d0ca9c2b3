"""Host names (RFC 1123, section 2.1)."""

from __future__ import annotations

from snnet.contract import InvalidRequest
from snnet.contract.addresses import is_host_label
from snnet.contract.errors import shown


def check_hostname(value: object, field: str) -> str:
    """Check one label of a host name; return it in lower case."""
    if isinstance(value, str) and is_host_label(value):
        return value.lower()
    raise InvalidRequest(
        f"{shown(value)} is not a host name: use letters, digits and inner hyphens, at most 63",
        field=field,
    )
