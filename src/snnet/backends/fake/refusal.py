"""The exception with which rules refuse an operation."""

from __future__ import annotations

import errno


class Refusal(Exception):
    """The kernel refuses an operation, which had no effect.

    ``name`` is the errno's name ("EEXIST"), ``detail`` the kernel's extended ack, if any.
    """

    def __init__(self, name: str, detail: str = "") -> None:
        super().__init__(name, detail)
        self.errno: int = getattr(errno, name)
        self.detail = detail
