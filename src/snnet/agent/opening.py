"""Registries that do not answer when the agent starts, and concentrators' namespaces."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from typing import Any, TypeVar

from snnet import plugins
from snnet.config import NetworkConfig
from snnet.contract import (
    Driver,
    InvalidRequest,
    Reading,
    Registry,
    RegistryWatch,
    Session,
    Unavailable,
    Write,
)
from snnet.core.concentrators import Concentrator
from snnet.node import Cnci, ComputeNode

from .hub import inner_config

SLICE = 0.1
"""Seconds of waiting for the registry between two looks for something else."""

T = TypeVar("T")

_log = logging.getLogger("snnet.agent")


def beside(
    call: Callable[[], T], stop: threading.Event, meanwhile: Callable[[], None] = lambda: None
) -> T:
    """Return what a call returns that may take long, and do something else meanwhile.

    Raises ``Unavailable`` once ``stop`` is set.  Nothing waits for the call then, not even the end
    of the process.
    """
    answer: futures.Future[T] = futures.Future()

    def run() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=run, name="snnet-registry", daemon=True).start()
    while not futures.wait([answer], SLICE).done:
        if stop.is_set():
            raise Unavailable("the agent stops")
        meanwhile()
    return answer.result()


def open_registry(url: str, stop: threading.Event) -> tuple[Registry, str | None]:
    """Open a registry; one that does not answer is opened when it is first used with success.

    Return it, and why it does not answer.  Raises ``InvalidRequest`` and all else that no
    waiting helps against.
    """
    registry = _LateRegistry(url, stop)
    try:
        return registry.opened(), None
    except Unavailable as error:
        problem = f"registry: {error}"
        _log.warning("%s", problem)
        return registry, problem


class _LateRegistry(Registry):
    """Every call raises ``Unavailable`` until the registry can be opened."""

    def __init__(self, url: str, stop: threading.Event) -> None:
        self._url, self._stop = url, stop
        self._registry: Registry | None = None
        self._closed = False
        self._opening = threading.Lock()

    def opened(self) -> Registry:
        with self._opening:
            if self._registry is None:
                self._registry = beside(self._open, self._stop)
            return self._registry

    def _open(self) -> Registry:
        if self._closed:
            raise InvalidRequest("this registry is closed: open it again")
        registry = plugins.open_registry(self._url)
        if self._closed or self._stop.is_set():  # nobody waits for it any more
            registry.close()
        return registry

    def read(self, *prefixes: str) -> Reading:
        """See :meth:`snnet.contract.Registry.read`."""
        return self.opened().read(*prefixes)

    def commit(self, writes: Sequence[Write], expected: Mapping[str, int] | None = None) -> int:
        """See :meth:`snnet.contract.Registry.commit`."""
        return self.opened().commit(writes, expected)

    def watch(self, *prefixes: str, after: int) -> RegistryWatch:
        """See :meth:`snnet.contract.Registry.watch`."""
        return self.opened().watch(*prefixes, after=after)

    def watch_groups(self, groups: Sequence[Sequence[str]], *, after: int) -> RegistryWatch:
        """See :meth:`snnet.contract.Registry.watch_groups`."""
        return self.opened().watch_groups(groups, after=after)

    def session(self, ttl: float) -> Session:
        """See :meth:`snnet.contract.Registry.session`."""
        return self.opened().session(ttl)

    def close(self) -> None:
        """See :meth:`snnet.contract.Registry.close`."""
        self._closed = True
        with self._opening:
            if self._registry is not None:
                self._registry.close()


def inside_opener(
    node: ComputeNode, config: NetworkConfig, drivers: Mapping[str, Any], dhcp: str | Driver
) -> Callable[[Concentrator], contextlib.AbstractContextManager[Cnci]]:
    """Return what opens a concentrator of this node's host in its namespace."""

    @contextlib.contextmanager
    def open_cnci(side: Concentrator) -> Iterator[Cnci]:
        backend = node.backend
        inner: dict[str, Any] = {"netns": side.netns}
        with contextlib.ExitStack() as opened:
            # What is in memory has its namespaces itself, also where it was opened by name.
            if isinstance(drivers["backend"], Driver) or backend.host.netns.fd < 0:
                inner = {"backend": opened.enter_context(backend.inside(side.netns))}
            with Cnci(
                side.concentrator_id,
                inner_config(node, config),
                tenant_id=side.tenant_id,
                dhcp=dhcp,
                **{**drivers, **inner},
            ) as cnci:
                yield cnci

    return open_cnci
