"""Reference numbers of published code, from ``tests/golden``."""

import json

import numpy as np
import torch
from parity import FOLDER


class Golden:
    """A file: ``config``, ``how``, ``rtol``, and arrays by name."""

    def __init__(self, name):
        self.arrays = dict(np.load(FOLDER / f"{name}.npz", allow_pickle=False))
        self.about = json.loads(str(self.arrays["json"]))
        self.config, self.how, self.rtol = self.about["config"], self.about.get("how"), self.about["rtol"]

    def __getitem__(self, name):
        return torch.as_tensor(self.arrays[name])

    def count(self, start):
        return sum(name.startswith(start) for name in self.arrays)
