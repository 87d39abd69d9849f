"""Train an image tower and a text tower on pairs, in batches that no memory bounds.

A step's batch is all ``optim.accumulate`` · ``data.batch_size`` · processes pairs: the parts that come one by one are
compared together, exactly as one batch (``two_pass``); where there is one part, it is one pass. Tests tell the loss
within test batches, how many images find their text among all and the reverse (recall@k), and, where the data have
classes and prompts for them, zero-shot accuracy.

Source: Pham et al., "Combined Scaling for Zero-shot Transfer Learning", arXiv 2111.10050.
Letters: B pairs, L tokens, D width of features, K classes, M prompts of a class.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torchmetrics import MeanMetric

from snnkit.errors import InvalidArgumentError, unknown_name
from snnkit.layers.memory_order import channels_innermost
from snnkit.models.two_towers import LARGEST_SCALE, TwoTowers
from snnkit.tasks.classification import channels_last
from snnkit.tasks.firing import firing_neurons, listening
from snnkit.tasks.pairs import records
from snnkit.tasks.pairs.coupling import batch_norms, check_norms
from snnkit.tasks.pairs.finding import Finding, class_weights
from snnkit.tasks.pairs.kept import KeptRows
from snnkit.tasks.pairs.losses import CHUNK, LOSSES, Exchange, contrastive_loss, pull
from snnkit.tasks.pairs.predicted import over_batches
from snnkit.tasks.pairs.two_pass import TwoPass
from snnkit.tasks.task import Plan, StepBatches, Task, Tokens

FROZEN = ("", "image", "text")
_TOGETHER = 256
"""Test pairs that are told apart from each other."""


class Look(NamedTuple):
    """A part of a batch in the first pass, and the step that its features are told to.

    They are not returned: wrappers for precision round what a forward returns, float64 to float32 among it.
    """

    images: Tensor
    tokens: Tensor
    step: TwoPass


class PullBack(NamedTuple):
    """A part of a batch in the second pass, and the step that it belongs to."""

    images: Tensor
    tokens: Tensor
    step: TwoPass


class Pairs(Task):
    """Train two towers by contrast.

    Args:
        model: ``basic:NAME``.
        num_classes: not asked.
        loss: "clip" or "siglip"; the latter needs a model with a bias (``model.sizes.bias=-10``).
        freeze: a tower that is not trained: "image", "text" or "".
        batch_norm: what is done with batch norms where a batch comes in parts: "refuse", "frozen" (statistics as they
            were stored: exact), or "each" (of each part: not the batch's, said).
        local_loss: each process computes the rows of its own images; else all of them the whole matrix.
        gather_gradient: texts' gradients are exchanged; false goes with local_loss=false only.
        reread: parts are read anew for the second pass, instead of being kept in memory.
        chunk: numbers of the B × B matrix in memory at once.

    Raises:
        InvalidArgumentError: another kind of model, a loss whose bias the model lacks, or options that are not exact.
        UnknownNameError: no such loss, tower or choice.
    """

    name: ClassVar[str] = "pairs"
    measure: ClassVar[str] = "loss"
    labels: ClassVar[bool] = False
    in_parts: ClassVar[bool] = True
    model: TwoTowers

    def __init__(
        self,
        model: nn.Module,
        num_classes: int = 0,
        loss: str = "clip",
        freeze: str = "",
        batch_norm: str = "refuse",
        local_loss: bool = True,
        gather_gradient: bool = True,
        reread: bool = False,
        chunk: int = CHUNK,
    ):
        super().__init__()
        if not isinstance(model, TwoTowers):
            raise InvalidArgumentError(
                f"task pairs: {getattr(model, 'model_name', type(model).__name__)} has one tower; call it "
                "model.name=basic:NAME, NAME an image classifier."
            )
        if loss not in LOSSES:
            raise unknown_name("value of task.options.loss", loss, LOSSES)
        if freeze not in FROZEN:
            raise unknown_name("value of task.options.freeze", freeze, FROZEN[1:])
        if chunk < 1:
            raise InvalidArgumentError(f"task.options.chunk={chunk}: must be ≥ 1.")
        if (loss == "siglip") != (model.logit_bias is not None):
            wants = (
                "needs a bias: set model.sizes.bias=-10"
                if loss == "siglip"
                else "has no bias: leave out model.sizes.bias"
            )
            raise InvalidArgumentError(f"task.options.loss={loss}: {wants}.")
        check_norms(model, batch_norm, 1)
        self.model = channels_innermost(model)  # type: ignore[assignment]
        self.kind, self.freeze, self.batch_norm, self.reread, self.chunk = loss, freeze, batch_norm, reread, chunk
        self.exchange = Exchange(local_loss, gather_gradient)
        self.exchange.check()
        for parameter in self._frozen_parameters():
            parameter.requires_grad_(False)
        self.mean_loss, self.rate = MeanMetric(), MeanMetric()
        self.neurons = firing_neurons(model.encoder)
        self.finding = Finding(records.PICTURES)
        self._prompts: Tensor | None = None
        self._classes: tuple[str, ...] = ()
        self._tokens: Tokens | None = None
        self._said, self._untold = set[str](), list[str]()
        self._plan: Plan | None = None
        self._part: tuple[tuple[int, ...], int] | None = None
        self._norm = 0.0

    def _frozen_parameters(self) -> Iterator[nn.Parameter]:
        tower = self._frozen
        return iter(()) if tower is None else tower.parameters()

    @property
    def _frozen(self) -> nn.Module | None:
        return {"image": self.model.encoder, "text": self.model.text}.get(self.freeze)

    def train(self, mode: bool = True) -> Pairs:
        """Enter a mode; a frozen tower, and frozen norms, stay as in tests."""
        super().train(mode)
        if self._frozen is not None:
            self._frozen.eval()
        if self.batch_norm == "frozen":
            for norm in batch_norms(self.model).values():
                norm.eval()
        return self

    def begin(self, plan: Plan) -> None:
        """Take note of the training; refuse batch norms whose batch would be another than the loss's."""
        if plan.tokens is None:
            raise InvalidArgumentError(
                "task pairs: the data have no texts. Take data.dataset=pair_shards, captioned_folder or "
                "captioned_fashion_mnist."
            )
        if plan.repeats > 1:
            raise InvalidArgumentError(
                f"data.repeats={plan.repeats}: copies of a pair in one batch would be told apart; set it to 1."
            )
        if self.energy is not None:
            raise InvalidArgumentError(
                "task.energy: a step of task pairs runs its images twice, which would be counted twice; leave it out, "
                "and count the image tower when it is trained: compiler.count(model.encoder, …)."
            )
        parts = plan.accumulate * plan.processes
        self.train()
        check_norms(self.model, self.batch_norm, parts)
        if self.batch_norm == "each" and parts > 1 and any(n.training for n in batch_norms(self.model).values()):
            self._tell(
                "each",
                f"batch norms take the statistics of each of the {parts} parts of a batch "
                "(task.options.batch_norm=each): steps are not exactly those of the whole batch.",
            )
        if plan.tokens.vocabulary > self.model.text.vocabulary:
            raise InvalidArgumentError(
                f"model.sizes.vocabulary={self.model.text.vocabulary}: the data's tokens go up to "
                f"{plan.tokens.vocabulary - 1}; set it to {plan.tokens.vocabulary}."
            )
        if plan.precision in ("bf16-true", "16-true"):
            self._tell(
                "temperature",
                f"the temperature is a single number in {plan.precision.partition('-')[0]}, and changes below its last "
                "digit are lost: it may stay where it is; runtime.precision=bf16-mixed keeps it in float32.",
            )
        self._prompts, self._classes, self._tokens = plan.prompts, plan.classes, plan.tokens
        self._plan = plan

    def parts(self, batches: StepBatches, forward: Callable[[Any], Any]) -> Iterator[Any]:
        """Yield what the engine runs in a step: a batch as it is, or the parts of one in the second pass."""
        if batches.size == 1:
            yield from batches  # processes exchange features with their gradients: one pass does
            return
        step = TwoPass(self.model, self.kind, self.exchange, self.chunk)
        kept = []
        with self._keeping() as rows:
            for batch in batches:
                images, tokens = _pair(batch)
                self._part = tuple(images.shape), tokens.shape[1]
                with torch.no_grad():
                    forward(Look(images, tokens, step))
                kept += [] if self.reread else [(images, tokens)]
            step.compare()
            rows.again = True
            again = (_pair(batch) for batch in batches.again()) if self.reread else iter(kept)
            for images, tokens in again:
                yield PullBack(images, tokens, step)
        if not step.exact:
            self._tell(
                "replay",
                f"the towers gave other features in the second pass (by {step.differs:.1%}): they keep a state between "
                "calls, or draw numbers of their own, so that gradients are not those of the loss.",
            )

    @contextmanager
    def _keeping(self) -> Iterator[KeptRows]:
        """Run a frozen tower once a step inside the block: what it gives in the first pass is kept for the second."""
        rows = KeptRows(self.model, self.freeze)
        self.model.recall = rows if self.freeze else None
        try:
            yield rows
        finally:
            self.model.recall = None

    def forward(self, batch: Any) -> Any:
        """Have a part looked at in the first pass; else do what every task does."""
        if isinstance(batch, Look):
            batch.step.look(channels_last(batch.images), batch.tokens)
            return None
        return super().forward(batch)

    def loss(self, batch: Any) -> Tensor:
        """Return the loss of a batch, or what a part of one pulls back."""
        if isinstance(batch, PullBack):
            self.mean_loss.update(batch.step.loss, len(batch.images))
            # The engine takes the mean of a step's parts; the shares of these add up.
            return batch.step.pull_back(channels_last(batch.images), batch.tokens) * batch.step.parts
        images, tokens = _pair(batch)
        self._part = tuple(images.shape), tokens.shape[1]
        f, g = self.model(channels_last(images), tokens)
        found = contrastive_loss(
            f, g, self.model.scale(), self.model.bias(), loss=self.kind, exchange=self.exchange, chunk=self.chunk
        )
        self.mean_loss.update(found.detach(), len(images))
        return found

    @torch.no_grad()
    def evaluate(self, batch: Any) -> None:
        """Feed the metrics with a test batch (images, tokens), and labels where there are any (−1 for none)."""
        images, tokens = _pair(batch)
        with listening(self.neurons) as rates:
            f, g = self.model(channels_last(images), tokens)
        if rates:
            self.rate.update(torch.stack(rates).mean(), len(images))
        self.finding.add(f, g, images, tokens, batch[2] if len(batch) > 2 else None)

    @torch.no_grad()
    def compute(self) -> dict[str, float]:
        """Return the metrics since the last call and start anew: loss, score (= −loss), and after tests more.

        ``image_recall_1``, ``_5``, ``_10`` say how many images find their text within so many of all, ``text_recall``
        the reverse, each only where there are more to choose from; ``accuracy`` how many images the prompts put into
        their class; ``firing_rate`` of the image tower.
        The loss of a test is that of ``_TOGETHER`` pairs at a time, or a few less, in the order of the test.
        """
        loss = float(self.mean_loss.compute()) if self.mean_loss.update_called else math.nan
        result = {"loss": loss, "score": -loss}
        if self.finding.rows:
            weights = None if self._prompts is None else self.class_weights(self._prompts)
            result |= self.finding.compute(weights)
            loss = self._tested_loss()
            result |= {"loss": loss, "score": -loss}
        if self.rate.update_called:
            result["firing_rate"] = float(self.rate.compute())
        for metric in (self.mean_loss, self.rate):
            metric.reset()
        return result

    def _tested_loss(self) -> float:
        """Return the loss of all test pairs, whatever batches and processes they came in."""
        found = self.finding.last
        assert found is not None
        bias = self.model.bias()
        scale, bias = self.model.scale().detach().float().cpu(), None if bias is None else bias.detach().float().cpu()
        pieces = -(-len(found.images) // _TOGETHER)
        total = 0.0
        for f, g in zip(found.images.tensor_split(pieces), found.texts.tensor_split(pieces), strict=True):
            one = pull(f, g, scale, bias, loss=self.kind, gradients=False, chunk=self.chunk, shared=False)
            total += float(one.loss) * len(f)
        return total / len(found.images)

    @torch.no_grad()
    def class_weights(self, prompts_KML: Tensor) -> Tensor:
        """Return what images are compared with for zero-shot classification, unit rows (K, D): a mean over prompts."""
        device = self.model.logit_scale.device
        return class_weights(self.model, prompts_KML.to(device))

    def step_values(self) -> dict[str, float]:
        """Return scale and gradient norm of the last step, for the run's record."""
        return {"scale": float(self.model.scale().detach()), "gradient_norm": self._norm}

    def before_step(self) -> None:
        """Take note of the gradient's norm."""
        self._norm = gradient_norm(self.parameters())

    def keep_records(self, folder: Path, epoch: int) -> None:
        """Write similarities, examples of retrieval and the zero-shot confusion into pairs.json, with pictures."""
        if self.finding.last is not None:
            records.keep(folder, epoch, self.finding.last, self._text, self._classes)
        self._keep_memory(folder)

    def _keep_memory(self, folder: Path) -> None:
        """Predict, once, what a step of each batch takes; not of shards, whose parts other processes hold."""
        sharded = any(isinstance(p, DTensor) for p in self.model.parameters())
        if self._part is None or self._plan is None or sharded or (folder / records.MEMORY).exists():
            return
        images, tokens = self._part
        found = over_batches(self.model.train(), images, tokens, self._plan.accumulate, self.chunk, not self.reread)
        records.keep_memory(folder, found)

    def _text(self, number: int) -> str:
        found = self.finding.last
        return "" if found is None or self._tokens is None else self._tokens.decode(found.tokens[number].tolist())

    def alone(self, batch: Any) -> Any:
        """Return the pairs of a part, without the step that it belongs to."""
        return batch[:2] if isinstance(batch, PullBack) else batch

    def _tell(self, key: str, text: str) -> None:
        if key not in self._said:
            self._said.add(key)
            self._untold.append(text)

    def remarks(self) -> list[str]:
        """Return what was noticed, each thing once."""
        found, self._untold = self._untold, []
        return found

    def after_step(self) -> None:
        """Hold the scale at its bound."""
        with torch.no_grad():
            self.model.logit_scale.clamp_(max=math.log(LARGEST_SCALE))


def _pair(batch: Any) -> tuple[Tensor, Tensor]:
    """Images and tokens of a batch.

    Raises:
        InvalidArgumentError: it has none.
    """
    if not isinstance(batch, (tuple, list)) or len(batch) < 2 or batch[1].ndim != 2 or batch[1].is_floating_point():
        raise InvalidArgumentError("task pairs takes batches (images (B, C, H, W), tokens (B, L), …); give pairs.")
    return batch[0], batch[1]


def gradient_norm(parameters: Iterator[nn.Parameter]) -> float:
    """Return the norm of all gradients together; of shards, of the whole."""
    squares = [p.grad.detach().float().square().sum() for p in parameters if p.grad is not None]
    whole = [one.full_tensor() if isinstance(one, DTensor) else one for one in squares]
    return math.sqrt(float(torch.stack(whole).sum())) if whole else 0.0
