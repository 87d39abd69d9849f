"""PASS: every image with its creator, in one order whatever the layout, taken up anywhere; bad tables are named.

Would break it: a row of another image, an order that hangs on the layout or on who loads, an image without a creator
that is used without a word, a table that is misread.
"""

import csv
import io
import os
import tarfile
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from support.data import PASS_SAMPLE, pass_folder, pass_parts

from snnkit.data import DataConfig, load_images
from snnkit.data.order import Skipped
from snnkit.data.pass_images import find_images, hold_out
from snnkit.data.pass_metadata import Credit, Metadata
from snnkit.errors import CorruptFileError, InvalidArgumentError

LAYOUTS = {"folders": pass_folder, "parts": pass_parts}
layouts = pytest.mark.parametrize("layout", LAYOUTS)


def table():
    with open(PASS_SAMPLE / "pass_metadata.csv", newline="") as file:
        return {row["hash"]: row for row in csv.DictReader(file)}


def config(folder, **changes):
    given = {"dataset": "pass", "source": str(folder), "img_size": 24, "batch_size": 4, "shift_pixels": 0}
    return DataConfig(**{**given, "flip": False, "holdout": 0.2, **changes})


def rewrite(folder, change):
    """Pass the rows of a folder's table, heading first, through ``change`` and write them back."""
    path = folder / "pass_metadata.csv"
    rows = list(csv.reader(path.read_text().splitlines()))
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(change(rows))
    path.write_text(buffer.getvalue())
    return folder


def hashes(dataset):
    return [credit.hash for credit in dataset.credits]


def pixels(data, number=0, start=0):
    return torch.cat([images for images, _ in data.train.epoch(number, start)])


@layouts
def test_every_image_carries_what_the_table_says_of_it(layout, tmp_path):
    data, rows = load_images(config(LAYOUTS[layout](tmp_path / "p")), seed=0), table()
    assert data.classes == ()
    assert (len(data.train.dataset), len(data.test.dataset)) == (19, 5)
    found = {}
    for split in (data.train.dataset, data.test.dataset):
        for n in range(len(split)):
            credit = split.credits[n]
            assert credit.hash in split.names[n]
            found[credit.hash] = credit
            image, label = split[n]
            assert (image.shape, label) == ((3, 24, 24), 0)
    assert found.keys() == rows.keys()
    for name, row in rows.items():
        where = [float(row[key]) if row[key] else None for key in ("latitude", "longitude")]
        assert found[name] == Credit(name, row["unickname"], row["licence"], row["datetaken"], *where)
    assert {credit.creator for credit in found.values()} >= {"NASA, ESA", "Rachel Michetti, Pikolo Espresso Bar"}


@layouts
def test_the_licence_is_cc_by_where_the_table_has_no_such_column(layout, tmp_path):
    folder = rewrite(LAYOUTS[layout](tmp_path / "p"), lambda rows: [row[:5] for row in rows])
    data = load_images(config(folder), seed=0)
    assert {credit.licence for credit in data.train.dataset.credits} == {"CC-BY"}


def test_an_image_is_its_own_in_both_layouts(tmp_path):
    """By name, the pixels of the file; and both layouts hold out the same images."""
    sets = [load_images(config(make(tmp_path / name)), seed=0) for name, make in LAYOUTS.items()]
    one, other = (dict(zip(hashes(d.test.dataset), d.test.dataset, strict=True)) for d in sets)
    assert one.keys() == other.keys()
    for name, (image, _) in one.items():
        assert torch.equal(image, other[name][0])
        path = next(PASS_SAMPLE.rglob(f"{name}.jpg"))
        with Image.open(path) as picture:
            pictured = torch.tensor(np.array(picture.convert("RGB"))).permute(2, 0, 1)
        source = sets[1].test.dataset.source
        assert torch.equal(source.read(hashes(sets[1].test.dataset).index(name)), pictured)


def test_the_credits_of_a_batch_are_those_of_its_images(tmp_path):
    data = load_images(config(pass_parts(tmp_path / "p"), train_limit=10), seed=0)
    for number, (images, _) in enumerate(data.train.epoch(2)):
        credits = data.train.credits(2, number)
        assert len(credits) == len(images) == 4
        for image, credit in zip(images, credits, strict=True):
            index = [known.hash for known in data.train.dataset.credits].index(credit.hash)
            assert torch.equal(data.train.dataset[index][0], image)


def test_grey_images_have_three_equal_channels(tmp_path):
    data = load_images(config(pass_folder(tmp_path / "p")), seed=0)
    grey = [n for n, credit in enumerate(data.train.dataset.credits) if credit.creator == "CC0Textures"]
    assert grey
    for n in grey:
        image = data.train.dataset.source.read(n)
        assert image.shape[0] == 3
        assert torch.equal(image[0], image[1])
        assert torch.equal(image[0], image[2])


# Order.


@layouts
def test_an_epoch_is_the_same_wherever_it_is_taken_up_and_whoever_loads(layout, tmp_path):
    folder, settings = LAYOUTS[layout](tmp_path / "p"), {"flip": True, "crop_scale": 0.3, "shuffle_window": 6}
    here = load_images(config(folder, **settings), seed=1)
    whole = pixels(here, 3)
    assert torch.equal(pixels(here, 3, 2), whole[8:])
    assert torch.equal(pixels(load_images(config(folder, workers=2, **settings), seed=1), 3), whole)
    assert not torch.equal(pixels(here, 4), whole)
    parts = []
    for rank in range(2):
        data = load_images(config(folder, batch_size=2, **settings), seed=1)
        data.share(rank, 2)
        parts.append(pixels(data, 3))
    assert torch.equal(torch.stack(parts, 1).flatten(0, 1), whole)


def test_the_order_is_not_that_of_the_file_system(tmp_path, monkeypatch):
    folder = pass_folder(tmp_path / "p")
    before = find_images(folder).name.tolist()
    walk = os.walk

    def backwards(top):
        for where, folders, names in walk(top):
            folders.reverse()
            yield where, folders, sorted(names, reverse=True)

    monkeypatch.setattr(os, "walk", backwards)
    assert find_images(folder).name.tolist() == before


def test_parts_are_read_on_within_a_window(tmp_path):
    data = load_images(config(pass_parts(tmp_path / "p"), shuffle_window=1, batch_size=1, holdout=0.05), seed=0)
    parts = [data.train.dataset.names[draw[0].index].partition(":")[0] for draw in data.train.order]
    assert sum(a != b for a, b in pairwise(parts)) == 2
    assert sorted(data.train.order.runs) == [7, 8, 8]


def test_what_is_held_out_follows_from_the_hashes(tmp_path):
    index = find_images(pass_folder(tmp_path / "p"))
    held, rest = hold_out(index, 0.25)
    assert len(held) == 6
    assert sorted([*held, *rest]) == list(range(24))
    kept = np.array([n for n in range(24) if n != rest[0]])  # one fewer to train on
    smaller, _ = hold_out(index.take(kept), 0.25)
    assert {index.hashes()[n] for n in held} == {index.take(kept).hashes()[n] for n in smaller}
    assert len(hold_out(index, 0.0)[0]) == 1
    with pytest.raises(InvalidArgumentError, match="at least two images"):
        hold_out(index.take(np.array([0])), 0.01)


# What lacks a creator.


def lacking(folder):
    """A table without the rows of two images, and with one that has no creator."""
    return rewrite(folder, lambda rows: [*rows[:1], [rows[1][0], " ", *rows[1][2:]], *rows[4:]])


@layouts
def test_images_without_a_creator_stop_or_are_left_out_and_counted(layout, tmp_path):
    folder = lacking(LAYOUTS[layout](tmp_path / "p"))
    with pytest.raises(InvalidArgumentError, match=r"3 of 24 images cannot be credited: .*data\.on_missing=skip"):
        load_images(config(folder), seed=0)
    data = load_images(config(folder, on_missing="skip"), seed=0)
    used = {*hashes(data.train.dataset), *hashes(data.test.dataset)}
    assert used == set(sorted(table())[3:])
    assert data.notes == (f"3 of 24 images left out: no creator, or no row, in {folder / 'pass_metadata.csv'}",)


def test_rows_of_images_that_are_not_there_do_no_harm(tmp_path):
    folder = pass_folder(tmp_path / "p")
    extra = [["ab" * 16, "", "", "", "", ""], ["cd" * 16, "someone", "", "200", "", ""]]
    rewrite(folder, lambda rows: rows + extra)
    assert len(load_images(config(folder), seed=0).train.dataset) == 19


@pytest.mark.parametrize(
    ("latitude", "reason"), [("95", "impossible latitude"), ("north", "impossible latitude"), ("nan", "")]
)
def test_coordinates_are_checked(latitude, reason, tmp_path):
    folder = rewrite(
        pass_folder(tmp_path / "p"), lambda rows: [rows[0], [*rows[1][:3], latitude, *rows[1][4:]], *rows[2:]]
    )
    metadata = Metadata(folder / "pass_metadata.csv")
    row = metadata.rows([sorted(table())[0].encode()])[0]
    assert metadata.wrong(row) == (f"has an {reason} (line 2 of pass_metadata.csv)" if reason else "")
    if not reason:
        assert metadata.credit(row).latitude is None


# Tables that are none.


def without(column):
    return lambda rows: [[v for h, v in zip(rows[0], row, strict=True) if h != column] for row in rows]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("hash"), "no column 'hash'"),
        (without("unickname"), "no column 'unickname', but hash, datetaken"),
        (lambda rows: [["hash", "nickname", *rows[0][2:]], *rows[1:]], "Did you mean 'nickname'"),
        (lambda rows: [*rows[:5], rows[5][:-1], *rows[6:]], "line 6: 5 values under 6 headings"),
        (lambda rows: [*rows[:3], ["", *rows[3][1:]], *rows[4:]], "line 4: the hash is empty"),
        (lambda rows: [*rows, [rows[2][0], "another", *rows[2][2:]]], "lines 3 and 26 are both of hash"),
        (lambda rows: [], "no column 'hash', but nothing"),
    ],
)
def test_a_malformed_table_is_named_by_its_line(change, message, tmp_path):
    folder = rewrite(pass_folder(tmp_path / "p"), change)
    for skip in ("stop", "skip"):
        with pytest.raises(CorruptFileError, match=message):
            load_images(config(folder, on_missing=skip), seed=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hash,unickname\nab,\xff\xfe\n", "line 2: is no text"),
        (b'hash,unickname\nab,"never closed\ncd,x\n', "line 2: is no text"),
        (b"hash,unickname\nab," + b"x" * 200_000 + b"\n", "line 2: is no text"),
    ],
)
def test_bytes_that_are_no_table(content, message, tmp_path):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(CorruptFileError, match=message):
        Metadata(tmp_path / "t.csv")


def test_quotes_line_ends_and_marks_of_other_systems(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(
        b'\xef\xbb\xbfunickname,hash,note\r\n"a, b",01,x\r\n\r\n"two\r\nlines",02,"q""q"\r\n' + "Zoë,03,\r\n".encode()
    )
    metadata = Metadata(path)
    credits = {name: metadata.credit(metadata.rows([name])[0]) for name in (b"03", b"01", b"02")}
    assert [credits[name].creator for name in (b"01", b"02", b"03")] == ["a, b", "two\r\nlines", "Zoë"]
    assert metadata.rows([b"0", b"04", b"021"]).tolist() == [-1, -1, -1]
    assert [c.hash for c in metadata.credits(metadata.rows([b"03", b"01"]))] == ["03", "01"]


def test_a_table_that_changes_while_it_is_used_is_told(tmp_path):
    folder = pass_folder(tmp_path / "p")
    metadata = Metadata(folder / "pass_metadata.csv")
    rewrite(folder, lambda rows: [rows[0], ["00" * 16, "someone", "", "", "", ""], *rows[1:]])
    with pytest.raises(CorruptFileError, match="changed while it was in use"):
        metadata.credit(3)


def test_where_the_table_is_looked_for(tmp_path):
    folder = pass_folder(tmp_path / "p")
    assert len(load_images(config(folder / "PASS_dataset"), seed=0).train.dataset) == 19
    (folder / "pass_metadata.csv").rename(tmp_path / "moved.csv")
    with pytest.raises(InvalidArgumentError, match=r"no pass_metadata\.csv in it or beside it.*data\.metadata"):
        load_images(config(folder), seed=0)
    assert len(load_images(config(folder, metadata=str(tmp_path / "moved.csv")), seed=0).train.dataset) == 19


# Images that are wrong.


def test_folders_that_cannot_be_used_say_why(tmp_path):
    with pytest.raises(InvalidArgumentError, match="is not a folder"):
        load_images(config(tmp_path / "nowhere"), seed=0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidArgumentError, match="holds no images"):
        load_images(config(tmp_path / "empty"), seed=0)
    folder = pass_folder(tmp_path / "p")
    first = sorted(folder.rglob("*.jpg"))[0]
    (folder / first.name.replace(".jpg", ".png")).write_bytes(first.read_bytes())
    with pytest.raises(InvalidArgumentError, match=r"have one hash \(1 such\)"):
        load_images(config(folder), seed=0)
    both = pass_parts(tmp_path / "q")
    (both / first.name).write_bytes(first.read_bytes())
    with pytest.raises(InvalidArgumentError, match="may be the same"):
        load_images(config(both), seed=0)


@layouts
def test_a_damaged_image_stops_or_is_skipped(layout, tmp_path):
    folder = LAYOUTS[layout](tmp_path / "p")
    data = load_images(config(folder), seed=0)
    index, source = data.train.dataset.source.index, data.train.dataset.source
    if layout == "folders":
        path, offset = source.names[2], 0
    else:
        path, offset = index.parts[index.part[2]], int(index.offset[2])
        times = os.stat(path)
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(b"\0" * 100)
    if layout == "parts":
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(CorruptFileError, match=r"is not a readable image.*on_corrupt=skip"):
        pixels(data)
    data = load_images(config(folder, on_corrupt="skip", batch_size=19), seed=0)
    assert len(pixels(data)) == 19  # another stands in
    assert len(data.train.skipped) == 1
    assert source.names[2] in data.train.skipped[0]


def test_a_part_that_is_cut_off_is_told(tmp_path):
    folder = pass_parts(tmp_path / "p")
    part = folder / "PASS.1.tar"
    content = part.read_bytes()
    with tarfile.open(part) as tar:
        third = tar.getmembers()[2]
    part.write_bytes(content[: third.offset] + b"x" * 512 + content[third.offset + 512 :])
    with pytest.raises(CorruptFileError, match=r"PASS\.1\.tar: the shard is damaged"):
        load_images(config(folder), seed=0)
    data = load_images(config(folder, on_corrupt="skip"), seed=0)
    assert len(data.train.dataset) + len(data.test.dataset) == 18
    assert "PASS.1.tar: the shard is damaged" in data.notes[0]
    part.write_bytes(content[: third.offset_data + 10])
    data = load_images(config(folder, on_corrupt="skip"), seed=0)
    samples = [split[n] for split in (data.train.dataset, data.test.dataset) for n in range(len(split))]
    (cut,) = [sample for sample in samples if isinstance(sample, Skipped)]
    assert third.name in cut.reason
    assert "cut off inside it" in cut.reason
