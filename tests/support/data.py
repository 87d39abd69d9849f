"""Small data sets of every kind, written for a test; each file format by its rules, not by the code that reads it."""

import io
import shutil
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CLASSES = (("blue", (0, 0, 255)), ("red", (255, 0, 0)))


def photographs(folder, sizes=((20, 30), (25, 18), (40, 40))):
    """Two classes, red and blue, of images that differ in size."""
    for split in ("train", "val"):
        for number, (name, colour) in enumerate(CLASSES):
            (folder / split / name).mkdir(parents=True)
            for index, size in enumerate(sizes):
                Image.new("RGB", size, colour).save(folder / split / name / f"{number}{index}.png")
    return folder


def png(value, side=8):
    """An image of one grey, as the bytes of a file."""
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (value, value, value)).save(buffer, "PNG")
    return buffer.getvalue()


def add(tar, name, content):
    """Append a member to an open tar file."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def shards(folder, counts=(4, 3, 5), side=8):
    """Shards of grey images: image n of the split has value 10·n and label n mod 2."""
    folder.mkdir(exist_ok=True)
    for split, sizes in (("train", counts), ("val", (3,))):
        number = 0
        for shard, count in enumerate(sizes):
            with tarfile.open(folder / f"{split}-{shard:06d}.tar", "w") as tar:
                for _ in range(count):
                    add(tar, f"s{number:04d}.png", png(10 * number, side))
                    add(tar, f"s{number:04d}.cls", str(number % 2).encode())
                    number += 1
    return folder


def paired_shards(folder, counts=(4, 2), side=8):
    """Shards of grey images with texts and labels: image n of the split has value 10·n, label n mod 2."""
    folder.mkdir(exist_ok=True)
    for split, base in (("train", 0), ("val", 100)):
        number = 0
        for shard, count in enumerate(counts):
            with tarfile.open(folder / f"{split}-{shard:06d}.tar", "w") as tar:
                for _ in range(count):
                    add(tar, f"s{number:04d}.png", png(base + 10 * number, side))
                    add(tar, f"s{number:04d}.txt", f"grey number {number}".encode())
                    add(tar, f"s{number:04d}.cls", str(number % 2).encode())
                    number += 1
    return folder


def two_photographs(folder):
    """Two images of noise, large enough to be cut into crops."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(("one", "two")):
        pixels = np.random.default_rng(seed).integers(0, 256, (60, 100, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


def video(path, frames=20, fps=10, side=32, step=4):
    """A video whose frame n has the grey level step · n."""
    ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="no encoder: pip install imageio-ffmpeg")
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = ffmpeg.write_frames(str(path), (side, side), fps=fps, quality=9, macro_block_size=16)
    writer.send(None)
    for n in range(frames):
        writer.send(np.full((side, side, 3), n * step, np.uint8).tobytes())
    writer.close()
    return path


def videos(folder, **settings):
    """Two classes with two videos each."""
    for split in ("train", "val"):
        for name, step in (("slow", 2), ("fast", 8)):
            for number in range(2):
                video(folder / split / name / f"{number}.mp4", step=step, **settings)
    return folder


def video_lists(folder, **settings):
    """The same videos in two lists, by the names of their classes."""
    videos(folder, **settings)
    for split in ("train", "val"):
        found = sorted((folder / split).rglob("*.mp4"))
        (folder / f"{split}.txt").write_text("".join(f"{p.relative_to(folder)} {p.parent.name}\n" for p in found))
    return folder


def random_events(count=200, height=34, width=34, span=100_000, seed=0):
    """Columns t (sorted), x, y, on."""
    generator = np.random.default_rng(seed)
    t = np.sort(generator.integers(0, span, count))
    return (
        t,
        generator.integers(width, size=count),
        generator.integers(height, size=count),
        generator.random(count) < 0.5,
    )


def nmnist_bytes(t, x, y, on):
    """Five bytes an event."""
    return b"".join(
        bytes([a, b, int(p) << 7 | s >> 16, s >> 8 & 255, s & 255])
        for s, a, b, p in zip(t.tolist(), x.tolist(), y.tolist(), on.tolist(), strict=True)
    )


def dat_bytes(t, x, y, on, header=b"% Version 2\n% Height 34\n% Width 34\n"):
    """A Prophesee .dat of version 2."""
    words = (struct.pack("<II", s, a | b << 14 | int(p) << 28) for s, a, b, p in zip(t, x, y, on, strict=True))
    return header + b"\x00\x08" + b"".join(words)


def evt2_bytes(t, x, y, on, header=b"% evt 2.0\n% geometry 34x34\n"):
    words, upper = [], None
    for s, a, b, p in zip(t.tolist(), x.tolist(), y.tolist(), on.tolist(), strict=True):
        if s >> 6 != upper:
            upper = s >> 6
            words += [8 << 28 | upper & 0xFFF_FFFF, 10 << 28 | 77]  # a trigger: to be passed over
        words.append(int(p) << 28 | (s & 63) << 22 | a << 11 | b)
    return header + struct.pack(f"<{len(words)}I", *words)


def evt3_bytes(t, x, y, on, header=b"% format EVT3;height=34;width=34\n% end\n"):
    words = []
    for s, a, b, p in zip(t.tolist(), x.tolist(), y.tolist(), on.tolist(), strict=True):
        words += [8 << 12 | s >> 12 & 0xFFF, 6 << 12 | s & 0xFFF, b, 2 << 12 | int(p) << 11 | a]
    return header + struct.pack(f"<{len(words)}H", *words)


def aedat4_bytes(t, x, y, on, compression=1, table=True):
    """One packet of another kind, two of events; flatbuffers laid out by hand."""
    lz4 = pytest.importorskip("lz4.frame")
    pack = lz4.compress if compression else bytes
    xml = b'<attr key="sizeX" type="int">34</attr><attr key="sizeY" type="int">34</attr>'

    def flat(kind, fields):  # prefix, root, kind, vtable, table
        return struct.pack("<I4s", 16, kind) + fields

    def events(part):
        rows = b"".join(
            struct.pack("<qhhB3x", *row) for row in zip(*(c[part].tolist() for c in (t, x, y, on)), strict=True)
        )
        # vtable (6 bytes: size, table size, field 0) + 2 of padding, table: offset to vtable, offset to vector
        body = struct.pack("<HHHxx", 6, 8, 4) + struct.pack("<iI", 8, 4) + struct.pack("<I", len(rows) // 16) + rows
        content = flat(b"EVTS", body)
        return struct.pack("<I", len(content)) + content

    half = len(t) // 2
    other = struct.pack("<I", 16) + struct.pack("<I4s8x", 16, b"IMUS")
    packets = [(2, other), (0, events(slice(0, half))), (0, events(slice(half, None)))]
    stream = b"".join(struct.pack("<ii", n, len(p)) + p for n, p in ((n, pack(p)) for n, p in packets))
    # vtable: size 10, table 24 bytes, fields at 4 (compression), 8 (place of the table), 16 (XML); 6 of padding
    header_size = 8 + 16 + 24 + 4 + len(xml)
    end = 14 + 4 + header_size + len(stream) if table else -1
    body = struct.pack("<HHHHH6x", 10, 24, 4, 8, 16) + struct.pack("<iiqI4x", 16, compression, end, 8)
    header = struct.pack("<I4s", 24, b"IOHE") + body + struct.pack("<I", len(xml)) + xml
    return b"#!AER-DAT4.0\r\n" + struct.pack("<I", len(header)) + header + stream + (b"table" if table else b"")


def evt21_bytes(t, x, y, on, header=b"% format EVT21;height=34;width=34\n% end\n", order="little"):
    """One word a pixel, x of its first pixel a multiple of 32; every 64 µs a word of time, and a trigger."""
    words, upper = [], None
    for s, a, b, p in zip(t.tolist(), x.tolist(), y.tolist(), on.tolist(), strict=True):
        if s >> 6 != upper:
            upper = s >> 6
            words += [8 << 60 | upper << 32, 10 << 60 | 77 << 32]
        words.append(int(p) << 60 | (s & 63) << 54 | (a & ~31) << 43 | b << 32 | 1 << (a & 31))
    content = struct.pack(f"<{len(words)}Q", *words)
    if order == "legacy":  # the halves of each word change places
        content = np.frombuffer(content, "<u4").reshape(-1, 2)[:, ::-1].tobytes()
    return header + content


def recordings(folder, side=34):
    """Two classes of N-MNIST recordings: off events only, on events only."""
    for split in ("train", "val"):
        for number, name in enumerate(("off", "on")):
            (folder / split / name).mkdir(parents=True)
            for index in range(2):
                t, x, y, _ = random_events(seed=index, height=side, width=side)
                (folder / split / name / f"{index}.bin").write_bytes(nmnist_bytes(t, x, y, np.full(len(t), number)))
    return folder


PASS_SAMPLE = Path(__file__).parents[1] / "golden" / "pass_sample"  # scripts/make_pass_sample.py


def pass_folder(folder):
    """PASS as it is unpacked: PASS_dataset/0, PASS_dataset/1 with 24 images in all, and the table beside them."""
    return shutil.copytree(PASS_SAMPLE, folder)


def pass_parts(folder, parts=3):
    """PASS as it is handed out: the same images in tar parts."""
    folder.mkdir(parents=True)
    files = sorted(PASS_SAMPLE.rglob("*.jpg"))
    for part in range(parts):
        with tarfile.open(folder / f"PASS.{part}.tar", "w") as tar:
            for path in files[part::parts]:
                tar.add(path, str(path.relative_to(PASS_SAMPLE)))
    shutil.copy(PASS_SAMPLE / "pass_metadata.csv", folder)
    return folder


def small_source(name, folder):
    """Write a small data set of the kind and return the settings that read it."""
    made = {
        "fashion_mnist": lambda: {"source": "vendored", "train_limit": 50, "test_limit": 20},
        "image_folder": lambda: {"source": photographs(folder / name), "img_size": 32},
        "tar_shards": lambda: {"source": shards(folder / name, side=32), "img_size": 32},
        "video_folder": lambda: {"source": videos(folder / name), "img_size": 32, "frames": 4, "frame_stride": 2},
        "video_lists": lambda: {"source": video_lists(folder / name), "img_size": 32, "frames": 4, "frame_stride": 2},
        "single_things": lambda: {"source": "vendored", "img_size": 32, "train_limit": 40, "test_limit": 20},
        "moving_things": lambda: {
            "source": "photographs",
            "img_size": 32,
            "frames": 4,
            "flip": False,
            "train_limit": 40,
            "test_limit": 16,
        },
        "event_folder": lambda: {"source": recordings(folder / name), "img_size": 32, "frames": 3},
        "photographs": lambda: {"source": two_photographs(folder / name), "img_size": 32},
        "captioned_fashion_mnist": lambda: {"source": "vendored", "train_limit": 50, "test_limit": 20},
        "captioned_folder": lambda: {"source": photographs(folder / name), "img_size": 32},
        "captioned_photographs": lambda: {"source": two_photographs(folder / name), "img_size": 32},
        "pair_shards": lambda: {"source": paired_shards(folder / name), "img_size": 32},
        "pass": lambda: {"source": pass_parts(folder / name), "img_size": 32, "holdout": 0.2},
    }[name]()
    return {"dataset": name, "batch_size": 4, **made, "source": str(made["source"])}
