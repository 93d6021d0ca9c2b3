"""The command line ``snnet``.

This package parses options and shows results; other packages do the work.  The extra
``cli`` installs click and rich.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line.  Exits with 0 for success, 1 for failure, 2 for wrong usage."""
    _have_streams()
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


def _have_streams() -> None:
    """Use /dev/null for a standard stream that the caller closed, in the order of descriptors.

    Otherwise the next file that is opened, such as a registry, gets its number, and its output.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 (open until the end)
