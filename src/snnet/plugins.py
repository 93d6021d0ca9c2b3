"""Drivers are chosen by name (stevedore); listeners are told (pluggy).

The only module that knows either library.  Both are imported when first
needed, so that importing snnet stays fast.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from snnet.contract import (
    ApiError,
    Driver,
    DriverLoadError,
    DriverNotFound,
    Host,
    Plan,
    SnnetError,
    Veto,
)
from snnet.core.events import ContainerInfo, TunnelEvent

if TYPE_CHECKING:
    import pluggy

BACKENDS, FIREWALLS, DHCP = "snnet.backends", "snnet.firewalls", "snnet.dhcp"

Event = TunnelEvent | ContainerInfo

_log = logging.getLogger("snnet.plugins")


def open_driver(group: str, name: str, host: Host) -> Driver:
    """Open the installed driver ``name`` of a group on ``host``.

    DriverNotFound lists the names that are installed, DriverLoadError says why
    the one named cannot be loaded.
    """
    from stevedore import DriverManager
    from stevedore.exception import NoMatches

    reasons: list[str] = []

    def failed(_: object, entry_point: Any, error: BaseException) -> None:
        reasons.append(f"{entry_point.value}: {type(error).__name__}: {error}")

    try:
        manager: Any = DriverManager(group, name, on_load_failure_callback=failed)
    except NoMatches:
        what = group.removeprefix("snnet.").removesuffix("s")
        if reasons:
            raise DriverLoadError(f"{what} {name!r} cannot be loaded: {reasons[0]}") from None
        known = ", ".join(installed(group)) or "none"
        raise DriverNotFound(f"no {what} {name!r} is installed; installed: {known}") from None
    driver: Driver = manager.driver(host)
    return driver


def installed(group: str) -> list[str]:
    """The names of a group's installed drivers, whether or not they load."""
    from importlib.metadata import entry_points

    return sorted({entry_point.name for entry_point in entry_points(group=group)})


class Listeners:
    """Those who are told about a node's plans.

    A listener is any object with methods of these names and arguments::

        before_apply(node, plan)          may refuse it by raising snnet.Veto
        applied(node, plan, events)       a plan was carried out
        failed(node, plan, error)         one was not

    ``before_apply`` runs before anything is touched and must be quick: the
    request's locks are held.  The other two run with no lock held, and what
    they raise is logged.  Installed listeners come from the entry-point group
    ``snnet.listeners``.  Without listeners no call is made.
    """

    def __init__(self, listeners: Sequence[object]) -> None:
        self._manager: pluggy.PluginManager | None = None
        for listener in [*_installed_listeners(), *listeners]:
            self.register(listener)

    def register(self, listener: object) -> None:
        """Tell this listener from now on; may be repeated."""
        if self._manager is None:
            self._manager = _plugin_manager()
        if not self._manager.is_registered(listener):
            self._manager.register(listener)

    def unregister(self, listener: object) -> None:
        """Tell it no more; harmless if it was not told."""
        if self._manager is not None and self._manager.is_registered(listener):
            self._manager.unregister(listener)

    def before_apply(self, node: object, plan: Plan) -> None:
        """Ask everybody; raises Veto where one refuses or fails."""
        if self._manager is None:
            return
        try:
            self._manager.hook.before_apply(node=node, plan=plan)
        except SnnetError:
            raise
        except Exception as error:
            raise Veto(f"a before_apply listener failed: {error!r}") from error

    def applied(self, node: object, plan: Plan, events: Sequence[Event]) -> None:
        if self._manager is not None:
            self._tell("applied", node=node, plan=plan, events=tuple(events))

    def failed(self, node: object, plan: Plan, error: SnnetError) -> None:
        if self._manager is not None:
            self._tell("failed", node=node, plan=plan, error=error)

    def _tell(self, hook: str, **arguments: object) -> None:
        assert self._manager is not None
        for implementation in getattr(self._manager.hook, hook).get_hookimpls():
            wanted = {name: arguments[name] for name in implementation.argnames}
            try:
                implementation.function(**wanted)
            except Exception:
                _log.exception("listener %r failed in %s", implementation.plugin, hook)


def _plugin_manager() -> pluggy.PluginManager:
    import pluggy

    specification = pluggy.HookspecMarker("snnet")

    class Specifications:
        @specification
        def before_apply(self, node: object, plan: Plan) -> None: ...

        @specification
        def applied(self, node: object, plan: Plan, events: tuple[Event, ...]) -> None: ...

        @specification
        def failed(self, node: object, plan: Plan, error: ApiError) -> None: ...

    class Manager(pluggy.PluginManager):
        def parse_hookimpl_opts(self, plugin: object, name: str) -> Any:
            """Methods count by their names: a listener needs no import of pluggy."""
            if name in ("before_apply", "applied", "failed"):
                return {
                    "wrapper": False,
                    "hookwrapper": False,
                    "optionalhook": False,
                    "tryfirst": False,
                    "trylast": False,
                    "specname": None,
                }
            return None

    manager = Manager("snnet")
    manager.add_hookspecs(Specifications)
    return manager


@cache
def _installed_listeners() -> tuple[object, ...]:
    """Loaded once a process: looking through what is installed takes milliseconds."""
    from importlib.metadata import entry_points

    found = []
    for entry_point in entry_points(group="snnet.listeners"):
        try:
            found.append(entry_point.load())
        except Exception:
            _log.exception("listener %s cannot be loaded", entry_point.value)
    return tuple(found)
