"""From a BatchJob's record to an allocation's script: what is checked, what is rendered."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from balsam.core import allocations
from balsam.platform.schedulers.allocation import Submission
from balsam.platform.template import Partition, ScriptFacts, render
from balsam.runtime.settings import SchedulerSettings
from balsam.runtime.site_folder import SiteFolder
from balsam.schemas.batch_jobs import BatchJobOut


def refusal(batch_job: BatchJobOut, limits: SchedulerSettings) -> str | None:
    """Why this site can't submit the BatchJob, as a sentence; None if it can."""
    return allocations.refusal(
        batch_job, limits.allowed_queues, limits.allowed_projects, limits.optional_batch_job_params
    )


@dataclass(frozen=True)
class Paths:
    """Where an allocation's script and output are."""

    script: Path
    output: Path

    @classmethod
    def of(cls, site: SiteFolder, batch_job_id: int) -> Paths:
        stem = site.job_path / f"qlaunch{batch_job_id:05d}"
        return cls(stem.with_suffix(".sh"), stem.with_suffix(".output"))


def script_facts(batch_job: BatchJobOut, site: SiteFolder, limits: SchedulerSettings) -> ScriptFacts:
    """What the job template may use; tags and parameters that the BatchJob does not name are the site's."""
    partitions = [Partition(p.job_mode, p.num_nodes, p.filter_tags) for p in batch_job.partitions or []]
    return ScriptFacts(
        batch_job_id=batch_job.id,
        project=batch_job.project,
        queue=batch_job.queue,
        num_nodes=batch_job.num_nodes,
        wall_time_min=batch_job.wall_time_min,
        job_mode=batch_job.job_mode,
        filter_tags=batch_job.filter_tags or site.settings.filter_tags,
        partitions=partitions,
        optional_params={**limits.optional_batch_job_params, **batch_job.optional_params},
        balsam_site_path=site.path,
        balsam_bin=Path(sys.executable).parent,
        python=sys.executable,
    )


def write_script(batch_job: BatchJobOut, site: SiteFolder, limits: SchedulerSettings) -> None:
    """Renders the job template to qsubmit/; raises platform's TemplateError, or OSError.

    Never for a submission that was made: a shell reads its script as it goes.
    """
    template = site.template_path.read_text(encoding="utf-8")
    text = render(template, script_facts(batch_job, site, limits), str(site.template_path))
    script = Paths.of(site, batch_job.id).script
    script.write_text(text, encoding="utf-8")
    script.chmod(0o700)


def submission_of(batch_job: BatchJobOut, site: SiteFolder, label: str) -> Submission:
    """What the batch system is asked for."""
    paths = Paths.of(site, batch_job.id)
    return Submission(
        label=label,
        script=paths.script,
        output=paths.output,
        workdir=site.path,
        wall_time_min=batch_job.wall_time_min,
        num_nodes=batch_job.num_nodes,
        queue=batch_job.queue,
        project=batch_job.project,
    )
