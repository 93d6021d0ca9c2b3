"""What is known of a host: the document that its agent writes when it registers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from .documents import plain


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeInfo:
    """A host whose agent has registered.

    ``alive`` says whether its agent renews its session.  A node whose agent is gone keeps
    its data plane, and its documents.  ``number`` is that of its tunnels, if it has some.
    ``mtu`` is the highest that its guests can have (bytes), if it is known, and ``problem`` what
    its agent says that prevents it from doing its work.
    """

    name: str
    roles: tuple[str, ...]
    topology: str = "hub"
    compute_ip: str | None = None
    number: int | None = None
    mtu: int | None = None
    draining: bool = False
    version: str = ""
    alive: bool = False
    problem: str | None = None

    @property
    def state(self) -> str:
        if not self.alive:
            return "no agent"
        return "failing" if self.problem else "draining" if self.draining else "ready"

    def document(self) -> dict[str, Any]:
        """What is stored of the node itself; the rest goes with its agent's session."""
        names = (item.name for item in fields(self) if item.name not in ("alive", "problem"))
        return {name: plain(getattr(self, name)) for name in names}

    def to_dict(self) -> dict[str, Any]:
        return {**self.document(), "problem": self.problem, "state": self.state}

    @classmethod
    def read(
        cls, name: str, document: Mapping[str, Any], alive: Mapping[str, Any] | None
    ) -> NodeInfo:
        """Read the stored document of a node; fields of later versions are ignored.

        ``alive`` is that of its agent's session, None if it has none.  What is damaged counts
        as not said, until the node's agent says it again.
        """
        roles = document.get("roles")
        values = {
            field: document[field]
            for field, kind in _NODE_FIELDS.items()
            if isinstance(document.get(field), kind)
        }
        known = roles if isinstance(roles, list) else []
        said = tuple(role for role in known if isinstance(role, str))
        problem = (alive or {}).get("problem")
        return cls(
            name=name,
            roles=said,
            **values,
            alive=alive is not None,
            problem=problem if isinstance(problem, str) else None,
        )


_NODE_FIELDS: dict[str, type] = {
    "topology": str, "compute_ip": str, "number": int, "mtu": int, "draining": bool,
    "version": str,
}  # fmt: skip
