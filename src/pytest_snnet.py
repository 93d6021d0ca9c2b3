"""pytest fixtures for tests of code that uses snnet, and reports that show the state.

The fixtures are ``snnet_kernel`` (one fake host), ``snnet_fabric`` (many on one network)
and ``snnet_netns`` (a real network namespace; skipped without root).  A failed comparison
of fake kernels shows the difference of their texts, and the report of a failed test
contains the text of every fake kernel among its fixtures.

pytest imports this module wherever snnet is installed.  It is outside the package because
importing any part of ``snnet`` imports all of it; only tests that use a fixture do that.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import signal
import sys
import uuid
from collections.abc import Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from snnet import Fabric, FakeKernel

_LOOPBACK = "loopback lo "
"""The beginning of a line that is in the text of every kernel."""


@pytest.fixture
def snnet_kernel() -> Iterator[FakeKernel]:
    """One fake host with ``eth0`` 192.0.2.11/24: pass it to a node as ``backend=``.

    The test fails if a failure that it set with ``fail`` never happened.
    """
    from snnet import FakeKernel

    kernel = FakeKernel()
    kernel.add_uplink("eth0", "192.0.2.11/24")
    yield kernel
    _check_failures({"snnet_kernel": kernel})


@pytest.fixture
def snnet_fabric() -> Iterator[Fabric]:
    """A network without hosts: use ``snnet_fabric.add_host("cn-1", "192.0.2.11/24")``.

    The test fails if a failure that it set with ``fail`` of a host never happened.
    """
    from snnet import Fabric

    fabric = Fabric()
    yield fabric
    _check_failures(fabric.hosts)


def _check_failures(kernels: Mapping[str, FakeKernel]) -> None:
    lines = [f"{name}: {line}" for name, one in kernels.items() for line in one.pending_failures]
    if lines:
        pytest.fail(f"failures were set that never happened: {'; '.join(lines)}", pytrace=False)


@pytest.fixture
def snnet_netns() -> Iterator[str]:
    """The name of a new network namespace of the real kernel, for ``netns=`` and ``ip -n``.

    It contains only the loopback, which is up.  After the test, processes that run in the
    namespace are killed, and the namespace is removed with everything in it.  Without
    root, or without the program ``ip``, the test is skipped.
    """
    if os.geteuid() != 0:
        pytest.skip("snnet_netns creates a network namespace: run as root")
    from snnet.contract import Denied, Unsupported
    from snnet.system.process import run

    name = f"snnet-{uuid.uuid4().hex[:10]}"
    try:
        run(["ip", "netns", "add", name])
    except (Denied, Unsupported) as error:
        pytest.skip(f"snnet_netns cannot create a network namespace: {error}")
    try:
        run(["ip", "-n", name, "link", "set", "lo", "up"])
        yield name
    finally:
        _end_processes(run(["ip", "netns", "pids", name]).stdout.split())
        run(["ip", "netns", "del", name])


def _end_processes(pids: list[str]) -> None:
    """Kill the processes that still run in a namespace of a test."""
    for pid in map(int, pids):
        if pid != os.getpid():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Show the difference between two fake kernels, or between their texts."""
    texts = _text_of(left), _text_of(right)
    if op != "==" or texts[0] is None or texts[1] is None:
        return None
    if texts[0] == texts[1]:
        return [
            "a fake kernel is equal to itself only",
            "The texts are the same: compare .to_text()",
        ]
    lines = difflib.ndiff(texts[1].splitlines(), texts[0].splitlines())
    return [
        "the state of one fake kernel == that of another",
        "- is wanted (right) but missing, + is there (left) but not wanted:",
        *(line.rstrip("\n") for line in lines if not line.startswith("?")),
    ]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the state of the fixtures' fake kernels to the report of a test that failed."""
    report = yield
    if report.when == "call" and report.failed and _fakes() is not None:
        for name, text in _states(getattr(item, "funcargs", {})):
            report.sections.append((f"snnet state: {name}", text))
    return report


def _states(fixtures: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield every fake kernel among the fixtures once, with the name of fixture or host."""
    fakes = _fakes()
    seen: set[int] = set()
    for name, value in fixtures.items():
        if isinstance(value, fakes.FakeKernel):
            kernels = {name: value}
        elif isinstance(value, fakes.Fabric):
            kernels = {f"{name}, host {host}": kernel for host, kernel in value.hosts.items()}
        else:
            continue
        for what, kernel in kernels.items():
            if id(kernel) not in seen:
                seen.add(id(kernel))
                yield what, kernel.to_text()


def _text_of(value: object) -> str | None:
    """Return the text of a fake kernel; None if the value is neither a kernel nor its text."""
    if isinstance(value, str):
        return value if any(line.startswith(_LOOPBACK) for line in value.splitlines()) else None
    fakes = _fakes()
    if fakes is not None and isinstance(value, fakes.FakeKernel):
        return str(value.to_text())
    return None


def _fakes() -> Any:
    """Return the package of the fakes if it is imported; if not, no value can be a fake."""
    return sys.modules.get("snnet.backends.fake")
