"""MoCo v2, SwAV and DINO against the numbers of the published code, each at the tolerance its file states.

Would break it: keys pushed into the queue before they are compared, a key encoder that follows the weights after the
step, views compared with themselves, assignments with gradients or of another number of images, a centre that moves
before the loss, another shape of a schedule.
"""

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from parity import close, draw
from support.golden import Golden
from torch import nn

from snnkit.tasks import DINO, MoCo, SwAV
from snnkit.tasks.contrastive.heads import DinoHead
from snnkit.tasks.contrastive.losses import centred, self_distillation_loss, swapped_loss
from snnkit.tasks.contrastive.schedules import straight, warmup_cosine
from snnkit.tasks.contrastive.sinkhorn import SINKHORN
from snnkit.tasks.task import Plan


class Vectors(nn.Module):
    """An encoder of images (B, D, 1, 1) that stand for vectors; by default it leaves them as they are."""

    def __init__(self, width, body=None):
        super().__init__()
        self.body, self.num_features = body or nn.Identity(), width

    def forward_features(self, images):
        return self.body(images.flatten(1))

    def forward_head(self, x, pre_logits=False):
        return x


def as_images(rows):
    return rows[:, :, None, None]


class Body(nn.Sequential):
    """Linear, tanh."""

    def __init__(self, width):
        super().__init__(nn.Linear(width, width), nn.Tanh())


def test_moco_task():
    """Several steps: the key encoder follows first, the queue comes last."""
    golden = Golden("moco_v2_loss")
    config = golden.config
    width = golden["in_xq_0"].shape[1]
    task = MoCo(
        Vectors(width, Body(width)),
        dim=config["dim"],
        hidden=golden["in_w/encoder_q.fc.0.weight"].shape[0],
        queue=config["K"],
        momentum=config["m"],
        temperature=config["T"],
    ).double()
    sides = (("encoder_q", task.model, task.head), ("encoder_k", task.keys.model, task.keys.head))
    for side, model, head in sides:
        pairs = (("body", model.body[0]), ("fc.0", head[0]), ("fc.2", head[2]))
        for name, layer in pairs:
            layer.load_state_dict({key: golden[f"in_w/{side}.{name}.{key}"] for key in ("weight", "bias")})
    task.queue.copy_(golden["in_queue"])
    optimizer = torch.optim.SGD([p for p in task.parameters() if p.requires_grad], **config["sgd"])
    logits = []
    contrast = task.contrast
    task.contrast = lambda *rows: logits.append(contrast(*rows)) or logits[-1]
    for step in range(golden.count("in_xq_")):
        loss = task.train()(([as_images(golden[f"in_xq_{step}"]), as_images(golden[f"in_xk_{step}"])], None))
        close(logits[-1].detach(), golden[f"out_logits_{step}"], golden.rtol)
        close(loss.detach(), golden[f"out_loss_{step}"], golden.rtol)
        close(task.queue, golden[f"out_queue_{step}"], golden.rtol)
        assert torch.equal(task.pointer, golden[f"out_ptr_{step}"].view(1))
        optimizer.zero_grad()
        loss.backward()
        task.before_step()
        optimizer.step()
        task.after_step()
        close(task.keys.head[2].weight, golden[f"out_k_fc2_weight_{step}"], golden.rtol)
        close(task.head[2].weight.detach(), golden[f"out_q_fc2_weight_{step}"], golden.rtol)


@pytest.mark.parametrize("form", SINKHORN)
@pytest.mark.parametrize("case", ["noqueue", "queue"])
def test_swav_task(swav, form, case):
    """The task's own step, its queue's turn included."""
    config = swav.config
    prototypes = swav["in_prototypes"]
    task = SwAV(
        Vectors(config["feat_dim"]),
        dim=config["feat_dim"],
        hidden=0,
        prototypes=len(prototypes),
        temperature=config["temperature"],
        epsilon=config["epsilon"],
        iterations=config["sinkhorn_iterations"],
        sinkhorn=form,
        queue=swav["in_queue"].shape[1] if case == "queue" else 0,
        queue_from=0,
    ).double()
    task.prototypes.weight.data = prototypes.clone()
    if case == "queue":
        task.queue.copy_(swav["in_queue"])
        task.filled.fill_(task.queue.shape[1])
    z = swav[f"in_z_{case}"].requires_grad_()
    loss = task.train().swap(F.normalize(z, dim=1), z, config["batch"])
    loss.backward()
    close(loss, swav[f"out_loss_{case}"], swav.rtol)
    close(z.grad, swav[f"out_grad_z_{case}"], swav.rtol)
    close(task.prototypes.weight.grad, swav[f"out_grad_prototypes_{case}"], swav.rtol)
    if case == "queue":
        close(task.queue, swav["out_queue"], swav.rtol)


def test_dino_task():
    """The task's own loss, temperature and centre."""
    golden = Golden("dino_loss")
    config = golden.config
    task = DINO(
        Vectors(4),
        out_dim=config["out_dim"],
        hidden=4,
        bottleneck=4,
        student_temperature=config["student_temp"],
        teacher_temperature=config["teacher_temp"],
        warmup_teacher_temperature=config["warmup_teacher_temp"],
        warmup_teacher_epochs=config["warmup_teacher_temp_epochs"],
        centre_momentum=config["center_momentum"],
    ).double()
    task.plan = Plan(config["nepochs"], steps_per_epoch=3, batch=config["batch"])
    for call in range(golden.count("in_student_")):
        task.steps.fill_(3 * int(golden[f"in_epoch_{call}"]) + 2)
        student = golden[f"in_student_{call}"].requires_grad_()
        loss, _ = task.distil(student, golden[f"in_teacher_{call}"], config["batch"])
        loss.backward()
        close(loss, golden[f"out_loss_{call}"], golden.rtol)
        close(student.grad, golden[f"out_grad_student_{call}"], golden.rtol)
        close(task.centre, golden[f"out_center_{call}"], golden.rtol)


@pytest.fixture(scope="module")
def swav():
    return Golden("swav_loss")


@pytest.mark.parametrize("form", SINKHORN)
@pytest.mark.parametrize("case", ["noqueue", "queue"])
def test_swav(swav, form, case):
    config = swav.config
    images, assigned = config["batch"], config["crops_for_assign"]
    z = swav[f"in_z_{case}"].requires_grad_()
    prototypes = swav["in_prototypes"].requires_grad_()
    scores = F.normalize(z, dim=1) @ prototypes.t()
    close(scores, swav[f"out_scores_{case}"], swav.rtol)
    found = []
    for number, crop in enumerate(assigned):
        own = scores[crop * images : (crop + 1) * images].detach()
        if case == "queue":
            own = torch.cat([swav["in_queue"][number] @ prototypes.detach().t(), own])
        found.append(SINKHORN[form](own, config["epsilon"], config["sinkhorn_iterations"])[-images:])
    close(found[-1], swav[f"out_q_last_crop_{case}"], swav.rtol)
    loss = swapped_loss(scores, found, config["temperature"])
    loss.backward()
    close(loss, swav[f"out_loss_{case}"], swav.rtol)
    close(z.grad, swav[f"out_grad_z_{case}"], swav.rtol)
    close(prototypes.grad, swav[f"out_grad_prototypes_{case}"], swav.rtol)
    alone = SINKHORN[form](scores[:images].detach(), config["epsilon"], config["sinkhorn_iterations"])
    close(alone, swav[f"out_q_crop0_noqueue_{case}"], swav.rtol)


@pytest.fixture(scope="module")
def dino():
    return Golden("dino_loss")


def test_dino_loss(dino):
    config = dino.config
    centre = torch.zeros(1, config["out_dim"], dtype=torch.float64)
    for call in range(dino.count("in_student_")):
        student, teacher = dino[f"in_student_{call}"].requires_grad_(), dino[f"in_teacher_{call}"]
        temperature = straight(
            int(dino[f"in_epoch_{call}"]),
            config["warmup_teacher_temp_epochs"],
            config["warmup_teacher_temp"],
            config["teacher_temp"],
        )
        targets = centred(teacher, centre, temperature)
        loss = self_distillation_loss(student, targets, config["batch"], config["student_temp"])
        loss.backward()
        close(loss, dino[f"out_loss_{call}"], dino.rtol)
        close(student.grad, dino[f"out_grad_student_{call}"], dino.rtol)
        centre = centre * config["center_momentum"] + teacher.mean(0, keepdim=True) * (1 - config["center_momentum"])
        close(centre, dino[f"out_center_{call}"], dino.rtol)


def test_dino_schedules(dino):
    config = dino.config
    found = [
        straight(e, config["warmup_teacher_temp_epochs"], config["warmup_teacher_temp"], config["teacher_temp"])
        for e in range(config["nepochs"])
    ]
    close(np.array(found), dino["out_teacher_temp_schedule"], dino.rtol)
    per_epoch = int(re.search(r"niter=(\d+)", dino.how)[1])
    warmup = int(re.search(r"warmup_epochs=(\d+)", dino.how)[1]) * per_epoch
    rates = dino["out_lr_schedule"]
    found = [warmup_cosine(s, len(rates), float(rates.max()), 1e-6, warmup) for s in range(len(rates))]
    close(np.array(found), rates, dino.rtol)
    for name, final in (("wd", 0.4), ("momentum", 1.0)):
        expected = dino[f"out_{name}_schedule"]
        found = [warmup_cosine(s, len(expected), float(expected[0]), final) for s in range(len(expected))]
        close(np.array(found), expected, dino.rtol)


def test_dino_head(dino):
    given = dino.config["head"]
    head = DinoHead(
        given["in_dim"], dino["out_head"].shape[1], given["hidden"], given["bottleneck"], given["nlayers"]
    ).double()
    state = {key: draw(key, value.shape) for key, value in head.state_dict().items() if key != "last_layer.weight_g"}
    report = head.load_state_dict(state, strict=False)
    assert report.missing_keys == ["last_layer.weight_g"]
    assert (head.last_layer.weight_g == 1).all()
    close(head(dino["in_head_x"]), dino["out_head"], dino.rtol)
