"""The backend that runs ``ip``, ``bridge``, ``tc`` and ``sysctl``.

It runs the commands that ``snnet.backends.iproute2`` prints.  ``backend`` is the driver;
``links``, ``network``, ``neighbours``, ``shaping`` and ``sysctls`` each handle one kind of object,
``found`` reads links from the output of ``ip -json``, ``checks`` refuses what ``ip`` would
misread, ``shell`` runs programs and ``errors`` converts their messages to errors.
"""

from .backend import IprouteShellBackend

__all__ = ["IprouteShellBackend"]
