"""Benchmarks against named peers, run by ``snnkit bench`` and stored as JSON.

Each is one file with a ``run(repeats) -> list of rows`` (see ``row.py``). To add one: the file, and its line below.
"""

BENCHMARKS: dict[str, str] = {
    "lif": "multi-step LIF against SpikingJelly, snnTorch and torch.compile",
    "meta_spikeformer": "Meta-SpikeFormer 15m against the same network with SpikingJelly's neurons",
    "events": "event-driven linear and convolution layers against torch's dense ones",
    "swin_v2": "Swin Transformer V2 against timm's, and the memory of training it at high resolution",
    "transformer": "SpikingJelly's Spikformer, imported, against the original and torch.compile of it",
    "optim": "AdamW with 8-bit states against torch and bitsandbytes",
    "uniformer": "UniFormer and MOAT deployed, against themselves as built",
    "memory": "peak memory of training that transformer with and without a plan, against the original",
    "data": "batches of image folders and of arrays against torchvision's data sets under torch's loader",
}
