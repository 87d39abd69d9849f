"""Reference numbers of published code: weights follow from the key names, so no weights are stored.

Every tensor is drawn by a NumPy generator seeded with the crc32 of its own key, z ~ N(0, 1) in the tensor's shape:

    …running_var      0.5 + the next uniform draw
    …running_mean     0.1·z
    …bias             0.05·z
    ≤ 1 dimension     1 + 0.1·z
    everything else   gain·z / √(product of shape[1:])

Counters, index buffers and keys with ``relative_coords`` or ``attn_mask`` are not drawn.
"""

import ast
import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parent / "golden"


class Reference:
    """One golden file: ``config``, arrays by name, and the published state dict that it was computed with.

    A file without keys has those of ``like``.
    """

    def __init__(self, name, like=None):
        self.arrays = dict(np.load(FOLDER / f"{name}.npz", allow_pickle=False))
        self.config = json.loads(str(self.arrays["config"]))
        if like is not None:
            self.shapes = like.shapes
            return
        keys, shapes = self.arrays["keys"], self.arrays["shapes"]
        keys = json.loads(str(keys)) if keys.ndim == 0 else keys.tolist()
        shapes = json.loads(str(shapes)) if shapes.ndim == 0 else shapes.tolist()
        self.shapes = {
            k: tuple(ast.literal_eval(s) if isinstance(s, str) else s) for k, s in zip(keys, shapes, strict=True)
        }

    def __getitem__(self, name):
        return torch.as_tensor(self.arrays[name])

    def __contains__(self, name):
        return name in self.arrays

    @property
    def input(self):
        """The stored input, or the one its seed stands for, float64."""
        if "input" in self.arrays:
            return self["input"].double()
        shape, seed = self.config["input_shape"], self.config.get("input_seed", 0)
        return torch.as_tensor(np.random.default_rng(seed).standard_normal(shape))

    def state(self, integers=("num_batches_tracked", "relative_position_index"), skip=("relative_coords", "attn_mask")):
        """The published state dict, float64; integer buffers are zero."""
        made = {}
        for key, shape in self.shapes.items():
            if key.endswith(integers):
                made[key] = torch.zeros(shape, dtype=torch.int64)
            elif any(part in key for part in skip):
                made[key] = torch.zeros(shape, dtype=torch.float64)
            else:
                made[key] = draw(key, shape, self.config.get("gain", 1.0))
        for key, value in (self.config.get("overrides") or {}).items():
            made[key] = torch.full_like(made[key], value)
        return made


def draw(key, shape, gain=1.0):
    """The tensor that a key and a shape stand for, float64."""
    generator = np.random.default_rng(zlib.crc32(key.encode()))
    z = generator.standard_normal(shape)
    if key.endswith("running_var"):
        values = 0.5 + generator.random(shape)
    elif key.endswith("running_mean"):
        values = 0.1 * z
    elif key.endswith("bias"):
        values = 0.05 * z
    elif len(shape) <= 1:
        values = 1.0 + 0.1 * z
    else:
        values = gain * z / math.sqrt(max(1, math.prod(shape[1:])))
    return torch.as_tensor(np.asarray(values), dtype=torch.float64).reshape(shape)


def close(actual, expected, tolerance):
    """Assert |actual − expected| ≤ tolerance · max|expected|."""
    actual, expected = torch.as_tensor(actual).double(), torch.as_tensor(expected).double()
    assert actual.shape == expected.shape, (tuple(actual.shape), tuple(expected.shape))
    error = ((actual - expected).abs().max() / expected.abs().max()).item()
    assert error <= tolerance, f"relative error {error:.3g}, allowed {tolerance:g}"
