"""Namespaces of other programs come and go while a backend lists its host."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator

import pytest

from snnet import plugins
from snnet.system.host import RealHost
from tests.conftest import ip

pytestmark = pytest.mark.kernel


@pytest.fixture
def _churn() -> Iterator[None]:
    """Make and delete namespaces until the test is over."""
    over = threading.Event()

    def make() -> None:
        while not over.is_set():
            name = f"snnet-test-{uuid.uuid4().hex[:8]}"
            ip("netns", "add", name)
            ip("netns", "del", name)
            over.wait(0.02)  # other tests need the kernel's lock as well

    threads = [threading.Thread(target=make) for _ in range(2)]
    for thread in threads:
        thread.start()
    yield
    over.set()
    for thread in threads:
        thread.join()


@pytest.mark.usefixtures("_churn")
@pytest.mark.parametrize("name", ["netlink", "iproute_shell"])
def test_others_namespaces_may_go_during_a_snapshot(name: str, netns: str) -> None:
    host = RealHost(netns)
    driver = plugins.open_driver(plugins.BACKENDS, name, host)
    try:
        for _ in range(20):
            driver.snapshot()
    finally:
        driver.close()
        host.close()
