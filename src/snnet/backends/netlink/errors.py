"""What the kernel says, as errors of snnet: the one place of translation."""

from __future__ import annotations

import errno

from snnet.contract import Operation, SnnetError, error_for
from snnet.system.netlink import NetlinkError

REFUSALS = (SnnetError, OSError)
"""What the parts of this backend raise when an operation fails."""


def translated(error: SnnetError | OSError, operation: Operation) -> SnnetError:
    """The error as the contract has it, naming the operation."""
    if isinstance(error, SnnetError):
        return error
    detail = error.detail if isinstance(error, NetlinkError) else str(error.filename or "")
    number = error.errno or errno.EIO
    return error_for(number, str(operation), detail=detail, operation=operation)
