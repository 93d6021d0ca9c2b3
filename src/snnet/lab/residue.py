"""What a lab could leave on the machine, found by asking it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from snnet import plugins
from snnet.contract import LINK_GROUP, Link
from snnet.contract.links import DYING_GROUPS
from snnet.system.host import RealHost
from snnet.system.namespaces import Namespace

_OWNER = "demo"


def own_links(backend: str) -> set[str]:
    """Links of snnet in the caller's own network namespace, by name."""
    host = RealHost(owner=_OWNER)
    try:
        driver = plugins.open_driver(plugins.BACKENDS, backend, host)
        try:
            links = driver.snapshot({Link}).values()
        finally:
            driver.close()
    finally:
        host.close()
    return {
        link.name
        for link in links
        if isinstance(link, Link) and (link.group == LINK_GROUP or link.group in DYING_GROUPS)
    }


def runtime_files() -> set[Path]:
    """All that is in the runtime directory."""
    host = RealHost(owner=_OWNER)
    try:
        return set(host.runtime.iterdir())
    finally:
        host.close()


def files_about(namespaces: Iterable[Namespace], files: Iterable[Path]) -> dict[Path, str]:
    """Those of the runtime files that name one of the namespaces, and what it stands for."""
    names = {namespace.id.replace(":", "."): namespace.name for namespace in namespaces}
    return {
        file: name
        for file in sorted(files)
        for number, name in names.items()
        if number in file.name
    }


def remove(files: Iterable[Path]) -> None:
    """Remove runtime files and folders; what is gone already is no error."""
    for file in files:
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(file, ignore_errors=True)
        else:
            file.unlink(missing_ok=True)


def still_open(namespaces: Iterable[Namespace]) -> Iterator[str]:
    """Namespaces that were closed and that a descriptor of ours still keeps, in words."""
    names = {namespace.id: namespace.name for namespace in namespaces}
    for fd in os.listdir("/proc/self/fd"):
        try:
            status = os.fstat(int(fd))
        except OSError:  # the listing's own descriptor
            continue
        name = names.get(f"{status.st_dev}:{status.st_ino}")
        if name is not None:
            yield f"the namespace of {name}, by descriptor {fd}"
