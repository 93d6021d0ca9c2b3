"""What runs inside the VM: one process, for Python starts slowly there."""

from __future__ import annotations

import sys
import time

import pytest

from snnet.cli.commands import snnet


def demo() -> int:
    """The demo over real GRE and real macvtap; its exit code."""
    started = time.monotonic()
    arguments = ["demo", "--backend", "netlink", "--tunnel", "gre"]
    code = int(snnet.main(arguments, standalone_mode=False) or 0)
    print(f"demo in the VM: exit code {code}, {time.monotonic() - started:.0f} s\n", flush=True)
    return code


if __name__ == "__main__":
    failed = demo()
    options = ["-q", "-m", "kernel and needs", "-p", "no:cacheprovider"]
    sys.exit(int(pytest.main([*options, *sys.argv[1:]])) or failed)
