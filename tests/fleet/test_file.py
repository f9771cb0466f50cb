"""Files that are read again when they change, whatever happens to them meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

from firsthop.errors import ConfigError
from firsthop.fleet.file import WatchedFile


class Watched:
    """A watched file whose content is a number, and what came of it."""

    def __init__(self, path: Path) -> None:
        self.told: list[int] = []
        self.refuse: str | None = None
        self.file = WatchedFile(path, _number, self._changed)

    def _changed(self, value: int) -> None:
        if self.refuse is not None:
            raise ConfigError("number", self.refuse)
        self.told.append(value)


def _number(path: Path) -> int:
    text = path.read_text()
    if not text.strip().isdigit():
        raise ConfigError(str(path), "no number")
    return int(text)


def write(path: Path, content: str) -> None:
    path.write_text(content)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "number"
    path.write_text("1")
    return path


async def test_a_change_is_told_once(path: Path) -> None:
    watched = Watched(path)
    assert watched.file.load() == 1
    await watched.file.check()
    assert watched.told == []
    write(path, "2")
    await watched.file.check()
    await watched.file.check()
    assert watched.told == [2]


async def test_content_of_the_same_meaning_is_no_change(path: Path) -> None:
    watched = Watched(path)
    watched.file.load()
    write(path, "1\n")
    await watched.file.check()
    assert watched.told == []


async def test_without_a_first_read_the_first_look_tells(path: Path) -> None:
    watched = Watched(path)
    await watched.file.check()
    assert watched.told == [1]


def test_a_first_read_of_a_wrong_file_is_refused(path: Path) -> None:
    write(path, "one")
    with pytest.raises(ConfigError, match="no number"):
        Watched(path).file.load()
    path.unlink()
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        Watched(path).file.load()


@pytest.mark.parametrize("spoil", [lambda path: path.write_text("x"), lambda path: path.unlink()])
async def test_a_wrong_file_is_logged_once_and_what_was_read_stays(
    path: Path, spoil: Callable[[Path], object]
) -> None:
    watched = Watched(path)
    watched.file.load()
    spoil(path)
    with structlog.testing.capture_logs() as logs:
        await watched.file.check()
        await watched.file.check()
    [line] = logs
    assert (line["event"], line["log_level"]) == ("file.refused", "error")
    assert str(path) in line["problem"]
    assert watched.file.problem == line["problem"]
    write(path, "1")
    await watched.file.check()
    assert watched.told == []
    assert watched.file.problem is None
    write(path, "3")
    await watched.file.check()
    assert watched.told == [3]


async def test_a_change_that_cannot_be_made_is_tried_again(path: Path) -> None:
    watched = Watched(path)
    watched.file.load()
    write(path, "2")
    watched.refuse = "not now"
    with structlog.testing.capture_logs() as logs:
        await watched.file.check()
        await watched.file.check()
    assert [line["problem"] for line in logs] == ["number: not now"]
    watched.refuse = None
    await watched.file.check()
    assert watched.told == [2]


async def test_a_reader_that_fails_ends_nothing(path: Path) -> None:
    def read(path: Path) -> int:
        raise RuntimeError("a bug")

    file = WatchedFile(path, read, lambda value: None)
    with structlog.testing.capture_logs() as logs:
        await file.check()
    [line] = logs
    assert line["event"] == "file.refused"
    assert "RuntimeError" in line["problem"]


async def test_a_symlink_that_is_swapped_as_kubernetes_does_is_a_change(tmp_path: Path) -> None:
    for name, content in (("old", "1"), ("new", "2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "number").write_text(content)
    (tmp_path / "..data").symlink_to("old")
    (tmp_path / "number").symlink_to("..data/number")
    watched = Watched(tmp_path / "number")
    watched.file.load()
    (tmp_path / "..data_tmp").symlink_to("new")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    await watched.file.check()
    assert watched.told == [2]


async def test_a_running_watch_sees_a_change_and_ends_when_it_is_stopped(path: Path) -> None:
    seen = asyncio.Event()
    file = WatchedFile(path, _number, lambda value: seen.set())
    file.start()
    await seen.wait()
    await file.stop()
    await file.stop()
    assert len(asyncio.all_tasks()) == 1
