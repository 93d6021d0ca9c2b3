"""Prefixes as ranges of keys, in the order of their bytes."""

from __future__ import annotations

_LAST = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)
"""No key contains them: they have no UTF-8 form."""


def after_prefix(prefix: str) -> str | None:
    """Return the least text that is greater than every key with the prefix; None if none is.

    Texts compare by their characters here, which is the order of their UTF-8 bytes.
    """
    while prefix:
        following = ord(prefix[-1]) + 1
        if following in _SURROGATES:
            following = _SURROGATES.stop
        if following <= _LAST:
            return prefix[:-1] + chr(following)
        prefix = prefix[:-1]
    return None
