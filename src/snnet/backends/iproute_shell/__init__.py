"""Operations as iproute2 commands: printed, or run.

``commands`` turns an operation into the commands of ``ip``, ``bridge`` and
``sysctl`` that carry it out: ``render`` prints them as lines for a shell, the
backend runs the very same.  ``backend`` is the driver; ``links``, ``network``,
``neighbours`` and ``sysctls`` each know one kind of object, ``found`` reads what
``ip -json`` says of links, ``checks`` refuses what ``ip`` would misread,
``shell`` runs programs and ``errors`` turns their words into errors.

Who only prints (every dry run does) does not load what runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .commands import render

if TYPE_CHECKING:
    from .backend import IprouteShellBackend

__all__ = ["IprouteShellBackend", "render"]


def __getattr__(name: str) -> Any:
    """The backend is imported by whoever asks for it."""
    if name == "IprouteShellBackend":
        from .backend import IprouteShellBackend

        return IprouteShellBackend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
