"""Overloads of ATen that have no place in a graph, each with the reason and the way out."""

from __future__ import annotations

_RANDOM = "draws random numbers, which a graph does not; draw them outside and give them as an input"
_RECURRENT = "is a recurrent layer of torch that holds a whole sequence; write it as one step, or use snnkit.neurons"
_BATCH = "takes statistics from the batch and so mixes samples; use it in eval mode with stored statistics"

REFUSED: dict[str, str] = {
    **dict.fromkeys(
        (
            "aten.rand.default",
            "aten.randn.default",
            "aten.rand_like.default",
            "aten.randn_like.default",
            "aten.randint.low",
            "aten.randperm.default",
            "aten.bernoulli.default",
            "aten.bernoulli.p",
            "aten.bernoulli_.float",
            "aten.normal.float_float",
            "aten.poisson.default",
            "aten.multinomial.default",
            "aten.uniform_.default",
            "aten.normal_.default",
        ),
        _RANDOM,
    ),
    **dict.fromkeys(("aten.lstm.input", "aten.gru.input", "aten.rnn_tanh.input", "aten.rnn_relu.input"), _RECURRENT),
    "aten.cudnn_batch_norm.default": _BATCH,
    "aten.native_batch_norm.default": _BATCH,
    "aten.cross_entropy_loss.default": "holds a loss; capture the model without it",
    "aten.nll_loss_nd.default": "holds a loss; capture the model without it",
    "aten.mse_loss.default": "holds a loss; capture the model without it",
    **dict.fromkeys(
        ("aten.arange.default", "aten.arange.start", "aten.arange.start_step", "aten.eye.m", "aten.linspace.default"),
        "numbers the samples of the batch, so that one depends on its place among the others",
    ),
    "aten.meshgrid.indexing": "makes a grid from the input; grids of fixed sizes are folded into constants",
    "aten.one_hot.default": "makes whole numbers of classes; compare with torch.arange(classes) instead",
    "aten.broadcast_tensors.default": "brings tensors to one shape without need; operators broadcast by themselves",
    "aten.nonzero.default": "has a result whose size depends on the data",
    "aten.masked_select.default": "has a result whose size depends on the data; multiply with the mask instead",
    **dict.fromkeys(
        ("aten._unique2.default", "aten.unique_dim.default", "aten.unique_consecutive.default"),
        "has a result whose size depends on the data",
    ),
    "aten.topk.default": "picks the largest values; use argsort and gather, whose order a graph can say",
    "aten.sort.default": "sorts values; use argsort and gather",
    "aten.fft_fft2.default": "is a Fourier transform over complex numbers",
    "aten.fft_rfft2.default": "is a Fourier transform over complex numbers",
    "aten.fft_irfft2.default": "is a Fourier transform over complex numbers",
    "aten.item.default": "turns a value into a number of Python, which depends on the data",
}
