"""Limits of this process (getrlimit(2))."""

from __future__ import annotations

import contextlib
import resource

_DESCRIPTORS = 1 << 16
"""More would slow down programs that go through all that they may have."""


def raise_descriptors() -> None:
    """Allow this process 65,536 descriptors, or as many as it may have without a privilege.

    The default of service managers, 1024, is for programs that call select(2).  Programs that
    this one starts inherit the limit.  A higher one stays.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    with contextlib.suppress(ValueError, OSError):  # then the old limit stays
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
