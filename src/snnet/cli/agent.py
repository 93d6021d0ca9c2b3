"""``snnet agent``."""

from __future__ import annotations

import logging
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from snnet.agent.settings import AgentSettings

from .options import CONFIG

_DEFAULTS = {item.name: item.default for item in fields(AgentSettings)}


@click.command()
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="SNNET_CONFIG",
    show_envvar=True,
    help=f"The settings.  Default: {CONFIG}, or without that file one host with everything on it.",
)
@click.option(
    "--registry",
    metavar="URL",
    envvar="SNNET_REGISTRY",
    show_envvar=True,
    help=f"The registry.  Default: that of the settings, or {_DEFAULTS['registry']}.",
)
@click.option("--node", help="The node's id.  Default: that of the settings, or the host's name.")
@click.option(
    "--backend",
    metavar="NAME",
    help="An installed backend (see: snnet backends).  Default: that of the settings, or "
    f"{_DEFAULTS['backend']}.",
)
@click.option(
    "--firewall",
    metavar="NAME",
    help=f"An installed firewall.  Default: that of the settings, or {_DEFAULTS['firewall']}.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to log, to stderr.",
)
def agent(config: Path | None, log_format: str, **given: str | None) -> None:
    """Run this host's agent in the foreground, until Ctrl-C or TERM.

    It makes the host as the registry says, and repairs what others change.  When it ends,
    the networks stay as they are, and the next agent takes them over.

    \b
    snnet agent &
    """
    from snnet.agent.logs import set_up_logs
    from snnet.agent.service import serve

    from .signals import interruptible

    set_up_logs(log_format, sys.stderr)
    settings = _settings(config, {name: value for name, value in given.items() if value})
    logging.getLogger("snnet.agent").info("agent of %s starts", settings.node)
    with interruptible() as stop:
        serve(settings, stop)


def _settings(config: Path | None, given: dict[str, Any]) -> AgentSettings:
    from dataclasses import replace

    path = config or (CONFIG if CONFIG.exists() else None)
    settings = AgentSettings() if path is None else AgentSettings.read(path)
    return replace(settings, **given)
