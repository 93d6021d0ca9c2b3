"""Opens drivers by name (stevedore) and calls listeners (pluggy).

No other module imports these libraries.  Both are imported when first needed, so that
importing snnet stays fast.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from types import CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any

from snnet.checks import check_many
from snnet.contract import (
    Driver,
    DriverLoadError,
    DriverNotFound,
    Host,
    InvalidRequest,
    Plan,
    Registry,
    SnnetError,
    Veto,
)
from snnet.contract.errors import shown
from snnet.core.events import ContainerInfo, TunnelEvent
from snnet.core.listeners import check_listener

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    import pluggy

BACKENDS, FIREWALLS, DHCP = "snnet.backends", "snnet.firewalls", "snnet.dhcp"
REGISTRIES = "snnet.registries"
LISTENERS = "snnet.listeners"
"""Entry-point groups.  Drivers and registries are chosen by name; every listener is called."""

Event = TunnelEvent | ContainerInfo

_log = logging.getLogger("snnet.plugins")


@dataclass(frozen=True, slots=True)
class Installed:
    """A driver that an installed distribution declares.  It may still fail to load."""

    group: str
    name: str
    value: str
    """The entry point's value: "module:object"."""
    distribution: str
    version: str


def open_driver(group: str, name: str, host: Host) -> Driver:
    """Open the installed driver ``name`` of a group on ``host``.

    Raises ``DriverNotFound`` with the installed names, or ``DriverLoadError`` with the
    reason why the driver cannot be loaded or opened.  A ``SnnetError`` that the driver
    raises is passed on unchanged.
    """
    driver = _open(group, name, host)
    if not isinstance(driver, Driver):
        raise DriverLoadError(
            f"{_what(group)} {name!r} returned a {type(driver).__name__}, not a snnet Driver"
        )
    return driver


def open_registry(url: str, *, create: bool = True) -> Registry:
    """Open the registry that a URL names, for example "sqlite:///var/lib/snnet/registry.db".

    What stands before the first colon is the name of an installed registry; the registry
    reads the rest.  Raises ``InvalidRequest`` for text that is no such URL, and, with ``create``
    False, where there is no registry yet; what ``open_driver`` raises; and ``Unavailable`` if
    the registry does not answer.
    """
    name, colon, rest = url.partition(":") if isinstance(url, str) else ("", "", "")
    if not colon or not name or "/" in name:
        raise InvalidRequest(
            f"{shown(url)} is not the URL of a registry: write NAME:..., for example "
            "sqlite:///var/lib/snnet/registry.db; installed: "
            f"{', '.join(installed(REGISTRIES)) or 'none'}",
            field="registry",
        )
    if not create:
        opener = load_driver(REGISTRIES, name)
        missing = opener.missing(rest) if isinstance(opener, type(Registry)) else None
        if missing is not None:
            raise InvalidRequest(
                f"{shown(url)} is no registry: {missing}; correct the URL, or start 'snnet agent', "
                "which makes it",
                field="registry",
            )
    registry = _open(REGISTRIES, name, rest)
    if not isinstance(registry, Registry):
        raise DriverLoadError(
            f"registry {name!r} returned a {type(registry).__name__}, not a snnet Registry"
        )
    return registry


def _open(group: str, name: str, where: object) -> object:
    opener = load_driver(group, name)
    try:
        return opener(where)
    except SnnetError:
        raise
    except Exception as error:
        raise DriverLoadError(
            f"{_what(group)} {name!r} cannot be opened: {_describe(error)}"
        ) from error


def load_driver(group: str, name: str) -> Callable[[Any], object]:
    """Load the installed driver ``name`` and return what opens it, usually its class.

    Raises ``DriverNotFound`` and ``DriverLoadError`` as ``open_driver`` does.
    """
    from stevedore import DriverManager
    from stevedore.exception import MultipleMatches, NoMatches

    reasons: list[str] = []

    def failed(_: object, entry_point: Any, error: BaseException) -> None:
        reasons.append(f"{entry_point.value}: {_describe(error)}{_remedy(group, name, error)}")

    what = _what(group)
    try:
        manager: Any = DriverManager(group, name, on_load_failure_callback=failed)
    except NoMatches:
        if reasons:
            raise DriverLoadError(f"{what} {name!r} cannot be loaded: {reasons[0]}") from None
        raise DriverNotFound(f"no {what} {name!r} is installed; {instead(group)}") from None
    except MultipleMatches:
        rivals = [found.distribution for found in catalogue(group) if found.name == name]
        raise DriverLoadError(
            f"{what} {name!r} is declared by several distributions: uninstall all but one of "
            f"{', '.join(rivals)}"
        ) from None
    except SystemExit as error:
        raise DriverLoadError(f"{what} {name!r} cannot be loaded: {_describe(error)}") from error
    opener: Callable[[Any], object] = manager.driver
    return opener


def instead(group: str) -> str:
    """Return the end of a message about a name that is not installed: what to use."""
    known = ", ".join(installed(group)) or "none"
    return (
        f"installed: {known}: use one of these, or install the distribution that declares it "
        f"in the group {group!r}"
    )


def installed(group: str) -> list[str]:
    """The names of a group's installed drivers, also of those that fail to load."""
    return sorted(_names(group, tuple(sys.path)))


def catalogue(group: str) -> list[Installed]:
    """All installed drivers of a group, sorted by name.  Loads none of them."""
    from importlib.metadata import entry_points

    return sorted(
        (
            Installed(group, found.name, found.value, *_distribution(found))
            for found in entry_points(group=group)
        ),
        key=lambda found: (found.name, found.distribution),
    )


class Hooks:
    """The hook specifications: which events listeners receive, with which arguments.

    A listener is any object with methods of these names.  It may leave out hooks and
    arguments that it does not need, and it needs no import of snnet or pluggy.
    """

    def before_apply(self, node: object, plan: Plan) -> None:
        """Called before a node carries out ``plan``; nothing has been changed yet.

        Raise :class:`snnet.Veto` to refuse the plan; the caller receives this error.  Any
        other exception refuses the plan too.  The hook must be quick and must not call
        the node, since the request's claims are held.
        """

    def applied(self, node: object, plan: Plan, events: tuple[Event, ...]) -> None:
        """Called after ``plan`` was carried out; ``events`` is often empty.

        A rebuild repeats the events of all tunnels, so an event may be received more than
        once.  No lock is held: the node may be called.  Exceptions are logged.
        """

    def failed(self, node: object, plan: Plan, error: SnnetError) -> None:
        """Called after ``plan`` failed; the class of ``error`` tells the state of the host.

        No lock is held: the node may be called.  Exceptions are logged.
        """


HOOKS = ("before_apply", "applied", "failed")
"""The names of the hooks."""


class Listeners:
    """The listeners of a node, see :class:`Hooks`.

    Installed listeners come from the entry-point group ``snnet.listeners``.  A listener
    that cannot be loaded, or has a hook with unknown arguments, is logged and ignored.
    Without listeners nothing is called.
    """

    def __init__(self, listeners: Sequence[object]) -> None:
        self._manager: pluggy.PluginManager | None = None
        for listener in _installed_listeners():
            try:
                self.register(listener)
            except InvalidRequest:
                _log.exception("listener %r is ignored", listener)
        for listener in check_many(listeners, "listeners", lambda value, field: value):
            self.register(listener)

    def __bool__(self) -> bool:
        """Whether there is a listener."""
        return self._manager is not None and bool(self._manager.get_plugins())

    def register(self, listener: object) -> None:
        """Call this listener from now on; may be repeated.

        Raises ``InvalidRequest`` if it has no hook, or one with unknown arguments, or a
        method whose name is nearly that of a hook.
        """
        if self._manager is None:
            self._manager = _plugin_manager()
        if self._manager.is_registered(listener):
            return
        check_listener(listener, Hooks)
        self._manager.register(listener)

    def unregister(self, listener: object) -> None:
        """Stop calling this listener.  An unknown one is not an error."""
        if self._manager is not None and self._manager.is_registered(listener):
            self._manager.unregister(listener)

    def before_apply(self, node: object, plan: Plan) -> None:
        """Call every listener.  Raises ``Veto`` if one refuses the plan or fails."""
        if self._manager is None:
            return
        try:
            for answer in self._manager.hook.before_apply(node=node, plan=plan):
                _check_ran(answer)
        except SnnetError:
            raise
        except Exception as error:
            raise Veto(f"a before_apply listener failed: {error!r}") from error

    def applied(self, node: object, plan: Plan, events: Sequence[Event]) -> None:
        if self._manager is not None:
            self._call("applied", node=node, plan=plan, events=tuple(events))

    def failed(self, node: object, plan: Plan, error: SnnetError) -> None:
        if self._manager is not None:
            self._call("failed", node=node, plan=plan, error=error)

    def _call(self, hook: str, **arguments: object) -> None:
        assert self._manager is not None
        for implementation in getattr(self._manager.hook, hook).get_hookimpls():
            wanted = {name: arguments[name] for name in implementation.argnames}
            try:
                _check_ran(implementation.function(**wanted))
            except Exception:
                _log.exception("listener %r failed in %s", implementation.plugin, hook)


def _check_ran(answer: object) -> None:
    """Raise TypeError if a listener returned what it should have done."""
    if isinstance(answer, (CoroutineType, GeneratorType)):
        answer.close()
        raise TypeError(f"it returned {answer!r}, which nobody runs: listeners are plain methods")


def _plugin_manager() -> pluggy.PluginManager:
    import pluggy

    class Manager(pluggy.PluginManager):
        """Finds hooks by their names, so that listeners need no pluggy markers."""

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
def _names(group: str, path: tuple[str, ...]) -> set[str]:
    """The names of a group on ``sys.path``, searched once in a process; loads no metadata."""
    from importlib.metadata import entry_points

    return entry_points(group=group).names


@cache
def _installed_listeners() -> tuple[object, ...]:
    """Load all installed listeners, once in a process since the search takes milliseconds.

    A class is instantiated without arguments.
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
    """Name and version of the distribution that declares the entry point."""
    try:
        assert entry_point.dist is not None
        metadata = entry_point.dist.metadata
        return str(metadata["Name"] or "unknown"), str(metadata["Version"] or "")
    except Exception:  # the metadata are missing or unreadable
        return "unknown", ""


def _what(group: str) -> str:
    """What one member of the group is called."""
    return "registry" if group == REGISTRIES else group.removeprefix("snnet.").removesuffix("s")


def _remedy(group: str, name: str, error: BaseException) -> str:
    """What to install where a library is missing that an extra of the distribution brings."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    from importlib.metadata import requires

    library = re.escape(error.name.partition(".")[0].lower())
    for found in catalogue(group):
        lines = (requires(found.distribution) or ()) if found.name == name else ()
        extras = [line.rpartition("extra == ")[2].strip("\"' ") for line in lines]
        bringing = [
            extra
            for line, extra in zip(lines, extras, strict=True)
            if re.match(rf"{library}\b.*extra ==", line.lower())
        ]
        if bringing:
            smallest = min(bringing, key=extras.count)
            return f": pip install '{found.distribution}[{smallest}]'"
    return ""


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
