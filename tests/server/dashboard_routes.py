"""The pages' routes: which ask for a session, and how a stranger tries each."""

from __future__ import annotations

from dataclasses import dataclass, field

OPEN = (
    ("GET", "/"),
    ("GET", "/ui/login"),
    ("POST", "/ui/login"),
    ("GET", "/ui/login/provider"),
    ("GET", "/ui/static/{version}/{name:path}"),
    ("GET", "/ui/{path:path}"),
)
CODE = (("GET", "/ui/login/provided"), ("POST", "/ui/enter"))


@dataclass(frozen=True)
class PageTry:
    """One request; `{name}` in path, query and fields is an id of somebody else or of nobody."""

    method: str
    route: str
    query: str = ""
    fields: dict[str, str] = field(default_factory=dict)


def _gets(route: str, *queries: str) -> list[PageTry]:
    return [PageTry("GET", route, query) for query in queries or ("",)]


OF_JOBS = (
    "id={job}",
    "parent_id={job}",
    "app_id={app}",
    "site_id={site}",
    "batch_job_id={batch_job}",
    "session_id={session}",
    "tags=owner:victim",
    "workdir__contains=ictim/",
)
ACT = "/ui/jobs/act"
PAGE_TRIES = [
    *_gets("/ui/"),
    *_gets(
        "/ui/",
        *(f"part={part}" for part in ("sites", "states", "progress", "allocations", "failures", "events")),
    ),
    *_gets("/ui/live"),
    *_gets("/ui/jobs", *OF_JOBS),
    *_gets("/ui/jobs/confirm", *(f"action=kill&{query}" for query in OF_JOBS)),
    *(
        PageTry("POST", ACT, fields={"action": action, "confirmed": "100", **chosen})
        for action in ("kill", "retry", "delete")
        for chosen in ({"id": "{job}"}, {"site_id": "{site}"}, {"tags": "owner:victim"})
    ),
    *_gets("/ui/jobs/{job_id}"),
    *_gets(
        "/ui/jobs/{job_id}", *(f"part={part}" for part in ("state", "facts", "history", "family", "source"))
    ),
    *_gets("/ui/jobs/{job_id}/output"),
    *_gets("/ui/batch-jobs", "site_id={site}"),
    *_gets("/ui/batch-jobs/{batch_job_id}"),
    *_gets(
        "/ui/batch-jobs/{batch_job_id}", *(f"part={part}" for part in ("state", "use", "facts", "launchers"))
    ),
    PageTry("POST", "/ui/batch-jobs/{batch_job_id}/end"),
    PageTry("POST", "/ui/batch-jobs/{batch_job_id}/drain"),
    *_gets("/ui/sites"),
    *_gets("/ui/apps"),
    *_gets("/ui/apps/{app_id}", *(f"part={part}" for part in ("facts", "versions"))),
    *_gets("/ui/transfers", "site_id={site}", "job_id={job}"),
    *_gets("/ui/tokens"),
    PageTry("POST", "/ui/tokens/logins/{login_id}/end"),
    PageTry("POST", "/ui/tokens/sites/{token_id}/revoke"),
    PageTry("POST", "/ui/logout"),
    *_gets("/ui/timeline"),
    *_gets("/ui/timeline/bars", *OF_JOBS),
    *_gets("/ui/analytics", *OF_JOBS),
    *_gets("/ui/analytics", *(f"part={part}&site_id={{site}}" for part in ("hours", "delays", "failures"))),
    *(
        PageTry("GET", f"/ui/figures/{subject}/{name}", query)
        for name in ("utilization", "available-nodes", "throughput-rates")
        for subject, query in (("jobs", "id={job}"), ("batch-jobs", "id={batch_job}"))
    ),
    *_gets("/ui/submit/job", "", "app_id={app}"),
    PageTry("POST", "/ui/submit/job", fields={"app_id": "{app}", "workdir": "w", "key": "k1"}),
    PageTry(
        "POST",
        "/ui/submit/job",
        fields={"app_id": "{own_app}", "workdir": "w", "parent_ids": "{job}", "key": "k2"},
    ),
    *_gets("/ui/submit/batch-job", "", "site_id={site}"),
    PageTry(
        "POST",
        "/ui/submit/batch-job",
        fields={
            "site_id": "{site}",
            "num_nodes": "1",
            "wall_time_min": "5",
            "job_mode": "serial",
            "queue": "q",
            "project": "p",
            "key": "k3",
        },
    ),
]


def template(route: str) -> str:
    """The route as the server has it: figures have their subject and name in the path."""
    return "/ui/figures/{subject}/{name}" if route.startswith("/ui/figures/") else route


CLOSED = {(one.method, template(one.route)) for one in PAGE_TRIES}
