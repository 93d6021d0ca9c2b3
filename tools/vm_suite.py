"""What runs inside the VM: one process, for Python starts slowly there."""

from __future__ import annotations

import argparse
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


class OneIn:
    """Leaves one in so many tests, others in each run."""

    def __init__(self, many: int) -> None:
        self._many = many

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        from tests.sample import sampled  # pytest knows where it is

        kept = sampled(items, self._many)
        left = {*items} - {*kept}
        config.hook.pytest_deselected(items=list(left))
        items[:] = kept


def test(sample: OneIn, *selection: str) -> int:
    """Run tests; the exit code."""
    options = ["-q", "--timeout", "900", "--durations", "9", "-p", "no:cacheprovider"]
    options += ["-o", "verbosity_assertions=2"]
    return int(pytest.main([*options, *selection], plugins=[sample]))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--one-in", type=int, default=1)
    parser.add_argument("tests", nargs="*")
    asked = parser.parse_args()
    sample = OneIn(asked.one_in)
    failed = demo()
    if asked.tests:
        return test(sample, "-m", "kernel and needs", *asked.tests) or failed
    failed = test(sample, "-m", "kernel and needs", *ABOUT_LINKS) or failed
    # What the backend declares missing elsewhere.
    kit = "Netlink and (gre or gretap or geneve or multi or tunnel)"
    return test(sample, "-m", "kernel", "-k", kit, "tests/conformance/test_backends.py") or failed


if __name__ == "__main__":
    sys.exit(main())
