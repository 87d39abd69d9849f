"""The three losses on what encoders and heads made of views.

    MoCo   logits = [q·k, q·queue] / τ,  cross-entropy with class 0        q, k unit rows of two views
    SwAV   mean over assigned views a of mean over other views v of −Σ Q_a log softmax(s_v / τ)
    DINO   mean over teacher's views a and other views v of −Σ softmax((t_a − c) / τ_t) log softmax(s_v / τ_s)

Rows are view-major: all images in view 0, then all in view 1 … Letters: B images, V views, D width, K queue or outputs.
Sources: He et al., arXiv 1911.05722, Chen et al., arXiv 2003.04297, facebookresearch/moco@132aea9; Caron et al.,
arXiv 2006.09882, facebookresearch/swav@06b1b7c; Caron et al., arXiv 2104.14294, facebookresearch/dino@7c446df.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from torch import Tensor


def at_least_single(values: Tensor) -> Tensor:
    """Return float32 of half precision, else the values as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def uncast(values: Tensor) -> AbstractContextManager[None]:
    """Compute inside the block as the tensors are: scores divided by small temperatures need more than 8 bits."""
    return torch.autocast(values.device.type, enabled=False)


def contrast_logits(query_BD: Tensor, key_BD: Tensor, queue_DK: Tensor, temperature: float) -> Tensor:
    """Return MoCo's logits (B, 1 + K), the image's own key first; all vectors of unit length."""
    query, key = at_least_single(query_BD), at_least_single(key_BD)
    with uncast(query):
        own = (query * key).sum(1, keepdim=True)
        return torch.cat([own, query @ queue_DK.to(query.dtype)], 1) / temperature


def swapped_loss(scores_VBK: Tensor, assigned: Sequence[Tensor], temperature: float) -> Tensor:
    """Return SwAV's loss, a scalar: each of the first views' assignments is to be told from every other view.

    Args:
        scores_VBK: view-major scores with the prototypes, (V · B, K).
        assigned: Q (B, K) of the first views, in their order.
        temperature: τ.
    """
    log_p = F.log_softmax(_by_view(scores_VBK, len(assigned[0])) / temperature, dim=2)
    return _swapped(log_p, torch.stack(list(assigned)))


def centred(teacher_VBK: Tensor, centre_1K: Tensor, temperature: float) -> Tensor:
    """Return DINO's targets: softmax of the teacher's outputs without their centre, same shape; no gradients."""
    return F.softmax((teacher_VBK.detach() - centre_1K) / temperature, dim=-1)


def self_distillation_loss(student_VBK: Tensor, targets_ABK: Tensor, images: int, temperature: float) -> Tensor:
    """Return DINO's loss, a scalar.

    Args:
        student_VBK: outputs for all views, (V · B, K).
        targets_ABK: ``centred`` for the teacher's views, the first ones, (A · B, K).
        images: B.
        temperature: τ_s.
    """
    log_p = F.log_softmax(_by_view(student_VBK, images) / temperature, dim=2)
    return _swapped(log_p, _by_view(targets_ABK, images))


def _by_view(rows: Tensor, images: int) -> Tensor:
    """(V · B, K) → (V, B, K)."""
    return rows.reshape(-1, images, rows.shape[1])


def _swapped(log_p_VBK: Tensor, q_ABK: Tensor) -> Tensor:
    """Mean over pairs of different views of the cross-entropy."""
    log_p = at_least_single(log_p_VBK)
    with uncast(log_p):
        pairs_AV = -torch.einsum("abk,vbk->av", q_ABK.to(log_p.dtype), log_p) / q_ABK.shape[1]
    same = torch.eye(*pairs_AV.shape, dtype=torch.bool, device=pairs_AV.device)
    return pairs_AV.masked_fill(same, 0.0).sum() / (~same).sum()
