"""Files as arguments: what is none is refused with what to do about it."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from buquet import EncodeError, File, InvalidError
from buquet._codec import encode
from buquet._files import length_of
from buquet._packing import Packing, packing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buquet import Buquet
    from tests.unit.fake_engine import FakeEngine


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


@pytest.mark.parametrize("bad", ["missing", "folder"])
def test_a_file_that_cannot_be_read_is_refused_before_anything_is_stored(
    app: Buquet, engine: FakeEngine, tmp_path: Path, bad: str
) -> None:
    @app.task
    def size(file: File) -> int:
        return len(file.read())

    @app.task
    def sizes(files: list[File]) -> int:
        return len(files)

    (tmp_path / "folder").mkdir()
    (tmp_path / "in.txt").write_text("hello")
    good, wrong = File(tmp_path / "in.txt"), File(tmp_path / bad)
    for submit in (lambda: size.map([good, wrong]), lambda: sizes.submit([good, wrong]), lambda: size.bind(wrong)):
        with pytest.raises(InvalidError, match=rf"cannot read the file '.*/{bad}'"):
            submit()
    assert not engine.calls


def test_a_file_beside_a_null_is_stored_once(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("hello")
    state = Packing([])
    with packing(state):
        encode({"file": File(tmp_path / "in.txt"), "note": None}, "the input")
    assert len(state.sources) == 1


def test_two_that_save_to_one_path_at_a_time_do_not_mix(tmp_path: Path) -> None:
    class Meeting:
        """The content of a file, whose second piece comes once the other file's first is written."""

        def __init__(self, letter: bytes) -> None:
            self.letter = letter

        def pieces(self) -> Iterator[bytes]:
            for _ in range(2):
                met.wait(timeout=60)
                yield self.letter * 10_000

    met = threading.Barrier(2)
    target = tmp_path / "out"
    with ThreadPoolExecutor() as threads:
        saves = [threads.submit(File.from_store(Meeting(letter), "f", None).save, target) for letter in (b"a", b"b")]
    assert [save.result() for save in saves] == [target, target]
    assert target.read_bytes() in (b"a" * 20_000, b"b" * 20_000)
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_is_saved_under_the_longest_name_there_is(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("hello")
    target = tmp_path / ("n" * 255)
    assert File(tmp_path / "in.txt").save(target).read_text() == "hello"


@pytest.mark.parametrize("folder", ["missing", "in.txt"])
def test_where_nothing_can_be_saved_the_error_names_the_target(tmp_path: Path, folder: str) -> None:
    (tmp_path / "in.txt").write_text("hello")
    target = tmp_path / folder / "out.txt"
    with pytest.raises(OSError, match=r"out\.txt") as failed:
        File(tmp_path / "in.txt").save(target)
    assert failed.value.filename == str(target)
    assert ".part" not in str(failed.value)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc")
def test_a_file_that_says_it_is_empty_is_read_to_its_end() -> None:
    file = File("/proc/self/status")
    assert length_of(file) is None
    assert b"Pid:" in b"".join(file.pieces())
