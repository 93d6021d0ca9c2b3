"""Operations as iproute2 commands: what a person would type for them.

Today this renders dry runs (``plan.to_commands()``); the backend that runs
these commands is to come.
"""

from .commands import render

__all__ = ["render"]
