"""``python -m snnet`` is the command line."""

from __future__ import annotations

from snnet.cli import main

if __name__ == "__main__":
    main()
