"""What all tests share: markers, fresh network namespaces, honest skips.

``kernel`` tests need root and work in namespaces of their own.  ``needs(kind)``
names a link kind the running kernel must have; where it lacks it, the test is
left to the VM (``make test-vm``, where SNNET_IN_VM is set and nothing is left
out) and listed at the end.  Of ``sampled`` tests, with SNNET_TEST_SAMPLE=N (CI), one
in N runs, others each time.  With SNNET_NO_SKIP set (CI), every other skip is a
failure.  What failed is written to the file SNNET_TEST_FAILURES too.
"""

from __future__ import annotations

import functools
import gc
import os
import resource
import signal
import subprocess
import uuid
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.sample import EVERY, sampled

# How long an example takes is the machine's business.
hypothesis.settings.register_profile("untimed", hypothesis.settings(deadline=None))
hypothesis.settings.load_profile("untimed")

FD_SETSIZE = 1024  # select(2)

_left_to_vm: Counter[str] = Counter()
_left_to_chance: list[pytest.Item] = []


def ip(*args: str, netns: str | None = None) -> str:
    """Run ``ip`` with these words, in a namespace if one is given; return its output."""
    argv = ["ip", *(("-n", netns) if netns else ()), *args]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr.strip()}"
    return done.stdout


@functools.cache
def kernel_has(kind: str) -> bool:
    """Whether this kernel can make a link of this kind, found by making one."""
    name = f"probe-{uuid.uuid4().hex[:8]}"
    details = {
        "gretap": ["local", "127.0.0.1", "remote", "127.0.0.2", "key", "1"],
        "gre": ["local", "127.0.0.1", "key", "1"],
        "ip6gretap": ["local", "::1", "remote", "::2", "key", "1"],
        "geneve": ["id", "1", "remote", "127.0.0.2"],
        "vxlan": ["id", "1", "remote", "127.0.0.2", "dstport", "4789"],
    }.get(kind, [])
    ip("netns", "add", name)
    try:
        argv = ["ip", "-n", name, "link", "add", "probe0", "type", kind, *details]
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0
    finally:
        ip("netns", "del", name)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "kernel: drives the real kernel; needs root")
    config.addinivalue_line("markers", "needs(kind): the kernel must have this kind of link")
    config.addinivalue_line("markers", "sampled: one in SNNET_TEST_SAMPLE of them runs")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without searches for garbage: nothing is freed, and they take a third of the time.

    What is collected lives until the end, so later searches leave it out, too.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(
    collector: pytest.Module | pytest.Class, name: str, obj: object
) -> list[pytest.Item] | None:
    """Do not even collect what ``-m 'not kernel'`` leaves out: it is half of all tests."""
    if collector.config.option.markexpr != "not kernel" or not name.lower().startswith("test"):
        return None
    marks = [*_marks(obj), *_marks(collector.obj)]
    return [] if any(mark.name == "kernel" for mark in marks) else None


def _marks(obj: object) -> list[pytest.Mark]:
    marks: Any = getattr(obj, "pytestmark", [])
    if not isinstance(marks, list):
        marks = [marks]
    return [mark if isinstance(mark, pytest.Mark) else mark.mark for mark in marks]


@pytest.hookimpl(trylast=True)  # what -m leaves out is not asked for
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.geteuid() != 0:
        for item in items:
            if item.get_closest_marker("kernel"):
                item.add_marker(pytest.mark.skip(reason="needs root: make test-kernel as root"))
        return
    _take_a_sample(config, items)
    if os.environ.get("SNNET_IN_VM"):
        return
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    for item in items:
        kinds = [kind for mark in item.iter_markers("needs") for kind in mark.args]
        lacking = [kind for kind in kinds if not kernel_has(kind)]
        (left if lacking else kept).append(item)
        _left_to_vm.update(lacking[:1])
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = kept


def _take_a_sample(config: pytest.Config, items: list[pytest.Item]) -> None:
    many = [item for item in items if item.get_closest_marker("sampled")]
    left = set(many) - set(sampled(many))
    if left:
        _left_to_chance.extend(left)
        config.hook.pytest_deselected(items=list(left))
        items[:] = [item for item in items if item not in left]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for kind, count in sorted(_left_to_vm.items()):
        terminalreporter.write_line(
            f"left to the VM: {count} tests, for this kernel has no {kind} (make test-vm)"
        )
    if _left_to_chance:
        terminalreporter.write_line(
            f"left to other runs: {len(_left_to_chance)} tests, for this one takes one in {EVERY}"
        )
    in_worker = hasattr(terminalreporter.config, "workerinput")
    if (kept := os.environ.get("SNNET_TEST_FAILURES")) and not in_worker:
        failed = [r for key in ("failed", "error") for r in terminalreporter.stats.get(key, [])]
        with Path(kept).open("a", encoding="utf-8") as file:
            file.writelines(f"FAILED {r.nodeid} ({r.when})\n{r.longreprtext}\n\n" for r in failed)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if os.environ.get("SNNET_NO_SKIP") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped where no skip is allowed: {report.longrepr}"
    return report


@contextmanager
def fresh_namespaces() -> Iterator[Callable[[], str]]:
    """Make fresh network namespaces, by name; each has its loopback up.

    At the end the processes in them are killed, too, and the namespaces of their concentrators end.
    """
    names: list[str] = []

    def make() -> str:
        name = f"snnet-test-{uuid.uuid4().hex[:8]}"
        ip("netns", "add", name)
        names.append(name)
        ip("link", "set", "lo", "up", netns=name)
        return name

    yield make
    for name in names:
        for one in (*_concentrators_of(name), name):
            # A DHCP server outlives its concentrator, and its namespace.
            for pid in ip("netns", "pids", one).split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            ip("netns", "del", one)


def _concentrators_of(netns: str) -> list[str]:
    """The namespaces that nodes of this one left, by their marks."""
    if not any(name.startswith("snn-") for name in os.listdir("/run/netns")):
        return []
    from snnet.backends.netlink import NetlinkBackend
    from snnet.contract import Namespace
    from snnet.system.host import RealHost

    host = RealHost(netns)
    driver = NetlinkBackend(host)
    try:
        found = driver.snapshot({Namespace}).values()
        return [noun.name for noun in found if isinstance(noun, Namespace)]
    finally:
        driver.close()
        host.close()


@pytest.fixture
def make_netns() -> Iterator[Callable[[], str]]:
    """Make fresh network namespaces, by name; each has its loopback up."""
    with fresh_namespaces() as make:
        yield make


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """As in an agent of many concentrators: select(2) takes no descriptor that is opened now."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    with ExitStack() as opened:
        while opened.enter_context(open(os.devnull)).fileno() < FD_SETSIZE:
            pass
        yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def netns(make_netns: Callable[[], str]) -> str:
    """One fresh network namespace, by name."""
    return make_netns()
