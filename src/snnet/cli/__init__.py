"""The command line ``snnet``: what people type, see and script.

Only what is shown and asked lives here; the work is done by the packages
below.  click and rich come with the extra ``cli``.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; ends the process with 0 done, 1 failed, 2 wrong usage."""
    try:
        import click  # noqa: F401
        import rich  # noqa: F401

        from .commands import snnet
    except ImportError as error:
        if error.name not in ("click", "rich"):
            raise
        sys.exit(f"snnet: the command line needs {error.name}: pip install 'snnet[cli]'")
    except KeyboardInterrupt:
        sys.exit("snnet: interrupted")
    snnet()
