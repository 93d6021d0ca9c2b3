"""The agent as a service: from settings, until it is told to stop."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from snnet.contract import InvalidRequest
from snnet.contract.addresses import host_and_port
from snnet.system.limits import raise_descriptors

from .agent import Agent
from .docker import DockerService
from .settings import AgentSettings
from .systemd import notify


def serve(settings: AgentSettings, stop: threading.Event) -> None:
    """Run an agent until ``stop`` is set.

    Raises what construction raises.  Afterwards nothing ends it but ``stop``: what goes
    wrong, also a registry that does not answer yet, is logged, and tried again.  The service
    manager is told when the first round is over, also where it failed, and of each round if it
    set WATCHDOG_USEC.
    """
    raise_descriptors()  # each concentrator takes about 15
    with contextlib.ExitStack() as stack:
        agent = stack.enter_context(open_agent(settings, stop))
        docker = stack.enter_context(DockerService(settings, agent)) if settings.docker else None
        if settings.metrics is not None:
            stack.callback(_metrics(settings.metrics, agent))
        ready = False
        while not stop.is_set():
            agent.step(timeout=1.0)
            if docker is not None:
                docker.step()
            if not ready:
                ready = agent.status()["state"] != "starting"
                if ready:
                    notify("READY=1")
            notify("WATCHDOG=1")
        notify("STOPPING=1")


def open_agent(settings: AgentSettings, stop: threading.Event | None = None) -> Agent:
    """The agent of these settings; ``stop`` ends its waits."""
    return Agent(
        settings.node,
        settings.network,
        registry=settings.registry,
        roles=settings.roles,
        backend=settings.backend,
        firewall=settings.firewall,
        dhcp=settings.dhcp,
        session_ttl=settings.session_ttl,
        stop=stop,
    )


def _metrics(listen: str, agent: Agent) -> Callable[[], None]:
    try:
        from .metrics import MetricsServer
    except ImportError as error:
        if error.name != "prometheus_client":
            raise
        raise InvalidRequest(
            "metrics need prometheus_client: pip install 'snnet[agent]'", field="metrics"
        ) from None
    try:
        place = host_and_port(listen)
        assert place is not None, "the settings are checked"
        return MetricsServer(*place, agent.status).close
    except OSError as error:
        raise InvalidRequest(f"cannot listen on {listen}: {error}", field="metrics") from None
