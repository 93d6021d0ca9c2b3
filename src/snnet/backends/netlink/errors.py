"""What the kernel says, as errors of snnet: the one place of translation."""

from __future__ import annotations

import errno

from snnet.contract import Operation, SnnetError, error_for
from snnet.system.netlink import NetlinkError

ABSENT = frozenset(
    {errno.ENODEV, errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL, errno.ERANGE, errno.EINVAL}
)
"""What a look-up is answered where there is nothing, or can be nothing, of that key."""


def translated(error: OSError, what: Operation | str) -> SnnetError:
    """The error as the contract has it: ``what`` could not be done."""
    detail = error.detail if isinstance(error, NetlinkError) else str(error.filename or "")
    operation = None if isinstance(what, str) else what
    return error_for(error.errno or errno.EIO, str(what), detail=detail, operation=operation)
