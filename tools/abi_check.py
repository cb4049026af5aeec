"""Compares the C ABI with that of the last release: a minor version may only add. `nox -s abi` runs it.

The release is the last tag `v*` that this work tree descends from. Compared are the functions with their signatures,
the complete structs and enums, the typedefs and the integer constants of include/buquet.h; with `--library`, also
that the library exports every function of the header and of the release, and nothing else. Names of parameters and
comments may change. A new major version of the ABI may change everything.

Where there is no git, no history or no such tag, it says so and compares nothing with a release.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pycparser import c_generator, c_parser  # pyright: ignore[reportMissingTypeStubs]

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import cffi_build  # noqa: E402 - it lies beside this folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

HEADER = "include/buquet.h"
VERSION = "BQ_ABI_VERSION"
# The parser reads no #include; the widths do not matter, only that the names are known for types.
INCLUDED = "".join(
    f"typedef int {name};\n"
    for name in ("size_t", *(f"{sign}int{bits}_t" for sign in ("", "u") for bits in (8, 16, 32, 64)), "uintptr_t")
)


class CheckError(Exception):
    """The ABI cannot be compared; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Abi:
    """What a program can have been compiled against."""

    functions: Mapping[str, str]
    types: Mapping[str, str]
    constants: Mapping[str, str]

    @property
    def version(self) -> tuple[int, int]:
        """Major and minor."""
        number = int(self.constants[VERSION])
        return number >> 16, number & 0xFFFF


def read_header(text: str) -> Abi:
    """Read the ABI from a header's text."""
    lines = cffi_build.declarations(text).splitlines()
    defined = [line.split() for line in lines if line.startswith("#define")]
    constants = {name: value for _, name, value in defined}
    if VERSION not in constants:
        raise CheckError(f"the header does not define {VERSION} as a plain number")
    code = "\n".join(line for line in lines if not line.startswith("#"))
    try:
        parsed: Any = c_parser.CParser().parse(INCLUDED + code, "buquet.h")
    except c_parser.ParseError as error:
        raise CheckError(f"the header cannot be parsed: {error}") from error
    functions: dict[str, str] = {}
    types: dict[str, str] = {}
    for node in parsed.ext[INCLUDED.count("\n") :]:
        if kind(node) == "Decl" and kind(node.type) == "FuncDecl":
            functions[node.name] = signature(node.type)
        else:
            types[str(node.name)] = rendered(node)
    return Abi(functions=functions, types=types, constants=constants)


def kind(node: Any) -> str:
    """Return what a node of the parsed header is: `Decl`, `FuncDecl`, `TypeDecl` and so on."""
    return type(node).__name__


def signature(function: Any) -> str:
    """Return a function's type as text, without the names of its parameters."""
    parameters: list[Any] = function.args.params if function.args else []
    shown = ", ".join(rendered(nameless(parameter.type)) for parameter in parameters)
    return f"{rendered(nameless(function.type))}({shown})"


def nameless(node: Any) -> Any:
    """Take the declared name out of a type."""
    inner = node
    while kind(inner) != "TypeDecl":
        inner = inner.type
    inner.declname = None
    return node


def rendered(node: Any) -> str:
    """Return C text on one line; `struct x` and its typedef `x` are one type."""
    text = " ".join(c_generator.CGenerator().visit(node).split())
    return re.sub(r"\bstruct (bq_\w+)\b(?! \{)", r"\1", text)


def differences(old: Abi, new: Abi) -> list[str]:
    """Return what keeps a program that was made for `old` from running with `new`, if the major version is the same."""
    if new.version < old.version:
        return [f"{VERSION} went back from {shown(old)} to {shown(new)}"]
    if new.version[0] > old.version[0]:
        return []
    found: list[str] = []
    added: list[str] = []
    for sort, before, after in (
        ("function", old.functions, new.functions),
        ("type", old.types, new.types),
        ("constant", constants(old), constants(new)),
    ):
        found += [f"{sort} {name} is gone" for name in before if name not in after]
        found += [
            f"{sort} {name} changed from `{before[name]}` to `{after[name]}`"
            for name in before
            if name in after and before[name] != after[name]
        ]
        added += [f"{sort} {name}" for name in after if name not in before]
    if added and not found and new.version == old.version:
        found.append(f"there are additions ({', '.join(added)}), so the minor version has to rise above {shown(old)}")
    return found


def constants(abi: Abi) -> Mapping[str, str]:
    """Return the constants that must not change."""
    return {name: value for name, value in abi.constants.items() if name != VERSION}


def shown(abi: Abi) -> str:
    """Return the version as text."""
    return "{}.{}".format(*abi.version)


def exported(library: Path) -> set[str]:
    """Return the symbols that a shared library exports."""
    listing = subprocess.run(["nm", "-D", "--defined-only", "-P", library], capture_output=True, text=True, check=False)
    if listing.returncode != 0:
        raise CheckError(f"nm cannot read {library}: {listing.stderr.strip()}")
    return {line.split()[0] for line in listing.stdout.splitlines()}


def export_differences(symbols: set[str], functions: Iterable[str]) -> list[str]:
    """Return how the exported symbols differ from a header's functions."""
    declared = set(functions)
    found = [f"the library does not export {name}" for name in sorted(declared - symbols)]
    return found + [
        f"the library exports {name}, which the header does not declare" for name in sorted(symbols - declared)
    ]


def git(root: Path, *arguments: str) -> str | None:
    """Return what git prints; None where it fails or is missing."""
    try:
        answer = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def last_release(root: Path) -> tuple[str, str] | str:
    """Return the last release's tag and header; or, as one text, why there is none to compare with."""
    top = git(root, "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != root.resolve():
        return f"{root} is no git repository"
    tag = git(root, "describe", "--tags", "--abbrev=0", "--match", "v*")
    if tag is None:
        shallow = git(root, "rev-parse", "--is-shallow-repository") == "true"
        return "no tag v* is in reach" + (": this clone is shallow" if shallow else "")
    header = git(root, "show", f"{tag}:{HEADER}")
    return (tag, header) if header is not None else f"{tag} has no {HEADER}"


def check(root: Path, library: Path | None = None) -> list[str]:
    """Print what is compared and return what is wrong."""
    new = read_header((root / HEADER).read_text("utf-8"))
    found: list[str] = []
    if library is not None:
        found += export_differences(exported(library), new.functions)
    release = last_release(root)
    if isinstance(release, str):
        print(f"ABI {shown(new)}: {release}, so it is compared with no release")
        return found
    tag, header = release
    print(f"ABI {shown(new)}, compared with that of {tag}")
    return found + differences(read_header(header), new)


def main() -> int:
    """Check this work tree."""
    parser = argparse.ArgumentParser(description="Check that the C ABI only grew since the last release.")
    parser.add_argument("--root", type=Path, default=ROOT, help="the work tree, this one unless given")
    parser.add_argument("--library", type=Path, help="a built library, whose exports are checked as well")
    arguments = parser.parse_args()
    try:
        found = check(arguments.root, arguments.library)
    except (CheckError, cffi_build.BuildError, OSError) as error:
        print(f"buquet: {error}", file=sys.stderr)
        return 1
    for line in found:
        print(f"buquet: {line}", file=sys.stderr)
    if found:
        print("buquet: undo it, or raise the major version of the ABI (and tell everybody)", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
