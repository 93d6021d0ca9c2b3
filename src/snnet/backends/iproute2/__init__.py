"""Operations as commands of iproute2 (``ip``, ``bridge``) and ``sysctl``.

This package writes text and runs no program.  It is not a driver, so the engine may
import it: ``render`` writes an operation as lines for a shell, and a preview shows them
for every backend without its own commands.  The backend ``iproute_shell`` runs the same
commands.
"""

from .commands import render

__all__ = ["render"]
