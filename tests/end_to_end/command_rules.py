"""How documented commands are made small enough to be run by a test, and which are not run: every rule, in one place.

Commands run in a copy of the checkout (`command_driver.py`), in the order of the pages, each on what those before it
left. What is not named here runs as it is written.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

#: Commands, by how they begin, that are not run, and why.
NOT_RUN = {
    "make env": "makes the environment this runs in; .ci/run calls it in a clean clone",
    "make lint": "no feature of the package; .ci/run calls it",
    "make test": "runs the tests this is one of",
    "make test-all": "runs the tests this is one of",
    "make docs": "tests/packaging/test_docs_site.py builds the site",
    "pip install": "changes the environment; tests/packaging/test_wheel.py installs the package into one of its own",
    "export": "sets what the two commands behind it need",
    "nerfbaselines": "is no requirement; tests/packaging/test_nerfbaselines.py uses it where it is installed",
    "source": "changes the shell it is typed into",
    "moegs data download coffee_martini": "fetches gigabytes; tests/preparation/test_download.py serves a release",
    "moegs data prepare data/n3v/sear_steak": "needs what the download before it fetches",
    "moegs bench paper_table_1 --scenes sear_steak": "needs what the download before it fetches",
    "moegs bench paper_table_1 --cluster slurm": "needs a cluster; tests/benching/test_cluster.py imitates one",
    "python benchmarks/preparation.py": "takes minutes; tests/end_to_end/test_preparation_benchmark.py calls its parts",
    "python benchmarks/data_check.py": "breaks and checks scenes for an hour; tests/checking holds the same faults",
    "python benchmarks/distillation_options.py": "trains many students; test_distillation_options.py calls its parts",
    "python benchmarks/faults.py": "kills trainings for a quarter of an hour; test_faults_page.py calls its parts",
    "python benchmarks/load.py": "trains tiny scenes for a long time; tests/load measures the same, shorter",
    "python benchmarks/training_costs.py": "reads the runs of whole suites, which take hours",
}

#: Benchmarks read and write their results here: those in the copy are of real runs and no business of tiny ones.
_OWN_RESULTS = ("--results", "tiny_results")

#: Words put behind commands that begin so; of an option given twice the last counts.
APPENDED = {
    "python benchmarks/run_suite.py": _OWN_RESULTS,
    "python benchmarks/equal_budget.py": _OWN_RESULTS,
    "python benchmarks/run_sweep.py": _OWN_RESULTS,
    "python benchmarks/fusion.py": (
        *_OWN_RESULTS,
        "--finetune-steps",
        "4",
        "--frame-stride",
        "8",
        "--camera-stride",
        "8",
    ),
    "python benchmarks/distillation.py": (*_OWN_RESULTS, "--students", "stg", "--variants", "weighted"),
    "python benchmarks/pruning_curves.py": (
        *_OWN_RESULTS,
        *("--ratios", "0.5", "--criteria", "opacity", "--finetune-steps", "2", "--view-stride", "20"),
    ),
    "moegs data prepare": ("--seeds", "triangulated", "--features", "1500"),
    "python benchmarks/training_step.py": (
        *("--gaussians", "300", "--raster-gaussians", "300", "--repetitions", "1", "--threads", "1"),
    ),
    "python benchmarks/step_profile.py": (
        *("--experts", "stg", "--gaussians", "300", "--rounds", "1", "--threads", "1", "--downscale", "8"),
    ),
    "python benchmarks/raster_speed.py": ("--rounds", "1", "--threads", "1", "--no-twin"),
    "python benchmarks/expert_passes.py": (
        *("--rounds", "1", "--threads", "1", "--gaussians", "300", "--images", "32", "24", "--experts", "1", "2"),
        *("--no-twin",),
    ),
    "python benchmarks/projection_share.py": ("--rounds", "1", "--threads", "1", "--gaussians", "300"),
}

#: Numbers of options in commands, whatever command they stand in.
REPLACED = {"--finetune-steps": "4"}

#: Presets that in the copy are tests/training/tiny.toml; `ns-train METHOD` gets the same options, and rigs its
#: downscale. A preset that only varies another one keeps its words, with these numbers instead of its own.
TINY_PRESETS = ("demo", "quick")
LAYER_NUMBERS = {"plus": {"steps": 40, "experts_learn_from": 20}}

#: In the copy, suites and sweeps are of these experts and one seed.
SUITE_EXPERTS = ("stg", "4dgaussians")

#: Commands that a page takes for granted, without a line of their own beside the one that needs them.
TAKEN_FOR_GRANTED = {
    "python benchmarks/fusion.py": ("python", "benchmarks/run_suite.py", "mixed_demo", *_OWN_RESULTS),
}

#: Commands that are another way to what one before them made: what is removed before they run.
INSTEAD = {"moegs data prepare FOLDER": "SCENE"}

#: Exit statuses that are answers, not failures: `moegs data check` says *doubtful* by 1.
STATUSES = {"moegs data check": (0, 1)}

#: Options whose value must exist when the command is done.
WRITTEN = ("--output-path", "--output-dir", "--output", "--picture", "--json")


def begins(words: Sequence[str], rule: str) -> bool:
    """Whether a command begins with the words of a rule."""
    begin = rule.split()
    return list(words[: len(begin)]) == begin


def reason_not_to_run(words: Sequence[str]) -> str | None:
    """Why a command is not run; None when it is. The longest rule that fits counts."""
    fitting = [rule for rule in NOT_RUN if begins(words, rule)]
    return NOT_RUN[max(fitting, key=len)] if fitting else None


def removed_before(words: Sequence[str]) -> list[str]:
    """Folders to remove before a command runs."""
    return [folder for rule, folder in INSTEAD.items() if begins(words, rule)]


def taken_for_granted(words: Sequence[str]) -> list[list[str]]:
    """Commands to run before a command."""
    return [list(before) for rule, before in TAKEN_FOR_GRANTED.items() if begins(words, rule)]


def stale_rules(commands: Sequence[Sequence[str]]) -> list[str]:
    """Rules about the beginnings of commands that fit none."""
    rules = [*NOT_RUN, *APPENDED, *TAKEN_FOR_GRANTED, *INSTEAD, *STATUSES]
    stale = [rule for rule in rules if not any(begins(words, rule) for words in commands)]
    words = {word for command in commands for word in command}
    return stale + [option for option in REPLACED if option not in words]


@dataclass(frozen=True)
class Needs:
    """What must be there for a command, by a word in it."""

    data: Path

    def missing(self, words: Sequence[str]) -> str | None:
        """Why a command cannot run on this machine; None when it can."""
        if any("../shared/data" in word or "basketball" in word for word in words) and not self.data.is_dir():
            return "no real scenes at ../shared/data or $MOEGS_DATA_DIR"
        return None


def small(words: Sequence[str]) -> list[str]:
    """A command with the rules of this page applied, other than those for trainings."""
    result = list(words)
    for index, word in enumerate(result[:-1]):
        if word in REPLACED:
            result[index + 1] = REPLACED[word]
    for rule, appended in APPENDED.items():
        if begins(words, rule):
            result += appended
    return result
