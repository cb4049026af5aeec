"""Files as arguments: what is none is refused with what to do about it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from buquet import EncodeError, File, InvalidError
from buquet._files import length_of

if TYPE_CHECKING:
    from buquet import Buquet


@pytest.mark.parametrize(
    "wrong", [io.BytesIO(), io.StringIO(), b"content", 5, None], ids=lambda wrong: type(wrong).__name__
)
def test_what_is_no_path_is_no_file(wrong: Any) -> None:
    with pytest.raises(InvalidError, match=r"path of a file.*as bytes"):
        File(wrong)


def test_a_path_where_a_file_is_wanted_is_to_be_wrapped(app: Buquet) -> None:
    @app.task
    def size(file: File) -> int:
        return len(file.read())

    with pytest.raises(EncodeError, match=r"'file' of task 'size'.*wrap the path of one in File\("):
        size.submit(cast("Any", "in.txt"))


@pytest.mark.parametrize("target", [".", "", "..", "/", "inner"])
def test_a_file_is_not_saved_as_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inner").mkdir()
    (tmp_path / "in.txt").write_text("hello")
    with pytest.raises(InvalidError, match=r"is a directory.*in\.txt"):
        File("in.txt").save(target)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["in.txt", "inner"]
    assert File("in.txt").save("inner/out.txt").read_text() == "hello"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc")
def test_a_file_that_says_it_is_empty_is_read_to_its_end() -> None:
    file = File("/proc/self/status")
    assert length_of(file) is None
    assert b"Pid:" in b"".join(file.pieces())
