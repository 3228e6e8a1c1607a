"""Which devices a command trains on."""


def chosen_devices(wanted: tuple[str, ...]) -> tuple[str | None, ...]:
    """CUDA device numbers as processes are to see them; ``(None,)`` where there is at most one."""
    import os

    if wanted:
        return wanted
    import torch

    count = torch.cuda.device_count()
    if count <= 1:
        return (None,)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return tuple(visible.split(",")[:count]) if visible else tuple(map(str, range(count)))
