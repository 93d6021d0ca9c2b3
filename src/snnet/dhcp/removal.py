"""Removing scopes: their servers end at the same time."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from snnet.contract import Missing, SnnetError

from .server import stop_all
from .service import Service

_log = logging.getLogger("snnet.dhcp")


def remove_together(services: Sequence[Service]) -> None:
    """Stop serving and delete the folders of all of these, or of none.

    All servers are signalled before one is waited for.  Raise ``Missing`` if one has no folder.
    """
    for service in services:
        if not service.path.exists():
            raise Missing(f"there is no scope of ours on {service.link}")
    running = [(service, record) for service in services if (record := service.found())]
    try:
        stop_all([service.process for service in services])
        for service in services:
            service.delete()
    except BaseException:
        for service, record in running:
            try:
                service.restart(record.scope)
            except (SnnetError, OSError) as error:
                _log.error("%s is not served any more: %s", record.scope, error)
        raise
    for service in services:
        _log.info("stopped the dnsmasq on %s", service.link)
