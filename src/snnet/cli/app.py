"""The command ``snnet``: its subcommands by name, each loaded when it is used."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any

import click

from snnet import __version__

_COMMANDS: Mapping[str, tuple[str, str]] = {
    "network": ("network", "Networks of tenants."),
    "vnic": ("vnic", "VNICs of VMs and containers."),
    "group": ("group", "Security groups: what VNICs may send and receive."),
    "forward": ("forward", "Ports that lead to a VNIC from outside."),
    "public-ip": ("public_ip", "Public addresses of VNICs."),
    "lease": ("lease", "DHCP leases of this host's concentrators."),
    "node": ("node", "The hosts whose agents have registered."),
    "status": ("status", "What is ready, and what is not."),
    "apply": ("files", "Create and change what a file describes."),
    "export": ("files", "Print all objects as a file for 'snnet apply'."),
    "topology": ("topology", "Hosts, networks, VNICs and tunnels: a tree, or a page."),
    "host": ("host", "This host's kernel: show, verify, repair, reset, follow, doctor, report."),
    "explain": ("explain", "Whether one place reaches another, hop by hop, and what stops it."),
    "agent": ("agent", "Run this host's agent, until it is stopped."),
    "demo": ("commands", "Build a small data centre, ping through it, remove it again."),
    "backends": ("commands", "List the installed drivers and what they can do here."),
    "docker-plugin": ("commands", "Connect containers of Docker to tenants' networks."),
    "completion": ("completion", "Print the completion script of a shell."),
}
"""Each subcommand's module of this package, and what the help says about it."""


class Commands(click.Group):
    """A group that imports a subcommand's module only to run it, not to list it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"{__package__}.{_COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an error of snnet ends it with one paragraph and its exit code."""
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.ClickException, click.Abort, BrokenPipeError):
            raise  # click knows what to do about these
        except Exception as error:
            _explain(error, debug=bool(ctx.params.get("debug")))
            raise


def _explain(error: Exception, *, debug: bool) -> None:
    """Exit with an error of snnet or of the system in one line; return for any other."""
    # Imported for errors only: --help does without them.
    import traceback

    from snnet.contract import Cancelled, InvalidRequest, SnnetError

    if not isinstance(error, (SnnetError, OSError)):
        return
    if debug:
        traceback.print_exc()
    interrupted = isinstance(error, Cancelled)
    text = "interrupted; nothing left over" if interrupted else _sentence(error)
    click.echo(f"snnet: {text}", err=True)
    sys.exit(2 if isinstance(error, InvalidRequest) else 1)


def _sentence(error: Exception) -> str:
    """What an error says, in one line; what the system says without its number."""
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename is not None else ""
        return f"{where}{error.strerror}"
    return " ".join(str(error).split())


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="snnet")
@click.option(
    "--debug",
    is_flag=True,
    envvar="SNNET_DEBUG",
    show_envvar=True,
    help="Also print the traceback of an error.",
)
def snnet(debug: bool) -> None:
    """Tenant networks for VMs and containers.

    \b
    snnet agent &
    snnet network create web --subnet 10.1.0.0/24
    snnet vnic create v1 --network web
    snnet forward create --network web --port 8080 --to v1 --to-port 80

    Exit codes: 0 done; 1 it failed, is not ready, or was interrupted; 2 wrong usage or a wrong
    value.  'explain', 'host verify' and 'host doctor' exit with 1 if they find something wrong.
    """
