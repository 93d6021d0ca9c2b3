"""What a real daemon said to a plugin on the real kernel, said again to one on the fake.

``python -m tests.docker.record`` writes the recording anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .conftest import Served
from .record import RECORDED

FATAL_WHEN_404 = {
    "NetworkDriver.GetCapabilities",
    "IpamDriver.GetDefaultAddressSpaces",
    "IpamDriver.RequestPool",
    "IpamDriver.RequestAddress",
    "NetworkDriver.CreateNetwork",
    "NetworkDriver.CreateEndpoint",
    "NetworkDriver.Join",
    "NetworkDriver.EndpointOperInfo",
}


def test_the_answers_are_the_same(folder: Path) -> None:
    recorded: list[dict[str, Any]] = json.loads(RECORDED.read_text())
    assert {one["method"] for one in recorded} > FATAL_WHEN_404
    host = Served(folder, node_id="a", tunnel="vxlan")
    before = host.kernel.to_text()
    pools: dict[str, str] = {}
    for one in recorded:
        text = json.dumps(one["request"])
        for there, here in pools.items():
            text = text.replace(there, here)
        status, answer = host.client.send("POST", f"/{one['method']}", text.encode())
        if "PoolID" in answer:
            pools[one["answer"]["PoolID"]] = answer["PoolID"]
            answer["PoolID"] = one["answer"]["PoolID"]
        assert (status, answer) == (one["status"], one["answer"]), one
    assert host.kernel.to_text() == before
    tables = ("pools", "addresses", "networks", "endpoints")
    assert [host.documents(table) for table in tables] == [{}] * 4
    host.stop()
