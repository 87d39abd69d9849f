"""A spiking transformer on three kinds of chips: masks as AND gates, products on the chip, products on the host."""

import torch

import compiler
import snnkit

torch.manual_seed(0)
images = torch.rand(16, 3, 32, 32)


def lively(model):
    """Let batch norms see some data, so that untrained neurons fire; train for real with `snnkit train`."""
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.uniform_(module.bias, 0.0, 1.0)
    for _ in range(30):
        model.train()(images)
    return model.eval()


sizes = {"num_classes": 10, "img_size": 32, "timesteps": 2, "embed_dim": 32, "num_heads": 4}
masks = lively(snnkit.create_model("sdt_v1_8_384", in_chans=3, depth=1, **sizes))  # SDSA-1: q ⊙ LIF(Σ k ⊙ v)
products = lively(snnkit.create_model("spikformer_cifar_2_384", in_chans=3, **sizes))  # SSA: q·(kᵀv)

for line in compiler.check(products, "loihi1", images[:1]):
    print("loihi1 lacks:", line)

CASES = {
    "masks as AND gates, its pools of real numbers on the host": (masks, "loihi1", "auto"),
    "products in the chip's multipliers": (products, "mesh:width=20,height=20", ()),
    "products left to the host": (products, "mesh:width=20,height=20,products=0", "auto"),
}
for title, (model, chip, host) in CASES.items():
    program = compiler.compile(model, images[:1], chip=chip, host=host, headroom=128)
    trace = program.simulate(images[:4])
    equality = program.verify(images[:4], trace)
    kinds: dict[str, int] = {}
    for placed in program.mapping.lowered.placed:
        kinds[placed.kind] = kinds.get(placed.kind, 0) + placed.population.size
    print(f"\n{title}: {chip}, {len(program.mapping.cores)} cores")
    print("  " + ", ".join(f"{count:,} in {kind}s" for kind, count in kinds.items()))
    print("  " + ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in trace.counters.items() if count))
    print(f"  {equality.text}")
    assert equality.mismatches == equality.membrane_mismatches == 0
    assert equality.spikes > 0
