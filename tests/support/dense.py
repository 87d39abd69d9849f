"""Small data sets whose images know more than a label: maps, boxes, key points, captions."""

import json

import numpy as np
from PIL import Image
from support.captions import coco as captions

SIDE = 32


def pixel_folder(folder):
    """Images whose upper half is of class 1, with the maps that say so."""
    drawn = np.zeros((SIDE, SIDE), np.uint8)
    drawn[: SIDE // 2] = 1
    for split in ("train", "val"):
        for kind, pixels in (("images", np.stack([100 * drawn] * 3, -1)), ("maps", drawn)):
            (folder / kind / split).mkdir(parents=True)
            for number in range(4):
                Image.fromarray(pixels).save(folder / kind / split / f"{number}.png")
    (folder / "classes.txt").write_text("nothing\nthing\n")
    return folder


def coco(folder, file, category, annotation):
    """Red squares in COCO's form, one annotation an image."""
    for split in ("train", "val"):
        (folder / split).mkdir(parents=True)
        listed = [{"id": n, "file_name": f"{n}.png", "width": SIDE, "height": SIDE} for n in range(4)]
        for one in listed:
            pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
            pixels[8:24, 8:24, 0] = 200
            Image.fromarray(pixels).save(folder / split / one["file_name"])
        square = {"category_id": 1, "bbox": [8, 8, 16, 16], "area": 256, "iscrowd": 0, **annotation}
        rows = [{"id": n + 1, "image_id": n, **square} for n in range(4)]
        about = {"images": listed, "categories": [{"id": 1, "name": "square", **category}], "annotations": rows}
        (folder / "annotations").mkdir(exist_ok=True)
        (folder / "annotations" / file.format(split)).write_text(json.dumps(about))
    return folder


def instances(folder):
    """Boxes with outlines."""
    outline = {"segmentation": [[8, 8, 24, 8, 24, 24, 8, 24]]}
    return coco(folder, "instances_{}.json", {}, outline)


def keypoints(folder):
    """Boxes with two corners."""
    corners = {"keypoints": [8, 8, 2, 24, 24, 2], "num_keypoints": 2}
    return coco(folder, "person_keypoints_{}.json", {"keypoints": ["left_corner", "right_corner"]}, corners)


BEYOND = {
    "pixel_folder": ("maps", pixel_folder, {"img_size": SIDE}),
    "coco": ("objects", instances, {}),
    "coco_keypoints": ("keypoints", keypoints, {"crop_height": SIDE, "crop_width": SIDE}),
    "coco_captions": ("captions", captions, {"img_size": SIDE, "context": 32, "flip": False}),
    "scenes": ("maps", None, {"img_size": SIDE, "train_limit": 6, "test_limit": 4}),
}
"""By data set: what its images know, what writes one, and its settings."""


def dense_source(name, folder):
    """Write a small data set and return the settings that read it."""
    targets, write, settings = BEYOND[name]
    source = "vendored" if write is None else str(write(folder / name))
    return {"dataset": name, "source": source, "targets": targets, "batch_size": 2, "shift_pixels": 0, **settings}
