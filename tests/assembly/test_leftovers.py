"""What workers leave behind is removed by the service that owns their directory."""

from pathlib import Path

from builder.assembly.leftovers import remove_leftovers, set_all_aside, set_aside


def cache_of(folder: Path, worker: str) -> Path:
    """A worker's cache with a tree whose directory an action made unwritable."""
    tree = folder / worker / "cache" / "trees" / "1"
    tree.mkdir(parents=True)
    (tree / "input").write_text("x")
    tree.chmod(0o500)
    return folder / worker / "cache"


def test_a_worker_s_cache_goes_beside_its_directory_at_once(tmp_path: Path) -> None:
    """Nothing is removed yet; the worker's own directory stays for the next of its name."""
    set_aside(cache_of(tmp_path, "worker-1"))
    assert list((tmp_path / "worker-1").iterdir()) == []
    (leftover,) = tmp_path.glob(".leftover-*")
    assert (leftover / "trees" / "1" / "input").read_text() == "x"


def test_a_worker_without_a_cache_leaves_nothing(tmp_path: Path) -> None:
    """It may have ended before it made one."""
    set_aside(tmp_path / "worker-1" / "cache")
    assert list(tmp_path.iterdir()) == []


def test_what_an_earlier_run_left_is_removed(tmp_path: Path) -> None:
    """Directories of killed workers and what was set aside; files of the service stay."""
    cache_of(tmp_path, "worker-1")
    set_aside(cache_of(tmp_path, "worker-2"))
    (tmp_path / "lock").touch()
    set_all_aside(tmp_path)
    remove_leftovers(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["lock"]
