"""Make the vendored subset of Fashion-MNIST from Debian's package ``dataset-fashion-mnist``.

    apt-get install dataset-fashion-mnist
    python scripts/make_fashion_mnist_subset.py

Takes, with seed 0, 400 training and 100 test images of each of the ten classes, shuffled, as uint8.
"""

from pathlib import Path

import numpy as np

from snnkit.data.fashion_mnist import DEBIAN_FOLDER, VENDORED, read_folder
from snnkit.files import atomic_path


def balanced(labels: np.ndarray, per_class: int, rng: np.random.Generator) -> np.ndarray:
    """Return shuffled indices with ``per_class`` of every class."""
    chosen = [rng.choice(np.flatnonzero(labels == k), per_class, replace=False) for k in range(10)]
    return rng.permutation(np.concatenate(chosen))


def main() -> None:
    """Write the archive beside the package's data module."""
    full = read_folder(Path(DEBIAN_FOLDER))
    rng = np.random.default_rng(0)
    train, test = balanced(full.y_train, 400, rng), balanced(full.y_test, 100, rng)
    with atomic_path(VENDORED) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(
            file,
            x_train=full.x_train[train],
            y_train=full.y_train[train],
            x_test=full.x_test[test],
            y_test=full.y_test[test],
        )
    print(f"wrote {VENDORED.name}: {len(train)} + {len(test)} images, {VENDORED.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
