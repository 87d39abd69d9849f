"""What recipes on ImageNet-1K share: the folder of images, its size, the usual augmentation."""

from __future__ import annotations

from snnkit.data import DataConfig


def imagenet(batch_size: int, img_size: int = 224, **changes: object) -> DataConfig:
    """Return the data of an ImageNet run; ``data.source`` must be set to the folder with train/ and val/.

    Args:
        batch_size: images of one process.
        img_size: side in pixels.
        changes: further fields of ``DataConfig``.
    """
    config = DataConfig(
        dataset="image_folder",
        source="imagenet",
        batch_size=batch_size,
        img_size=img_size,
        workers=8,
        shift_pixels=0,
        crop_scale=0.08,
        rand_augment="rand-m9-mstd0.5-inc1",
    )
    for key, value in changes.items():
        if not hasattr(config, key):
            raise AttributeError(f"DataConfig has no field {key!r}")
        setattr(config, key, value)
    return config
