"""The command line ``snnet``.

This package parses options and shows results; other packages do the work.  The extra
``cli`` installs click and rich.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line.  Exits with 0 for success, 1 for failure, 2 for wrong usage."""
    try:
        import click  # noqa: F401

        from .app import snnet
    except ImportError as error:
        if error.name != "click":
            raise
        sys.exit(f"snnet: the command line needs {error.name}: pip install 'snnet[cli]'")
    except KeyboardInterrupt:
        sys.exit("snnet: interrupted")
    try:
        snnet()
    except ImportError as error:
        if error.name not in ("rich", "yaml"):
            raise
        sys.exit(f"snnet: this command needs {error.name}: pip install 'snnet[cli]'")
