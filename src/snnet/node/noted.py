"""How each node of a namespace was set up, noted so that others can look at it later.

The note lets ``snnet host`` open a node that it knows nothing else of.  Nothing that a node
decides rests on it.  An agent notes beside it by which registry it makes the node.
"""

from __future__ import annotations

import enum
from dataclasses import fields
from typing import Any

from snnet.config import NetworkConfig
from snnet.contract import Host
from snnet.core.identity import Owner
from snnet.core.inputs import Before

from .drivers import Drivers
from .sequences import EPOCHS

_BEFORE = "before"
_PREFIX = "node "
_REGISTRY = "registry "
"""The keys of these notes, in the record of epochs, which outlives what a node removes."""


def note(
    host: Host,
    owner: Owner,
    config: NetworkConfig,
    drivers: Drivers,
    tenant_id: str,
    before: Before,
) -> None:
    """Note the settings of a node under its owner, and what it rests on."""
    settings = {
        "config": _plain(config),
        "backend": drivers.backend.name,
        "firewall": drivers.firewall.name,
        "dhcp": drivers.dhcp.name if drivers.dhcp else None,
        "tenant_id": tenant_id,
        _BEFORE: before.to_dict(),
    }
    with host.record(EPOCHS) as record:
        record[f"{_PREFIX}{owner}"] = settings


def forget(host: Host, owner: Owner) -> None:
    """Forget a node that has nothing on the host any more."""
    with host.record(EPOCHS) as record:
        for prefix in (_PREFIX, _REGISTRY):
            record.pop(f"{prefix}{owner}", None)


def note_registry(host: Host, owner: Owner, registry: str | None) -> None:
    """Note the id of the registry that a node is made by; None: of none."""
    with host.record(EPOCHS) as record:
        if registry is None:
            record.pop(f"{_REGISTRY}{owner}", None)
        else:
            record[f"{_REGISTRY}{owner}"] = registry


def noted_registry(host: Host, owner: Owner) -> str | None:
    """The id of the registry that a node is made by; None if it is not known."""
    found = host.recorded(EPOCHS).get(f"{_REGISTRY}{owner}")
    return found if isinstance(found, str) else None


def forget_registries(host: Host) -> int:
    """Forget by which registries the nodes of a namespace are made; return how many that were."""
    with host.record(EPOCHS) as record:
        found = [key for key in record if key.startswith(_REGISTRY)]
        for key in found:
            del record[key]
    return len(found)


def noted(host: Host) -> dict[str, dict[str, Any]]:
    """The settings of the nodes of a namespace, by owner; empty where they are damaged."""
    return {
        key.removeprefix(_PREFIX): settings if _are_settings(settings) else {}
        for key, settings in host.recorded(EPOCHS).items()
        if key.startswith(_PREFIX)
    }


def _are_settings(found: object) -> bool:
    return isinstance(found, dict) and isinstance(found.get("config"), dict)


def before(host: Host, owner: Owner) -> Before | None:
    """What the process that set the node up found on the host; None if it is not known."""
    return Before.from_dict(noted(host).get(str(owner), {}).get(_BEFORE))


def _plain(config: NetworkConfig) -> dict[str, Any]:
    """The settings that are not as by default, as ``NetworkConfig.from_dict`` takes them."""
    found: dict[str, Any] = {}
    for item in fields(config):
        value = getattr(config, item.name)
        if value == item.default:
            continue
        if isinstance(value, enum.Enum):
            value = value.value
        elif isinstance(value, (tuple, list)):
            value = [str(one) for one in value]
        elif not isinstance(value, (bool, int, str)):
            value = str(value)
        found[item.name] = value
    return found
