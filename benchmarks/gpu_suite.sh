#!/usr/bin/env bash
# Everything that only a CUDA machine can tell, in ten minutes, from the repository alone:
#
#   benchmarks/gpu_suite.sh [FOLDER]          run; results go to FOLDER, default outputs/gpu_suite
#   benchmarks/gpu_suite.sh --plan            list the steps and their time limits, run nothing
#
# Each step has its own time limit, its log FOLDER/<step>.log and a line in FOLDER/results.txt; a step that fails does
# not stop the others, one whose tool is not installed is skipped. Exit status: 0 none failed; 1 some did; 2 there is no
# GPU, or the call is wrong.
#
# Needs torch with CUDA, nvcc, g++ and pytest. What else is missing is installed from WHEELS into an environment inside
# FOLDER (benchmarks/gpu_suite_wheels.txt says what to carry). Variables:
#   PYTHON     interpreter that has torch; default: .venv/bin/python where there is one, else python3
#   WHEELS     folder of wheels to install; default: wheels in the repository's root, nothing where it is empty
#   LIMIT      seconds for everything; default 600. Steps still to come when it is reached count as failed
#   BENCHMARK  benchmark to run, with its options; --output FOLDER/benchmark.json is appended
set -uo pipefail

CALLED_FROM="$PWD"
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$ROOT" || exit 2

if [[ -z "${PYTHON:-}" ]]; then
    PYTHON=python3
    [[ -x .venv/bin/python ]] && PYTHON="$ROOT/.venv/bin/python"
fi
WHEELS="${WHEELS:-$ROOT/wheels}"
LIMIT="${LIMIT:-600}"
BENCHMARK="${BENCHMARK:-benchmarks/expert_passes.py --rounds 5}"
NOT_INSTALLED=77  # exit status of a step whose tool is not installed

# --- the steps: name, limit in seconds, what it does ---------------------------------------------------------------

STEPS=(
    "environment|90|install carried wheels and this repository"
    "kernels|60|compile the project's own kernels, for the CPU and, with nvcc, for this GPU"
    "gsplat|400|compile gsplat's kernels"
    "tests|150|every test marked cuda"
    "sanitizer|90|compute-sanitizer, where it is installed, over the project's kernels in hard and fuzzed scenes"
    "golden|60|write golden files of gsplat's outputs and compare the CPU backends with them"
    "benchmark|120|the benchmark of rendering several experts, with charts"
    "training|150|train two experts and a router on examples/mixed, briefly"
)

step_environment() {
    if ! compgen -G "$WHEELS/*.whl" >/dev/null; then
        echo "no wheels in $WHEELS: taking $PYTHON as it is"
        return 0
    fi
    "$PYTHON" -m venv --system-site-packages "$OUT/environment" || return
    # The image's interpreter may itself be an environment, whose packages --system-site-packages does not reach.
    "$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
        >"$("$OUT/environment/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/image.pth" || return
    local pip=("$OUT/environment/bin/python" -m pip install -q --no-index --no-deps --no-compile)
    "${pip[@]}" "$WHEELS"/*.whl || return
    # Editable, so that no CPU kernels are compiled for a wheel; whatever Python the image has.
    "${pip[@]}" --no-build-isolation --ignore-requires-python -e .
}

step_kernels() {
    "$PYTHON" - <<'END'
import torch
from pathlib import Path

from moegs_ns.paths import resource_dir
from moegs_ns.splats import native_backend

print("CPU:", native_backend.build_info())
if not any(resource_dir("cuda").glob("*.cu")):
    print("no CUDA kernels of our own in this version")
else:
    from moegs_ns.splats.mixture_build import ensure_mixture_library

    major, minor = torch.cuda.get_device_capability()
    print("CUDA:", ensure_mixture_library(f"sm_{major}{minor}"))
END
}

step_gsplat() {
    "$PYTHON" - <<'END'
import gsplat
from gsplat.cuda._backend import _C

assert _C is not None, "gsplat found no CUDA toolkit to compile with"
print("gsplat", gsplat.__version__)
END
}

step_tests() {
    local files
    mapfile -t files < <(grep -rlE --include='test_*.py' 'mark\.cuda' tests | sort)
    echo "files: ${files[*]}"
    "$PYTHON" -m pytest -m cuda -p no:cacheprovider --durations=10 --junitxml "$OUT/tests.xml" "${files[@]}" || return
    # A run that skips everything proves nothing.
    "$PYTHON" - "$OUT/tests.xml" <<'END'
import sys
import xml.etree.ElementTree as ET

suite = ET.parse(sys.argv[1]).getroot().find("testsuite")
ran = int(suite.get("tests")) - int(suite.get("skipped"))
print(f"{ran} tests ran")
sys.exit(0 if ran else "expected tests marked cuda to run, found all skipped")
END
}

step_sanitizer() {
    local sanitizer tool
    if ! sanitizer="$(command -v compute-sanitizer || command -v "${CUDA_HOME:-/usr/local/cuda}/bin/compute-sanitizer")"; then
        echo "no compute-sanitizer on the path or beside nvcc"
        return "$NOT_INSTALLED"
    fi
    for tool in memcheck racecheck; do
        # Without torch's cache each array is an allocation of its own, so that reading past its end is noticed.
        PYTORCH_NO_CUDA_MEMORY_CACHING=1 "$sanitizer" --tool "$tool" --error-exitcode 1 "$PYTHON" - <<'END' || return
import torch

from moegs_ns.splats.mixture_library import mixture_library
from tests.splats.mixture_cases import all_cases, draw, fuzzed_case

library = mixture_library(torch.device("cuda"))
cases = [*all_cases(), *map(fuzzed_case, range(100, 125))]
for case in cases:
    draw(library, case.to("cuda"))
torch.cuda.synchronize()
print(len(cases), "scenes drawn")
END
    done
}

step_golden() {
    "$PYTHON" benchmarks/golden_files.py --output "$OUT/golden" || return
    tar -czf "$OUT/golden.tar.gz" -C "$OUT" golden
    MOEGS_GOLDEN_DIR="$OUT/golden" "$PYTHON" -m pytest -p no:cacheprovider tests/splats/test_golden.py -k gsplats_own
}

step_benchmark() {
    local command
    read -ra command <<<"$BENCHMARK"
    "$PYTHON" "${command[@]}" --output "$OUT/benchmark.json"
}

step_training() {
    "$PYTHON" -c 'from moegs_ns.cli.main import main; main()' train examples/mixed --experts stg 4dgaussians --preset tests/training/tiny.toml \
        --output-dir "$OUT/training"
}

# --- running them ----------------------------------------------------------------------------------------------------

plan() {
    local entry name limit what
    printf '%-12s %6s  %s\n' step limit "what it does"
    for entry in "${STEPS[@]}"; do
        IFS='|' read -r name limit what <<<"$entry"
        printf '%-12s %5ss  %s\n' "$name" "$limit" "$what"
    done
    echo "at most ${LIMIT} s in all"
}

# run NAME LIMIT: one step in a shell of its own, ended with everything it started when its time is over
run() {
    local name="$1" limit="$2" start=$SECONDS status reason
    if ((LIMIT - SECONDS < limit)); then limit=$((LIMIT - SECONDS)); fi
    if ((limit <= 0)); then
        record FAILED "$name" "not begun: the ${LIMIT} s for everything are over"
        return 1
    fi
    export -f "step_$name"
    timeout --kill-after=10 "$limit" bash -o pipefail -c "step_$name" >"$OUT/$name.log" 2>&1
    status=$?
    if ((status == 0)); then
        record passed "$name" "$((SECONDS - start)) s"
        return 0
    fi
    if ((status == NOT_INSTALLED)); then
        record skipped "$name" "$(tail -n 1 "$OUT/$name.log")"
        return 0
    fi
    reason="exit status $status"
    if ((status == 124 || status == 137)); then reason="stopped after $limit s"; fi
    record FAILED "$name" "$reason, see $name.log"
    tail -n 15 "$OUT/$name.log" | sed 's/^/    /'
    return 1
}

record() {
    printf '%-7s %-12s %s\n' "$@" | tee -a "$OUT/results.txt"
}

device() {
    "$PYTHON" - <<'END'
import sys

import torch

if not torch.cuda.is_available():
    sys.exit(f"torch {torch.__version__} of {sys.executable} sees none")
free, total = torch.cuda.mem_get_info()
major, minor = torch.cuda.get_device_capability()
print(f"{torch.cuda.get_device_name()}, {total / 2**30:.0f} GiB, compute capability {major}.{minor}; ", end="")
print(f"torch {torch.__version__}, CUDA {torch.version.cuda}, Python {sys.version.split()[0]}")
END
}

main() {
    local found entry name limit failed=0
    if ! found="$(device 2>&1)"; then
        echo "expected an NVIDIA GPU, found none: ${found##*$'\n'}; run this on a CUDA machine (PYTHON names the" \
            "interpreter that has torch), or see --plan for what it would do" >&2
        exit 2
    fi
    mkdir -p "$OUT"
    OUT="$(cd "$OUT" && pwd)"
    {
        echo "device: $found"
        echo "source: $(git describe --always --dirty=', with local changes' 2>/dev/null || echo unknown)"
        echo "date:   $(date -u +%Y-%m-%dT%H:%MZ)"
    } | tee "$OUT/results.txt"
    export OUT ROOT PYTHON WHEELS BENCHMARK NOT_INSTALLED
    export PYTHONPATH="$ROOT" PYTHONUNBUFFERED=1 MPLBACKEND=Agg
    # Without these gsplat compiles for every kind of GPU, ten files at a time.
    export MAX_JOBS="${MAX_JOBS:-$(nproc)}"
    TORCH_CUDA_ARCH_LIST="${TORCH_CUDA_ARCH_LIST:-$("$PYTHON" -c 'import torch; print("{}.{}".format(*torch.cuda.get_device_capability()))')}"
    export TORCH_CUDA_ARCH_LIST
    for entry in "${STEPS[@]}"; do
        IFS='|' read -r name limit _ <<<"$entry"
        run "$name" "$limit" || failed=$((failed + 1))
        if [[ $name == environment && -x "$OUT/environment/bin/python" ]]; then
            PYTHON="$OUT/environment/bin/python"
        fi
    done
    if ((failed)); then
        echo "$failed of ${#STEPS[@]} steps failed, ${SECONDS} s" | tee -a "$OUT/results.txt"
        exit 1
    fi
    echo "none of ${#STEPS[@]} steps failed, ${SECONDS} s" | tee -a "$OUT/results.txt"
}

case "${1:-}" in
    --plan) plan ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" ;;
    -*)
        echo "expected a folder for the results, or --plan, found '$1'" >&2
        exit 2
        ;;
    *)
        OUT="${1:-$ROOT/outputs/gpu_suite}"
        [[ $OUT == /* ]] || OUT="$CALLED_FROM/$OUT"
        main
        ;;
esac
