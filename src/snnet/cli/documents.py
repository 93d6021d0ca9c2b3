"""Reads YAML files of documents, and remembers on which line everything is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from snnet.cluster import DocumentProblem
from snnet.contract import InvalidRequest
from snnet.yamlfile import check_values, plain_loader


class Documents(list[dict[str, Any]]):
    """The documents of a file, in order."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self.lines: list[Mapping[str, int]] = []
        """For each document the line of each field, and of the document itself as ""."""

    def place(self, problem: InvalidRequest) -> str:
        """The file and the line that a problem is about: "web.yaml:7"."""
        if not isinstance(problem, DocumentProblem):
            return self._name
        lines = self.lines[problem.number - 1]
        field = (problem.field or "").partition("[")[0]  # rules[0]
        return f"{self._name}:{lines.get(field, lines[''])}"


def read_documents(data: bytes, name: str) -> Documents:
    """Read the documents of a YAML file: several of them, or one list.

    Raises ``InvalidRequest`` that names the line of what is not YAML.
    """
    found = Documents(name)
    try:
        loader = plain_loader()(data)
        while loader.check_node():
            node = loader.get_node()
            assert node is not None
            if _is_empty(node):
                continue
            check_values(node, most=None)
            items = node.value if isinstance(node, yaml.SequenceNode) else [node]
            for item in items:
                found.append(loader.construct_document(item))
                found.lines.append(_lines(item))
    except (ValueError, RecursionError) as error:
        why = error if isinstance(error, ValueError) else "it is nested too deeply"
        raise InvalidRequest(f"cannot read {name}: {why}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        problem = getattr(error, "problem", None) or str(error)
        raise InvalidRequest(f"{where}: this is not YAML: {problem}") from None
    if not found:
        raise InvalidRequest(f"{name} has no documents")
    return found


def _is_empty(node: yaml.Node) -> bool:
    """Whether there is nothing between two lines "---", or after the last one."""
    return isinstance(node, yaml.ScalarNode) and node.value == "" and node.style is None


def _lines(node: yaml.Node) -> Mapping[str, int]:
    lines = {"": node.start_mark.line + 1}
    if isinstance(node, yaml.MappingNode):
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                lines[key.value] = key.start_mark.line + 1
    return lines
