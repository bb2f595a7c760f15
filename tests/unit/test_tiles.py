"""A log as files (C2SP tlog-tiles): as the format has it, and against damage of every kind."""

import os
import random
import shutil
from pathlib import Path

import pytest

from control_plane.audit.tile_paths import ENTRIES, bundle, entries_of, tile_path, tile_paths
from control_plane.audit.tile_writer import TileWriter
from control_plane.audit.tiles import TileStore, written_alone
from shared.checkpoint import Checkpoint, cosign, read_checkpoint, sign_note
from shared.merkle import inclusion_proof, leaf_hash, root_from_inclusion, root_hash
from tests.support.audited_log import KEY, SITE, WITNESS_KEY, as_files, check_files

DAMAGES = int(os.environ.get("TILE_DAMAGES", "300"))  # of test_no_damage_goes_unnoticed
SEED = int(os.environ.get("TILE_SEED", "1"))
ORIGIN = f"pm-stack-smr/{SITE}"
SPECIFIED = 70_000  # the size that the format's text takes as its example


def note_of(size: int, root: bytes) -> str:
    note = sign_note(Checkpoint(ORIGIN, size, root).text, ORIGIN, KEY.private)
    return cosign(note, "pm-stack-smr/witness", WITNESS_KEY)


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> tuple[TileStore, list[bytes]]:
    """A log of the size in the format's text, sealed on the way, and the hashes of its leaves."""
    folder = tmp_path_factory.mktemp("large")
    with written_alone(folder):
        writer = TileWriter(folder)
        for number in range(SPECIFIED):
            writer.append(b"%d" % number)
            if number in (254, 255, 256, 40_000, 65_535, SPECIFIED - 1):
                writer.seal(note_of(number + 1, writer.frontier.root()))
    return TileStore(folder), [leaf_hash(b"%d" % number) for number in range(SPECIFIED)]


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    """The files of 600 entries: two full tiles, partial ones at both levels."""
    folder = as_files(600, tmp_path_factory.mktemp("sound"))
    assert check_files(folder).verified
    return folder


def test_tiles_are_named_as_the_format_says():
    """The format's own examples: the path of tile 1234067, and what a tree of 256 has."""
    assert tile_path(0, 1_234_067) == "tile/0/x001/x234/067"
    assert tile_path(ENTRIES, 5, 7) == "tile/entries/005.p/7"
    assert list(tile_paths(256)) == ["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]
    assert list(tile_paths(0)) == []


def test_a_log_has_the_files_that_the_format_says_and_no_other(large):
    """A tree of 70,000: 273 full tiles and one of 112 at level 0, one and one of 17, one of 1."""
    store, _ = large
    found = set(store.files()) - {"checkpoint"}
    assert found == set(tile_paths(SPECIFIED))
    assert len([name for name in found if name.startswith("tile/0/")]) == 274
    partial = ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1", "tile/entries/273.p/112"]
    assert sorted(name for name in found if ".p/" in name) == partial


def test_tiles_hold_the_hashes_that_the_format_says(large):
    """Level 0 holds leaf hashes, level 1 the roots of full tiles, level 2 the roots of those."""
    store, hashes = large
    assert store.read(0, 200, SPECIFIED) == b"".join(hashes[200 * 256 : 201 * 256])
    assert store.read(1, 1, SPECIFIED)[:32] == root_hash(hashes[65536 : 65536 + 256])
    assert store.read(2, 0, SPECIFIED) == root_hash(hashes[:65536])
    assert entries_of(store.read(ENTRIES, 1, SPECIFIED))[3] == b"259"


@pytest.mark.parametrize("index", [0, 255, 256, 65_535, 65_536, 69_887, 69_888, 69_999])
def test_a_proof_from_tiles_is_that_of_the_whole_log(large, index):
    """The audit path read from tiles equals the one over all leaves and leads to the signed root."""
    store, hashes = large
    proof = store.inclusion_proof(index)
    root = read_checkpoint(store.checkpoint() or "").root
    assert root_from_inclusion(leaf_hash(store.entry(index)), index, SPECIFIED, proof) == root
    if index in (0, 69_999):
        assert proof == inclusion_proof(hashes, index)


def test_a_log_goes_on_from_its_files(tmp_path):
    """Sealed and opened again at every size, the tree is that of all entries; an unsealed rest is gone."""
    hashes = []
    for size in range(1, 520, 37):
        with written_alone(tmp_path):
            writer = TileWriter(tmp_path)
            for number in range(writer.frontier.size, size):
                writer.append(b"%d" % number)
            hashes = [leaf_hash(b"%d" % number) for number in range(size)]
            assert writer.frontier.root() == root_hash(hashes)
            writer.seal(note_of(size, writer.frontier.root()))
            for number in range(300):  # as if the process ended before the next seal
                writer.append(b"lost %d" % number)
    with written_alone(tmp_path):
        TileWriter(tmp_path)
    assert set(TileStore(tmp_path).files()) == {"checkpoint", *tile_paths(size)}


def test_an_entry_that_no_bundle_can_hold_is_refused(tmp_path):
    """65,535 bytes are the most that a length of 16 bits can say."""
    with written_alone(tmp_path):
        writer = TileWriter(tmp_path)
        writer.append(b"x" * 65_535)
        with pytest.raises(ValueError, match="entry 1 has 65536 bytes, more than 65535"):
            writer.append(b"x" * 65_536)
    with pytest.raises(ValueError, match="65536 bytes"):
        bundle([b"x" * 65_536])


def damage(folder: Path, rng: random.Random) -> str:
    """Do one thing to one file, or to two; what was done, and to which."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = rng.choice(files)
    data = path.read_bytes()
    kind = rng.choice(["flip", "cut", "grow", "drop", "swap", "insert", "move", "entry", "line", "byte"])
    at = rng.randrange(len(data))
    match kind:
        case "flip":
            path.write_bytes(data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :])
        case "byte":
            path.write_bytes(data[:at] + bytes([(data[at] + rng.randrange(1, 256)) % 256]) + data[at + 1 :])
        case "cut":
            path.write_bytes(data[:at])
        case "grow":
            path.write_bytes(data[:at] + rng.randbytes(rng.randrange(1, 70)) + data[at:])
        case "drop":
            path.unlink()
        case "swap":
            other = rng.choice([each for each in files if each != path])
            path.write_bytes(other.read_bytes())
            other.write_bytes(data)
        case "insert":
            name = rng.choice(["tile/0/003", "tile/entries/002.p/3", "tile/9/000", "checkpoint.old", "x"])
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
            path = target
        case "move":
            path.rename(path.with_name(f"{path.name}0"))
        case "entry":
            _reorder(folder / "tile" / "entries" / "000", rng)
        case "line":
            _lines(folder / "checkpoint", rng)
    return f"{kind} {path.relative_to(folder)} at {at}"


def _reorder(path: Path, rng: random.Random) -> None:
    """Entries changed places, doubled, or were left out, in a bundle that is well made."""
    entries = entries_of(path.read_bytes())
    a, b = rng.sample(range(len(entries)), 2)
    match rng.randrange(4):
        case 0:
            entries[a], entries[b] = entries[b], entries[a]
        case 1:
            entries[a] = entries[b]
        case 2:
            entries.insert(a, entries[b])
        case 3:
            del entries[a]
    path.write_bytes(bundle(entries))


def _lines(path: Path, rng: random.Random) -> None:
    """A line of the checkpoint left out, doubled, or moved: its signatures are the last two."""
    lines = path.read_text().splitlines(keepends=True)
    at, before = rng.randrange(len(lines)), list(lines)
    match rng.randrange(3):
        case 0:
            del lines[at]
        case 1:
            lines.insert(rng.randrange(len(lines)), lines[at])
        case 2:
            lines.insert(rng.randrange(len(lines)), lines.pop(at))
    path.write_text("".join(lines if lines != before else lines[:-1]))


def test_no_damage_goes_unnoticed(sound, tmp_path):
    """Whatever is flipped, cut, grown, dropped, swapped, inserted, renamed or reordered in any file, it is
    named."""
    for number in range(DAMAGES):
        folder = tmp_path / str(number)
        shutil.copytree(sound, folder)
        what = damage(folder, random.Random(f"{SEED}/{number}"))
        found = check_files(folder)
        assert not found.verified, f"seed {SEED}/{number}: {what}"
        assert found.problems, f"seed {SEED}/{number}: {what}"
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("tile/entries/001", "entry 300: its bytes are not those whose hash is in tile/0/001"),
        ("tile/0/001", "tile/0/001: its hash 44 is not that of entry 300"),
        ("tile/1/000.p/2", "tile/1/000.p/2: its hash 1 is not that of tile/0/001"),
    ],
)
def test_what_was_changed_is_told_from_what_was_not(sound, tmp_path, name, problem):
    """The signed root says which of an entry and its hash is the wrong one; no other file is blamed."""
    folder = shutil.copytree(sound, tmp_path / "log")
    path = folder / name
    if "entries" in name:
        entries = entries_of(path.read_bytes())
        entries[44] = entries[44].replace(b'"value":0', b'"value":1')
        path.write_bytes(bundle(entries))
    else:
        data = bytearray(path.read_bytes())
        data[44 * 32 if "tile/0" in name else 32] ^= 1
        path.write_bytes(bytes(data))
    assert check_files(folder).problems == [problem]


def test_a_missing_file_is_named_with_why(sound, tmp_path):
    """Of a file that is not there, its name and the system's reason; of a short one, by how much."""
    folder = shutil.copytree(sound, tmp_path / "log")
    (folder / "tile" / "0" / "001").unlink()
    assert check_files(folder).problems[0] == "tile/0/001: cannot be read: No such file or directory"
    path = folder / "tile" / "entries" / "001"
    path.write_bytes(bundle(entries_of(path.read_bytes())[:-1]))
    assert "tile/entries/001: has 255 entries, not 256" in check_files(folder).problems
    (folder / "checkpoint").unlink()
    assert check_files(folder).problems == ["checkpoint: is missing: nothing here is signed"]
    shutil.rmtree(folder)
    assert "nothing of this log has been kept" in check_files(folder).problems[0]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda lines: [*lines[:-2], lines[-1], lines[-2]], "the log signs once, then the witness"),
        (lambda lines: [*lines, lines[-1]], "the log signs once, then the witness"),
        (lambda lines: lines[:-1], "not signed by pm-stack-smr/witness"),
        (lambda lines: [line.replace("\n", "\r\n") for line in lines], "not a note"),
        (lambda lines: [lines[0], lines[1], lines[0], *lines[3:]], "the signature of pm-stack-smr/TX01"),
    ],
)  # fmt: skip
def test_a_checkpoint_is_as_it_was_written_or_is_named(sound, tmp_path, change, problem):
    """Signatures in another order, doubled or left out, other line ends, another root."""
    folder = shutil.copytree(sound, tmp_path / "log")
    path = folder / "checkpoint"
    path.write_bytes("".join(change(path.read_bytes().decode().splitlines(keepends=True))).encode())
    [found] = check_files(folder).problems
    assert found.startswith("checkpoint: ")
    assert problem in found
