"""Docker's side of the plugin protocol: one request a connection."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snnet.contract import InvalidRequest, SnnetError
from snnet.docker.app import Method, parse

GATEWAY = {"RequestAddressType": "com.docker.network.gateway"}


class Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout: float = 30) -> None:
        super().__init__("docker", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Refused(Exception):
    """The plugin answered with an error."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status
        self.text = text


class Docker:
    """What a daemon asks a plugin for."""

    def ask(self, method: str, **fields: Any) -> dict[str, Any]:
        """The answer to a request; raises Refused for an error."""
        raise NotImplementedError

    def make_pool(self, pool: str = "10.1.0.0/24", inner: str = "", **options: str) -> str:
        """RequestPool; its id."""
        answer = self.ask(
            "IpamDriver.RequestPool",
            AddressSpace="snnet",
            Pool=pool,
            SubPool=inner,
            Options=options,
            V6=False,
        )
        assert answer["Pool"] == pool
        return str(answer["PoolID"])

    def address(self, pool: str, address: str = "", **options: str) -> str:
        """RequestAddress; the address with its prefix length."""
        answer = self.ask(
            "IpamDriver.RequestAddress", PoolID=pool, Address=address, Options=options
        )
        return str(answer["Address"])

    def create_network(
        self,
        network: str,
        options: dict[str, str],
        pool: str = "10.1.0.0/24",
        auxiliary: dict[str, str] | None = None,
    ) -> None:
        """CreateNetwork, with the first host's address as the gateway."""
        data = {
            "AddressSpace": "snnet",
            "Pool": pool,
            "Gateway": pool.replace(".0/", ".1/"),
            "AuxAddresses": auxiliary,
        }
        self.ask(
            "NetworkDriver.CreateNetwork",
            NetworkID=network,
            Options={
                "com.docker.network.enable_ipv6": False,
                "com.docker.network.generic": options,
            },
            IPv4Data=[data],
            IPv6Data=[],
        )

    def create_endpoint(
        self, network: str, endpoint: str, address: str, mac: str = "", **options: Any
    ) -> dict[str, Any]:
        """CreateEndpoint; the interface of the answer."""
        answer = self.ask(
            "NetworkDriver.CreateEndpoint",
            NetworkID=network,
            EndpointID=endpoint,
            Interface={"Address": address, "AddressIPv6": "", "MacAddress": mac},
            Options=options,
        )
        return dict(answer["Interface"])

    def join(self, network: str, endpoint: str) -> dict[str, Any]:
        """Join; the answer."""
        return self.ask(
            "NetworkDriver.Join",
            NetworkID=network,
            EndpointID=endpoint,
            SandboxKey="/var/run/docker/netns/0",
            Options={},
        )

    def leave(self, network: str, endpoint: str) -> None:
        """Leave and DeleteEndpoint."""
        for method in ("Leave", "DeleteEndpoint"):
            self.ask(f"NetworkDriver.{method}", NetworkID=network, EndpointID=endpoint)

    def release(self, pool: str, address: str) -> None:
        """ReleaseAddress."""
        self.ask("IpamDriver.ReleaseAddress", PoolID=pool, Address=address.partition("/")[0])


class Client(Docker):
    """Asks the plugin at a socket."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def send(self, verb: str, path: str, body: bytes | None) -> tuple[int, dict[str, Any]]:
        """Status and answer; an answer that is no JSON object is a failure."""
        connection = Connection(self.path)
        try:
            connection.request(verb, path, body)
            response = connection.getresponse()
            answer = json.loads(response.read())
            assert isinstance(answer, dict)
            return response.status, answer
        finally:
            connection.close()

    def ask(self, method: str, **fields: Any) -> dict[str, Any]:
        """The answer to a request; raises Refused for an error."""
        status, answer = self.send("POST", f"/{method}", json.dumps(fields).encode())
        if status != 200:
            assert list(answer) == ["Err"]
            raise Refused(status, answer["Err"])
        return answer


class Direct(Docker):
    """Asks the plugin's methods, without HTTP in between."""

    def __init__(self, methods: Mapping[str, Method]) -> None:
        self._methods = methods

    def ask(self, method: str, **fields: Any) -> dict[str, Any]:
        chosen = self._methods[method]
        message = parse(chosen.message, json.dumps(fields).encode())
        try:
            answer = chosen.answer(message)
        except SnnetError as error:
            raise Refused(400 if isinstance(error, InvalidRequest) else 500, str(error)) from error
        return dict(json.loads(json.dumps(answer)))
