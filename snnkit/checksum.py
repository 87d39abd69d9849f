"""A checksum of tensors and of what describes them: tells a file that changed after it was written."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def checksum(tensors: Mapping[str, Tensor], text: str) -> str:
    """Return the SHA-256, in hexadecimal, of keys, kinds, shapes and bytes of ``tensors`` and of ``text``."""
    found = hashlib.sha256(text.encode())
    for key in sorted(tensors):
        value = tensors[key]
        found.update(f"\n{key} {value.dtype} {tuple(value.shape)}\n".encode())
        if value.numel():
            found.update(memoryview(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()))
    return found.hexdigest()
