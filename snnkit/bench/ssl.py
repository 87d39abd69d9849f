"""Masked pre-training: a step that visits visible tokens only against one that encodes all, and the published step.

ViT-B/16 at 224 pixels with the published decoder (8 blocks of 512), four images, float32, forward and backward. "all
tokens" is the same autoencoder whose encoder gets every patch, hidden or not. "published" is the step of MAE's released
code written from timm's parts: the same weights, the same loss. Bytes are those of tensors kept for the backward,
without parameters.
ConvMAE and the spiking autoencoders have convolutions, which stay dense: their rows have no bar.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from snnkit.bench.harness import compare
from snnkit.bench.row import figure, rows
from snnkit.layers.masked import Masking, mask_from_noise, patchify
from snnkit.models import create_model
from snnkit.models.masked import MaskedAutoencoder

_BAR, _RATIO, _BATCH = 0.45, 0.75, 4
_OTHERS = {
    "ConvMAE, small": ("mae:convvit_base", {"embed_dim": (64, 96, 192), "depths": (1, 1, 6), "num_heads": 6}),
    "Spikformer V2 masked, small, T = 1": ("spikformer_v2_mae_8_384", {"embed_dim": 96, "depth": 4, "num_heads": 6}),
}
_SMALL_DECODER = {"decoder_dim": 64, "decoder_depth": 1, "decoder_heads": 4, "mask_ratio": _RATIO}


def run(repeats: int) -> list[dict[str, Any]]:
    """Measure; needs timm."""
    torch.manual_seed(0)
    model: Any = create_model("mae:timm:vit_base_patch16_224", mask_ratio=_RATIO)
    found = _against_all("MAE, ViT-B/16, 75 % hidden, step", model, 224, repeats, bar=True)
    found += _published(model, repeats)
    for case, (name, sizes) in _OTHERS.items():
        other: Any = create_model(name, **sizes, **_SMALL_DECODER)
        found += _against_all(f"{case}, 75 % hidden, step", other, 224, repeats, bar=False)
    return found


class _AllTokens(nn.Module):
    """The same step with every patch encoded: what a masked one saves is the difference."""

    def __init__(self, model: MaskedAutoencoder):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, noise: Tensor) -> Tensor:
        model = self.model
        masking = mask_from_noise(noise, model.mask_ratio)
        everything = torch.arange(model.cells).expand(len(images), -1)
        seen = Masking(everything, everything, torch.zeros_like(masking.removed))
        painted = model.decoder(*model.encode(images, seen))
        error = (painted - patchify(images, model.patch_size)).square().mean(2)
        return (error * masking.removed).sum() / masking.removed.sum()


def _against_all(case: str, model: Any, side: int, repeats: int, bar: bool) -> list[dict[str, Any]]:
    images, noise = torch.randn(_BATCH, 3, side, side), torch.rand(_BATCH, model.cells)
    every = _AllTokens(model)
    steps = {"all tokens": lambda: every(images, noise), "visible tokens": lambda: model(images, noise).loss}
    timings = compare({name: _step(step, model) for name, step in steps.items()}, repeats)
    found = rows(case, timings, "all tokens")
    share = timings["visible tokens"].min_ms / timings["all tokens"].min_ms
    kept = {name: _kept_bytes(step, model) for name, step in steps.items()}
    if bar:
        found.append(figure(case, "time of the masked step", round(share, 3), "of the full step", _BAR))
        encoders = {
            "all tokens": lambda: _encoded(model, images, torch.zeros(_BATCH, 0, dtype=torch.int64)),
            "visible tokens": lambda: _encoded(model, images, mask_from_noise(noise, _RATIO).visible),
        }
        alone = compare({name: _step(step, model) for name, step in encoders.items()}, repeats)
        share = alone["visible tokens"].min_ms / alone["all tokens"].min_ms
        found.append(figure(case, "time of the encoder alone", round(share, 3), "of the full encoder", _BAR))
    for name, size in kept.items():
        found.append({"case": case, "variant": f"{name}: kept for backward", "value": size >> 20, "unit": "MiB"})
    return found


def _encoded(model: Any, images: Tensor, visible: Tensor) -> Tensor:
    """The mean square of latents, of all patches where none is named."""
    if not visible.shape[1]:
        visible = torch.arange(model.cells).expand(len(images), -1)
    masking = Masking(visible, visible, torch.zeros(len(images), model.cells))
    return model.encode(images, masking)[0].square().mean()


def _step(step: Callable[[], Tensor], model: nn.Module) -> Callable[[], None]:
    def run_once() -> None:
        model.zero_grad(set_to_none=True)
        step().backward()

    return run_once


def _kept_bytes(step: Callable[[], Tensor], model: nn.Module) -> int:
    """Bytes of the tensors that a forward keeps, but for parameters."""
    seen: dict[int, int] = {}
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = step()
    del loss
    return sum(seen.values())


class _Published(nn.Module):
    """The shape of the released MAE's step, from timm's blocks."""

    def __init__(self, own: Any):
        super().__init__()
        from timm.models.vision_transformer import Block

        encoder = own.encoder
        self.patch_embed, self.blocks, self.norm = encoder.patch_embed, encoder.blocks, encoder.norm
        self.cls_token, self.pos_embed = encoder.cls_token, encoder.pos_embed
        width = own.decoder.embed.out_features
        self.embed, self.mask_token, self.positions = own.decoder.embed, own.decoder.mask_token, own.decoder.positions
        heads = own.decoder.blocks[0].attention.heads
        norm = partial(nn.LayerNorm, eps=1e-6)
        self.decoder_blocks = nn.ModuleList(
            Block(width, heads, qkv_bias=True, norm_layer=norm) for _ in own.decoder.blocks
        )
        for theirs, ours in zip(self.decoder_blocks, own.decoder.blocks, strict=True):
            pairs = ((theirs.attn.qkv, ours.attention.qkv), (theirs.attn.proj, ours.proj), (theirs.norm1, ours.norm1))
            pairs += ((theirs.norm2, ours.norm2), (theirs.mlp.fc1, ours.mlp.fc1), (theirs.mlp.fc2, ours.mlp.fc2))
            for a, b in pairs:
                a.load_state_dict(b.state_dict())
        self.decoder_norm, self.pred, self.patch = own.decoder.norm, own.decoder.pred, own.patch_size

    def forward(self, images: Tensor, noise: Tensor) -> Tensor:
        x = self.patch_embed(images) + self.pos_embed[:, 1:]
        length, width = x.shape[1:]
        kept = int(length * (1 - _RATIO))
        shuffle = noise.argsort(1)
        restore = shuffle.argsort(1)
        x = torch.gather(x, 1, shuffle[:, :kept].unsqueeze(-1).repeat(1, 1, width))
        mask = torch.ones_like(noise)
        mask[:, :kept] = 0
        mask = torch.gather(mask, 1, restore)
        x = torch.cat(((self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1), x), 1)
        for block in self.blocks:
            x = block(x)
        x = self.embed(self.norm(x))
        filled = torch.cat([x[:, 1:], self.mask_token.repeat(len(x), length - kept, 1)], 1)
        filled = torch.gather(filled, 1, restore.unsqueeze(-1).repeat(1, 1, x.shape[2]))
        x = torch.cat([x[:, :1], filled], 1) + self.positions
        for block in self.decoder_blocks:
            x = block(x)
        painted = self.pred(self.decoder_norm(x))[:, 1:]
        target = patchify(images, self.patch)
        target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6) ** 0.5
        error = ((painted - target) ** 2).mean(-1)
        return (error * mask).sum() / mask.sum()


def _published(model: Any, repeats: int) -> list[dict[str, Any]]:
    case = "MAE, ViT-B/16, against the published step"
    images, noise = torch.randn(_BATCH, 3, 224, 224), torch.rand(_BATCH, model.cells)
    peer = _Published(model)
    steps = {"published": lambda: peer(images, noise), "snnkit": lambda: model(images, noise).loss}
    both = nn.ModuleList([model, peer])
    timings = compare({name: _step(step, both) for name, step in steps.items()}, repeats)
    found = rows(case, timings, "published", {"snnkit": 0.95})
    with torch.no_grad():
        difference = abs(float(steps["published"]()) - float(steps["snnkit"]()))
    found.append(figure(case, "difference of the losses", difference, "absolute", 1e-5))
    return found
