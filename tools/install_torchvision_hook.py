"""Installs the torchvision import hook into the environment this runs in, only if ``import torchvision`` fails there.

Run it with the environment's own Python: ``python tools/install_torchvision_hook.py``.
"""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

_HOOK = Path(__file__).resolve().with_name("torchvision_cpu_hook.py")
_MODULE = "_torchvision_cpu_hook"


def torchvision_import_error() -> str | None:
    """Last line of what ``import torchvision`` says in a fresh interpreter; None when it works."""
    outcome = subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True, text=True, check=False)
    if outcome.returncode == 0:
        return None
    lines = outcome.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit status {outcome.returncode}"


def main() -> None:
    error = torchvision_import_error()
    if error is None:
        sys.stdout.write("torchvision imports; no hook needed\n")
        return
    site_packages = Path(sysconfig.get_paths()["purelib"])
    shutil.copyfile(_HOOK, site_packages / f"{_MODULE}.py")
    # Python runs the import lines of .pth files at start-up.
    (site_packages / f"{_MODULE}.pth").write_text(f"import {_MODULE}\n", encoding="utf-8")
    remaining = torchvision_import_error()
    if remaining is not None:
        raise SystemExit(
            f"'import torchvision' failed ({error}) and still fails with the import hook in {site_packages} "
            f"({remaining}); install a torchvision build that matches the installed torch"
        )
    sys.stdout.write(f"torchvision did not import ({error}); import hook installed\n")


if __name__ == "__main__":
    main()
