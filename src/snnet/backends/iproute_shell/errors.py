"""The one place where messages of programs become errors of snnet.

If the kernel gives an explanation, ``ip`` prints it *instead of* the errno
(rtnl_talk_error, lib/libnetlink.c), so this module knows some texts of the kernel.
"""

from __future__ import annotations

import errno
import re

from snnet.contract import ApiError, Operation, Rejected, SnnetError, error_for
from snnet.contract.translating import as_error
from snnet.system.process import Completed, errno_in

ABSENT = frozenset({errno.ENODEV, errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL})
"""The answers to a look-up if no object has that key."""

_NUMBERS: tuple[tuple[str, int], ...] = (
    # iproute2
    ("cannot find device", errno.ENODEV),
    ("device does not exist", errno.ENODEV),
    (r'device ".*" does not exist', errno.ENODEV),
    # tun_set_iff (drivers/net/tun.c) reports an existing tap as busy.
    (r"tunsetiff\): device or resource busy", errno.EEXIST),
    # net/core, net/bridge, net/ipv4, net/ipv6 and drivers/net of the kernel
    ("already (exists|assigned)", errno.EEXIST),
    ("ipv6: (invalid address|cannot assign)|is not unicast", errno.EADDRNOTAVAIL),
    ("address not found", errno.EADDRNOTAVAIL),
    ("device not found", errno.ENODEV),
    ("fib table does not exist", errno.ENOENT),
    ("entry not found", errno.ENOENT),
    ("unknown device type", errno.EOPNOTSUPP),
    ("does not allow enslaving", errno.EOPNOTSUPP),
    ("bridge to a bridge", errno.ELOOP),
    # For an address and a route.  For a neighbour on a link without IPv6 it is EINVAL.
    ("ipv6: ipv6 is disabled|disabled on nexthop device", errno.EACCES),
    ("ipv6 is disabled on this device", errno.EINVAL),
    ("disabled by administrator", errno.EPERM),
    ("nexthop device is not up|device for nexthop is not up", errno.ENETDOWN),
    ("mtu (less|greater) than|mtu must be", errno.EINVAL),
)

_REFUSED_VALUES = re.compile(
    # Messages of iproute2 for what it cannot parse, then messages of the kernel.
    r"is wrong|is invalid|invalid|must be|is expected|should be|too long|not a valid"
    r"|nexthop|gateway|only supported for|can not|cannot|required",
    re.IGNORECASE,
)

_FAILED_LINE = re.compile(r"^Command failed .*:(\d+)$", re.MULTILINE)


class Refused(Exception):
    """A command that failed, or a value that was refused before any command ran.

    ``number`` is the kernel's errno, or None if it is unknown.  ``position`` says which
    of several commands failed, or is None if that is unknown.
    """

    def __init__(
        self, number: int | None = None, said: str = "", *, position: int | None = 0
    ) -> None:
        super().__init__(said)
        self.number = number
        self.said = said
        self.position = position


def refusal(done: Completed, *, batch: bool = False) -> Refused | ApiError:
    """Return the error for a failed program; ``batch`` if it read several lines.

    What a killed program has done is unknown, so its error is not a ``Refused``.
    """
    if done.returncode < 0:
        return ApiError(f"the command was killed by signal {-done.returncode}")
    text = done.stderr.strip() or done.stdout.strip()
    line = _FAILED_LINE.search(text)
    said = "; ".join(filter(None, map(str.strip, _FAILED_LINE.sub("", text).splitlines())))
    position: int | None = 0
    if batch:
        # If its own parser refuses a word, ``ip`` exits without an errno.
        position = int(line[1]) - 1 if line else None
    return Refused(errno_of(text), said or f"exit code {done.returncode}", position=position)


def errno_of(text: str) -> int | None:
    """Return the errno for a message, or None."""
    lower = text.lower()
    for pattern, number in _NUMBERS:
        if re.search(pattern, lower):
            return number
    return errno_in(text)


def translated(error: SnnetError | Refused | OSError, what: Operation | str) -> SnnetError:
    """Return the error of the contract: ``what`` could not be done.

    An unknown message gives a plain ``ApiError``.
    """
    if isinstance(error, SnnetError):
        return error
    operation = None if isinstance(what, str) else what
    if isinstance(error, OSError):
        return as_error(error, str(what), operation=operation)
    if error.number is not None:
        return error_for(error.number, str(what), detail=error.said, operation=operation)
    cls = Rejected if _REFUSED_VALUES.search(error.said) else ApiError
    return cls(f"cannot {what}: {error.said}", operation=operation)
