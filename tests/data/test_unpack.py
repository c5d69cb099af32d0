"""Archives, honest and hostile."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import warnings
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.catalog.unpacking import unpack
from recsys.errors import InputError

FILES = {"top.txt": b"top", "folder/deep/data.csv": b"1,2\n" * 1000, "folder/empty": b""}


def tree(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def zipped(path: Path, files=FILES, compression=zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of the duplicates that some tests want
        for name, data in files.items() if isinstance(files, dict) else files:
            archive.writestr(name, data)
    return path


def tarred(path: Path, files=FILES, mode="w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in files.items() if isinstance(files, dict) else files:
            header = tarfile.TarInfo(name)
            if isinstance(data, bytes):
                header.size = len(data)
                archive.addfile(header, io.BytesIO(data))
            else:
                for key, value in data.items():
                    setattr(header, key, value)
                archive.addfile(header)
    return path


def refused(archive: Path, match: str, **limits) -> InputError:
    """It is refused, and neither the folder nor anything around it has changed."""
    folder = archive.parent / "inner" / "out"
    folder.parent.mkdir(exist_ok=True)
    before = set(archive.parent.rglob("*"))
    with pytest.raises(InputError, match=match) as caught:
        unpack(archive, folder, **limits)
    assert set(archive.parent.rglob("*")) == before
    assert caught.value.place
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize("kind", ["zip", "stored", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_archives_come_out_whole(tmp_path, kind):
    archive = tmp_path / "archive"  # what it is is told by its content, not its name
    match kind:
        case "zip":
            zipped(archive)
        case "stored":
            zipped(archive, compression=zipfile.ZIP_STORED)
        case _:
            tarred(archive, mode="w:" + kind[4:])
    assert unpack(archive, tmp_path / "out") == tmp_path / "out"
    assert tree(tmp_path / "out") == FILES
    assert sorted(p.name for p in tmp_path.iterdir()) == ["archive", "out"]


@pytest.mark.parametrize(
    ("compress", "ending"), [(gzip.compress, "gz"), (bz2.compress, "bz2"), (lzma.compress, "xz")]
)
def test_single_compressed_file(tmp_path, compress, ending):
    archive = tmp_path / f"ratings.csv.{ending}"
    archive.write_bytes(compress(b"1,2\n" * 5000))
    assert tree(unpack(archive, tmp_path / "out")) == {"ratings.csv": b"1,2\n" * 5000}


def test_folder_entries_and_leading_dots(tmp_path):
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as made:
        for name in ("./", "./folder/", "./folder/again/"):
            header = tarfile.TarInfo(name)
            header.type, header.mode = tarfile.DIRTYPE, 0o000
            made.addfile(header)
        header = tarfile.TarInfo("./folder/file")
        header.size, header.mode = 1, 0o4777
        made.addfile(header, io.BytesIO(b"x"))
    out = unpack(archive, tmp_path / "out")
    assert tree(out) == {"folder/file": b"x"}
    assert not (out / "folder" / "file").stat().st_mode & 0o7111  # neither set-uid nor executable
    assert list((out / "folder" / "again").iterdir()) == []


def test_an_empty_folder_may_be_there_a_full_one_not(tmp_path):
    archive = zipped(tmp_path / "a.zip")
    (tmp_path / "out").mkdir()
    unpack(archive, tmp_path / "out")
    with pytest.raises(InputError, match="already exists"):
        unpack(archive, tmp_path / "out")
    assert tree(tmp_path / "out") == FILES


ESCAPES = [
    "../evil",
    "/evil",
    "folder/../../evil",
    "..",
    "../out2/evil",
    "C:\\evil",
    "C:/evil",
    "c:evil",
    "..\\evil",
    "folder\\..\\..\\evil",
    "\\evil",
    "\\\\host\\evil",
]


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.parametrize("make", [zipped, tarred])
def test_no_entry_leads_out_of_the_folder(tmp_path, make, name):
    refused(
        make(tmp_path / "archive", [("good", b"good"), (name, b"evil")]), "leads out of the folder"
    )


@pytest.mark.parametrize("name", ["../evil/", "/evil/", "folder/../../evil/"])
def test_nor_does_a_folder(tmp_path, name):
    refused(
        zipped(tmp_path / "archive", [("good", b"good"), (name, b"")]), "leads out of the folder"
    )
    refused(
        tarred(tmp_path / "archive", [("good", b"good"), (name, {"type": tarfile.DIRTYPE})]),
        "leads out of the folder",
    )


@pytest.mark.parametrize(
    "header",
    [
        {"type": tarfile.SYMTYPE, "linkname": "/etc"},
        {"type": tarfile.SYMTYPE, "linkname": ".."},
        {"type": tarfile.SYMTYPE, "linkname": "good"},
        {"type": tarfile.LNKTYPE, "linkname": "/etc/hostname"},
        {"type": tarfile.LNKTYPE, "linkname": "../../evil"},
        {"type": tarfile.LNKTYPE, "linkname": "good"},
        {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3},
        {"type": tarfile.BLKTYPE},
        {"type": tarfile.FIFOTYPE},
    ],
)
def test_links_and_devices_in_a_tar(tmp_path, header):
    refused(
        tarred(
            tmp_path / "archive", [("good", b"good"), ("bad", header), ("bad/through", b"evil")]
        ),
        "link or a device",
    )


def test_links_in_a_zip(tmp_path):
    link = zipfile.ZipInfo("bad")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    refused(
        zipped(tmp_path / "archive", [(link, b"/etc"), ("bad/passwd", b"evil")]), "link or a device"
    )


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.xz", "gz", "bz2"])
def test_bombs_are_stopped_by_what_comes_out(tmp_path, kind):
    archive, zeros = tmp_path / "archive", b"\0" * 30_000_000
    match kind:
        case "zip":
            zipped(archive, {"a": zeros})
        case "gz":
            archive.write_bytes(gzip.compress(zeros))
        case "bz2":
            archive.write_bytes(bz2.compress(zeros))
        case _:
            tarred(archive, {"a": zeros}, "w:" + kind[4:])
    assert archive.stat().st_size < 100_000
    refused(archive, "more than 1,000,000 bytes", max_bytes=1_000_000)


def test_many_small_ones_add_up(tmp_path):
    archive = zipped(tmp_path / "archive", {f"f{i}": b"x" * 1000 for i in range(20)})
    refused(archive, "more than 19,999 bytes", max_bytes=19_999)
    assert len(tree(unpack(archive, tmp_path / "out", max_bytes=20_000))) == 20


def test_a_zip_that_lies_about_its_size(tmp_path):
    archive = zipped(tmp_path / "archive", {"a": b"\0" * 5_000_000})
    data = archive.read_bytes()
    claimed = (5_000_000).to_bytes(4, "little")
    assert data.count(claimed) == 2
    archive.write_bytes(data.replace(claimed, (10).to_bytes(4, "little")))
    refused(archive, "damaged|more than", max_bytes=1_000_000)


@pytest.mark.parametrize("make", [zipped, tarred])
def test_too_many_files(tmp_path, make):
    archive = make(tmp_path / "archive", {f"f{i}": b"" for i in range(50)})
    refused(archive, "more than 49 files", max_files=49)
    assert len(tree(unpack(archive, tmp_path / "out", max_files=50))) == 50


@pytest.mark.parametrize("make", [zipped, tarred])
@pytest.mark.parametrize(
    "names", [("a", "a"), ("a", "./a"), ("a/b", "a//b"), ("a", "a/b"), ("a/b", "a")]
)
def test_entries_that_come_twice(tmp_path, make, names):
    refused(make(tmp_path / "archive", [(name, b"x") for name in names]), "comes twice")


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz", "gz", "xz", "bz2"])
def test_cut_archives(tmp_path, kind):
    archive, noise = tmp_path / "archive", os.urandom(200_000)
    match kind:
        case "zip":
            zipped(archive, {"a": noise, "b": noise})
        case "gz" | "xz" | "bz2":
            archive.write_bytes({"gz": gzip, "xz": lzma, "bz2": bz2}[kind].compress(noise))
        case _:
            tarred(archive, {"a": noise, "b": noise}, "w:" + kind[4:])
    whole = archive.read_bytes()
    for length in (len(whole) // 3, len(whole) // 2, len(whole) - 9000, len(whole) - 10):
        archive.write_bytes(whole[:length])
        if kind == "tar" and length == len(whole) - 10:
            continue  # what is missing there is padding
        refused(archive, "damaged or cut")


def test_a_tar_cut_between_two_files(tmp_path):
    archive = tarred(tmp_path / "archive", {"a": b"x" * 512, "b": b"y" * 512})
    archive.write_bytes(archive.read_bytes()[:1024])  # the first file and nothing else, no end
    refused(archive, "damaged or cut")


def test_changed_bytes_are_noticed(tmp_path):
    archive = zipped(tmp_path / "archive", {"a": b"x" * 10_000}, zipfile.ZIP_STORED)
    data = bytearray(archive.read_bytes())
    data[500] ^= 1
    archive.write_bytes(bytes(data))
    refused(archive, "damaged or cut")


def test_encrypted_zip(tmp_path):
    archive = zipped(tmp_path / "archive", {"a": b"x" * 100})
    data = bytearray(archive.read_bytes())
    data[6] |= 1  # in the entry
    data[data.index(b"PK\1\2") + 8] |= 1  # and in the directory
    archive.write_bytes(bytes(data))
    refused(archive, "encrypted")


def test_a_header_that_would_fill_the_memory(tmp_path):
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, header.size = tarfile.XHDTYPE, 50_000_000
    archive = tmp_path / "archive"
    with gzip.open(archive, "wb", 1) as file:
        file.write(header.tobuf(tarfile.USTAR_FORMAT) + b"\0" * 50_000_000)
    refused(archive, "larger than any name")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"user,item\n1,2\n",
        b"PK\3\4",
        b"PK\5\6" + b"\0" * 10,
        b"\x1f\x8b",
        b"\x1f\x8bnonsense",
        b"BZhnonsense",
        b"\xfd7zXZ\0nonsense",
        b"PK\3\4" + b"x" * 99,
    ],
)
def test_what_is_no_archive(tmp_path, data):
    archive = tmp_path / "archive"
    archive.write_bytes(data)
    refused(archive, "not an archive|damaged or cut")


def test_no_such_archive(tmp_path):
    with pytest.raises(InputError):
        unpack(tmp_path / "nothing.zip", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


PIECES = st.sampled_from(
    ["..", ".", "", "a", "b", "C:", "~", "\\", "é", " ", "a:b", "\\..", "x" * 20]
)


@settings(max_examples=150, deadline=None)
@given(
    names=st.lists(st.lists(PIECES, min_size=1, max_size=5).map("/".join), min_size=1, max_size=4),
    tar=st.booleans(),
)
def test_whatever_the_names_nothing_is_written_outside(tmp_path_factory, names, tar):
    root = tmp_path_factory.mktemp("names")
    archive = (tarred if tar else zipped)(
        root / "archive", [(name, b"x") for name in names if name]
    )
    (root / "a" / "b").mkdir(parents=True)
    before = tree(root)
    try:
        unpack(archive, root / "a" / "b" / "out")
    except InputError:
        assert tree(root) == before
        assert [p.name for p in (root / "a" / "b").iterdir()] == []
    else:
        assert all(name in before or name.startswith("a/b/out/") for name in tree(root))
