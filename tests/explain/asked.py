"""Agents that answer an operator's question, one step after the other."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from snnet.explain.many import HostsExplanation, explain_hosts
from snnet.explain.question import Question
from tests.agent.cloud import Cloud

T = TypeVar("T")


def answered(cloud: Cloud, question: Callable[[], T]) -> T:
    """Ask in a thread, as a command does in a process of its own, and have all agents step."""
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(question)
        while not asked.done():
            for agent in cloud.agents.values():
                agent.step(0.01)
    return asked.result()


def ask(
    cloud: Cloud, source: str, target: str, *, timeout: float = 5.0, **options: Any
) -> HostsExplanation:
    """What ``snnet explain`` works out on the hosts of a cloud."""
    question = Question(source, target, **options)
    return answered(cloud, lambda: explain_hosts(cloud.registry, question, timeout))
