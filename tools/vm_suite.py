"""What runs inside the VM: one process, for Python starts slowly there."""

from __future__ import annotations

import sys
import time

import pytest

from snnet.cli.app import snnet

ABOUT_LINKS = (
    "tests/backends",
    "tests/differential",
    "tests/lab",
    "tests/node/test_cnci.py",
    "tests/node/test_compute.py",
    "tests/node/test_concurrency.py",
    "tests/node/test_killed.py",
    "tests/node/test_tunnels.py",
)
"""Tests that the kind of tunnel matters to; the others are slow here, and the host's kernel
has what they need."""


def demo() -> int:
    """The demo over real GRE and real macvtap; its exit code."""
    started = time.monotonic()
    arguments = ["demo", "--backend", "netlink", "--tunnel", "gre"]
    code = int(snnet.main(arguments, standalone_mode=False) or 0)
    print(f"demo in the VM: exit code {code}, {time.monotonic() - started:.0f} s\n", flush=True)
    return code


def test(*selection: str) -> int:
    """Run tests; the exit code."""
    options = ["-q", "--timeout", "900", "--durations", "9", "-p", "no:cacheprovider"]
    options += ["-o", "verbosity_assertions=2"]
    return int(pytest.main([*options, *selection, *sys.argv[1:]]))


if __name__ == "__main__":
    failed = demo()
    if sys.argv[1:]:
        failed = test("-m", "kernel and needs") or failed
    else:
        failed = test("-m", "kernel and needs", *ABOUT_LINKS) or failed
        # What the backend declares missing elsewhere.
        kit = "Netlink and (gre or gretap or geneve or multi or tunnel)"
        failed = test("-m", "kernel", "-k", kit, "tests/conformance/test_backends.py") or failed
    sys.exit(failed)
