"""MoCo v2: an image's two views are to be told from a queue of other images' views.

    q = unit(head(f(view 0))),  k = unit(head̄(f̄(view 1))),  loss = cross-entropy of [q·k, q·queue] / τ with class 0

f̄, head̄ follow f, head by momentum, before a step's first batch and with the weights as they are then. Keys enter the
queue after they were compared, oldest out. Where several processes train, the key encoder sees the images in another
order, shuffled among all processes (shuffled batch norm): a query and its key share no batch statistics.

Sources: He et al., "Momentum Contrast for Unsupervised Visual Representation Learning", arXiv 1911.05722; Chen et al.,
"Improved Baselines with Momentum Contrastive Learning", arXiv 2003.04297; facebookresearch/moco@132aea9.
Letters: B images, D width, K length of the queue.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.models.image_features import features
from snnkit.tasks.contrastive.average import Follower
from snnkit.tasks.contrastive.from_views import FromViews, above_zero, multiple, share, whole
from snnkit.tasks.contrastive.heads import projection
from snnkit.tasks.contrastive.losses import at_least_single, contrast_logits
from snnkit.tasks.contrastive.processes import gathered, rank_and_world
from snnkit.tasks.firing import listening
from snnkit.tasks.noise import Noise
from snnkit.tasks.task import Plan


class MoCo(FromViews):
    """Train an encoder by momentum contrast.

    Args:
        model: the encoder.
        num_classes: not asked.
        dim: D.
        hidden: width of the head's hidden layer; 0 for the encoder's own, −1 for a linear head (version 1).
        queue: K; a multiple of the images of a batch.
        momentum: m of the key encoder.
        temperature: τ.

    Raises:
        InvalidArgumentError: a model without features, or an option outside its range.
    """

    name: ClassVar[str] = "moco"
    queue: Tensor
    pointer: Tensor

    def __init__(
        self,
        model: nn.Module,
        num_classes: int = 0,
        dim: int = 128,
        hidden: int = 0,
        queue: int = 65536,
        momentum: float = 0.999,
        temperature: float = 0.2,
    ):
        super().__init__(model, ("matched",))
        whole("dim", dim)
        whole("hidden", hidden, -1)
        whole("queue", queue)
        share("momentum", momentum)
        above_zero("temperature", temperature)
        self.momentum, self.temperature = float(momentum), float(temperature)
        self.head = projection(self.width, 0 if hidden < 0 else hidden or self.width, dim)
        self.keys = Follower(self.model, self.head)
        self.register_buffer("queue", F.normalize(torch.randn(dim, queue), dim=0))
        self.register_buffer("pointer", torch.zeros(1, dtype=torch.int64))
        self.shuffle = Noise()
        self._stepped = True  # saved states lie between steps

    def begin(self, plan: Plan) -> None:
        """Take note of the training; refuse a queue that its batches do not fill evenly, and other than two views."""
        super().begin(plan)
        if len(plan.shapes) > 2:
            raise InvalidArgumentError(
                f"data.local_crops={len(plan.shapes) - 2}: task moco compares two views; set it to 0."
            )
        multiple("queue", self.queue.shape[1], plan)
        if plan.batch < 2 and any(hasattr(module, "running_mean") for module in self.model.modules()):
            raise InvalidArgumentError(
                f"data.batch_size={plan.batch}: batch norms find no variance in one image; give at least 2."
            )

    def loss(self, batch: Any) -> Tensor:
        """Return the loss of a training batch."""
        views = self.views(batch)
        if self._stepped:
            self.keys.follow(self.model, self.head, self.momentum)
            self._stepped = False
        found_BF = features(self.model, views[0])
        query, (key, all_keys) = self._unit(self.head(found_BF)), self._keys(views[1])
        logits = self.contrast(query, key)
        self.enqueue(all_keys)
        loss = _first(logits)
        self.note(found_BF, loss, matched=_matched(logits))
        return loss

    def contrast(self, query_BD: Tensor, key_BD: Tensor) -> Tensor:
        """Return the logits (B, 1 + K) of queries with their keys and the queue as it is."""
        return contrast_logits(query_BD, key_BD, self.queue.clone(), self.temperature)

    @torch.no_grad()
    def enqueue(self, keys_ND: Tensor) -> None:
        """Put the keys of all processes in the place of the oldest."""
        start, count = int(self.pointer), len(keys_ND)
        self.queue[:, start : start + count] = keys_ND.t().to(self.queue.dtype)
        self.pointer.fill_((start + count) % self.queue.shape[1])

    @torch.no_grad()
    def _keys(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the keys of this process's images, and of all processes' in the order of the big batch."""
        rank, world = rank_and_world()
        if world == 1:
            keys = self._key(images)
            return keys, keys
        everything = gathered(images)
        generator = np.random.default_rng((int(self.shuffle.seed), 3, int(self.shuffle.drawn)))
        self.shuffle.drawn += 1
        order = torch.from_numpy(generator.permutation(len(everything))).to(images.device)
        shuffled = gathered(self._key(everything[order[rank::world]]))
        keys = torch.empty_like(shuffled)
        keys[order] = shuffled
        return keys[rank::world], keys

    def _key(self, images: Tensor) -> Tensor:
        return self._unit(self.keys.head(features(self.keys.model, images)))

    @staticmethod
    def _unit(rows: Tensor) -> Tensor:
        return F.normalize(at_least_single(rows), dim=1)

    @torch.no_grad()
    def evaluate(self, batch: Any) -> None:
        """Feed loss, share of matched images, spread of features and firing rate with a test batch."""
        views = self.views(batch)
        self.keep_pictures(views)
        with listening(self.metrics.neurons) as rates:
            found_BF = features(self.model, views[0])
        logits = self.contrast(self._unit(self.head(found_BF)), self._key(views[1]))
        self.tell(found_BF, _first(logits), rates, matched=_matched(logits))

    def after_step(self) -> None:
        """Count the step; the key encoder follows before the next."""
        super().after_step()
        self._stepped = True


def _first(logits: Tensor) -> Tensor:
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64, device=logits.device))


def _matched(logits: Tensor) -> Tensor:
    """The share of images whose own key is nearer than all of the queue."""
    return (logits.argmax(1) == 0).float().mean()
