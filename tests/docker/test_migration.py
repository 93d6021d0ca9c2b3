"""Databases of before the plugin kept its state in a registry: read once, then put aside."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from snnet.contract import Put, SnnetError, Write
from snnet.docker.app import protocol
from snnet.docker.migration import migrate
from snnet.docker.state import State
from snnet.registries.memory import MemoryRegistry
from snnet.registries.sqlite import SqliteRegistry
from tests.killed import Killed

from .client import Direct
from .conftest import ENDPOINT, NETWORK, Host

TABLE = """CREATE TABLE documents (
    bucket TEXT NOT NULL, key TEXT NOT NULL, document TEXT NOT NULL,
    PRIMARY KEY (bucket, key)
) WITHOUT ROWID"""


def make_old(path: Path, documents: Mapping[tuple[str, str], Any], version: int = 1) -> Path:
    """A database as the old plugin left it when it was killed: in write-ahead mode."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(TABLE)
    connection.execute(f"PRAGMA user_version={version}")
    for (table, key), document in documents.items():
        text = json.dumps(document)
        connection.execute("INSERT INTO documents VALUES (?, ?, ?)", (table, key, text))
    connection.close()
    return path


def of_a_running_host() -> tuple[Host, dict[tuple[str, str], Any]]:
    host = Host()
    host.network()
    host.client.create_endpoint(NETWORK, ENDPOINT, "10.1.0.9/24")
    host.client.join(NETWORK, ENDPOINT)
    tables = ("pools", "addresses", "networks", "endpoints")
    return host, {
        (table, key): document
        for table in tables
        for key, document in host.documents(table).items()
    }


def test_a_plugin_goes_on_where_the_old_one_stopped(tmp_path: Path) -> None:
    """Its networks, endpoints and addresses are those of before."""
    host, documents = of_a_running_host()
    old = make_old(tmp_path / "snnet.db", documents)
    with SqliteRegistry(f"//{tmp_path}/registry.db") as registry:
        migrate(old, registry, "docker/")
        found = registry.read("docker/").entries
        assert {key: entry.document for key, entry in found.items()} == {
            f"docker/{table}/{key}": document for (table, key), document in documents.items()
        }
        before = host.kernel.to_text()
        client = Direct(protocol(registry, "docker/", host.node, lambda: host.now))
        assert host.kernel.to_text() == before
        client.leave(NETWORK, ENDPOINT)
        client.ask("NetworkDriver.DeleteEndpoint", NetworkID=NETWORK, EndpointID=ENDPOINT)
        assert host.node.topology().vnics == ()
    host.stop()
    assert not old.exists()
    assert (tmp_path / "snnet.db.migrated").exists()


def test_once_only(tmp_path: Path) -> None:
    """The file is not read again, and without one nothing is done."""
    registry = MemoryRegistry()
    old = make_old(tmp_path / "snnet.db", {("pools", "p"): {"n": 1}})
    migrate(old, registry, "x/")
    registry.commit([Put("x/pools/p", {"n": 2})])
    migrate(old, registry, "x/")
    assert registry.read("").entries["x/pools/p"].document == {"n": 2}


class Mortal(MemoryRegistry):
    commits = 0

    def commit(self, writes: Sequence[Write], expected: Mapping[str, int] | None = None) -> int:
        self.commits += 1
        if self.commits == 3:
            raise Killed
        return super().commit(writes, expected)


def test_a_killed_migration_is_done_again(tmp_path: Path) -> None:
    """And what a later run of the old plugin wrote replaces what the registry has."""
    documents = {("addresses", f"p/10.1.{n // 250}.{n % 250}"): {"n": n} for n in range(450)}
    old = make_old(tmp_path / "snnet.db", documents)
    registry = Mortal()
    registry.commit([Put("x/addresses/of-before", {}), Put("y/other", {})])
    with pytest.raises(Killed):
        migrate(old, registry, "x/")
    assert old.exists()
    migrate(old, registry, "x/")
    found = registry.read("x/").entries
    assert {key: entry.document for key, entry in found.items()} == {
        f"x/{table}/{key}": document for (table, key), document in documents.items()
    }
    assert list(registry.read("y/").entries) == ["y/other"]


def test_what_cannot_be_read_stays(tmp_path: Path) -> None:
    registry = MemoryRegistry()
    newer = make_old(tmp_path / "newer.db", {}, version=2)
    with pytest.raises(SnnetError, match=r"newer.db: it has schema 2, not 1"):
        migrate(newer, registry, "x/")
    damaged = tmp_path / "damaged.db"
    damaged.write_text("no database at all, but long enough to be looked at by the library")
    with pytest.raises(SnnetError, match=r"damaged.db: file is not a database; restore it"):
        migrate(damaged, registry, "x/")
    assert newer.exists()
    assert damaged.exists()


def test_states_of_more_documents_than_a_commit_has() -> None:
    """They are written and removed all the same."""
    host = Host()
    pool = host.client.make_pool("10.1.0.0/16")
    for _ in range(230):
        host.client.address(pool)
    assert len(host.addresses) == 230
    host.client.ask("IpamDriver.ReleasePool", PoolID=pool)
    assert (host.addresses, host.documents("pools")) == ({}, {})
    state = State(host.registry, host.prefix)
    assert (state.pools.all(), state.addresses.all()) == ([], [])
    host.stop()
