"""The backend that runs ``ip``, ``bridge`` and ``sysctl``.

What it runs is what ``snnet.backends.iproute2`` prints.  ``backend`` is the driver;
``links``, ``network``, ``neighbours`` and ``sysctls`` each know one kind of object,
``found`` reads what ``ip -json`` says of links, ``checks`` refuses what ``ip`` would
misread, ``shell`` runs programs and ``errors`` turns their words into errors.
"""

from .backend import IprouteShellBackend

__all__ = ["IprouteShellBackend"]
