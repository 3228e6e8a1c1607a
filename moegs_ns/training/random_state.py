"""The process-wide random generators: captured for checkpoints, kept undisturbed by evaluation."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def capture_random_state() -> dict[str, Any]:
    """State of the global generators of torch (CPU, and CUDA once it is in use), numpy and python.

    Returns:
        Tensors and plain numbers only, so that a checkpoint holding it loads with ``weights_only=True``.
    """
    python_version, python_words, python_gauss = random.getstate()
    name, numpy_words, position, has_gauss, cached_gaussian = np.random.get_state()  # noqa: NPY002  the point is numpy's global generator
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": {
            "version": python_version,
            "words": torch.tensor(python_words, dtype=torch.int64),
            "gauss": python_gauss,
        },
        "numpy": {
            "algorithm": str(name),
            "words": torch.from_numpy(np.asarray(numpy_words, dtype=np.int64)),
            "position": int(position),
            "has_gauss": int(has_gauss),
            "cached_gaussian": float(cached_gaussian),
        },
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore_random_state(state: dict[str, Any]) -> None:
    """Put the global generators back to ``state`` (as `capture_random_state` returned it).

    CUDA generators are restored for as many devices as both the state and this machine have.
    """
    torch.set_rng_state(state["torch"].cpu())
    python = state["python"]
    random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
    numpy = state["numpy"]
    words = numpy["words"].numpy().astype(np.uint32)
    np.random.set_state(  # noqa: NPY002  as above
        (
            numpy["algorithm"],
            words,
            numpy["position"],
            numpy["has_gauss"],
            numpy["cached_gaussian"],
        )
    )
    if "cuda" in state and torch.cuda.is_available():
        for device, cuda_state in enumerate(state["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(cuda_state.cpu(), device)


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """Whatever runs inside leaves the global generators as it found them."""
    state = capture_random_state()
    try:
        yield
    finally:
        restore_random_state(state)
