"""Images that files in COCO's form list, whatever is said about them.

Would break it: a name that leads out of the folder, the annotations of one image given to another of the same number.
"""

import json

import pytest

from snnkit.data.coco_captions import read_captions
from snnkit.data.coco_file import read_instances
from snnkit.data.coco_keypoints import read_things
from snnkit.errors import CorruptFileError

READERS = {
    "instances": lambda path, folder: read_instances(path, False),
    "keypoints": lambda path, folder: read_things(path, folder, False),
    "captions": lambda path, folder: read_captions(path, folder, False, []),
}
SIZE = {"width": 8, "height": 8}
WRONG = {
    "out of the folder": ([{"id": 1, "file_name": "../a.png"}], "'../a.png' does not lie in the folder"),
    "from the root": ([{"id": 1, "file_name": "/etc/passwd"}], "'/etc/passwd' does not lie"),
    "inside and out": ([{"id": 1, "file_name": "a/../../b.png"}], "does not lie"),
    "another drive": ([{"id": 1, "file_name": "C:\\a.png"}], "does not lie"),
    "no name": ([{"id": 1, "file_name": ""}], "does not lie"),
    "one number twice": (
        [{"id": 1, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"}],
        "images a.png and b.png have the same id, 1",
    ),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("reader", READERS)
def test_names_and_numbers_that_cannot_be(reader, case, tmp_path):
    images, words = WRONG[case]
    found = {
        "images": [image | SIZE for image in images],
        "categories": [{"id": 1, "name": "x", "keypoints": ["a"]}],
        "annotations": [],
    }
    path = tmp_path / "file.json"
    path.write_text(json.dumps(found))
    with pytest.raises(CorruptFileError, match="file.json is not in COCO's form") as caught:
        READERS[reader](path, tmp_path)
    assert words in str(caught.value)
