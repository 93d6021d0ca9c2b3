"""Agents whose waits are short, or that repair nothing, as the tests of agents have them."""

from __future__ import annotations

from tests.agent.conftest import blind, quick

__all__ = ["blind", "quick"]
