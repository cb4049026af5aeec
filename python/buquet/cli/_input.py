"""Inputs given on the command line."""

import sys
from pathlib import Path

import msgspec

from buquet.errors import InvalidError


def read_input(text: str) -> bytes:
    """Read JSON: itself, of a file after ``@``, or of stdin for ``-``."""
    if text == "-":
        raw = sys.stdin.buffer.read()
    elif text.startswith("@"):
        try:
            raw = Path(text[1:]).read_bytes()
        except OSError as error:
            raise InvalidError(f"--input: cannot read {text[1:]} ({error.strerror})") from error
    else:
        raw = text.encode()
    try:
        return msgspec.json.encode(msgspec.json.decode(raw))
    except msgspec.DecodeError as error:
        raise InvalidError(f"--input is not JSON: {error}") from error
