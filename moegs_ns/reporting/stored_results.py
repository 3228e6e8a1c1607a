"""Results kept elsewhere than in run folders: they report as the runs themselves would when these are gone."""

from dataclasses import dataclass

from moegs_ns.reporting.evaluation_files import RunResult


@dataclass(frozen=True)
class StoredResult(RunResult):
    """A kept result.

    Attributes:
        stored_experts: of a mixture, in gate order: the kept results its experts came from, else in words why there is
            none. Empty where nothing was kept of them.
    """

    stored_experts: tuple[RunResult | str, ...] = ()

    def experts(self) -> list[RunResult | str]:
        """`stored_experts`; nothing is looked for on disk."""
        return list(self.stored_experts) or [f"{name}: its run was not kept" for name in self.expert_names]
