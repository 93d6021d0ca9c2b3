"""The plugin protocol: every method, and all that is no request of it."""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from snnet.contract import Outcome

from .client import Client, Refused
from .conftest import ENDPOINT, NETWORK, Served

_ENDPOINT = {"NetworkID": "n", "EndpointID": ENDPOINT}
SAID_AT_ONCE = {
    "Plugin.Activate": {"Implements": ["NetworkDriver", "IpamDriver"]},
    "NetworkDriver.GetCapabilities": {"Scope": "local"},
    "IpamDriver.GetCapabilities": {"RequiresMACAddress": False, "RequiresRequestReplay": False},
    "IpamDriver.GetDefaultAddressSpaces": {
        "LocalDefaultAddressSpace": "snnet",
        "GlobalDefaultAddressSpace": "snnet",
    },
}
NOTHING_TO_DO: dict[str, dict[str, Any]] = {
    "NetworkDriver.FreeNetwork": {"NetworkID": "n"},
    "NetworkDriver.DeleteNetwork": {"NetworkID": "n"},
    "NetworkDriver.Leave": _ENDPOINT,
    "NetworkDriver.DeleteEndpoint": _ENDPOINT,
    "NetworkDriver.ProgramExternalConnectivity": {**_ENDPOINT, "Options": {}},
    "NetworkDriver.RevokeExternalConnectivity": _ENDPOINT,
    "NetworkDriver.DiscoverNew": {"DiscoveryType": 1, "DiscoveryData": {"Address": "192.0.2.9"}},
    "NetworkDriver.DiscoverDelete": {"DiscoveryType": 1, "DiscoveryData": None},
    "IpamDriver.ReleasePool": {"PoolID": "p"},
    "IpamDriver.ReleaseAddress": {"PoolID": "p", "Address": "10.1.0.9"},
}
UNKNOWN: dict[str, dict[str, Any]] = {
    "NetworkDriver.CreateEndpoint": {**_ENDPOINT, "Interface": {"Address": "10.1.0.9/24"}},
    "NetworkDriver.EndpointOperInfo": _ENDPOINT,
    "NetworkDriver.Join": {**_ENDPOINT, "SandboxKey": "x", "Options": {}},
    "IpamDriver.RequestAddress": {"PoolID": "p", "Address": "", "Options": None},
}


@pytest.fixture(scope="module")
def host() -> Iterator[Served]:
    """One for all, for stopping takes a while: the tests leave it as it was."""
    folder = Path(tempfile.mkdtemp(prefix="snnet-"))
    host = Served(folder)
    host.network()
    yield host
    host.stop()
    shutil.rmtree(folder)


@pytest.fixture
def client(host: Served) -> Client:
    return host.client


@pytest.mark.parametrize("method", SAID_AT_ONCE)
@pytest.mark.parametrize("body", [b"", b"null", b"{}", b' {"More": 1}\n'])
def test_what_the_plugin_says_of_itself(client: Client, method: str, body: bytes) -> None:
    assert client.send("POST", f"/{method}", body) == (200, SAID_AT_ONCE[method])


@pytest.mark.parametrize("method", NOTHING_TO_DO)
def test_harmless_where_there_is_nothing(host: Served, client: Client, method: str) -> None:
    before = host.text()
    assert client.ask(method, **NOTHING_TO_DO[method]) == {}
    assert host.text() == before


@pytest.mark.parametrize("method", UNKNOWN)
def test_ids_that_nobody_knows(host: Served, client: Client, method: str) -> None:
    before = host.text()
    with pytest.raises(Refused, match=r"no (network|endpoint|pool)") as refused:
        client.ask(method, **UNKNOWN[method])
    assert refused.value.status == 400, "404 would say that the method is unknown"
    assert host.text() == before


def test_methods_for_swarm(client: Client) -> None:
    answer = client.ask("NetworkDriver.AllocateNetwork", NetworkID="n", Options={"a": "b"})
    assert answer == {"Options": {"a": "b"}}
    assert client.ask("NetworkDriver.GwAllocCheck", Options={}) == {
        "SkipIPv4": False,
        "SkipIPv6": False,
    }


def test_bodies_that_are_not_requests(host: Served, client: Client) -> None:
    before = host.text()
    for method in (
        *NOTHING_TO_DO,
        *UNKNOWN,
        "NetworkDriver.CreateNetwork",
        "IpamDriver.RequestPool",
    ):
        bodies = [b"{", b"[]", b"3", b'"text"', b"\xff\xfe", b"{" * 5000, b'{"a": 1}{}']
        if "Discover" not in method:
            bodies += [
                b"{}",
                b"null",
                b"",
                json.dumps({"NetworkID": 3, "PoolID": [], "Pool": {}}).encode(),
            ]
        for body in bodies:
            status, answer = client.send("POST", f"/{method}", body)
            assert (status, list(answer)) == (400, ["Err"]), (method, body, answer)
    assert host.text() == before


@pytest.mark.parametrize(
    ("method", "fields", "said"),
    [
        ("NetworkDriver.Join", {"NetworkID": NETWORK}, "EndpointID: field required"),
        ("NetworkDriver.Join", {**_ENDPOINT, "EndpointID": 7}, "EndpointID: input should be"),
        ("NetworkDriver.Join", {**_ENDPOINT, "NetworkID": "../../etc"}, "NetworkID: string should"),
        ("NetworkDriver.Join", {**_ENDPOINT, "Options": []}, "Options: input should be"),
        ("NetworkDriver.CreateEndpoint", {**_ENDPOINT, "Interface": "x"}, "Interface: input"),
        ("IpamDriver.RequestPool", {"Pool": "10.1.0.0/24", "V6": "yes"}, "V6: input should be"),
        ("IpamDriver.ReleaseAddress", {"PoolID": "p", "Address": "x"}, "Address: "),
        ("IpamDriver.RequestPool", {"Options": {"a": 1}}, "Options.a: input should be"),
    ],
)
def test_the_error_names_the_field(
    client: Client, method: str, fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(Refused) as refused:
        client.ask(method, **fields)
    assert said in refused.value.text
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "path", ["/", "/Nope", "/NetworkDriver.Nope", "/networkdriver.join", "/a/b"]
)
def test_unknown_methods(client: Client, path: str) -> None:
    status, answer = client.send("POST", path, b"{}")
    assert (status, list(answer)) == (404, ["Err"])


@pytest.mark.parametrize("verb", ["GET", "PUT", "DELETE", "PATCH"])
def test_other_verbs(client: Client, verb: str) -> None:
    status, answer = client.send(verb, "/Plugin.Activate", b"{}")
    assert (status, answer) == (405, {"Err": f"HTTP method {verb} is not allowed: use POST"})


def test_huge_bodies(host: Served, client: Client) -> None:
    before = host.text()
    body = b'{"NetworkID": "' + b"x" * (8 << 20) + b'"}'
    try:
        status, answer = client.send("POST", "/NetworkDriver.DeleteNetwork", body)
    except (BrokenPipeError, ConnectionResetError):
        pass  # closed before all of it was sent
    else:
        assert (status, list(answer)) == (413, ["Err"])
    # One that is large and ends is read, and refused for what it says.
    body = b'{"NetworkID": "' + b"x" * (1 << 19) + b'"}'
    assert client.send("POST", "/NetworkDriver.DeleteNetwork", body)[0] == 400
    assert host.text() == before
    assert client.ask("NetworkDriver.GetCapabilities") == {"Scope": "local"}


def test_what_is_no_http(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    for noise in (b"\x00" * 100, b"GET", b"POST /x HTTP/1.1\r\nContent-Length: 99\r\n\r\n{", b""):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(client.path))
            sock.sendall(noise)
    assert client.ask("NetworkDriver.GetCapabilities") == {"Scope": "local"}
    assert "bug" not in caplog.text


def test_a_bug_is_an_answer_too(
    host: Served, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(host.node, "create_vnic", fail)
    with pytest.raises(Refused, match="500: internal error: ZeroDivisionError: a bug"):
        client.create_endpoint(NETWORK, ENDPOINT, "10.1.0.9/24")
    assert host.endpoints == {}
    assert "ZeroDivisionError" in caplog.text
    monkeypatch.undo()
    client.create_endpoint(NETWORK, ENDPOINT, "10.1.0.9/24")
    client.leave(NETWORK, ENDPOINT)


def test_answers_while_a_hundred_wait(
    host: Served, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pool,) = host.documents("pools")
    gate, waiting = threading.Event(), threading.Semaphore(0)
    apply = host.kernel.apply

    def slow(operations: Any, **options: Any) -> Outcome:
        waiting.release()
        assert gate.wait(30)
        return apply(operations, **options)

    monkeypatch.setattr(host.kernel, "apply", slow)
    monkeypatch.setattr(host.node, "api_timeout", 60.0)
    with ThreadPoolExecutor(100) as threads:
        created = [
            threads.submit(
                client.create_endpoint, NETWORK, f"{number:032x}" * 2, f"10.1.0.{number}/24"
            )
            for number in range(10, 110)
        ]
        waiting.acquire()
        time.sleep(0.05)  # until the others have come
        started = time.monotonic()
        client.ask("NetworkDriver.GetCapabilities")
        client.release(pool, client.address(pool))
        client.ask("IpamDriver.ReleasePool", PoolID=client.make_pool())
        client.ask("NetworkDriver.Leave", **_ENDPOINT)
        with pytest.raises(Refused):
            client.ask("NetworkDriver.EndpointOperInfo", **_ENDPOINT)
        assert time.monotonic() - started < 25, "they waited for the others"
        assert not any(one.done() for one in created)
        gate.set()
        assert all(one.result() for one in created)
    monkeypatch.undo()
    for endpoint in list(host.endpoints):
        client.leave(NETWORK, endpoint)
