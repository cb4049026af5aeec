"""Builds the wheels of a release into dist/ and checks them: `nox -s wheels`.

Each is built from the sdist alone, with every feature, and linked by zig against an old glibc. auditwheel looks at what
its library asks of a system and names the wheel after that. The wheel for this machine is installed and run.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import cargo_build  # noqa: E402 - it lies beside this folder

DIST = ROOT / "dist"
LIBRARY = "buquet/libbuquet.so"
MOST_BYTES = 16_000_000


@dataclass(frozen=True)
class Target:
    """A kind of system that a wheel is for."""

    triple: str
    glibc: str

    @property
    def machine(self) -> str:
        """Its processor, by the name that `uname -m` gives it."""
        return self.triple.partition("-")[0]

    @property
    def platform(self) -> str:
        """The platform in the wheel's tag."""
        return f"manylinux_{self.glibc.replace('.', '_')}_{self.machine}"


TARGETS = (Target("x86_64-unknown-linux-gnu", "2.28"), Target("aarch64-unknown-linux-gnu", "2.28"))


class WheelError(Exception):
    """A wheel is not what it has to be; the message says how."""


def has_standard_library(target: Target) -> bool:
    """Return whether rustc can compile for a target."""
    command = ["rustc", "--print", "target-libdir", "--target", target.triple]
    folder = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return any(Path(folder).glob("libstd-*"))


def build_sdist(folder: Path) -> Path:
    """Build the sdist into dist/ and unpack it into `folder`; return the source tree."""
    run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", DIST, ROOT)
    (sdist,) = DIST.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    return source


def build_wheel(target: Target, source: Path, folder: Path) -> Path:
    """Build one wheel from the unpacked sdist, check it and put it into dist/; return its path."""
    environment = {
        **os.environ,
        "BUQUET_FEATURES": ",".join(cargo_build.FEATURES),
        "BUQUET_WHEEL_TARGET": f"{target.triple}.{target.glibc}",
        # The tree lies in a new place each time: here cargo finds the dependencies it compiled before.
        "CARGO_TARGET_DIR": os.environ.get("CARGO_TARGET_DIR") or str(ROOT / "target"),
    }
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source, env=environment)
    (built,) = folder.glob("*.whl")
    check_library(built, folder / "unpacked")
    # It names the wheel after the oldest systems that have what the library asks for. Nothing is there to be patched,
    # and it takes the name of a platform for this machine's processor only.
    run(sys.executable, "-m", "auditwheel", "repair", "--patcher", "none", "--wheel-dir", folder / "named", built)
    (named,) = (folder / "named").iterdir()
    if not named.name.endswith(f"-py3-none-{target.platform}.whl"):
        raise WheelError(f"auditwheel does not find it fit for {target.platform}, and calls it {named.name}")
    return Path(shutil.copy(named, DIST))


def check_library(wheel: Path, folder: Path) -> None:
    """Raise WheelError if the wheel's library is larger than promised or exports more than its own functions."""
    with zipfile.ZipFile(wheel) as archive:
        library = Path(archive.extract(LIBRARY, folder))
    size = library.stat().st_size
    if size > MOST_BYTES:
        raise WheelError(f"{wheel.name}: the library has {size:,} bytes, more than {MOST_BYTES:,}")
    listed = subprocess.run(["nm", "-D", "--defined-only", "-P", library], capture_output=True, text=True, check=True)
    exported = [line.split()[0] for line in listed.stdout.splitlines()]
    strangers = [name for name in exported if not name.startswith("bq_")]
    if strangers or not exported:
        raise WheelError(f"{wheel.name}: of {len(exported)} exported symbols these are not bq_*: {strangers}")
    print(f"{wheel.name}: the library has {size:,} bytes and exports {len(exported)} functions")


def try_out(wheel: Path, folder: Path) -> None:
    """Install a wheel into an empty environment and run the demo and the development server from it."""
    run(sys.executable, "-m", "venv", folder)
    run(folder / "bin" / "python", "-m", "pip", "install", "--quiet", wheel)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for arguments in (["demo"], ["dev", "--store", "memory:", "--port", "0", "--", "true"]):
        run(folder / "bin" / "buquet", *arguments, cwd=folder, env=environment)


def run(*command: object, cwd: Path = ROOT, env: dict[str, str] | None = None) -> None:
    """Run a command, which has to succeed."""
    words = [str(word) for word in command]
    if subprocess.run(words, check=False, cwd=cwd, env=env).returncode != 0:
        raise WheelError(f"failed: {shlex.join(words)}")


def main() -> int:
    """Build what this machine can and say what it cannot."""
    shutil.rmtree(DIST, ignore_errors=True)
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = build_sdist(folder / "sdist")
        for target in TARGETS:
            if not has_standard_library(target):
                notes.append(f"not built: {target.platform}; run `rustup target add {target.triple}` first")
                continue
            wheel = build_wheel(target, source, folder / target.machine)
            if target.machine == platform.machine():
                try_out(wheel, folder / "empty")
            else:
                notes.append(f"built and audited, but not run: {wheel.name}; this machine is {platform.machine()}")
    for path in sorted(DIST.iterdir()):
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes")
    print(*notes, sep="\n")
    return 0 if any(DIST.glob("*.whl")) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except WheelError as error:
        sys.exit(f"wheels: {error}")
