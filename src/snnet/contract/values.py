"""What callers passed in, as snnet keeps it."""

from __future__ import annotations


def plain_text(text: str) -> str:
    """Return the text as a ``str`` and no subclass of it.

    A subclass may print, compare and hash in its own way: the member of an enumeration that
    is text prints as "Tenant.ACME" in an alias.
    """
    return text if type(text) is str else str.__str__(text)


def plain_int(number: int) -> int:
    """Return the number as an ``int`` and no subclass of it, for the same reason."""
    return number if type(number) is int else int.__index__(number)
