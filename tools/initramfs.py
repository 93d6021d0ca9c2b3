"""What a guest boots from: a kernel, unpacked, and an initramfs of busybox and modules."""

from __future__ import annotations

import lzma
import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

BUSYBOX = Path("/bin/busybox")
FOLDER, FILE = 0o040755, 0o100755


def fetch_kernel() -> Path:
    """Debian's newest generic kernel, downloaded once; its modules are in /lib/modules."""
    program = Path(__file__).with_name("fetch-kernel")
    done = subprocess.run([program], stdout=subprocess.PIPE, text=True, check=True)
    return Path(done.stdout.strip())


def version_of(vmlinuz: Path) -> str:
    return vmlinuz.name.partition("-")[2]


def unpacked(vmlinuz: Path) -> Path:
    """The ELF file inside a vmlinuz: an emulated machine would need seconds to unpack it."""
    vmlinux = vmlinuz.with_name(vmlinuz.name.replace("vmlinuz", "vmlinux"))
    if not vmlinux.exists():
        packed = vmlinuz.read_bytes()
        start = packed.find(b"\xfd7zXZ\0")
        if start < 0:
            return vmlinuz
        part = vmlinux.with_name(f"{vmlinux.name}.{os.getpid()}")
        part.write_bytes(lzma.LZMADecompressor().decompress(packed[start:]))
        part.rename(vmlinux)
    return vmlinux


def module_files(version: str, modules: Iterable[str]) -> list[Path]:
    """The files of modules and of what they depend on, in the order of loading."""
    shown = subprocess.run(
        ["/sbin/modprobe", "-S", version, "--show-depends", "-a", *modules],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout  # lines of "insmod FILE"
    return list(
        dict.fromkeys(
            Path(line.split()[1]) for line in shown.splitlines() if line.startswith("insmod")
        )
    )


def archive(init: str, modules: Iterable[Path], more: Mapping[str, str] | None = None) -> bytes:
    """A cpio archive (format newc) of ``init``, busybox, /modules and more scripts by name."""
    entries = [(name, FOLDER, b"") for name in ("bin", "dev", "modules")]
    entries.append(("bin/busybox", FILE, BUSYBOX.read_bytes()))
    entries.append(("init", FILE, init.encode()))
    entries += [(name, FILE, text.encode()) for name, text in (more or {}).items()]
    entries += [(f"modules/{file.name}", FILE, file.read_bytes()) for file in modules]
    entries.append(("TRAILER!!!", 0, b""))
    packed = bytearray()
    for inode, (name, mode, data) in enumerate(entries, 1):
        path = name.encode() + b"\0"
        header = [inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(path), 0]
        packed += b"070701" + b"".join(b"%08X" % number for number in header) + path
        packed += bytes(-len(packed) % 4) + data
        packed += bytes(-len(packed) % 4)
    return bytes(packed)
