"""The task of captions: its loss by hand, scores as the library gives them, what is written, runs taken up again.

Would break it: padding that is learned, an end that is not, scores of other pairs than caption and image, words that
case or marks make others, captions that several processes count twice, a run that goes on otherwise than it would have.
"""

import json
import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from support.captions import coco

import snnkit
from snnkit.data.tokens import Bytes
from snnkit.engine import resume, train
from snnkit.engine.config import DataConfig, ModelConfig, OptimConfig, RunConfig, ScheduleConfig, TaskConfig
from snnkit.engine.evaluating import test as run_test
from snnkit.engine.train import load_images
from snnkit.errors import InvalidArgumentError, SnnkitError
from snnkit.layers.text_decoder import as_inputs
from snnkit.models.beam_search import Written
from snnkit.tasks import Captioning, EnergyPenalty, build_task
from snnkit.tasks.caption_scores import Captioned, scores, words
from snnkit.tasks.captioning import shortened
from snnkit.tasks.contrastive import processes
from snnkit.tasks.task import Plan

SIZES = {"stem_type": "", "stem_width": 8, "channels": (8, 8, 16, 16)}
TEXT = {"text_width": 16, "text_depth": 1, "text_heads": 2, "text_dropout": 0.0}


def task(vocabulary=6, context=4, **options):
    torch.manual_seed(0)
    model = snnkit.create_model(
        "captioner:timm:resnet10t", **SIZES, **TEXT, vocabulary=vocabulary, context=context, frozen=False
    )
    return build_task("captioning", model, 0, options)


def batch(tokens, references=None):
    torch.manual_seed(1)
    return torch.randn(len(tokens), 3, 32, 32), torch.tensor(tokens), references or [("a",)] * len(tokens)


def log_p(made, images, tokens):
    """log p (B, L, V) of every token, each from a text that ends before it."""
    seen = made.model.forward_images(images)
    inputs = as_inputs(tokens)
    rows = [made.model.decoder(inputs[:, : n + 1], seen)[:, -1] for n in range(tokens.shape[1])]
    return torch.stack(rows, 1).log_softmax(-1)


def test_the_loss_is_that_of_the_tokens_and_the_end_alone():
    made = task().eval()
    images, tokens, _ = given = batch([[3, 2, 0, 0], [1, 1, 4, 2], [5, 0, 0, 0]])
    p = log_p(made, images, tokens)
    counted = [(0, 0, 3), (0, 1, 2), (0, 2, 0), (1, 0, 1), (1, 1, 1), (1, 2, 4), (1, 3, 2), (2, 0, 5), (2, 1, 0)]
    expected = -sum(p[place] for place in counted) / len(counted)
    torch.testing.assert_close(made.loss(given), expected)
    hits = sum(int(p[b, n].argmax() == k) for b, n, k in counted) / len(counted)
    found = made.compute()
    assert math.isclose(found["token_accuracy"], hits, rel_tol=1e-6)
    assert math.isclose(found["loss"], float(expected), rel_tol=1e-5)
    assert found["score"] == -found["loss"]


def test_label_smoothing_is_of_the_training_alone():
    made = task(label_smoothing=0.3).eval()
    images, tokens, _ = given = batch([[3, 2, 0, 0], [1, 1, 4, 2]])
    p, places = (
        log_p(made, images, tokens),
        [(0, 0, 3), (0, 1, 2), (0, 2, 0), *((1, n, k) for n, k in enumerate(tokens[1]))],
    )
    plain = -sum(p[b, n, k] for b, n, k in places) / len(places)
    even = -sum(p[b, n].mean() for b, n, _ in places) / len(places)
    torch.testing.assert_close(made.loss(given), 0.7 * plain + 0.3 * even)
    made.compute()
    made.evaluate(given)
    assert math.isclose(made.compute()["loss"], float(plain), rel_tol=1e-5)


def test_what_pads_all_texts_of_a_batch_costs_nothing():
    rows = torch.tensor([[3, 2, 0, 0, 0], [1, 0, 0, 0, 0]])
    assert shortened(rows).tolist() == [[3, 2, 0], [1, 0, 0]]
    assert shortened(rows[:1, :2]).tolist() == [[3, 2]]  # nothing pads it
    assert shortened(rows * 0).tolist() == [[0], [0]]
    made, images = task(context=8).eval(), batch([[3, 2], [1, 4]])[0]
    long, short = ([[3, 2, *[0] * n], [1, 4, *[0] * n]] for n in (6, 1))
    torch.testing.assert_close(*(made.loss((images, torch.tensor(t), [])) for t in (long, short)), rtol=0, atol=0)


FOUND = [
    Captioned("A red coat to the left of a bag.", ("a red coat to the left of a bag", "a coat left of a bag")),
    Captioned("two dogs", ("three dogs run on grass", "Dogs that run!")),
    Captioned("", ("a cat sleeps on a chair",)),
    Captioned("a cat on a chair", ("isn't it a cat on a chair?",)),
]


def test_scores_are_those_of_the_library():
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    written = {0: ["a red coat to the left of a bag"], 1: ["two dogs"], 2: [""], 3: ["a cat on a chair"]}
    references = {
        0: ["a red coat to the left of a bag", "a coat left of a bag"],
        1: ["three dogs run on grass", "dogs that run"],
        2: ["a cat sleeps on a chair"],
        3: ["isn't it a cat on a chair"],
    }
    found, each = scores(FOUND)
    cider, single = Cider().compute_score(references, written)
    assert math.isclose(found["cider"], cider)
    assert each == pytest.approx(list(single))
    bleu = Bleu(4).compute_score(references, written, verbose=0)[0]
    assert [found[f"bleu_{n}"] for n in (1, 2, 3, 4)] == pytest.approx(bleu)
    assert math.isclose(found["rouge_l"], Rouge().compute_score(references, written)[0])


def test_captions_equal_to_their_only_reference_score_highest():
    texts = ["a red coat above a bag", "two dogs run on wet grass", "one cat sleeps beside the door"]
    found, each = scores([Captioned(f" {text.upper()}!", (text,)) for text in texts])
    assert each == pytest.approx([10.0] * 3)
    assert found["cider"] == pytest.approx(10.0)
    assert found["bleu_4"] == pytest.approx(1.0)
    assert found["rouge_l"] == pytest.approx(1.0)
    moved, _ = scores([Captioned(texts[n - 1], (text,)) for n, text in enumerate(texts)])
    assert moved["cider"] < 1
    assert scores([]) == (dict.fromkeys(found, 0.0), [])
    assert scores([Captioned("a", ("...",))])[0]["cider"] == 0.0


def test_words_are_lower_case_and_without_marks():
    assert words("A man's T-shirt, size 42 — isn’t it?") == "a man's t shirt size 42 isn’t it"


def test_captions_are_compared_with_the_references_of_their_image(monkeypatch, tmp_path):
    made = task(vocabulary=257, context=12).eval()
    made.begin(Plan(1, 1, 2, tokens=Bytes()))
    texts = ["a red coat", "two dogs", "one cat", "no thing", "five blue bags"]
    rows = [[*Bytes().encode(text)][:12] for text in texts]
    rows = torch.tensor([row + [0] * (12 - len(row)) for row in rows])
    given = iter(rows.split(2))
    monkeypatch.setattr(type(made.model), "write", lambda self, seen, beam, penalty: Written(next(given), seen))
    for first in range(0, 5, 2):
        made.evaluate(
            batch(rows[first : first + 2].tolist(), [(text, "other words") for text in texts[first : first + 2]])
        )
    found = made.compute()
    expected, each = scores([Captioned(text[:12], (text, "other words")) for text in texts])
    assert {key: found[key] for key in expected} == pytest.approx(expected)
    assert found["score"] == found["cider"]
    made.keep_records(tmp_path, 3)
    kept = json.loads((tmp_path / "captions.json").read_text())
    assert (kept["epoch"], kept["images"], kept["beam"]) == (3, 5, 1)
    assert [one["caption"] for one in kept["shown"]] == [text[:12] for text in texts]
    assert kept["shown"][1]["references"] == ["two dogs", "other words"]
    assert [one["cider"] for one in kept["shown"]] == pytest.approx(each, abs=1e-4)
    assert kept["scores"] == pytest.approx(expected)
    assert (tmp_path / "predictions.png").read_bytes().startswith(b"\x89PNG")
    assert [tuple(image.shape) for image in made._shown] == [(3, 32, 32)] * 5
    made.loss(batch(rows.tolist()))
    assert "cider" not in made.compute()  # training writes no captions, and those of the test were counted


def test_several_processes_count_each_image_once_and_in_order(monkeypatch):
    whole = [Captioned(f"caption {n}", (f"reference {n}",)) for n in range(5)]

    def gather(parts, mine):
        assert mine == whole[1::2]
        parts[:] = [whole[0::2], whole[1::2]]

    monkeypatch.setattr(processes, "rank_and_world", lambda: (1, 2))
    monkeypatch.setattr(processes.distributed, "all_gather_object", gather)
    assert processes.in_turn(whole[1::2]) == whole


def config(folder, epochs, **changes):
    return RunConfig(
        model=ModelConfig("captioner:timm:resnet10t", sizes={**SIZES, **TEXT, "frozen": False}),
        data=DataConfig(
            "coco_captions", str(folder), batch_size=2, img_size=32, context=24, flip=False, shift_pixels=2
        ),
        task=TaskConfig("captioning", options={"beam": 2, "length_penalty": 1.0}),
        optim=OptimConfig(lr=1e-2),
        schedule=ScheduleConfig("constant"),
        epochs=epochs,
        threads=1,
        **changes,
    )


def test_a_run_goes_on_as_it_would_have(tmp_path):
    folder = coco(tmp_path / "coco")
    whole = train(config(folder, 2), tmp_path / "whole")
    part = train(config(folder, 1), tmp_path / "part")
    assert part.measure == "cider"
    again = resume(tmp_path / "part", config(folder, 2))
    assert again.final_score == whole.final_score
    files = (tmp_path / name / "checkpoints" / "last.safetensors" for name in ("whole", "part"))
    first, second = map(load_file, files)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    lines = [(tmp_path / name / "steps.jsonl").read_text() for name in ("whole", "part")]
    assert lines[0].splitlines()[3:] == lines[1].splitlines()[3:]
    kept = json.loads((tmp_path / "whole" / "captions.json").read_text())
    assert kept["images"] == 3
    assert kept["shown"][0]["references"] == ["a number 6 in grey", "Grey number 6."]
    model, _ = snnkit.checkpoints.build_model(tmp_path / "whole" / "checkpoints" / "last.safetensors")
    data = load_images(replace(whole.config.data, targets="captions"), 0)
    found = run_test(whole.config, model, data, ())
    assert found["cider"] == pytest.approx(whole.final_score)


def test_what_the_task_refuses(monkeypatch):
    with pytest.raises(InvalidArgumentError, match="writes no texts.*captioner:NAME"):
        Captioning(snnkit.create_model("timm:resnet10t", **SIZES))
    for options, said in (
        ({"beam": 0}, "task.options.beam=0"),
        ({"beam": 1.5}, "beam=1.5"),
        ({"length_penalty": -1.0}, "task.options.length_penalty=-1.0"),
        ({"label_smoothing": 2.0}, "label_smoothing=2.0"),
        ({"baem": 2}, "'baem'.*'beam'"),
    ):
        with pytest.raises(SnnkitError, match=said):
            task(**options)
    made = task()
    with pytest.raises(InvalidArgumentError, match="no captions.*scenes or coco_captions"):
        made.begin(Plan(1, 1, 2))
    with pytest.raises(InvalidArgumentError, match="model.sizes.vocabulary=6.*up to 256; set it to 257"):
        made.begin(Plan(1, 1, 2, tokens=Bytes()))
    with pytest.raises(InvalidArgumentError, match=r"takes batches \(images"):
        made.loss((torch.zeros(2, 3, 32, 32), torch.zeros(2, dtype=torch.int64)))
    monkeypatch.setitem(__import__("sys").modules, "pycocoevalcap.cider.cider", None)
    with pytest.raises(InvalidArgumentError, match=r"pip install 'snnkit\[captions\]'"):
        task()


def test_the_spikes_of_an_image_model_are_counted():
    torch.manual_seed(0)
    sizes = {"embed_dim": (8, 8, 16, 16), "depths": (1, 1, 1, 1, 1), "num_heads": 2, "timesteps": 2, "frozen": False}
    model = snnkit.create_model("captioner:meta_spikeformer_15m", **sizes, **TEXT, vocabulary=6, context=4)
    made = build_task("captioning", model, 0, {})
    made.energy = EnergyPenalty(model, weight=0.1)
    given = batch([[3, 2, 0, 0], [1, 1, 4, 2]])
    loss = made.train()(given)
    loss.backward()
    trained = made.results()
    assert trained["synaptic_operations"] > 0
    assert float(loss.detach()) > trained["loss"]
    made.eval()(given)
    tested = made.results()
    assert tested["synaptic_operations"] > 0
    assert 0 < tested["firing_rate"] < 1
    assert tested["cider"] == tested["score"]


def test_it_learns_to_say_what_it_sees():
    texts = ["a red coat is here", "two dogs run on grass", "no one is at home", "one cat sleeps a lot"]
    rows = [[*Bytes().encode(text)] for text in texts]
    made = task(vocabulary=257, context=24, beam=3, length_penalty=1.0).train()
    made.begin(Plan(1, 1, 4, tokens=Bytes()))
    given = batch([row + [0] * (24 - len(row)) for row in rows], [(text,) for text in texts])
    optimizer = torch.optim.AdamW([p for p in made.model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(300):
        loss = made(given)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if float(loss.detach()) < 0.02:
            break
    made.compute()
    made.eval()(given)
    found = made.compute()
    assert found["cider"] == pytest.approx(10.0)
    assert found["token_accuracy"] == 1.0
    other = (given[0].flip(0), given[1], given[2])  # the captions are read off the images, not known by heart
    made(other)
    assert made.compute()["cider"] < 1
