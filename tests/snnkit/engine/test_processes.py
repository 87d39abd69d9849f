"""One process, two with copies (DDP), two with shards (FSDP2): the same losses; a state goes from any to any.

Would break it: a gradient that is summed instead of averaged, samples that two processes both see, a state of which
only one process's share was saved, a seed that makes processes draw the same noise where they must not share samples.
"""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from support.processes import launched


def run(*arguments, processes=1, check=True):
    if processes > 1:
        arguments = (*arguments, f"runtime.devices={processes}", f"data.batch_size={32 // processes}")
    folder, *words = arguments
    return launched("train_plain_net.py", folder, *words, processes=processes, check=check)


def losses(folder):
    return [json.loads(line)["loss"] for line in (folder / "steps.jsonl").read_text().splitlines()]


def epochs(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights(folder):
    return load_file(folder / "checkpoints" / "last.safetensors")


# FSDP2 is not to be had in float64; without spikes no rounding can flip one.
SINGLE = ("runtime.precision=32-true", "model.sizes.smooth=true", "optim.lr=0.01")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """One process, float64."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    run(folder)
    return folder


@pytest.fixture(scope="module")
def alone32(tmp_path_factory):
    """One process, float32."""
    folder = tmp_path_factory.mktemp("alone32") / "run"
    run(folder, *SINGLE)
    return folder


def assert_same(folder, other, rtol, atol):
    for key, value in weights(other).items():
        torch.testing.assert_close(weights(folder)[key], value, rtol=rtol, atol=atol)
    one, two = epochs(other)[-1], epochs(folder)[-1]
    assert two["test"]["accuracy"] == pytest.approx(one["test"]["accuracy"])
    assert two["train"]["loss"] == pytest.approx(one["train"]["loss"], rel=1e-5)


@pytest.mark.slow
def test_two_processes_with_copies_train_as_one(alone, tmp_path):
    run(tmp_path / "run", "runtime.strategy=ddp", processes=2)
    assert_same(tmp_path / "run", alone, 1e-7, 1e-9)


@pytest.mark.slow
def test_a_sharded_run_goes_on_in_one_process_and_back(alone32, tmp_path):
    """An epoch of four steps and two more in two processes, the rest in one; then the other way round."""
    whole, first, second = tmp_path / "whole", tmp_path / "first", tmp_path / "second"
    run(whole, "runtime.strategy=fsdp2", "checkpoint.every_steps=4", "checkpoint.keep=9", *SINGLE, processes=2)
    assert_same(whole, alone32, 1e-4, 1e-5)
    cut(whole, first)
    run("--resume", first, "runtime.strategy=auto", "runtime.devices=1", "data.batch_size=32")
    assert len(losses(first)) == 12
    assert_same(first, alone32, 1e-4, 1e-5)
    run(tmp_path / "single", "checkpoint.every_steps=4", "checkpoint.keep=9", *SINGLE)
    cut(tmp_path / "single", second)
    run("--resume", second, "runtime.strategy=fsdp2", processes=2)
    assert_same(second, alone32, 1e-4, 1e-5)


def cut(folder, copy):
    """Copy a run as it was after its fourth step."""
    shutil.copytree(folder, copy)
    for path in sorted((copy / "checkpoints").glob("step-*"))[1:]:
        shutil.rmtree(path)
    (copy / "checkpoints" / "last.safetensors").unlink()


@pytest.mark.slow
def test_accumulated_batches_equal_the_big_one(alone, tmp_path):
    run(tmp_path / "run", "data.batch_size=8", "optim.accumulate=4")
    # Fabric hands the loss out as float32; the weights are compared as they are.
    assert losses(tmp_path / "run") == pytest.approx(losses(alone), rel=1e-6)
    assert_same(tmp_path / "run", alone, 1e-9, 1e-11)


@pytest.mark.slow
def test_averages_are_the_same_with_copies_and_with_shards(tmp_path):
    """What is kept and tested is the average; of two processes it is that of one, also taken up again."""
    average = ("optim.ema=0.8", "checkpoint.every_steps=4", "checkpoint.keep=9", *SINGLE)
    names = ("alone", "copies", "shards")
    alone, copies, shards = (tmp_path / name for name in names)
    run(alone, *average)
    run(copies, "runtime.strategy=ddp", *average, processes=2)
    run(shards, "runtime.strategy=fsdp2", *average, processes=2)
    assert_same(copies, alone, 1e-4, 1e-5)
    assert_same(shards, alone, 1e-4, 1e-5)
    # The weights themselves have moved on: the average is another network.
    state = {k: v for shard in last_state(alone).values() for k, v in shard.items()}
    assert (state["task.model.head.weight"] - weights(alone)["head.weight"]).abs().max() > 1e-4
    cut(shards, tmp_path / "again")
    run("--resume", tmp_path / "again", "runtime.strategy=fsdp2", processes=2)
    assert losses(tmp_path / "again") == losses(shards)
    assert_same(tmp_path / "again", shards, 0, 0)


EIGHT_BIT = ("optim.name=adamw8bit", "optim.options.min_8bit_size=64", "optim.weight_decay=0.01")


def assert_near(folder, other, rate=0.002):
    """Rounding in other blocks: weights that twelve steps moved by about the rate each differ by a tenth of one."""
    one, two = epochs(folder)[-1]["train"]["loss"], epochs(other)[-1]["train"]["loss"]
    assert one == pytest.approx(two, rel=0.02)
    for key, value in weights(other).items():
        assert (weights(folder)[key] - value).abs().mean() < 0.1 * rate, key


@pytest.mark.slow
def test_eight_bit_states_with_copies(tmp_path):
    """Each process holds the whole state: the same codes in both, and, but for rounding, those of one process."""
    settings = (*SINGLE, *EIGHT_BIT, "optim.lr=0.002")
    run(tmp_path / "two", "runtime.strategy=ddp", *settings, processes=2)
    run(tmp_path / "one", *settings)
    assert_near(tmp_path / "two", tmp_path / "one")
    states = [value for shard in last_state(tmp_path / "two").values() for value in shard.values()]
    assert sum(value.dtype == torch.uint8 for value in states) >= 5


def last_state(folder):
    """All tensors of the newest state, shard by shard."""
    newest = max((folder / "checkpoints").glob("step-*"))
    return {path.name: load_file(path) for path in newest.glob("*.safetensors")}


@pytest.mark.slow
def test_eight_bit_states_are_sharded_saved_and_taken_up(tmp_path):
    """In as many processes bit for bit; in one, whose blocks end elsewhere, as close as rounding once more allows."""
    whole, same, single, alone = (tmp_path / name for name in ("whole", "same", "single", "alone"))
    settings = ("checkpoint.every_steps=4", "checkpoint.keep=9", *SINGLE, *EIGHT_BIT, "optim.lr=0.002")
    run(whole, "runtime.strategy=fsdp2", *settings, processes=2)
    run(alone, *settings)
    assert_near(whole, alone)
    cut(whole, same)
    run("--resume", same, "runtime.strategy=fsdp2", processes=2)
    assert losses(same) == losses(whole)
    states, expected = last_state(same), last_state(whole)
    assert states.keys() == expected.keys()
    assert sum(value.dtype == torch.uint8 for shard in states.values() for value in shard.values()) >= 10
    for name, shard in expected.items():
        for key, value in shard.items():
            assert torch.equal(states[name][key], value), key
    cut(whole, single)
    run("--resume", single, "runtime.strategy=auto", "runtime.devices=1", "data.batch_size=32")
    assert len(losses(single)) == 12
    assert_near(single, whole)


def test_only_what_a_signal_ended_is_tried_again(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, pathlib, signal, sys\n"
        "tries = pathlib.Path(sys.argv[1]).parent / f'tries{os.environ[\"RANK\"]}'\n"
        "tries.write_text(tries.read_text() + '.' if tries.exists() else '.')\n"
        "if os.environ['RANK'] == '1' and sys.argv[2] == 'signal' and tries.read_text() == '.':\n"
        "    os.kill(os.getpid(), signal.SIGSEGV)\n"
        "sys.exit(int(sys.argv[2] == 'wrong'))\n"
    )
    with pytest.warns(UserWarning, match="ended by a signal"):
        launched(str(script), tmp_path / "a", "signal")
    assert (tmp_path / "tries1").read_text() == ".."
    (tmp_path / "tries1").unlink()
    assert launched(str(script), tmp_path / "b", "wrong", check=False).returncode == 1
    assert (tmp_path / "tries1").read_text() == "."
