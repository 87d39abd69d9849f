"""Looking an HDF5 file through before anybody reads it: all its data lie in the file itself, and fit into memory.

HDF5 can take data from other files, named in the file by its author: through external links, virtual data sets and
raw external storage. A data set can also claim any size, with nothing stored. NIR files need none of that.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from snnkit.archives import BAD_ARCHIVE, check_size, first_line
from snnkit.errors import CorruptFileError, NonFiniteError

# What a network learns; constants of neurons are checked where they are used.
_WEIGHTS = ("weight", "bias", "scale")


def check_hdf5(path: str | Path) -> None:
    """Look through the groups and data sets of a file; data are read once it is known that all lie in it.

    Raises:
        CorruptFileError: it is damaged, leads to other files or into itself, or claims more than it may.
        NonFiniteError: weights are NaN (names them).
    """
    import h5py  # a second of its own, for those who read such files

    claimed, seen, numbers = 0, set(), []
    try:
        with h5py.File(path, "r") as file:
            waiting: list[Any] = [file["/"]]
            while waiting:
                group = waiting.pop()
                for name in group:
                    where = f"{group.name.rstrip('/')}/{name}"
                    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                        raise CorruptFileError(f"{path}: {where} is a link to elsewhere, which is not followed.")
                    found = group[name]
                    address = h5py.h5o.get_info(found.id).addr
                    if address in seen:
                        raise CorruptFileError(f"{path}: {where} is there twice, or holds itself.")
                    seen.add(address)
                    if isinstance(found, h5py.Group):
                        waiting.append(found)
                    elif isinstance(found, h5py.Dataset):
                        if found.is_virtual or found.external:
                            raise CorruptFileError(f"{path}: data of {where} lie in other files, which are not read.")
                        claimed += (found.size or 0) * found.dtype.itemsize
                        if found.dtype.kind == "f" and name in _WEIGHTS:
                            numbers.append(found.name)
            check_size(path, claimed)
            _check_numbers(path, file, numbers)
    except (CorruptFileError, NonFiniteError):
        raise
    except BAD_ARCHIVE as error:
        raise CorruptFileError(f"{path} is damaged, or no HDF5 file: {first_line(error)}.") from None


def _check_numbers(path: str | Path, file: Any, names: list[str]) -> None:
    for name in names:
        count = int(np.isnan(file[name][()]).sum())
        if count:
            raise NonFiniteError(
                f"{path}: {name} holds NaN ({count} of {file[name].size} values): the network is damaged, or its "
                "training diverged."
            )
