"""How the rules say no: with the kernel's errno."""

from __future__ import annotations

import errno


class Refusal(Exception):
    """The kernel refuses an operation; nothing of it was done.

    ``name`` is the errno's name ("EEXIST"), ``detail`` what the kernel says
    beside it (its extended ack), if anything.
    """

    def __init__(self, name: str, detail: str = "") -> None:
        super().__init__(name, detail)
        self.errno: int = getattr(errno, name)
        self.detail = detail
