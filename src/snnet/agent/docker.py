"""Docker's network plugin as a part of the agent."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Self

from snnet.cluster import Cluster
from snnet.contract import InvalidRequest, SnnetError

from .agent import Agent
from .settings import AgentSettings

if TYPE_CHECKING:
    from snnet.docker import DockerPlugin

_log = logging.getLogger("snnet.agent")


class DockerService:
    """Serves Docker once the agent has done its first round.

    The plugin only writes what is wanted into the registry, and waits for the agent.
    Construction raises ``InvalidRequest`` where the plugin cannot run here at all.
    """

    def __init__(self, settings: AgentSettings, agent: Agent) -> None:
        self._agent = agent
        self._plugin = _plugin(Path(settings.listen), agent)
        self._problem: str | None = "not started"

    def step(self) -> None:
        """Start the plugin if it does not serve yet, or not any more.

        What fails is logged, a problem in the agent's status, and tried again.
        """
        if not self._agent.ready:
            return
        try:
            self._plugin.init()
            self._plugin.start()
        except SnnetError as error:
            if self._problem != str(error):
                _log.warning("cannot serve Docker: %s", error)
            self._problem = str(error)
            self._agent.report("docker", self._problem)
        else:
            if self._problem is not None:
                self._problem = None
                self._agent.report("docker", None)
                _log.info("Docker is served at %s", self._plugin.address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(SnnetError):
            self._plugin.close()


def _plugin(path: Path, agent: Agent) -> DockerPlugin:
    try:
        from snnet.docker import DockerPlugin
    except ImportError as error:
        raise InvalidRequest(
            f"needs {error.name}: pip install 'snnet[docker]'", field="docker"
        ) from error
    try:
        return DockerPlugin(
            agent.node, name=path.stem, folder=path.parent, cluster=Cluster(agent.registry)
        )
    except InvalidRequest as error:
        raise InvalidRequest(str(error), field="listen") from error
