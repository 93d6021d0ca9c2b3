"""The one place where errors of the kernel become errors of snnet."""

from __future__ import annotations

import errno

from snnet.contract import Operation, SnnetError
from snnet.contract.translating import as_error

ABSENT = frozenset(
    {errno.ENODEV, errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL, errno.ERANGE, errno.EINVAL}
)
"""The answers to a look-up if no object has that key, or none can have it."""


def translated(error: OSError, what: Operation | str) -> SnnetError:
    """Return the error of the contract: ``what`` could not be done."""
    return as_error(error, str(what), operation=None if isinstance(what, str) else what)
