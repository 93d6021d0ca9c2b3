"""Users of the host."""

from __future__ import annotations

import pwd


def uid_of(name: str) -> int | None:
    """The uid of the user with this name, or None if the host has no such user."""
    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):  # no name can hold a NUL
        return None
