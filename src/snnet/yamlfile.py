"""Reading YAML from files that may have been written to do harm.

Aliases let a file of some hundred bytes stand for gigabytes ("billion laughs"), and a YAML
parser nests as deep as the file says.  What is read here is limited first.
"""

from __future__ import annotations

import functools
import os
import re
from typing import Any

from snnet.contract import InvalidRequest

SIZE_MAX = 1 << 18
"""Largest file in bytes."""

_NUMBERS = {
    "tag:yaml.org,2002:int": re.compile(r"[-+]?(?:0|[1-9][0-9]*|0x[0-9a-fA-F]+)$"),
    "tag:yaml.org,2002:float": re.compile(
        r"(?:[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)"
        r"|\.(?:nan|NaN|NAN))$"
    ),
}

VALUES_MAX = 20_000
"""Maximum number of values in a file, those that aliases repeat included."""

TEXT_MAX = 1 << 12
"""Maximum length of one key or value in characters."""


def read_yaml(path: str | os.PathLike[str], field: str = "path") -> Any:
    """Return the one document of a YAML file, made of plain data (YAML's safe schema).

    Raises ``InvalidRequest`` if the file cannot be read, is not one document of YAML, or
    exceeds ``SIZE_MAX``, ``VALUES_MAX`` or ``TEXT_MAX``.  Memory and time are bounded by
    these limits.  It needs PyYAML: ``pip install snnet[cli]``.  ``field`` is that of errors.
    """
    try:
        import yaml
    except ImportError:
        raise InvalidRequest(
            "reading YAML needs PyYAML: pip install 'snnet[cli]'", field=field
        ) from None
    try:
        with open(os.fspath(path), encoding="utf-8") as file:
            text = file.read(SIZE_MAX + 1)
        if len(text) > SIZE_MAX:
            raise ValueError(f"it has more than {SIZE_MAX} bytes")
        loader = plain_loader()(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            check_values(node)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except RecursionError:
        raise InvalidRequest(f"cannot read {path}: it is nested too deeply", field=field) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InvalidRequest(
            f"{path}{where} is not YAML: {error.problem or error.context}", field=field
        ) from None
    except OSError as error:
        raise InvalidRequest(f"cannot read {path}: {error.strerror}", field=field) from None
    # TypeError: not a path; ValueError: a NUL in it, not UTF-8, an impossible date.
    except (TypeError, ValueError, yaml.YAMLError) as error:
        raise InvalidRequest(f"cannot read {path}: {error}", field=field) from None


@functools.cache
def plain_loader() -> Any:
    """The loader of YAML's safe schema, where numbers are only what people take for numbers.

    In YAML 1.1 the MAC 52:54:00:12:34:56 is a number to the base of 60, 010 is 8 and 1_0 is 10.
    Here they are text.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers = {  # noqa: RUF012
            first: [pair for pair in pairs if pair[0] not in _NUMBERS]
            for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    for tag, pattern in _NUMBERS.items():
        Loader.add_implicit_resolver(tag, pattern, list("-+.0123456789"))
    return Loader


def check_values(node: Any, most: int | None = VALUES_MAX) -> None:
    """Raise ``ValueError`` if a composed node of YAML stands for more values than ``most``.

    With None only what aliases repeat is limited, to ``VALUES_MAX``.  A key that a mapping has
    twice is YAML's ``MarkedYAMLError``: a loader would take the last one in silence.
    ``RecursionError`` means that it is nested too deeply.
    """
    _count(node, {}, most)


def _count(node: Any, known: dict[int, int], most: int | None) -> int:
    """Return how many values the node stands for."""
    if id(node) in known:  # an alias
        size = known[id(node)]
        if not size:
            raise ValueError("an alias stands for what contains it")
        return size
    known[id(node)] = 0
    size = 1
    if isinstance(node.value, str):
        if len(node.value) > TEXT_MAX:
            raise ValueError(f"a value has more than {TEXT_MAX} characters")
    else:
        _refuse_twice(node)
        for item in node.value:
            for child in item if isinstance(item, tuple) else (item,):
                size += _count(child, known, most)
                limit = VALUES_MAX + len(known) if most is None else most
                if size > limit:
                    raise ValueError(f"it stands for more than {limit} values")
    known[id(node)] = size
    return size


def _refuse_twice(node: Any) -> None:
    """Refuse a key that is twice in a mapping (YAML 1.2, section 3.2.1.3)."""
    seen: set[tuple[str, str]] = set()
    for item in node.value:
        key = item[0] if isinstance(item, tuple) else None
        if key is None or not isinstance(key.value, str):
            continue
        if (key.tag, key.value) in seen:
            from yaml import MarkedYAMLError

            raise MarkedYAMLError(
                problem=f"{key.value!r} is there twice", problem_mark=key.start_mark
            )
        seen.add((key.tag, key.value))
