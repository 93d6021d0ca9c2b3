"""The one translation point: what is raised below a driver becomes an error of snnet."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

from .errors import ApiError, SnnetError, error_for


def as_error(error: Exception, what: str, *, operation: object | None = None) -> SnnetError:
    """Return the error to raise where ``what`` could not be done because of ``error``.

    A ``SnnetError`` is returned as it is.  A refusal of the system (``OSError``) becomes the
    class of its errno; anything else is a mistake of the driver, and says so.
    """
    if isinstance(error, SnnetError):
        return error
    if isinstance(error, OSError):
        number = error.errno or errno.EIO
        return error_for(number, what, detail=_detail(error, number), operation=operation)
    return ApiError(
        f"cannot {what}: the driver raised {error!r}, which is a bug in the driver: "
        "report it to its authors",
        operation=operation,
    )


def _detail(error: OSError, number: int) -> str:
    """What a refusal says beyond its errno: the kernel's or our own text, or the file."""
    own = error.strerror if error.strerror not in (None, os.strerror(number)) else ""
    return getattr(error, "detail", "") or str(own or error.filename or "")


@contextlib.contextmanager
def translating(what: str) -> Iterator[None]:
    """Raise what the block raises as an error of snnet: ``what`` could not be done."""
    try:
        yield
    except SnnetError:
        raise
    except Exception as error:
        raise as_error(error, what) from error


_VERBS: dict[str, Callable[..., str]] = {
    "missing": lambda self, noun: f"find out whether {self.name} supports {noun}",
    "snapshot": lambda self, *_, **__: f"list what {self.name} has on the host",
    "find": lambda self, noun: f"look up {' '.join(noun.key)} with {self.name}",
    "addresses": lambda self, link: f"list the addresses of {link} with {self.name}",
    "owners": lambda self: f"find out whose rules {self.name} has on the host",
    "commands": lambda self, operation: f"print {operation} as commands of {self.name}",
    "transfer": lambda self, *_: f"move rules to or from {self.name}",
    "epoch": lambda self: f"find out whether others changed what {self.name} set",
    "obstacles": lambda self: f"look for what breaks the rules of {self.name}",
    "stopped": lambda self, *_: f"look with {self.name} for rules that drop our packets",
    "dropped": lambda self: f"count what the rules of {self.name} have dropped",
    "enforced": lambda self: f"read what the kernel enforces of {self.name}",
    "tidy": lambda self: f"remove what changes of {self.name} have left",
    "dump": lambda self: f"print what {self.name} has on the host",
    "watch": lambda self: f"watch the links of {self.name}",
    "read": lambda self, *_: "read the events of links",
    "close": lambda self: "close the driver",
}
"""What each method of a driver or a watch does, in the words of an error."""


def translate(cls: type) -> None:
    """Have the methods of the class that are called by others raise errors of snnet only.

    ``perform`` and ``perform_all`` are left out: the loop over operations translates.
    """
    for name, words in _VERBS.items():
        method = cls.__dict__.get(name)
        if callable(method) and not getattr(method, "__isabstractmethod__", False):
            setattr(cls, name, _translated(method, words))


def _translated(method: Callable[..., Any], words: Callable[..., str]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except SnnetError:
            raise
        except Exception as error:
            try:
                what = words(self, *args, **kwargs)
            except Exception:  # the arguments are wrong too
                what = f"call {method.__qualname__}"
            raise as_error(error, what) from error

    return call
