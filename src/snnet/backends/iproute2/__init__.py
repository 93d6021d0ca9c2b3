"""The language of iproute2: operations as commands of ``ip``, ``bridge`` and ``sysctl``.

Text alone: nothing here runs a program.  It is no driver, so the engine may import it:
``render`` prints operations as lines for a shell, which is what a dry run shows for
every backend that has no commands of its own.  The backend ``iproute_shell`` runs the
same commands.
"""

from .commands import render

__all__ = ["render"]
