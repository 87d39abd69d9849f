"""Captioning: a text decoder learns the captions of images token by token, and is tested by what it writes.

    loss = − mean over tokens of log p(tₙ | image, t₁ … t₍ₙ₋₁₎)        the caption's own tokens before (teacher forcing)

The end of a caption is a token; what pads behind it is not counted. Tests write captions by beam search and compare
them with all references of the image (``tasks.caption_scores``); their loss is that of its first caption.

Letters: B images, L tokens, V vocabulary.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanMetric

from snnkit.errors import InvalidArgumentError
from snnkit.files import write_json
from snnkit.layers.memory_order import channels_innermost
from snnkit.layers.text_decoder import END, as_targets
from snnkit.models.beam_search import check_search
from snnkit.models.captioner import Captioner
from snnkit.tasks.caption_scores import Captioned, check_library, scores
from snnkit.tasks.classification import channels_last
from snnkit.tasks.contrastive.processes import in_turn
from snnkit.tasks.distillation import soft_loss
from snnkit.tasks.drawing import with_words
from snnkit.tasks.firing import firing_neurons, listening
from snnkit.tasks.pictures import write_rows
from snnkit.tasks.tap import Tap
from snnkit.tasks.task import Plan, Tokens
from snnkit.tasks.teaching import Taught

RECORDS = "captions.json"
_SHOWN = 24
_IGNORED = -100


class Captioning(Taught):
    """Train ``captioner:NAME`` on batches (images (B, C, H, W), tokens (B, L), a list of B tuples of references).

    Args:
        model: the captioner.
        num_classes: not asked.
        label_smoothing: share of probability spread over all tokens in the training loss.
        beam: captions that are written at once in tests; 1 is greedy search.
        length_penalty: captions are ranked by Σ log p / n^this; 0 favours short ones, 1 takes the mean.

    Raises:
        InvalidArgumentError: another kind of model, an option outside its range, or no library of the scores.
    """

    name: ClassVar[str] = "captioning"
    measure: ClassVar[str] = "cider"
    takes: ClassVar[str] = "captions"
    model: Captioner

    def __init__(
        self,
        model: nn.Module,
        num_classes: int = 0,
        label_smoothing: float = 0.0,
        beam: int = 1,
        length_penalty: float = 0.0,
    ):
        super().__init__()
        if not isinstance(model, Captioner):
            raise InvalidArgumentError(
                f"task captioning: {getattr(model, 'model_name', type(model).__name__)} writes no texts; call it "
                "model.name=captioner:NAME, NAME an image model."
            )
        try:
            check_search(beam, length_penalty)
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"task.options.{error}") from None
        check_library()
        self.model, self.num_classes = channels_innermost(model), num_classes  # type: ignore[assignment]
        self.label_smoothing, self.beam, self.length_penalty = label_smoothing, beam, length_penalty
        self.losses, self.hits, self.rate = MeanMetric(), MeanMetric(), MeanMetric()
        self._tokens: Tokens | None = None
        self._neurons = firing_neurons(model.backbone)
        self._written: list[Captioned] = []
        self._seen: list[Tensor] = []
        """The first test images, of each process its own."""
        self._shown: list[Tensor] = []
        self._tested: tuple[list[Captioned], list[float], dict[str, float]] | None = None

    def begin(self, plan: Plan) -> None:
        """Take note of the data's tokens; refuse data without texts, or with more tokens than the model has."""
        if plan.tokens is None:
            raise InvalidArgumentError(
                "task captioning: the data have no captions. Take data.dataset=scenes or coco_captions."
            )
        if plan.tokens.vocabulary > self.model.vocabulary:
            raise InvalidArgumentError(
                f"model.sizes.vocabulary={self.model.vocabulary}: the data's tokens go up to "
                f"{plan.tokens.vocabulary - 1}; set it to {plan.tokens.vocabulary}."
            )
        self._tokens = plan.tokens

    def loss(self, batch: Any) -> Tensor:
        """Return the loss of a training batch."""
        images, tokens, _ = _parts(batch)
        tokens = shortened(tokens)
        with self.studying() as seen:
            logits = self.model(channels_last(images), tokens)
        loss = self._cross_entropy(logits, tokens, self.label_smoothing)
        return self.taught(loss, batch, logits, seen)

    def check_teacher(self, teacher: nn.Module, temperature: float) -> None:
        """Refuse what writes no texts, or with other tokens, or fewer."""
        if not isinstance(teacher, Captioner):
            raise InvalidArgumentError(
                f"task.options.teacher, a {type(teacher).__name__}, writes no texts; give a run of captioning."
            )
        for name in ("vocabulary", "context"):
            mine, theirs = getattr(self.model, name), getattr(teacher, name)
            if theirs < mine or (name == "vocabulary" and theirs != mine):
                raise InvalidArgumentError(
                    f"task.options.teacher has model.sizes.{name}={theirs}, the student {mine}; train it on these data."
                )

    def ask(self, teacher: nn.Module, batch: Any, seen: Tap) -> Tensor:
        """Return the teacher's logits (B, L, V) of the batch's captions."""
        images, tokens, _ = _parts(batch)
        logits: Tensor = teacher(channels_last(images), shortened(tokens))
        return logits

    def teacher_loss(self, batch: Any, said: Tensor, answer: Tensor, temperature: float) -> Tensor:
        """Return τ²·KL of the next tokens, the mean over the captions' own."""
        known = as_targets(shortened(batch[1]), _IGNORED) != _IGNORED
        return soft_loss(said[known].float(), answer[known].float(), temperature)

    def _cross_entropy(self, logits: Tensor, tokens: Tensor, smoothing: float) -> Tensor:
        targets, flat = as_targets(tokens, _IGNORED).flatten(), logits.float().flatten(0, 1)
        loss = F.cross_entropy(flat, targets, ignore_index=_IGNORED, label_smoothing=smoothing)
        self._note(loss, flat, targets)
        return loss

    @torch.compiler.disable  # counting branches on values; the network and its loss are one graph without it
    def _note(self, loss: Tensor, logits: Tensor, targets: Tensor) -> None:
        known = targets != _IGNORED
        self.losses.update(loss.detach(), known.sum())
        self.hits.update((logits.detach().argmax(1) == targets)[known].float())

    @torch.no_grad()
    def evaluate(self, batch: Any) -> None:
        """Feed the metrics with a test batch, and write captions of its images."""
        images, tokens, references = _parts(batch)
        with listening(self._neurons) as rates:
            seen = self.model.forward_images(channels_last(images))
        if rates:
            self.rate.update(torch.stack(rates).mean(), len(images))
        tokens = shortened(tokens)
        self._cross_entropy(self.model.forward_texts(seen, tokens), tokens, 0.0)
        found = self.model.write(seen, self.beam, self.length_penalty)
        self._written += [
            Captioned(self._text(row), tuple(own)) for row, own in zip(found.tokens.tolist(), references, strict=True)
        ]
        if images.ndim == 4 and (missing := _SHOWN - len(self._seen)) > 0:
            self._seen += list(images[:missing].cpu())

    def _text(self, row: list[int]) -> str:
        """The text of tokens; without a tokenizer, their numbers."""
        kept = [token for token in row if token]
        return " ".join(map(str, kept)) if self._tokens is None else self._tokens.decode(kept)

    def compute(self) -> dict[str, float]:
        """Return loss, token accuracy and, after ``evaluate``, the scores of captions (CIDEr-D is the score).

        After training, which writes none, the score is minus the loss. ``firing_rate`` is that of the image model.
        """
        loss = float(self.losses.compute())
        result = {"loss": loss, "score": -loss, "token_accuracy": float(self.hits.compute())}
        written = in_turn(self._written)
        if written:
            of_all, each = scores(written)
            result |= of_all | {"score": of_all["cider"]}
            self._tested = written, each, of_all
            self._shown = in_turn(self._seen)[:_SHOWN]
        if self.rate.update_called:
            result["firing_rate"] = float(self.rate.compute())
        for metric in (self.losses, self.hits, self.rate):
            metric.reset()
        self._written, self._seen = [], []
        return result

    @torch.no_grad()
    def predict(self, image: Tensor, size: tuple[int, int]) -> dict[str, Any]:
        """Return ``caption``, as a test would write it."""
        found = self.model.write(self.model.forward_images(channels_last(image)), self.beam, self.length_penalty)
        return {"caption": self._text(found.tokens[0].tolist())}

    def draw(self, picture: Tensor, found: dict[str, Any]) -> Tensor:
        """Return the picture above its caption."""
        return with_words(picture, found["caption"])

    def keep_records(self, folder: Path, epoch: int) -> None:
        """Write captions.json: the scores of the last test, and its first captions beside their references.

        Beside it predictions.png: the images of these captions, where all are of one size.
        """
        if self._tested is None:
            return
        written, each, of_all = self._tested
        shown = [
            {"caption": one.caption, "references": list(one.references), "cider": round(score, 4)}
            for one, score in zip(written[:_SHOWN], each, strict=False)
        ]
        search = {"beam": self.beam, "length_penalty": self.length_penalty, "words": "lower case, without marks"}
        found = {"epoch": epoch, "images": len(written), "scores": of_all, **search, "shown": shown}
        write_json(folder / RECORDS, found)
        if self._shown and len({image.shape for image in self._shown}) == 1:
            write_rows(folder / "predictions.png", [torch.stack(self._shown)])


def shortened(tokens_BL: Tensor) -> Tensor:
    """Return a batch of texts without what pads all of them, but for a last end; compiled networks get all of it."""
    if torch.compiler.is_compiling():
        return tokens_BL  # each length would be compiled anew
    return tokens_BL[:, : int((tokens_BL != END).sum(1).max()) + 1]


def _parts(batch: Any) -> tuple[Tensor, Tensor, Any]:
    """Images, tokens and references of a batch.

    Raises:
        InvalidArgumentError: it has none.
    """
    if not isinstance(batch, (tuple, list)) or len(batch) != 3 or batch[1].ndim != 2 or batch[1].is_floating_point():
        raise InvalidArgumentError(
            "task captioning takes batches (images (B, C, H, W), tokens (B, L), references); give data with captions."
        )
    return batch[0], batch[1], batch[2]
