"""Which devices a command trains on."""


def chosen_devices(wanted: tuple[str, ...]) -> tuple[str | None, ...]:
    """CUDA device numbers as processes are to see them; ``(None,)`` where there is at most one.

    Raises:
        ValueError: as `check_training_device`, of any.
    """
    import os

    for device in wanted:
        check_training_device(device)
    if wanted:
        return wanted
    import torch

    count = torch.cuda.device_count()
    if count <= 1:
        return (None,)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return tuple(visible.split(",")[:count]) if visible else tuple(map(str, range(count)))


def check_training_device(device: str | None) -> None:
    """Refuse what is neither ``cpu`` nor the number, or the UUID, of a CUDA device; None is any.

    Raises:
        ValueError: another name, or a device that is not there.
    """
    if device is None or device == "cpu" or device.startswith(("GPU-", "MIG-")):
        return
    if not device.isdecimal():
        raise ValueError(f"expected `cpu` or the number of a CUDA device, such as 0, to train on, found '{device}'")
    _require_cuda(device, int(device))


def check_torch_device(device: str | None) -> None:
    """Refuse a torch device that does not exist or is not there; None is the default.

    Raises:
        ValueError: it is none of ``cpu``, ``cuda`` and ``cuda:N``, or there is no such CUDA device.
    """
    if device is None or device == "cpu":
        return
    kind, _, number = device.partition(":")
    if kind != "cuda" or not (number.isdecimal() or device == "cuda"):
        raise ValueError(f"expected `cpu`, `cuda` or `cuda:N` for --device, found '{device}'")
    _require_cuda(device, int(number or 0))


def _require_cuda(device: str, number: int) -> None:
    import torch

    count = torch.cuda.device_count()
    if number >= count:
        raise ValueError(
            f"expected one of the {count} CUDA devices that torch sees, found '{device}'; name another one, or cpu"
        )
