"""Kinds of link with the kernel's rules for each: a module each."""

from __future__ import annotations

from typing import Any

from snnet.backends.kinds import kinds_in
from snnet.contract import Link

from ..kind import LinkKind

KINDS: dict[type[Link], LinkKind[Any]] = {kind.noun: kind for kind in kinds_in(__name__)}
"""The rules of each kind of link."""
