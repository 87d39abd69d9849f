"""A small folder of images with captions in COCO's form."""

import json

from PIL import Image


def coco(folder, parts=(("train2017", 6), ("val2017", 3)), annotations="annotations", images="{}"):
    """Grey images; the captions of image n say n in several ways."""
    (folder / annotations).mkdir(parents=True, exist_ok=True)
    number = 0
    for split, count in parts:
        place = folder / images.format(split)
        place.mkdir(parents=True, exist_ok=True)
        listed, rows = [], []
        for _ in range(count):
            Image.new("RGB", (12, 10), (10 * number,) * 3).save(place / f"{number:03d}.png")
            listed.append({"id": 100 + number, "file_name": f"{number:03d}.png"})
            rows += [
                {"id": 2 * number + k, "image_id": 100 + number, "caption": text}
                for k, text in enumerate((f"Grey number {number}.", f" a number {number}\n in grey "))
            ]
            number += 1
        about = {"images": listed, "annotations": rows[::-1], "licenses": []}
        (folder / annotations / f"captions_{split}.json").write_text(json.dumps(about))
    return folder
