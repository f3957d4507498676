"""The applications of the search: train one setting, rank a family's settings, pick the winner.

Their code runs at the site, in the workdir of each job; what needs scikit-learn is imported there.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from balsam.api import ApplicationDefinition, JobState

SITE = "digits"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def estimator(family: str, settings: dict[str, Any]) -> Any:
    """A scikit-learn estimator of one of the families of `campaign.settings`."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC, LinearSVC

    families = {
        "svc": SVC,
        "linear-svc": LinearSVC,
        "knn": KNeighborsClassifier,
        "logistic": LogisticRegression,
        "forest": RandomForestClassifier,
    }
    model = families[family](**settings)
    return make_pipeline(StandardScaler(), model) if family in ("logistic", "linear-svc") else model


class TrainDigits(ApplicationDefinition):
    """Trains and cross-validates one setting on the 1,797 handwritten digits; returns its mean accuracy."""

    site = SITE
    environment_variables = ONE_THREAD

    def run(self, family: str, settings: dict[str, Any]) -> float:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import cross_val_score

        settings = {**settings, **self.job.data.get("mended", {})}
        digits = load_digits()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about convergence: the score says enough
            scores = cross_val_score(
                estimator(family, settings), digits.data, digits.target, cv=3, error_score="raise"
            )
        score = float(scores.mean())
        Path("score.txt").write_text(f"{score:.4f} {family} {json.dumps(settings, sort_keys=True)}\n")
        return score

    def handle_error(self) -> None:
        """Mends the one mistake that it knows: an l1 penalty needs the solver of the primal problem."""
        settings = self.job.get_parameters()["settings"]
        if settings.get("penalty") == "l1" and "mended" not in self.job.data:
            self.job.data = {**self.job.data, "mended": {"dual": False}}
            self.job.state = JobState.restart_ready
        else:
            self.job.state = JobState.failed


class RankFamily(ApplicationDefinition):
    """Sorts by the shell what the parents of the job wrote: the best settings of one family."""

    site = SITE
    command_template = "xargs cat < scores.list | sort -rn | head -n {{ top }} | tee ranking.txt"

    def preprocess(self) -> None:
        from balsam.api import site_config

        assert site_config is not None, "hooks run at the site"
        finished = self.job.parent_query().filter(state="JOB_FINISHED")
        files = [parent.resolve_workdir(site_config.data_path) / "score.txt" for parent in finished]
        workdir = self.job.resolve_workdir(site_config.data_path)
        (workdir / "scores.list").write_text("".join(f"{file}\n" for file in files))
        self.job.state = JobState.preprocessed


class PickWinner(ApplicationDefinition):
    """Compares the results of all parents that trained a setting."""

    site = SITE

    def run(self) -> dict[str, Any]:
        trained = list(self.job.parent_query().filter(tags={"step": "train"}, state="JOB_FINISHED"))
        best = max(trained, key=lambda job: job.result_nowait())
        winner = {**best.get_parameters(), "score": best.result_nowait(), "compared": len(trained)}
        Path("winner.json").write_text(json.dumps(winner, indent=2) + "\n")
        return winner
