"""Metrics for Prometheus, and the health check, over HTTP (docs/agent.md lists the names)."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

Status = Callable[[], Mapping[str, Any]]

_log = logging.getLogger("snnet.agent")

CONNECTIONS_MAX = 32
"""Maximum number of open connections, each of which has a thread and a descriptor."""

REQUEST_PATIENCE = 10.0
"""Seconds that a client may take for its request, so that silent ones do not pile up."""


class _Collector:
    """Turns an agent's status into metrics whenever somebody asks."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics, as prometheus_client wants it."""
        status = self._status()
        objects = GaugeMetricFamily("snnet_objects", "Objects by state.", labels=["state"])
        for state, count in status["objects"].items():
            objects.add_metric([state], count)
        yield objects
        yield GaugeMetricFamily(
            "snnet_agent_healthy", "1 while the agent works, 0 while it has a problem.",
            value=float(status["state"] == "ready"),
        )  # fmt: skip
        yield GaugeMetricFamily(
            "snnet_registry_revision", "The revision that the host follows.",
            value=status["revision"],
        )  # fmt: skip
        yield GaugeMetricFamily(
            "snnet_concentrators", "Concentrators that run here.",
            value=len(status["concentrators"]),
        )  # fmt: skip
        for name, text in (
            ("rounds", "Rounds in which something was done."),
            ("failures", "Rounds that failed as a whole."),
            ("repaired", "Differences that were repaired."),
        ):
            yield CounterMetricFamily(f"snnet_agent_{name}", text, value=status[name])
        yield CounterMetricFamily(
            "snnet_agent_busy_seconds", "Seconds spent in rounds.", value=status["busy_seconds"]
        )


class _Server(ThreadingMixIn, WSGIServer):
    """Answers each connection in a thread; a new one ends the oldest where there are too many."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], *args: Any, **kwargs: Any) -> None:
        self._lock = threading.Lock()
        self._open: dict[socket.socket, None] = {}
        with contextlib.suppress(OSError):  # a name, whose address is of the default family
            (found, *_) = socket.getaddrinfo(*address, flags=socket.AI_NUMERICHOST)
            self.address_family = found[0]
        super().__init__(address, *args, **kwargs)

    def server_bind(self) -> None:
        """See ``http.server``, which asks for the host's name: at boot no name server answers."""
        TCPServer.server_bind(self)
        host, port, *_ = self.server_address
        self.server_name, self.server_port = str(host), int(port)
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """See ``socketserver.BaseServer``."""
        with self._lock:
            self._open[request] = None
            for oldest in list(self._open)[:-CONNECTIONS_MAX]:
                del self._open[oldest]
                with contextlib.suppress(OSError):  # the client was faster
                    oldest.shutdown(socket.SHUT_RDWR)  # its thread sees the end of the request
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """See ``socketserver.BaseServer``."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)


class _Quiet(WSGIRequestHandler):
    timeout = REQUEST_PATIENCE

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing for a request."""


class MetricsServer:
    """Serves ``/metrics`` and ``/health`` at an address until it is closed.

    ``host`` may be an IPv6 address, and port 0 stands for a free one.

    ``/health`` is 200 while the agent works, else 503; its body is the agent's status.
    """

    def __init__(self, host: str, port: int, status: Status) -> None:
        registry = CollectorRegistry()
        registry.register(_Collector(status))
        metrics = make_wsgi_app(registry)

        def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
            path = environ["PATH_INFO"]
            if path == "/metrics":
                found: Iterable[bytes] = metrics(environ, start)
                return found
            if path != "/health":
                start("404 Not Found", [("Content-Type", "text/plain")])
                return [b"ask for /metrics or /health\n"]
            body = status()
            code = "200 OK" if body["state"] == "ready" else "503 Service Unavailable"
            start(code, [("Content-Type", "application/json")])
            return [json.dumps(body).encode() + b"\n"]

        self._server = make_server(host, port, answer, server_class=_Server, handler_class=_Quiet)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()
        shown = f"[{host}]" if ":" in host else host
        _log.info("metrics and health: http://%s:%d", shown, self.port)

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
