"""Docker's chain on a fake host: tests set ``State.docker_user`` to have one."""

from __future__ import annotations

from snnet.contract import LinkAccepts

from .state import State


class FakeDockerUser(LinkAccepts):
    """The chain of one namespace."""

    def __init__(self, state: State) -> None:
        self._state = state

    def accepted(self) -> list[tuple[str, bool]] | None:
        links = self._state.docker_user
        return None if links is None else list(links.items())

    def add(self, link: str, *, bridged: bool) -> None:
        if self._state.docker_user is not None:
            self._state.docker_user[link] = bridged

    def remove(self, link: str, *, bridged: bool) -> None:
        if (
            self._state.docker_user is not None
            and (link, bridged) in self._state.docker_user.items()
        ):
            del self._state.docker_user[link]
