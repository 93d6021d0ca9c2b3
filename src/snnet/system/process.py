"""The one process runner: an argument list and stdin, never a shell string.

No other module of snnet imports :mod:`subprocess`.
"""

from __future__ import annotations

import errno
import functools
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from snnet.contract import ApiError, Timeout, Unsupported, error_for

from .green import unpatched
from .netns import in_netns

PACKAGES = {
    "bridge": "iproute2",
    "busybox": "busybox-static",
    "conntrack": "conntrack",
    "dnsmasq": "dnsmasq-base",
    "docker": "docker.io",
    "etcd": "etcd-server",
    "ip": "iproute2",
    "ip6tables": "iptables",
    "ip6tables-restore": "iptables",
    "ip6tables-save": "iptables",
    "iptables": "iptables",
    "iptables-restore": "iptables",
    "iptables-save": "iptables",
    "modprobe": "kmod",
    "nft": "nftables",
    "ping": "iputils-ping",
    "sysctl": "procps",
    "tc": "iproute2",
    "udhcpc": "udhcpc",
}
"""The Debian package of each program."""

_SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True)
class Completed:
    """How a program ended; ``returncode`` is the negated number of a signal that killed it."""

    returncode: int
    stdout: str
    stderr: str


def run(
    argv: Sequence[str],
    *,
    input: str | None = None,
    timeout: float = 10.0,
    netns: int | None = None,
    check: bool = True,
) -> Completed:
    """Run a program to its end and return what it printed.

    Its environment is ``LC_ALL=C`` and ``PATH`` only.  It gets ``input`` on stdin (else
    /dev/null), none of our descriptors, and its own session.  With ``netns`` (a
    descriptor) it runs in that network namespace.

    After ``timeout`` seconds it is killed with its whole process group, and ``Timeout`` is
    raised.  A program that is not installed is ``Unsupported``, with the name of its
    package.  With ``check``, an exit code other than 0 raises the class of the kernel's
    text on stderr, else ``ApiError``.
    """
    program = find_program(argv[0])
    if program is None:
        raise Unsupported(missing_program(argv[0]))
    wait = functools.partial(_run, program, argv, input, timeout)
    done = wait() if netns is None else in_netns(netns, wait)
    if check and done.returncode != 0:
        raise failure(argv, done)
    return done


class Service:
    """A program that runs until it is ended, in a network namespace.

    Its environment and descriptors are those of :func:`run`; what it prints is appended to
    the file ``log``.
    """

    def __init__(self, argv: Sequence[str], *, netns: int, log: Path) -> None:
        program = find_program(argv[0])
        if program is None:
            raise Unsupported(missing_program(argv[0]))

        def start() -> subprocess.Popen[bytes]:
            real = unpatched(subprocess)
            with open(log, "ab") as output:
                process: subprocess.Popen[bytes] = real.Popen(
                    argv,
                    executable=program,
                    stdin=real.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=_environment(),
                    start_new_session=True,
                )
            return process

        self._process = in_netns(netns, start)
        self.log = log

    @property
    def ended(self) -> bool:
        """Whether the program has ended by itself, or was ended."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """End the program at once (SIGKILL), without its children; may be repeated."""
        self._process.kill()
        self._process.wait()


def find_program(name: str) -> str | None:
    """Return the path of a program, or None; sbin directories are always searched."""
    return shutil.which(name, path=_search_path())


def missing_program(name: str) -> str:
    """Return the message for a missing program."""
    package = PACKAGES.get(os.path.basename(name))
    hint = f"apt-get install {package}" if package else "install it, or correct PATH"
    return f"the program {name!r} is not installed: {hint}"


def failure(argv: Sequence[str], done: Completed) -> ApiError:
    """Return the error for a program that failed: its command, exit code and last lines."""
    what = f"run {shlex.join(argv)}"
    said = done.stderr.strip() or done.stdout.strip()
    if done.returncode < 0:
        ended = f"killed by {signal.Signals(-done.returncode).name}"
    else:
        ended = f"exit code {done.returncode}"
    detail = f"{ended}: {said}" if said else ended
    number = errno_in(said)
    if number is not None:
        return error_for(number, what, detail=detail)
    return ApiError(f"cannot {what}: {detail}")


def errno_in(text: str) -> int | None:
    """Return the errno whose strerror(3) text ends a line, or None."""
    texts = _errno_texts()
    for line in reversed(text.splitlines()):
        reason = line.rpartition(":")[2].strip().rstrip(".").lower()
        if reason in texts:
            return texts[reason]
    return None


@functools.cache
def _errno_texts() -> dict[str, int]:
    return {os.strerror(number).lower(): number for number in errno.errorcode}


def _environment() -> dict[str, str]:
    return {"LC_ALL": "C", "PATH": _search_path()}


def _search_path() -> str:
    return os.pathsep.join(filter(None, (os.environ.get("PATH"), _SYSTEM_PATH)))


def _run(program: str, argv: Sequence[str], input: str | None, timeout: float) -> Completed:
    real = unpatched(subprocess)
    try:
        process: subprocess.Popen[str] = real.Popen(
            argv,
            executable=program,
            stdin=real.DEVNULL if input is None else real.PIPE,
            stdout=real.PIPE,
            stderr=real.PIPE,
            env=_environment(),
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise error_for(error.errno or 0, f"start {program}") from error
    with process:
        try:
            stdout, stderr = process.communicate(input, timeout)
        except real.TimeoutExpired:
            _kill(process)
            raise Timeout(f"killed after {timeout:g} s: {shlex.join(argv)}") from None
        except BaseException:
            _kill(process)
            raise
    return Completed(process.returncode, stdout, stderr)


def _kill(process: subprocess.Popen[str]) -> None:
    """Kill the whole group: a remaining child could keep our pipes open."""
    # After an interrupt ``communicate`` may have waited for it: then its pid may be another's.
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def script_in_memory(name: str, text: str) -> Iterator[str]:
    """Yield the path of an executable script that is in memory only, and goes with the block."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    try:
        os.write(fd, text.encode())
        os.fchmod(fd, 0o500)
        # Opened again for reading: a file that is open for writing cannot be executed.
        reader = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(fd)
    try:
        yield f"/proc/{os.getpid()}/fd/{reader}"
    finally:
        os.close(reader)
