"""Attribution and the check of a PASS-shaped folder: nobody is left out, nothing damaged passes.

Would break it: a run without the creators of its images, a fine-tuned run that forgets those of the run that it
began with, a changed image that the check passes, a missing row that is not listed.
"""

import csv
import hashlib
import shutil

import pytest
from support.data import PASS_SAMPLE, pass_folder, pass_parts
from torch import nn

from snnkit.checkpoints import save_weights
from snnkit.data import DataConfig, attribution, load_images
from snnkit.data.pass_metadata import Credit
from snnkit.engine import RunConfig, train_task
from snnkit.errors import CorruptFileError, InvalidArgumentError
from snnkit.files import made_folder, read_json
from snnkit.tasks import Task


def table(path=PASS_SAMPLE / "pass_metadata.csv"):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def expected(rows):
    return {(row["hash"], row["unickname"], row["licence"], row["datetaken"]) for row in rows}


def written(path):
    return {tuple(row.values()) for row in table(path)}


# What a folder or a subset gives.


@pytest.mark.parametrize("make", [pass_folder, pass_parts])
def test_the_attribution_of_a_folder(make, tmp_path, call):
    folder = make(tmp_path / "p")
    code, out, _ = call("attribution", folder)
    assert (code, written(folder / "ATTRIBUTION.csv")) == (0, expected(table()))
    assert "24 images by 6 creators, CC0-1.0, public domain" in out
    for path in sorted(folder.rglob("*.jpg"))[:20]:  # a subset with the whole table
        path.unlink()
    if make is pass_folder:
        call("attribution", folder, "--output", tmp_path / "a.csv")
        left = {path.stem for path in folder.rglob("*.jpg")}
        assert written(tmp_path / "a.csv") == expected(row for row in table() if row["hash"] in left)


def test_the_attribution_of_named_images(tmp_path, call):
    folder, rows = pass_parts(tmp_path / "p"), table()
    (tmp_path / "only.txt").write_text(f"{rows[3]['hash']}\n\nPASS.0.tar:PASS_dataset/0/{rows[7]['hash']}.jpg\n")
    code, _, _ = call("attribution", folder, "--only", tmp_path / "only.txt", "--output", tmp_path / "a.csv")
    assert (code, written(tmp_path / "a.csv")) == (0, expected([rows[3], rows[7]]))
    for content, message in (("nobody\n", "names 'nobody', which is not there"), ("\n", "is empty")):
        (tmp_path / "only.txt").write_text(content)
        code, _, err = call("attribution", folder, "--only", tmp_path / "only.txt")
        assert code == 2
        assert message in err


def test_images_without_a_creator_stop_it_or_are_counted(tmp_path, call):
    folder = pass_folder(tmp_path / "p")
    lines = (folder / "pass_metadata.csv").read_text().splitlines(keepends=True)
    (folder / "pass_metadata.csv").write_text("".join([lines[0], *lines[3:]]))
    code, _, err = call("attribution", folder)
    assert code == 2
    assert "2 of 24 images cannot be credited" in err
    assert not (folder / "ATTRIBUTION.csv").exists()
    code, out, _ = call("attribution", folder, "--skip")
    assert "22 images" in out
    assert "2 images without a creator left out" in out
    assert written(folder / "ATTRIBUTION.csv") == expected(table()[2:])


# What a run keeps.


class Nothing(Task):
    """Learns no labels: the mean of the images."""

    name = "nothing"

    def __init__(self):
        super().__init__()
        self.model = nn.Conv2d(3, 1, 1)
        self.seen = 0.0

    def loss(self, batch):
        return self.model(batch[0]).square().mean()

    def evaluate(self, batch):
        self.seen = float(self.loss(batch).detach())

    def compute(self):
        return {"loss": self.seen, "score": -self.seen}


def run_on(folder, run, on_missing="stop", **options):
    config = RunConfig(epochs=1, threads=1)
    config.data = DataConfig("pass", str(folder), 8, img_size=16, shift_pixels=0, holdout=0.2, on_missing=on_missing)
    config.optim.lr, config.task.options = 1e-3, options
    data = load_images(config.data, 0)
    # train_task clears config.model: what it began with is told by the options.
    return train_task(Nothing(), config, data, run)


def split(tmp_path):
    """Two folders with 12 images each."""
    folders = [pass_folder(tmp_path / name) for name in ("a", "b")]
    for number, folder in enumerate(folders):
        for path in sorted(folder.rglob("*.jpg"))[number::2]:
            path.unlink()
    return folders


def test_a_run_keeps_the_attribution_of_what_it_saw_and_began_with(tmp_path, call):
    one, other = split(tmp_path)
    first = run_on(one, tmp_path / "first")
    rows = {folder: {path.stem for path in folder.rglob("*.jpg")} for folder in (one, other)}
    kept = written(first.folder / "ATTRIBUTION.csv")
    assert kept == expected(row for row in table() if row["hash"] in rows[one])
    second = run_on(other, tmp_path / "second", teachers=(str(first.folder), "absent", "x" * 5000))
    assert written(second.folder / "ATTRIBUTION.csv") == expected(table())
    checkpoint = second.folder / "checkpoints" / "last.safetensors"
    third = run_on(other, tmp_path / "third", teachers=f"some_model@{checkpoint}")
    assert written(third.folder / "ATTRIBUTION.csv") == expected(table())
    shutil.rmtree(first.folder)  # a run needs no other folder to say it
    code, out, _ = call("attribution", checkpoint)
    assert code == 0
    assert "24 images by 6 creators" in out
    assert written(second.folder / "checkpoints" / "ATTRIBUTION.csv") == expected(table())
    code, _, _ = call("attribution", third.folder, "--output", tmp_path / "b.csv")
    assert (code, written(tmp_path / "b.csv")) == (0, expected(table()))


def test_a_run_says_how_many_images_were_left_out(tmp_path, capsys):
    folder = pass_folder(tmp_path / "p")
    lines = (folder / "pass_metadata.csv").read_text().splitlines(keepends=True)
    (folder / "pass_metadata.csv").write_text("".join([lines[0], *lines[3:]]))
    run = run_on(folder, tmp_path / "run", on_missing="skip")
    (note,) = read_json(run.folder / "summary.json")["notes"]
    assert "2 of 24 images left out" in note
    assert note in capsys.readouterr().out
    assert written(run.folder / "ATTRIBUTION.csv") == expected(table()[2:])


def test_a_process_of_several_credits_all_images(tmp_path):
    data = load_images(DataConfig(dataset="pass", source=str(PASS_SAMPLE), img_size=16, holdout=0.4), seed=0)
    data.share(1, 2)
    assert len(data.test.dataset) == 5
    assert len(attribution.credits_of(data.test.dataset)) == 10


def test_what_was_written_beside_a_checkpoint_does_not_stand_for_a_run_that_went_on(tmp_path, call):
    run, ann, bob = tmp_path / "run", *(Credit(f"{n:032x}", who, "CC-BY-4.0", "2010") for n, who in enumerate("AB"))
    weights = run / "checkpoints" / "last.safetensors"
    save_weights(nn.Linear(1, 1), made_folder(weights.parent) / weights.name, {})
    attribution.write_attribution(run / attribution.FILE, [ann])
    assert "1 image by 1 creator" in call("attribution", weights)[1]
    attribution.write_attribution(run / attribution.FILE, [ann, bob])
    assert "2 images by 2 creators" in call("attribution", weights)[1]
    attribution.write_attribution(weights.parent / attribution.FILE, [ann])
    assert attribution.keep(made_folder(tmp_path / "tuned"), [], [str(weights)]).creators == 2


def test_weights_that_a_run_begins_with_are_followed(tmp_path):
    one, _ = split(tmp_path)
    run = run_on(one, tmp_path / "run")
    for text in (str(run.folder), str(run.checkpoint)):
        (tmp_path / "new").mkdir(exist_ok=True)
        attribution.keep(tmp_path / "new", [], [text])
        assert written(tmp_path / "new" / "ATTRIBUTION.csv") == written(run.folder / "ATTRIBUTION.csv")
        shutil.rmtree(tmp_path / "new")


def test_a_run_of_others_has_none_and_says_so(tiny_run, tmp_path, call):
    assert not (tiny_run.folder / "ATTRIBUTION.csv").exists()
    code, _, err = call("attribution", tiny_run.folder)
    assert code == 2
    assert "no ATTRIBUTION.csv with it" in err
    save_weights(nn.Linear(2, 2), tmp_path / "alone.safetensors")
    assert call("attribution", tmp_path / "alone.safetensors")[0] == 2
    code, _, err = call("attribution", tmp_path / "nothing")
    assert (code, "does not exist" in err) == (2, True)


def test_a_label_is_not_learned_from_data_without_labels(tmp_path):
    from snnkit.engine import train

    config = RunConfig(epochs=1, threads=1)
    config.data = DataConfig(dataset="pass", source=str(PASS_SAMPLE), img_size=28, batch_size=8)
    config.model.sizes = {"width": 4}
    with pytest.raises(InvalidArgumentError, match="the data have no classes"):
        train(config, tmp_path / "run")


def test_a_file_that_is_no_attribution_is_named(tmp_path):
    path = tmp_path / "ATTRIBUTION.csv"
    made = attribution.write_attribution(path, [Credit("ab", "A, B", "CC-BY"), Credit("ab", "A, B", "CC-BY")])
    assert str(made) == f"{path}: 1 image by 1 creator, CC-BY"
    assert list(attribution.read_attribution(path)) == [Credit("ab", "A, B", "CC-BY")]
    for content, row in (("hash,creator\n", 1), ("hash,creator,licence,date\nab,c\n", 2)):
        path.write_text(content)
        with pytest.raises(CorruptFileError, match=f"row {row}: not hash,creator,licence,date"):
            list(attribution.read_attribution(path))


# The check of a folder.


def test_a_whole_folder_has_nothing_to_mend(tmp_path, call):
    code, out, _ = call("data", "check", pass_parts(tmp_path / "p"))
    assert code == 0
    assert "24 images (12 grey), 24 with a creator; 24 rows" in out
    assert "warning: 24 images; PASS version 3 has 1,439,588" in out
    assert "named by the MD5 of their bytes" in out


def test_the_check_names_all_that_is_wrong(tmp_path, call):
    folder = pass_folder(tmp_path / "p")
    paths = sorted(folder.rglob("*.jpg"))
    changed, broken, unknown = paths[0], paths[1], paths[2]
    changed.write_bytes(paths[3].read_bytes())  # a whole image, of another name
    broken.write_bytes(broken.read_bytes()[:200])
    rows = (folder / "pass_metadata.csv").read_text().splitlines(keepends=True)
    (folder / "pass_metadata.csv").write_text("".join(row for row in rows if unknown.stem not in row))
    code, out, _ = call("data", "check", folder)
    assert code == 3
    lines = [line for line in out.splitlines() if "wrong: " in line]
    assert f"wrong: {unknown} has no row in pass_metadata.csv" in out
    assert f"{changed} has changed: its MD5 is {paths[3].stem}" in out
    assert f"{broken} is not a readable image" in out
    assert len(lines) == 4  # the broken one has changed too
    assert "4 to mend" in out
    for path in paths[4:10]:
        path.write_bytes(b"no image")
    assert "… and 11 more (--list names all)" in call("data", "check", folder)[1]
    assert call("data", "check", folder, "--list")[1].count("wrong: ") == 16


@pytest.mark.parametrize("make", [pass_folder, pass_parts])
def test_checksums_are_recorded_and_compared(make, tmp_path, call):
    """Names that are no checksums of the files, as PASS's are not."""
    folder = pass_folder(tmp_path / "p")
    content = (folder / "pass_metadata.csv").read_text()
    for path in folder.rglob("*.jpg"):
        other = hashlib.md5(path.stem.encode()).hexdigest()
        content = content.replace(path.stem, other)
        path.rename(path.with_name(f"{other}.jpg"))
    (folder / "pass_metadata.csv").write_text(content)
    code, out, _ = call("data", "check", folder)
    assert code == 0
    assert "names are no checksums of the files" in out
    assert "no checksums were recorded" in out
    assert "24 checksums recorded" in call("data", "check", folder, "--record")[1]
    line = (folder / "checksums.md5").read_text().splitlines()[0]
    assert line == f"{hashlib.md5((folder / line[34:]).read_bytes()).hexdigest()}  {line[34:]}"
    paths = sorted(folder.rglob("*.jpg"))
    paths[0].write_bytes(paths[1].read_bytes())
    paths[2].unlink()
    code, out, _ = call("data", "check", folder)
    assert code == 3
    assert "2 to mend" in out
    assert f"{paths[0].relative_to(folder)} has changed" in out
    assert "was here when checksums were recorded" in out
    (folder / "checksums.md5").write_text("nonsense\n")
    code, _, err = call("data", "check", folder)
    assert (code, "line 1: not MD5 and name" in err) == (2, True)


def test_rows_of_absent_images_are_a_warning_and_a_table_is_needed(tmp_path, call):
    folder = pass_folder(tmp_path / "p")
    for path in sorted(folder.rglob("*.jpg"))[:5]:
        path.unlink()
    code, out, _ = call("data", "check", folder, "--workers", 2)
    assert code == 0
    assert "5 rows of pass_metadata.csv are of images that are not here" in out
    (folder / "pass_metadata.csv").unlink()
    for words in (("data", "check", folder), ("attribution", folder)):
        code, _, err = call(*words)
        assert code == 2
        assert "no pass_metadata.csv in it or beside it" in err
        assert len(err.splitlines()) == 1


def test_progress_is_told_where_there_is_no_terminal(capsys):
    from snnkit.engine.progress import told

    assert list(told(range(3), "checking", 3, "images", every=0.0)) == [0, 1, 2]
    assert "checking: 2 of 3 images" in capsys.readouterr().out
