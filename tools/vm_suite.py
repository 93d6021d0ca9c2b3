"""What runs inside the VM: one process, for Python starts slowly there."""

from __future__ import annotations

import sys
import time

import pytest
from click.testing import CliRunner

from snnet.cli import main


def demo() -> int:
    """The demo over real GRE; its exit code."""
    started = time.monotonic()
    done = CliRunner().invoke(main, ["demo", "--backend", "netlink", "--tunnel", "gre"])
    print(done.output, flush=True)
    print(f"demo in the VM: exit code {done.exit_code}, {time.monotonic() - started:.0f} s\n")
    return done.exit_code


if __name__ == "__main__":
    failed = demo()
    options = ["-q", "-m", "kernel and needs", "-p", "no:cacheprovider"]
    sys.exit(int(pytest.main([*options, *sys.argv[1:]])) or failed)
