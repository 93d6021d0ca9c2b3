"""Drivers are chosen by name (stevedore); listeners are told (pluggy).

The only module that knows either library.  Both are imported when first
needed, so that importing snnet stays fast.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snnet.contract import (
    Driver,
    DriverLoadError,
    DriverNotFound,
    Host,
    InvalidRequest,
    Plan,
    SnnetError,
    Store,
    Veto,
)
from snnet.core.events import ContainerInfo, TunnelEvent

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    import pluggy

BACKENDS, FIREWALLS, DHCP = "snnet.backends", "snnet.firewalls", "snnet.dhcp"
STORES = "snnet.stores"
LISTENERS = "snnet.listeners"
"""Entry-point groups: in the first four one is chosen by name, the last are all told."""

Event = TunnelEvent | ContainerInfo

_log = logging.getLogger("snnet.plugins")


@dataclass(frozen=True, slots=True)
class Installed:
    """One driver that a distribution has announced; whether it loads is another question."""

    group: str
    name: str
    value: str
    """Where it is: "module:object"."""
    distribution: str
    version: str


def open_driver(group: str, name: str, host: Host) -> Driver:
    """Open the installed driver ``name`` of a group on ``host``.

    DriverNotFound lists the names that are installed, DriverLoadError says why
    the one named cannot be loaded or gave no driver.  Errors of snnet that the
    driver raises pass as they are.
    """
    driver = _open(group, name, host)
    if not isinstance(driver, Driver):
        raise DriverLoadError(
            f"{_what(group)} {name!r} is no driver: it gave a {type(driver).__name__}"
        )
    return driver


def open_store(name: str, folder: Path) -> Store:
    """Open the installed store ``name`` in a folder; errors as for ``open_driver``."""
    store = _open(STORES, name, folder)
    if not isinstance(store, Store):
        raise DriverLoadError(f"store {name!r} is none: it gave a {type(store).__name__}")
    return store


def _open(group: str, name: str, where: object) -> object:
    opener = load_driver(group, name)
    try:
        return opener(where)
    except SnnetError:
        raise
    except Exception as error:
        raise DriverLoadError(
            f"{_what(group)} {name!r} cannot be opened: {_said(error)}"
        ) from error


def load_driver(group: str, name: str) -> Callable[[Any], object]:
    """What opens the installed driver ``name``: its class, as a rule.

    Raises DriverNotFound and DriverLoadError as ``open_driver`` does.
    """
    from stevedore import DriverManager
    from stevedore.exception import MultipleMatches, NoMatches

    reasons: list[str] = []

    def failed(_: object, entry_point: Any, error: BaseException) -> None:
        reasons.append(f"{entry_point.value}: {_said(error)}")

    what = _what(group)
    try:
        manager: Any = DriverManager(group, name, on_load_failure_callback=failed)
    except NoMatches:
        if reasons:
            raise DriverLoadError(f"{what} {name!r} cannot be loaded: {reasons[0]}") from None
        known = ", ".join(installed(group)) or "none"
        raise DriverNotFound(f"no {what} {name!r} is installed; installed: {known}") from None
    except MultipleMatches:
        rivals = [found.distribution for found in catalogue(group) if found.name == name]
        raise DriverLoadError(
            f"{what} {name!r} is installed by several distributions: uninstall all but one of "
            f"{', '.join(rivals)}"
        ) from None
    except SystemExit as error:
        raise DriverLoadError(f"{what} {name!r} cannot be loaded: {_said(error)}") from error
    opener: Callable[[Any], object] = manager.driver
    return opener


def installed(group: str) -> list[str]:
    """The names of a group's installed drivers, whether or not they load."""
    return sorted({found.name for found in catalogue(group)})


def catalogue(group: str) -> list[Installed]:
    """Every driver that is installed in a group, by name; nothing is loaded."""
    from importlib.metadata import entry_points

    return sorted(
        (
            Installed(group, found.name, found.value, *_distribution(found))
            for found in entry_points(group=group)
        ),
        key=lambda found: (found.name, found.distribution),
    )


class Hooks:
    """What listeners are told, and with which arguments: the hook specifications.

    A listener is any object with methods of these names; one may leave out hooks and
    arguments it has no use for.  It needs no import of snnet or of pluggy.
    """

    def before_apply(self, node: object, plan: Plan) -> None:
        """A node is about to carry out ``plan``; nothing has been touched.

        Raise :class:`snnet.Veto` to refuse it: the caller gets this error.  Any other
        exception refuses it too.  Must be quick and must not call the node, for the
        request's claims are held.
        """

    def applied(self, node: object, plan: Plan, events: tuple[Event, ...]) -> None:
        """``plan`` was carried out; ``events`` are what came of it, often none.

        A rebuild tells every tunnel again, so an event may come more than once.  No
        lock is held: the node may be called.  What is raised here is logged.
        """

    def failed(self, node: object, plan: Plan, error: SnnetError) -> None:
        """``plan`` was not carried out, or not all of it; ``error`` tells what state that left.

        No lock is held: the node may be called.  What is raised here is logged.
        """


HOOKS = ("before_apply", "applied", "failed")
"""The names of the hooks."""


class Listeners:
    """Those who are told about a node's plans, see :class:`Hooks`.

    Installed listeners come from the entry-point group ``snnet.listeners``; one that
    cannot be loaded or has a hook with unknown arguments is logged and left out.
    Without listeners no call is made.
    """

    def __init__(self, listeners: Sequence[object]) -> None:
        self._manager: pluggy.PluginManager | None = None
        for listener in _installed_listeners():
            try:
                self.register(listener)
            except InvalidRequest:
                _log.exception("listener %r is left out", listener)
        for listener in listeners:
            self.register(listener)

    def __bool__(self) -> bool:
        """Whether there is anybody to tell."""
        return self._manager is not None and bool(self._manager.get_plugins())

    def register(self, listener: object) -> None:
        """Tell this listener from now on; may be repeated.

        Raises InvalidRequest where a hook of it asks for arguments there are not.
        """
        if self._manager is None:
            self._manager = _plugin_manager()
        if self._manager.is_registered(listener):
            return
        from pluggy import PluginValidationError

        try:
            self._manager.register(listener)
        except PluginValidationError as error:
            with contextlib.suppress(AssertionError):
                self._manager.unregister(listener)
            reason = " ".join(str(error).split())
            raise InvalidRequest(reason, field="listeners") from error

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

    class Manager(pluggy.PluginManager):
        """Hooks count by their names, so that nobody needs pluggy's markers."""

        def parse_hookspec_opts(self, module_or_class: Any, name: str) -> Any:
            return _PLAIN_SPECIFICATION if name in HOOKS else None

        def parse_hookimpl_opts(self, plugin: object, name: str) -> Any:
            return _PLAIN_IMPLEMENTATION if name in HOOKS else None

    manager = Manager("snnet")
    manager.add_hookspecs(Hooks)
    return manager


_PLAIN_SPECIFICATION = {
    "firstresult": False,
    "historic": False,
    "warn_on_impl": None,
    "warn_on_impl_args": None,
}
_PLAIN_IMPLEMENTATION = {
    "wrapper": False,
    "hookwrapper": False,
    "optionalhook": False,
    "tryfirst": False,
    "trylast": False,
    "specname": None,
}


@cache
def _installed_listeners() -> tuple[object, ...]:
    """Loaded once a process: looking through what is installed takes milliseconds.

    A class is made into an object, without arguments.
    """
    from importlib.metadata import entry_points

    found = []
    for entry_point in entry_points(group=LISTENERS):
        try:
            listener = entry_point.load()
            found.append(listener() if isinstance(listener, type) else listener)
        except (Exception, SystemExit):
            _log.exception("listener %s cannot be loaded", entry_point.value)
    return tuple(found)


def _distribution(entry_point: EntryPoint) -> tuple[str, str]:
    """Name and version of the distribution that announced it."""
    try:
        assert entry_point.dist is not None
        metadata = entry_point.dist.metadata
        return str(metadata["Name"] or "unknown"), str(metadata["Version"] or "")
    except Exception:  # its metadata are not there, or not to be read
        return "unknown", ""


def _what(group: str) -> str:
    return group.removeprefix("snnet.").removesuffix("s")


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
