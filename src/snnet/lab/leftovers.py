"""What a lab could leave on the machine: links, files, processes, namespaces."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from snnet import plugins
from snnet.contract import Link
from snnet.core.identity import grouped
from snnet.node.sequences import EPOCHS
from snnet.system.host import RealHost
from snnet.system.namespaces import Namespace

_OWNER = "demo"


def own_links(backend: str) -> set[str]:
    """Names of snnet's links in the caller's own network namespace."""
    host = RealHost(owner=_OWNER)
    try:
        driver = plugins.open_driver(plugins.BACKENDS, backend, host)
        try:
            links = driver.snapshot({Link}).values()
        finally:
            driver.close()
    finally:
        host.close()
    return {link.name for link in links if isinstance(link, Link) and grouped(link)}


def runtime_files() -> set[Path]:
    """Every file in the runtime directory."""
    host = RealHost(owner=_OWNER)
    try:
        return set(host.runtime.iterdir())
    finally:
        host.close()


def files_about(namespaces: Iterable[Namespace], files: Iterable[Path]) -> dict[Path, str]:
    """Files with the id of one of the namespaces in their names, and that namespace's name."""
    names = {namespace.id.replace(":", "."): namespace.name for namespace in namespaces}
    return {
        file: name
        for file in sorted(files)
        for number, name in names.items()
        if number in file.name
    }


def outlives_nodes(file: Path) -> bool:
    """Whether nodes leave this file on purpose until the namespace goes."""
    return file.name.startswith(f"record-{EPOCHS}-")


def remove_files(files: Iterable[Path]) -> None:
    """Remove runtime files and folders.  A file that is already gone is not an error."""
    for file in files:
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(file, ignore_errors=True)
        else:
            file.unlink(missing_ok=True)


def still_open(namespaces: Iterable[Namespace]) -> Iterator[str]:
    """A text for each closed namespace that a descriptor of this process still keeps."""
    names = {namespace.id: namespace.name for namespace in namespaces}
    for fd in os.listdir("/proc/self/fd"):
        try:
            status = os.fstat(int(fd))
        except OSError:  # the listing's own descriptor
            continue
        name = names.get(f"{status.st_dev}:{status.st_ino}")
        if name is not None:
            yield f"the namespace of {name}, by descriptor {fd}"
