"""A host that can be switched off: only its disk is there when it boots again."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from .lan import Lan

INIT = (
    "mount -t tmpfs -o mode=755 run /run && ip link set lo up && echo up;"
    "while :; do sleep 1 & wait $!; done"  # what reaps processes that nobody waits for
)


class Machine(Lan):
    """A host with processes, network and /run of its own, which end with its first process.

    Commands run on the machine: /run/netns, for one, is its own.
    """

    _power: subprocess.Popen[bytes]

    def boot(self) -> None:
        self._power = subprocess.Popen(
            ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
             "sh", "-c", INIT],
            stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._power.stdout is not None
        assert self._power.stdout.readline() == b"up\n"
        self.host = child_of(self._power.pid)
        self.wire()

    def power_off(self) -> None:
        """End everything on the machine at once, without a word to any of it."""
        self._power.kill()
        self._power.wait()
        assert self._power.stdout is not None
        self._power.stdout.close()
        if self.agent is not None:
            self.agent.wait()
            self.agent = None
        # The kernel removes the namespace, and the uplink in it, some time later.
        self.until(lambda: "out" not in self.inside(self.outside, "ip -o link"))

    def enter(self, netns: str) -> list[str]:
        if netns == self.outside:
            return super().enter(netns)
        on_it = ["nsenter", "--target", self.host, "--net", "--mount", "--pid"]
        return on_it if netns == self.host else [*on_it, "ip", "netns", "exec", netns]

    def end_agent(self, number: signal.Signals) -> None:
        assert self.agent is not None
        # nsenter has become the parent of the agent, and ends as that does.
        subprocess.run(["kill", f"-{number.value}", child_of(self.agent.pid)], check=True)
        self.agent.wait(30)
        self.agent = None

    def namespace(self, name: str) -> str:
        self.inside(self.host, f"ip netns add {name}")
        return name

    def runtime_files(self) -> set[str]:
        """What is under /run."""
        return set(self.inside(self.host, "find /run -mindepth 1").split())

    def close(self) -> None:
        super().close()
        self.power_off()


def child_of(pid: int) -> str:
    """The only child of a process."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]
