"""Gather things from two processes: FOLDER through torchrun; writes what each computes, and what one alone does."""

import sys
from pathlib import Path

import torch
from torch import distributed

from snnkit.files import write_json
from snnkit.models import create_model
from snnkit.tasks import build_task
from snnkit.tasks.detection import Detection

SMALL = {"stem_type": "", "stem_width": 8, "channels": (8, 8, 8, 8), "fpn_channels": 8, "box_channels": 8}


def fed(numbers: list[int]) -> Detection:
    """A task that was told of some of five images, on the odd ones of which things were found beside themselves."""
    torch.manual_seed(0)
    task = build_task("detection", create_model("mask_rcnn:timm:resnet10t", num_classes=3, **SMALL), 3, {})
    assert isinstance(task, Detection)
    for number in numbers:
        box = torch.tensor([[4.0, 4.0, 20.0 + number, 20.0]])
        masks = torch.zeros(1, 32, 32, dtype=torch.bool)
        masks[0, 4:20, 4 : 20 + number] = True
        target = {"boxes": box, "labels": torch.tensor([number % 2]), "masks": masks}
        target["area"] = torch.tensor([250.0 + number])
        moved = target | {"boxes": box + 7.0 * (number % 2), "scores": torch.tensor([0.1 * number + 0.3])}
        task.note([moved], [target])
        task.losses.update(torch.tensor(float(number)))
    return task


def main() -> None:
    """Compute together, then alone."""
    folder = Path(sys.argv[1])
    alone = fed(list(range(5))).compute()
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    task = fed([0, 2, 4, 1] if rank == 0 else [3])
    together = task.compute()
    task.keep_records(folder / str(rank), 1)
    write_json(folder / f"{rank}.json", together)
    if rank == 0:
        write_json(folder / "alone.json", alone)
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
