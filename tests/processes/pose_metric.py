"""Gather key points from two processes: FOLDER through torchrun; writes what each computes, and what one alone does."""

import sys
from pathlib import Path

import torch
from torch import distributed

from snnkit.files import write_json
from snnkit.tasks.oks import KeypointAP


def fed(numbers: list[int], points: int = 3) -> KeypointAP:
    """A metric that has seen some of seven things, of which the odd ones were found beside their marks."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.cat([60 * torch.rand(7, points, 2, generator=generator), torch.full((7, points, 1), 2.0)], 2)
    found = truth[..., :2] + 6.0 * (torch.arange(7) % 2).view(-1, 1, 1)
    metric = KeypointAP(points)
    for number in numbers:
        one = slice(number, number + 1)
        targets = {"truth": truth[one], "box": torch.tensor([[0.0, 0.0, 40.0, 40.0]])}
        targets |= {"area": torch.tensor([900.0]), "image": torch.tensor([number // 2])}
        metric.update(found[one], torch.tensor([0.1 * number]), targets, torch.full((1, points), 0.05))
    return metric


def main() -> None:
    """Compute together, then alone."""
    folder = Path(sys.argv[1])
    alone = fed(list(range(7))).compute()
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    things = fed([0, 2, 4, 6, 1] if rank == 0 else [3, 5]).compute()
    half = fed([0, 1, 2] if rank == 0 else []).compute()
    for name, one in ((str(rank), things), ("alone", alone)):
        if rank == 0 or name == "1":
            ap = {str(key): value for key, value in one.ap().items()}
            write_json(folder / f"{name}.json", {"things": len(one), "ap": ap, "pck": one.pck()})
    if rank == 1:
        write_json(folder / "empty.json", {"things": len(half)})
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
