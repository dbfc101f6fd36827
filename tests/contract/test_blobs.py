"""Blobs: every promise of heedful/blobs/protocol.py, for every adapter."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from heedful.blobs import manifest
from heedful.blobs.directory import DirectoryBlobs
from heedful.blobs.protocol import Blobs
from heedful.errors import Conflict, Corrupt, InvalidInput, NotFound, Unavailable

ADAPTERS: dict[str, Callable[[Path], Blobs]] = {
    "linked files": partial(DirectoryBlobs, link=True),
    "copied files": partial(DirectoryBlobs, link=False),
}
NOTHING = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # of no bytes at all
ABSENT = "sha256:" + "0" * 64


@pytest.fixture(params=ADAPTERS)
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    return ADAPTERS[request.param](tmp_path / "blobs")


def make_tree(path: Path, files: dict[str, bytes] | None = None) -> Path:
    for name, data in (files or {"model.safetensors": b"weights", "a/config.json": b"{}"}).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def content(path: Path) -> dict[str, bytes]:
    return {
        file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()
    }


def stored(tmp_path: Path, digest: str) -> Path:
    name = digest.removeprefix("sha256:")
    return tmp_path / "blobs" / "sha256" / name[:2] / name[2:]


def damage(path: Path) -> None:
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_bytes_come_back_under_their_digest(blobs: Blobs) -> None:
    assert blobs.put_bytes(b"") == NOTHING
    digest = blobs.put_bytes(b"x" * 3_000_000)
    assert blobs.get_bytes(digest) == b"x" * 3_000_000
    assert blobs.has(digest)
    assert not blobs.has(ABSENT)


def test_a_tree_comes_back_as_it_was(blobs: Blobs, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    digest = blobs.put_tree(tree)
    blobs.materialise(digest, tmp_path / "deep" / "copy")
    (tmp_path / "empty").mkdir()
    blobs.materialise(digest, tmp_path / "empty")
    assert content(tmp_path / "deep" / "copy") == content(tmp_path / "empty") == content(tree)
    assert {entry.name for entry in (tmp_path / "deep").iterdir()} == {
        "copy"
    }  # and nothing half-made beside it


def test_the_same_tree_has_the_same_digest_whenever_and_wherever_it_is_put(
    blobs: Blobs, tmp_path: Path
) -> None:
    one = make_tree(tmp_path / "one", {"b": b"2", "a/c": b"1"})
    two = make_tree(tmp_path / "two", {"a/c": b"1", "b": b"2"})
    (two / "b").chmod(0o600)
    os.utime(two / "b", (0, 0))
    other = DirectoryBlobs(tmp_path / "elsewhere")
    assert blobs.put_tree(one) == blobs.put_tree(two) == other.put_tree(one)
    assert blobs.put_tree(make_tree(tmp_path / "three", {"b": b"2", "a/d": b"1"})) != blobs.put_tree(one)


def test_the_digest_of_a_tree_does_not_change_between_versions(blobs: Blobs, tmp_path: Path) -> None:
    """Written down once: registries keep these digests for years."""
    digest = blobs.put_tree(make_tree(tmp_path / "tree", {"a": b""}))
    listed = f'{{"files":[{{"digest":"{NOTHING}","name":"a","size":0}}],"kind":"heedful tree 1"}}'
    assert digest == manifest.digest_of(listed.encode())
    assert blobs.get_bytes(digest) == listed.encode()


def test_putting_twice_changes_nothing(blobs: Blobs, tmp_path: Path) -> None:
    digest = blobs.put_bytes(b"same")
    before = stored(tmp_path, digest).stat()
    assert blobs.put_bytes(b"same") == digest
    after = stored(tmp_path, digest).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_damaged_bytes_are_never_handed_out(blobs: Blobs, tmp_path: Path) -> None:
    digest = blobs.put_bytes(b"weights")
    damage(stored(tmp_path, digest))
    with pytest.raises(Corrupt, match=digest) as caught:
        blobs.get_bytes(digest)
    assert str(stored(tmp_path, digest)) in str(caught.value)


@pytest.mark.parametrize("how", [damage, Path.unlink])
def test_a_damaged_part_of_a_tree_is_named_and_nothing_appears(
    blobs: Blobs, tmp_path: Path, how: Callable[[Path], None]
) -> None:
    digest = blobs.put_tree(make_tree(tmp_path / "tree"))
    part = manifest.digest_of(b"weights")
    how(stored(tmp_path, part))
    with pytest.raises(Corrupt, match=part) as caught:
        blobs.materialise(digest, tmp_path / "made" / "copy")
    assert "model.safetensors" in str(caught.value)
    assert list((tmp_path / "made").iterdir()) == []


def test_putting_damaged_content_again_heals_it(blobs: Blobs, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    digest = blobs.put_tree(tree)
    damage(stored(tmp_path, manifest.digest_of(b"weights")))
    assert blobs.put_tree(tree) == digest
    blobs.materialise(digest, tmp_path / "copy")
    assert content(tmp_path / "copy") == content(tree)


def test_what_is_not_there_is_not_found(blobs: Blobs, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=ABSENT):
        blobs.get_bytes(ABSENT)
    with pytest.raises(NotFound, match=ABSENT):
        blobs.materialise(ABSENT, tmp_path / "copy")


@pytest.mark.parametrize(
    "digest", ["", "sha256:", "md5:" + "0" * 32, "sha256:../../secret", ABSENT + "0", ABSENT + "\n"]
)
def test_what_is_not_a_digest_is_refused(blobs: Blobs, digest: str, tmp_path: Path) -> None:
    for use in (blobs.has, blobs.get_bytes, lambda given: blobs.materialise(given, tmp_path / "copy")):
        with pytest.raises(InvalidInput, match="not a digest"):
            use(digest)


def test_links_and_special_files_are_refused(blobs: Blobs, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of somebody else")
    linked = make_tree(tmp_path / "linked")
    (linked / "a" / "link").symlink_to(secret)
    with pytest.raises(InvalidInput, match="symbolic link"):
        blobs.put_tree(linked)
    folder = make_tree(tmp_path / "folder")
    (folder / "link").symlink_to(tmp_path / "linked" / "a", target_is_directory=True)
    with pytest.raises(InvalidInput, match="symbolic link"):
        blobs.put_tree(folder)
    piped = make_tree(tmp_path / "piped")
    os.mkfifo(piped / "pipe")
    with pytest.raises(InvalidInput, match="neither a file nor a directory"):
        blobs.put_tree(piped)
    (tmp_path / "alias").symlink_to(tmp_path / "piped")
    for not_a_tree in (secret, tmp_path / "alias", tmp_path / "nowhere"):
        with pytest.raises(InvalidInput, match="not a directory"):
            blobs.put_tree(not_a_tree)


def test_a_tree_without_files_is_refused(blobs: Blobs, tmp_path: Path) -> None:
    (tmp_path / "tree" / "inner").mkdir(parents=True)
    with pytest.raises(InvalidInput, match="without files"):
        blobs.put_tree(tmp_path / "tree")


@pytest.mark.parametrize(
    "names",
    [
        *(
            ["../escaped"],
            ["/escaped"],
            ["a/../../escaped"],
            ["a/./b"],
            ["a//b"],
            ["."],
            [""],
            ["a\\b"],
            ["a\nb"],
        ),
        *(["a", "a"], ["a", "a/b"], [], [7]),
    ],
    ids=repr,
)
def test_a_hostile_manifest_writes_nothing(blobs: Blobs, tmp_path: Path, names: list[object]) -> None:
    rows = [{"digest": blobs.put_bytes(b"x"), "name": name, "size": 1} for name in names]
    digest = blobs.put_bytes(json.dumps({"files": rows, "kind": manifest.KIND}).encode())
    with pytest.raises(InvalidInput):
        blobs.materialise(digest, tmp_path / "in" / "copy")
    assert not (tmp_path / "in").exists()
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize("data", [b"weights", b"[]", b"{}", b'{"kind":"other","files":[]}', b"[" * 100_000])
def test_bytes_that_are_not_a_tree_cannot_be_materialised(blobs: Blobs, tmp_path: Path, data: bytes) -> None:
    with pytest.raises(InvalidInput, match="not a tree"):
        blobs.materialise(blobs.put_bytes(data), tmp_path / "copy")


def test_a_file_of_another_size_than_listed_is_corrupt(blobs: Blobs, tmp_path: Path) -> None:
    row = {"digest": blobs.put_bytes(b"x"), "name": "a", "size": 2}
    digest = blobs.put_bytes(json.dumps({"files": [row], "kind": manifest.KIND}).encode())
    with pytest.raises(Corrupt):
        blobs.materialise(digest, tmp_path / "copy")


def test_a_tree_does_not_replace_what_stands_there(blobs: Blobs, tmp_path: Path) -> None:
    digest = blobs.put_tree(make_tree(tmp_path / "tree"))
    make_tree(tmp_path / "taken", {"mine": b"kept"})
    (tmp_path / "file").write_bytes(b"kept")
    for taken in (tmp_path / "taken", tmp_path / "file"):
        with pytest.raises(Conflict, match=taken.name):
            blobs.materialise(digest, taken)
    assert content(tmp_path / "taken") == {"mine": b"kept"}


def test_a_materialised_file_is_for_reading(blobs: Blobs, tmp_path: Path) -> None:
    digest = blobs.put_tree(make_tree(tmp_path / "tree"))
    blobs.materialise(digest, tmp_path / "copy")
    assert (tmp_path / "copy" / "model.safetensors").stat().st_mode & 0o222 == 0
    (tmp_path / "tree" / "model.safetensors").write_bytes(b"changed by its owner")
    assert content(tmp_path / "copy")["model.safetensors"] == b"weights"


def test_a_place_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable, match="file"):
        DirectoryBlobs(tmp_path / "file" / "below").put_bytes(b"x")


def test_many_threads_may_put_the_same_and_other_content(blobs: Blobs, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", {f"file-{n}": bytes([n]) * 50_000 for n in range(8)})
    digests: list[str] = []
    threads = [threading.Thread(target=lambda: digests.append(blobs.put_tree(tree))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(digests) == 6
    assert len(set(digests)) == 1
    blobs.materialise(digests[0], tmp_path / "copy")
    assert content(tmp_path / "copy") == content(tree)
    assert list((tmp_path / "blobs" / "incoming").iterdir()) == []


def test_many_processes_may_put_the_same_content(blobs: Blobs, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    with multiprocessing.get_context("fork").Pool(3) as pool:
        digests = pool.map(blobs.put_tree, [tree] * 12)
    assert set(digests) == {blobs.put_tree(tree)}


PUT_UNTIL_KILLED = """
import sys
from pathlib import Path
from heedful.blobs.directory import DirectoryBlobs
blobs, tree = DirectoryBlobs(Path(sys.argv[1])), Path(sys.argv[2])
tree.mkdir(parents=True)
for number in range(10**6):
    for part in range(3):
        (tree / f"part-{part}").write_bytes(f"{number} {part} ".encode() * 40_000)
    print(blobs.put_tree(tree), flush=True)
"""


def test_a_writer_killed_at_any_moment_loses_nothing_that_it_was_promised(tmp_path: Path) -> None:
    blobs, promised = DirectoryBlobs(tmp_path / "blobs"), []
    for life in range(4):
        arguments = [
            sys.executable,
            "-c",
            PUT_UNTIL_KILLED,
            str(tmp_path / "blobs"),
            str(tmp_path / f"tree-{life}"),
        ]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            promised += [writer.stdout.readline().strip() for _ in range(3 + life)]
            writer.send_signal(signal.SIGKILL)
    for number, digest in enumerate(promised):
        blobs.materialise(digest, tmp_path / "copies" / str(number))
    every = [path for path in (tmp_path / "blobs" / "sha256").rglob("*") if path.is_file()]
    for path in every:  # also what was not promised yet is whole or absent
        blobs.get_bytes(f"sha256:{path.parent.name}{path.name}")
    blobs.sweep()
    assert list((tmp_path / "blobs" / "incoming").iterdir()) == []
