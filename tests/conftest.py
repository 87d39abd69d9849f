"""What all tests share."""

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of reference numbers."""
    return Path(__file__).parent / "golden"
