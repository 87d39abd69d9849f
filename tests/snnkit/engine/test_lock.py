"""One training at a time writes into a run's folder, and what killed ones left half-written goes.

Would break it: two processes that both write, a lock that outlives its owner, one that falls while its owner lives, a
half-written file that is never removed, or one that another process is still writing and that is.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from lightning_fabric import Fabric

from snnkit.engine import LockedError, latest_run, lock, resume, train
from snnkit.engine.lock import NAME, locked
from snnkit.engine.run_folder import cut_metrics
from snnkit.recipes import get_recipe

HOLDER = """
import sys, time
from pathlib import Path
from lightning_fabric import Fabric
from snnkit.engine.lock import locked
with locked(Fabric(accelerator="cpu", devices=1), Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def fabric():
    return Fabric(accelerator="cpu", devices=1)


def small(epochs=1):
    config = get_recipe("demo")
    config.epochs, config.data.train_limit, config.data.test_limit, config.data.batch_size = epochs, 32, 20, 16
    config.model.sizes, config.threads = {"width": 4}, 1
    return config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(small(), tmp_path_factory.mktemp("lock") / "run").folder


def written(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name != NAME}


def test_a_second_training_is_refused_while_the_first_lives_and_goes_on_once_it_was_killed(run, fabric):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(run)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        before = written(run)
        who = rf"process {holder.pid} on {socket.gethostname()}, since 20\d\d-"
        for again in (lambda: resume(run, small(2)), lambda: train(small(), run)):
            with pytest.raises(LockedError, match=who):
                again()
        assert written(run) == before
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert json.loads((run / NAME).read_text())["pid"] == holder.pid  # a stale lock, left behind
    resume(run, small(2))
    assert not (run / NAME).exists()


def test_a_lock_is_given_back_after_a_failure_too(tmp_path, fabric):
    with pytest.raises(ZeroDivisionError), locked(fabric, tmp_path):
        assert (tmp_path / NAME).exists()
        _ = 1 / 0
    with locked(fabric, tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("age", "refused"), [(0, True), (100, True), (200, False)])
def test_the_lock_of_another_host_counts_while_it_is_renewed(tmp_path, fabric, age, refused):
    path = tmp_path / NAME
    path.write_text(json.dumps({"pid": 1, "host": "elsewhere", "since": "2026-01-01T00:00:00Z"}))
    os.utime(path, (time.time() - age,) * 2)
    if refused:
        with pytest.raises(LockedError, match="process 1 on elsewhere, since 2026-01-01"), locked(fabric, tmp_path):
            pass
        return
    with locked(fabric, tmp_path):
        assert json.loads(path.read_text())["host"] == socket.gethostname()


def test_the_owner_renews_its_lock(tmp_path, fabric, monkeypatch):
    monkeypatch.setattr(lock, "RENEWED_SECONDS", 0.05)
    with locked(fabric, tmp_path):
        os.utime(tmp_path / NAME, (1, 1))
        deadline = time.time() + 5
        while (tmp_path / NAME).stat().st_mtime == 1 and time.time() < deadline:
            time.sleep(0.01)
        assert (tmp_path / NAME).stat().st_mtime > 1


@pytest.mark.parametrize(("pid", "refused"), [(1, True), (2**22 + 1, False), ("no number", False)])
def test_without_locks_of_the_kernel_the_process_is_looked_for(tmp_path, fabric, monkeypatch, pid, refused):
    monkeypatch.setattr(lock, "_flock", lambda _file: None)
    (tmp_path / NAME).write_text(json.dumps({"pid": pid, "host": socket.gethostname(), "since": "…"}))
    if refused:
        with pytest.raises(LockedError, match="process 1 on"), locked(fabric, tmp_path):
            pass
    else:
        with locked(fabric, tmp_path):
            pass


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "{}"])
def test_a_lock_that_says_nothing_holds_nobody_off(tmp_path, fabric, content):
    (tmp_path / NAME).write_text(content)
    if content == "{}":
        os.utime(tmp_path / NAME, (1, 1))
    with locked(fabric, tmp_path):
        pass


def test_what_killed_processes_left_is_removed(tmp_path, fabric):
    states = tmp_path / "checkpoints"
    (states / ".step-00000004.part").mkdir(parents=True)
    (states / ".step-00000004.part" / "shard.safetensors").write_bytes(b"half")
    dead, alive = f".config.json.{2**22 + 1}.part", f".report.html.{os.getppid()}.part"
    for name in (dead, alive, "notes.part", "config.json"):
        (tmp_path / name).write_text("half")
    (states / f".last.safetensors.{2**22 + 1}.part").write_bytes(b"half")
    with locked(fabric, tmp_path):
        assert {path.name for path in tmp_path.iterdir()} == {NAME, "checkpoints", alive, "notes.part", "config.json"}
        assert list(states.iterdir()) == []


def test_auto_takes_the_run_that_was_started_last(tmp_path):
    """Whatever the folders are called, in whatever order they were copied, and not those of other recipes."""
    for name, created, recipe in (
        ("2026-01-02_00-00-00-demo", "2026-05-01T00:00:00Z", "demo"),
        ("mine", "2026-05-03T00:00:00Z", "demo"),
        ("2026-09-01_00-00-00-demo", "2026-05-02T00:00:00Z", "demo"),
        ("2026-09-02_00-00-00-demo-2", "2026-05-04T00:00:00Z", "demo-2"),
        ("2026-09-03_00-00-00-demo", "no state", "demo"),
    ):
        folder = tmp_path / name
        state = folder / "checkpoints" / "step-00000001"
        state.mkdir(parents=True)
        if created != "no state":
            (state / "files.json").write_text("{}")
        (folder / "config.json").write_text(json.dumps({"recipe": recipe}))
        (folder / "environment.json").write_text(json.dumps({"created": created}))
    assert latest_run(tmp_path, "demo") == tmp_path / "mine"
    assert latest_run(tmp_path, "spikformer_imagenet") is None


def test_the_record_is_on_disk_before_the_state_it_leads_to(tmp_path, monkeypatch):
    """Of a machine that loses power, steps.jsonl must not end before the newest state."""
    events, fsync, replace = [], os.fsync, os.replace

    def sync(file):
        events.append(os.readlink(f"/proc/self/fd/{file}").rpartition("/")[2])
        fsync(file)

    def rename(source, target):
        events.append(os.path.basename(target))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", rename)
    train(small(), tmp_path / "run")
    state = events.index("step-00000002")
    assert {"steps.jsonl", "metrics.jsonl"} <= set(events[:state])


@pytest.mark.parametrize("spoilt", ["5", '{"step": "two"}', "[]", '{"ste', "\x00\x00", "{}"])
def test_a_record_spoilt_by_hand_is_cut_there(tmp_path, spoilt):
    lines = ['{"step": 1}', spoilt, '{"step": 2}']
    (tmp_path / "steps.jsonl").write_text("\n".join(lines) + "\n")
    cut_metrics(tmp_path, 9)
    assert (tmp_path / "steps.jsonl").read_text() == '{"step": 1}\n'


@pytest.mark.parametrize(
    "files", ["5", "[]", '{"state.json": 5}', '{"state.json": [1, 2, 3]}', "{}", '{"a": ["x", 0]}']
)
def test_a_list_of_files_spoilt_by_hand_is_damage(run, tmp_path, files):
    from snnkit.engine.checkpoint import damage

    state = max((run / "checkpoints").glob("step-*"))
    kept = (state / "files.json").read_text()
    assert damage(state) == ""
    try:
        (state / "files.json").write_text(files)
        assert damage(state)
    finally:
        (state / "files.json").write_text(kept)
