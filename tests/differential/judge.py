"""Several drivers do the same, and are compared after every operation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address

from snnet.backends.fake import FakeKernel
from snnet.backends.netlink import NetlinkBackend
from snnet.contract import Driver, IPAddress, Operation, Path, Sysctl
from snnet.system.host import RealHost
from snnet.system.namespaces import Namespace

from .operations import LINKS, Draw

PATHS = [
    Path(remote=ip_address(text))
    for text in ("192.0.2.77", "10.1.2.3", "2001:db8::77", "fd00::2:3")
]


class Difference(AssertionError):
    """The drivers are not of one mind; the message has all that led to it."""


def _iproute(host: RealHost) -> Driver:
    from snnet.backends.iproute_shell import IprouteShellBackend

    return IprouteShellBackend(host)


OPENERS: dict[str, Callable[[RealHost], Driver]] = {
    "netlink": NetlinkBackend,
    "iproute_shell": _iproute,
}


@contextmanager
def real(name: str) -> Iterator[Driver]:
    """A real driver in a fresh namespace that has its loopback up."""
    with ExitStack() as opened:
        space = Namespace("judge")
        opened.callback(space.close)
        space.ip(["link set lo up"])
        host = RealHost(space.fd, owner="cn:judge")
        opened.callback(host.close)
        driver = OPENERS[name](host)
        opened.callback(driver.close)
        yield driver


def state(driver: Driver) -> list[str]:
    """What the operations led to; a namespace has more links where gre is loaded."""
    found = driver.snapshot().values()
    nouns = [
        str(noun)
        for noun in found
        if not set(LINKS).isdisjoint(noun.key) or isinstance(noun, Sysctl)
    ]
    return sorted([*nouns, *(_way(driver, path) for path in PATHS)])


def _way(driver: Driver, path: Path) -> str:
    """The path found.  A host without a global address sends from a link-local one of whichever
    link has it, else from ::1 (ipv6_dev_get_saddr): the fake has none of those, and nobody
    could answer either.
    """
    found = driver.find(path)
    if isinstance(found, Path) and found.link != "lo" and _is_makeshift(found.source):
        return f"path to {found.remote} dev {found.link}, from no global address"
    return str(found)


def _is_makeshift(source: IPAddress | None) -> bool:
    return source is not None and (source.is_link_local or source.is_loopback)


def end(driver: Driver, operation: Operation) -> str:
    """How it ended: the class of its error, if any."""
    outcome = driver.apply([operation])
    outcome.close_fds()
    return type(outcome.error).__name__ if outcome.error else "done"


def run(draw: Draw, names: list[str], steps: int) -> None:
    """Have the fake and the drivers named do the same; ``Difference`` at the first one."""
    with ExitStack() as opened:
        drivers = {name: opened.enter_context(real(name)) for name in names}
        fake = FakeKernel()
        said: list[str] = []
        for _ in range(steps):
            operation = draw.operation(list(fake.snapshot().values()))
            expected = end(fake, operation)
            said.append(f"{operation}: {expected}")
            wanted = state(fake)
            for name, driver in drivers.items():
                ended = end(driver, operation)
                if ended != expected:
                    raise Difference("\n".join([*said, f"but {name}: {ended}"]))
                found = state(driver)
                if found != wanted:
                    changes = [f"- {line}" for line in wanted if line not in found]
                    changes += [f"+ {line}" for line in found if line not in wanted]
                    raise Difference("\n".join([*said, f"but {name} has:", *changes]))
