"""The error tree, and the one table from kernel errno to error class.

::

    SnnetError
      InvalidRequest      the request is wrong; nothing was touched
      DriverNotFound      no driver of that name is installed
      DriverLoadError     the driver is installed and cannot be loaded
      ApiError            the call failed; ``state`` says what it left behind
        Timeout           the deadline passed
        Cancelled         the cancel token was set
        Conflict          the request contradicts what exists
        Veto              a listener refused the plan
        Unsupported       a driver or this kernel cannot do it
        Incomplete        a tear-down is unfinished; call again to finish
        Exists, Missing, Busy, Denied, Exhausted, Rejected
                          one operation failed, for the reason the kernel gave
      FatalError          a rollback failed; lists what is left

``SnnetError.state`` says which state the host is in: untouched, rolled back,
unfinished or inconsistent.  Every message says what failed, on which object,
why, and what to do next.
"""

from __future__ import annotations

import enum
import errno as _errno
import os
import reprlib
from collections.abc import Iterable
from typing import Any, TypeVar


class State(enum.StrEnum):
    """What a failed call left on the host."""

    UNTOUCHED = "untouched"
    """Nothing was changed."""
    ROLLED_BACK = "rolled_back"
    """The changes of the call are undone: the host is as it was before."""
    UNFINISHED = "unfinished"
    """A tear-down removed what it could; repeating the call finishes it."""
    INCONSISTENT = "inconsistent"
    """A rollback failed; ``repair()`` makes the host agree with the node's records."""


class SnnetError(Exception):
    """The base class of snnet's errors.

    ``state`` says what the failed call left on the host.
    """

    state: State = State.UNTOUCHED


_E = TypeVar("_E", bound=SnnetError)


def raised_from(error: _E, context: str, state: State) -> _E:
    """Put what failed in front of the message, set the state, and return the same error."""
    error.args = (f"{context}: {error}", *error.args[1:])
    error.state = state
    return error


class InvalidRequest(SnnetError):
    """The request is wrong; nothing was touched.

    ``field`` names the argument to correct, if it is one argument.
    """

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message if field is None else f"{field}: {message}")
        self.field = field


class DriverNotFound(SnnetError):
    """No driver of that name is installed; the message lists the installed ones."""


class DriverLoadError(SnnetError):
    """The driver is installed but cannot be loaded here; the message says why."""


class ApiError(SnnetError):
    """A call failed, and the node's records still agree with the host.

    ``state`` is untouched, rolled back, or (``Incomplete`` only) unfinished.
    ``errno`` is the kernel's error number if the kernel refused, ``detail`` its own
    explanation or a tool's, and ``operation`` the operation that failed.
    """

    detail: str = ""

    def __init__(
        self, message: str, *, errno: int | None = None, operation: object | None = None
    ) -> None:
        super().__init__(message)
        self.errno = errno
        self.operation = operation


class Timeout(ApiError):
    """The deadline passed before the call was done; its changes are undone."""


class Cancelled(ApiError):
    """The cancel token was set; the changes of the call are undone."""


class Conflict(ApiError):
    """The request contradicts what exists.

    Usually nothing was touched.  A collision with a foreign object may show only when
    the kernel refuses an operation; then the call is rolled back.
    """


class Veto(ApiError):
    """Raised by a ``before_apply`` hook to refuse a plan; nothing was touched."""


class Unsupported(ApiError):
    """A driver or this kernel cannot do what the call asks for."""


class Incomplete(ApiError):
    """A tear-down removed what it could; ``leftovers`` lists the rest.

    The node still knows what is left, and repeating the call finishes the tear-down.
    ``events`` are already true: the call that finishes does not repeat them.
    ``tunnel_event`` and ``container_info`` are the first of each kind.
    """

    state = State.UNFINISHED

    def __init__(
        self,
        message: str,
        *,
        leftovers: Iterable[Any] = (),
        tunnel_event: Any = None,
        container_info: Any = None,
        events: Iterable[Any] = (),
    ) -> None:
        super().__init__(message)
        self.leftovers = tuple(leftovers)
        self.events = tuple(events)
        self.tunnel_event = tunnel_event
        self.container_info = container_info


class Exists(ApiError):
    """An object with this identity is there already (EEXIST)."""


class Missing(ApiError):
    """The object, or one it refers to, is not there (ENODEV, ENOENT, ESRCH ...)."""


class Busy(ApiError):
    """The object, or what it needs, is in use (EBUSY, EADDRINUSE)."""


class Denied(ApiError):
    """The process lacks the permission (EPERM, EACCES): run as root or with CAP_NET_ADMIN."""


class Exhausted(ApiError):
    """The host ran out of a resource (ENOMEM, ENOBUFS, EMFILE, ENOSPC, EXFULL ...)."""


class Rejected(ApiError):
    """The kernel refused the values (EINVAL, ERANGE and every other errno)."""


class FatalError(SnnetError):
    """A rollback failed; ``leftovers`` lists what is left on the host.

    ``repair()`` removes it.  Until then, calls about the same objects may fail.
    """

    state = State.INCONSISTENT

    def __init__(self, message: str, *, leftovers: Iterable[Any] = ()) -> None:
        super().__init__(message)
        self.leftovers = tuple(leftovers)


_CLASSES: dict[type[ApiError], tuple[str, ...]] = {
    Exists: ("EEXIST",),
    # "Not there" is ENODEV for a link, EADDRNOTAVAIL for an address, ESRCH for
    # a route and ENOENT for a neighbour or a file.
    Missing: ("ENODEV", "ENXIO", "EADDRNOTAVAIL", "ESRCH", "ENOENT"),
    Busy: ("EBUSY", "EADDRINUSE"),
    Denied: ("EPERM", "EACCES"),
    Exhausted: ("ENOMEM", "ENOBUFS", "EMFILE", "ENFILE", "ENOSPC", "EXFULL", "EAGAIN"),
    Unsupported: ("EOPNOTSUPP", "EAFNOSUPPORT", "EPROTONOSUPPORT", "ENOSYS"),
}
_BY_ERRNO = {getattr(_errno, name): cls for cls, names in _CLASSES.items() for name in names}

# Python's name for it is ENOTSUP; the kernel and its manuals say EOPNOTSUPP.
_NAMES = {**_errno.errorcode, _errno.EOPNOTSUPP: "EOPNOTSUPP"}


CAPABILITY = "CAP_NET_ADMIN"
"""With which the kernel allows changes of a network namespace (capabilities(7))."""


def needs(capability: str = CAPABILITY) -> str:
    """What to do about EPERM."""
    name = capability.removeprefix("CAP_")
    return f"this needs {capability}: run as root, or a container with --cap-add {name}"


def error_for(
    errno: int, what: str, *, detail: str = "", operation: object | None = None
) -> ApiError:
    """Return the error for one refused operation: ``what`` could not be done.

    ``errno`` is positive, as in :mod:`errno`.  ``detail`` is the kernel's own
    explanation (the netlink extended ack) or the tool's message.
    """
    name = _NAMES.get(errno, f"errno {errno}")
    message = f"cannot {what}: {os.strerror(errno)} ({name})"
    if detail:
        message += f": {detail}"
    if errno == _errno.EPERM:
        noun = getattr(operation, "noun", None)
        message += f": {needs(getattr(noun, 'capability', CAPABILITY))}"
    error = _BY_ERRNO.get(errno, Rejected)(message, errno=errno, operation=operation)
    error.detail = detail
    return error


_SHOWN = reprlib.Repr()
_SHOWN.maxlevel = 4
_SHOWN.maxstring = _SHOWN.maxother = _SHOWN.maxlong = 300
_SHOWN.maxdict = _SHOWN.maxlist = _SHOWN.maxtuple = _SHOWN.maxset = 20


def shown(value: object) -> str:
    """Return a value as error messages show it, shortened where it is long."""
    try:
        return _SHOWN.repr(value)
    except ValueError:  # Python refuses to print an int of more than 4300 digits
        return f"<{type(value).__name__} too long to print>"
