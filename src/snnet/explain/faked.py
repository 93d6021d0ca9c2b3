"""Snapshots of fake hosts, as ``reading.py`` makes them of real ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from snnet.backends.fake import FakeKernel
from snnet.contract import Route
from snnet.contract.network import FORWARDING

from .snapshot import NOUNS, Snapshot, Space


def snapshot_of(kernel: FakeKernel, name: str = "", **changes: Any) -> Snapshot:
    """Return the snapshot of a fake host, by default under its own name.

    ``changes`` are fields of its own namespace that shall be other than they are.
    """
    inside = {child: kernel.namespace(child) for child in kernel.state.children}
    spaces = {child: _space(one, inside) for child, one in {"": kernel, **inside}.items()}
    if changes:
        own = spaces[""]
        fields = {field: getattr(own, field) for field in Space.__dataclass_fields__}
        spaces[""] = Space(**{**fields, **changes})
    return Snapshot(name or kernel.hostname, spaces)


def _space(kernel: FakeKernel, inside: Mapping[str, FakeKernel]) -> Space:
    state = kernel.state
    names = {id(one.state): name for name, one in inside.items()}
    with state.lock:
        sysctls = dict(state.sysctls)
        for version in (4, 6):
            sysctls.setdefault(FORWARDING[version], "0")
        return Space(
            [noun for noun in state.nouns.values() if type(noun) in NOUNS.values()],
            list(_routes(kernel)),
            sysctls=sysctls,
            far={link: (names.get(id(there), ""), far) for link, (there, far) in state.far.items()},
            listeners=list(kernel.sockets),
        )


def _routes(kernel: FakeKernel) -> Iterator[dict[str, Any]]:
    """Yield the routes as ``ip -json route`` prints them."""
    for link, networks in kernel.state.connected.items():
        for network in networks:
            route = {"dst": str(network), "dev": link, "protocol": "kernel"}
            yield {**route, "family": network.version}
    for noun in kernel.state.nouns.values():
        if isinstance(noun, Route):
            found = {"dst": str(noun.destination), "dev": noun.link, "table": noun.table}
            gateway = {"gateway": str(noun.gateway)} if noun.gateway else {}
            yield {**found, **gateway, "family": noun.destination.version}
