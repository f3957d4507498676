"""The pages over HTTP: logging in, forms, filters, what is done to jobs, and that nothing is run as HTML."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from urllib.parse import quote

import httpx
import pytest

from balsam.client.transport import Client
from balsam.server.dashboard.live import BEAT_SEC
from tests import asking
from tests.server.lab import Lab
from tests.server.visits import HTML, Visit
from tests.services import EmbeddedServer, PasswordServer, User

EVIL = "<img src=x onerror=alert(1)>'\"&{{7*7}}"
NOUNS = ("jobs", "batch-jobs", "sites", "apps", "transfers", "tokens", "timeline", "analytics")
PAGES = (
    "/ui/",
    *(f"/ui/{noun}" for noun in NOUNS),
    *("/ui/submit/job", "/ui/submit/batch-job", "/ui/login", "/ui/nowhere"),
)


@pytest.fixture
def visit(password_server: PasswordServer, user: User) -> Iterator[Visit]:
    with Visit(password_server.url, user) as one:
        yield one


@pytest.fixture
def lab(client: Client) -> Lab:
    return Lab(client, hooks=[])


# ---- sessions ----


def test_a_password_opens_a_session_that_scripts_and_other_sites_do_not_see(
    password_server: PasswordServer, user: User
) -> None:
    with Visit(password_server.url) as visit:
        form = {"username": user.name, "password": user.password, "then": "/ui/jobs?state=FAILED"}
        answer = visit.http.post("/ui/login", data=form)
        assert (answer.status_code, answer.headers["location"]) == (303, "/ui/jobs?state=FAILED")
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=lax" in cookie and "path=/ui;" in cookie
        assert user.name in visit.page("/ui/jobs")


def test_behind_tls_the_session_travels_encrypted_only(new_database: Callable[[], str]) -> None:
    with PasswordServer(new_database(), public_url="https://balsam.example") as server:
        user = server.new_user()
        with user.client, Visit(server.url) as visit:
            answer = visit.http.post("/ui/login", data={"username": user.name, "password": user.password})
            assert "secure" in answer.headers["set-cookie"].lower()


def test_a_wrong_password_is_told_on_the_page_and_not_repeated(
    password_server: PasswordServer, user: User
) -> None:
    with Visit(password_server.url) as visit:
        answer = visit.http.post("/ui/login", data={"username": EVIL, "password": "wrong horse"})
    assert answer.status_code == 401 and "set-cookie" not in answer.headers
    assert "No user of this server has this name and this password." in answer.text
    assert "wrong horse" not in answer.text and "<img src=x" not in answer.text


@pytest.mark.parametrize(
    "then",
    ["https://evil.example/", "//evil.example/ui/", "/ui/../..//evil.example", "/ui/\\evil", "javascript:1"],
)
def test_a_login_leads_to_no_other_server(password_server: PasswordServer, user: User, then: str) -> None:
    with Visit(password_server.url) as visit:
        form = {"username": user.name, "password": user.password, "then": then}
        location = visit.http.post("/ui/login", data=form).headers["location"]
    assert httpx.URL(password_server.url).join(location).host == "127.0.0.1"
    assert location.startswith("/ui/")


def test_logging_out_ends_the_login_and_its_stream(password_server: PasswordServer, user: User) -> None:
    with Visit(password_server.url, user) as visit:
        with visit.http.stream("GET", "/ui/live", timeout=20) as stream:
            lines = stream.iter_lines()
            assert next(lines) == "event: hello"
            with Visit(password_server.url, user) as other:
                assert other.send("/ui/logout").headers["location"] == "/ui/login"
            assert list(lines)[-1] == ""  # it ends
        assert visit.get("/ui/").status_code == 303
    with pytest.raises(Exception, match="not valid"):
        user.client.get("/auth/password/me")


def test_the_owner_of_an_embedded_server_comes_in_with_a_code_once(embedded: EmbeddedServer) -> None:
    with embedded.client() as owner, Visit(embedded.url) as visit:
        made = owner.post("/auth/entry-code", None)
        assert "balsam server open" in visit.page("/ui/login")
        # As the page that `balsam server open` writes sends it: from a file.
        answer = visit.http.post("/ui/enter", data={"code": made["code"].lower()}, headers={"origin": "null"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/ui/")
        assert visit.get("/ui/").status_code == 200
        again = visit.http.post("/ui/enter", data={"code": made["code"], "then": "/ui/jobs?state=FAILED"})
        assert 'name="then" value="/ui/jobs?state=FAILED"' in again.text
        assert again.status_code == 401 and "run balsam server open again" in again.text
    assert made["code"] not in (embedded.data / "server.log").read_text()


def test_a_code_leads_to_the_page_that_was_asked_for(embedded: EmbeddedServer) -> None:
    with embedded.client() as owner, Visit(embedded.url) as visit:
        asked = visit.get("/ui/jobs?state=FAILED").headers["location"]
        assert 'name="then" value="/ui/jobs?state=FAILED"' in visit.page(asked)
        for then, there in (("/ui/jobs?state=FAILED", "/ui/jobs?state=FAILED"), ("//evil.example/", "/ui/")):
            code = owner.post("/auth/entry-code", None)["code"]
            answer = visit.http.post("/ui/enter", data={"code": code, "then": then})
            assert answer.headers["location"] == there


def test_codes_are_not_for_servers_of_many_users(client: Client) -> None:
    with pytest.raises(Exception, match="/ui/login"):
        client.post("/auth/entry-code", None)


def test_codes_can_not_be_guessed_for_long(embedded: EmbeddedServer) -> None:
    with Visit(embedded.url) as visit:
        answers = [visit.http.post("/ui/enter", data={"code": f"BBBB{n}"}).status_code for n in range(40)]
    assert answers[0] == 401 and answers[-1] == 429


# ---- what a page may do ----


def test_every_page_forbids_scripts_frames_and_forms_of_others(visit: Visit) -> None:
    for path in PAGES:
        answer = visit.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy and "form-action 'self'" in policy
        assert answer.headers["cache-control"] == "no-store", path
        assert answer.headers["x-content-type-options"] == "nosniff"
        # Nothing that the policy would have to allow.
        assert not re.search(r"<script(?![^>]*\bsrc=)|\sstyle=|\son\w+=|javascript:", answer.text), path


def test_pages_load_nothing_from_elsewhere(visit: Visit) -> None:
    for path in PAGES:
        for address in re.findall(r'(?:src|href|action)="([^"]+)"', visit.get(path).text):
            assert address.startswith(("/ui/", "#")), (path, address)


def test_assets_are_kept_for_good_under_an_address_that_changes_with_them(visit: Visit) -> None:
    addresses = set(
        re.findall(r'(?:src|href)="(/ui/static/[^"]+)"', visit.page("/ui/") + visit.page("/ui/timeline"))
    )
    assert {address.rpartition(".")[2] for address in addresses} == {"css", "js", "svg"}
    for address in addresses:
        answer = visit.get(address)
        assert answer.status_code == 200 and answer.content, address
        assert "immutable" in answer.headers["cache-control"]
        of_another_version = re.sub(r"/static/\w+/", "/static/0/", address)
        assert visit.get(of_another_version).headers["cache-control"] == "no-cache"
    for name in ("../pages.py", "..%2fpages.py", "%2e%2e/visitors.py", "vendor"):
        assert visit.get(f"/ui/static/0/{name}").status_code == 404


def test_other_peoples_files_carry_their_licences(visit: Visit) -> None:
    for name in ("htmx-LICENSE.txt", "uPlot-LICENSE.txt"):
        assert "WARRANT" in visit.get(f"/ui/static/0/vendor/{name}").text


def test_a_form_without_its_token_changes_nothing(visit: Visit, lab: Lab) -> None:
    [job] = lab.create()
    form = {"action": "kill", "confirmed": "1", "id": str(job)}
    for token in ({}, {"form_token": ""}, {"form_token": "0" * 64}, {"form_token": "é"}):
        assert visit.http.post("/ui/jobs/act", data={**form, **token}).status_code == 403
    for origin in (
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
    ):
        assert visit.send("/ui/jobs/act", headers=origin, **form).status_code == 403
    assert lab.state(job) == "PREPROCESSED"
    assert visit.send("/ui/jobs/act", headers={"sec-fetch-site": "same-origin"}, **form).status_code == 303
    assert lab.state(job) == "FAILED"


def test_a_login_form_of_another_site_is_refused(password_server: PasswordServer, user: User) -> None:
    with Visit(password_server.url) as visit:
        form = {"username": user.name, "password": user.password}
        answer = visit.http.post("/ui/login", data=form, headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 403 and "set-cookie" not in answer.headers


def test_what_users_call_things_stays_text(visit: Visit, lab: Lab, client: Client) -> None:
    client.put(f"/sites/{lab.site['id']}", {"name": EVIL[:90]})
    app = lab.add_app(
        EVIL[:90],
        [],
        description=EVIL,
        source_code=EVIL,
        parameters={EVIL: {"required": False, "default": EVIL, "help": EVIL}},
    )
    batch_job = lab.batch_job(
        queue=EVIL, project=EVIL, filter_tags={EVIL: EVIL}, optional_params={EVIL: EVIL}
    )["id"]
    session = lab.session(batch_job_id=batch_job)
    [job] = lab.create(
        app_id=app["id"], workdir=EVIL, tags={EVIL: EVIL}, parameters_json={EVIL: EVIL}, data={EVIL: EVIL}
    )
    lab.create(app_id=app["id"], parent_ids=[job], workdir=EVIL)
    lab.acquire(session)
    lab.move([job], "RUNNING", session, state_data={"nodes": [EVIL]})
    lab.move([job], "RUN_ERROR", session, state_data={"error": EVIL, "returncode": 1})
    client.patch(
        "/batch-jobs/", [{"id": batch_job, "status_info": {EVIL: EVIL}, "cause": EVIL, "state": "finished"}]
    )
    filters = {"tags": f"a:{EVIL}", "workdir__contains": EVIL, "failure": EVIL}
    paths = [
        *PAGES,
        *(f"/ui/jobs/{job}", f"/ui/apps/{app['id']}", f"/ui/batch-jobs/{batch_job}"),
        *("/ui/jobs/confirm?action=kill", "/ui/?part=failures"),
        *(f"/ui/analytics?part={part}" for part in ("failures", "hours")),
        f"/ui/submit/job?app_id={app['id']}",
        f"/ui/submit/batch-job?site_id={lab.site['id']}",
        f"/ui/jobs?{httpx.QueryParams(filters)}",
        f"/ui/analytics?{httpx.QueryParams({'by': 'tag', 'tag': EVIL})}",
    ]
    shown = 0
    for path in paths:
        text = visit.get(path).text
        assert "<img src=x" not in text and "49" not in re.findall(
            r"onerror=alert\(1\)[^<]*?\b(49)\b", text
        ), path
        shown += "&lt;img src=x" in text
    assert shown >= 12


def test_what_goes_wrong_is_a_page_and_for_scripts_a_sentence(visit: Visit) -> None:
    missing = visit.get("/ui/jobs/1000000000000000")
    assert missing.status_code == 404 and "or it is not yours" in missing.text
    assert visit.get("/ui/jobs?state=NONE").status_code == 400
    assert (
        visit.get("/ui/jobs?part=none", headers={"hx-request": "true"}).text == "this page has no such part"
    )
    assert visit.get("/ui/jobs/abc").status_code == 400
    assert visit.get("/ui/nowhere/at/all").status_code == 404


# ---- jobs ----


def ids_of(page: str) -> list[int]:
    return [int(one) for one in re.findall(r'<tr id="job-(\d+)"', page)]


def test_filters_choose_what_they_choose_on_the_command_line(visit: Visit, lab: Lab) -> None:
    [hot, *_] = lab.create(2, tags={"series": "hot"}, workdir="melt/1")
    [cold] = lab.create(tags={"series": "cold", "note": "a,b"}, workdir="freeze/1")
    other = lab.add_app("Other", [])
    [odd] = lab.create(app_id=other["id"], parent_ids=[cold])
    batch_job = lab.batch_job()["id"]
    session = lab.session(batch_job_id=batch_job)
    lab.acquire(session, 1)
    lab.run(session, [hot], "RUN_ERROR")
    now = "2001-01-01T00:00"
    expected = {
        "": {hot, hot + 1, cold, odd},
        "state=FAILED": {hot},
        "state=FAILED&state=AWAITING_PARENTS": {hot, odd},
        "tags=series:hot": {hot, hot + 1},
        "tags=series:cold, note:a,b": {cold},
        f"app_id={other['id']}": {odd},
        f"site_id={lab.site['id']}": {hot, hot + 1, cold, odd},
        "workdir__contains=elt/": {hot, hot + 1},
        f"batch_job_id={batch_job}": {hot},
        f"parent_id={cold}": {odd},
        f"last_update_before={now}": set(),
        f"last_update_after={now}&state=": {hot, hot + 1, cold, odd},
        f"id={hot}&id={cold}": {hot, cold},
    }
    for query, chosen in expected.items():
        assert set(ids_of(visit.page(f"/ui/jobs?{query}"))) == chosen, query


def test_failed_runs_are_one_click_from_the_jobs_of_their_cause(visit: Visit, lab: Lab) -> None:
    jobs = lab.create(3)
    session = lab.session()
    lab.acquire(session)
    lab.move(jobs, "RUNNING", session)
    lab.move(jobs[:2], "RUN_ERROR", session, state_data={"returncode": 1, "error": "ValueError: lost atoms"})
    lab.move(jobs[2:], "RUN_ERROR", session, state_data={"returncode": 137, "error": "Killed"})
    part = visit.part("/ui/", "failures")
    links = [link.replace("&amp;", "&") for link in re.findall(r'href="(/ui/jobs\?failure=[^"]+)"', part)]
    assert [set(ids_of(visit.page(link))) for link in links] == [set(jobs[:2]), set(jobs[2:])]


def test_the_overview_counts_jobs_nodes_and_what_is_left(visit: Visit, lab: Lab) -> None:
    [running, *_] = lab.create(3, node_packing_count=2)
    session = lab.session(num_nodes=2)
    lab.acquire(session, 1)
    lab.move([running], "RUNNING", session)
    states = re.sub(r"<[^>]+>", " ", visit.part("/ui/", "states"))
    assert re.search(r"3\s+jobs,\s+0\.5\s+of\s+2\s+nodes busy", states)
    assert re.search(r"RUNNING\s+1\b", states) and re.search(r"PREPROCESSED\s+2\b", states)
    assert "3 left" in visit.part("/ui/", "progress")
    assert "has never been heard of" in visit.part("/ui/", "sites")


def test_failures_without_a_run_are_grouped_too(visit: Visit, lab: Lab) -> None:
    jobs = lab.create(4)
    session = lab.session()
    lab.acquire(session)
    for job, error in zip(jobs[:3], ("disk 1 is full", "disk 2 is full", "no such file"), strict=True):
        lab.move([job], "FAILED", session, state_data={"message": error})
    part = visit.part("/ui/", "failures")
    assert "disk # is full" in part and "no such file" in part
    links = [link.replace("&amp;", "&") for link in re.findall(r'href="(/ui/jobs\?id=[^"]+)"', part)]
    assert [set(ids_of(visit.page(link))) for link in links] == [set(jobs[:2]), {jobs[2]}]


def test_pages_follow_each_other_and_count_up_to_a_bound(visit: Visit, lab: Lab) -> None:
    made = lab.create(120)
    seen: list[int] = []
    address = "/ui/jobs?ordering=-id"
    while True:
        page = visit.page(address)
        assert "<b>120</b> jobs" in page
        seen += ids_of(page)
        following = re.search(r'href="([^"]+)" rel="next"', page)
        if following is None:
            break
        address = following[1].replace("&amp;", "&")
    assert seen == made[::-1]


def test_bulk_actions_say_how_many_and_do_no_more_than_that(visit: Visit, lab: Lab) -> None:
    made = lab.create(5, tags={"of": "bulk"})
    bystander = lab.create(1)[0]
    page = visit.page("/ui/jobs/confirm?action=kill&tags=of:bulk&whom=all")
    assert "Kill 5 jobs" in page and 'name="confirmed" value="5"' in page
    more = lab.create(2, tags={"of": "bulk"})
    refused = visit.send("/ui/jobs/act", action="kill", confirmed="5", tags="of:bulk")
    assert refused.status_code == 400 and "there are 7 such jobs by now" in refused.text
    assert {lab.state(job) for job in made} == {"PREPROCESSED"}
    done = visit.send("/ui/jobs/act", action="kill", confirmed="7", tags="of:bulk")
    assert "killed=7" in done.headers["location"]
    assert "7 jobs killed" in visit.page(done.headers["location"])
    assert {lab.state(job) for job in made + more} == {"FAILED"} and lab.state(bystander) == "PREPROCESSED"
    visit.send("/ui/jobs/act", action="retry", confirmed="3", id=[str(job) for job in made[:3]])
    assert {lab.state(job) for job in made[:3]} == {"PREPROCESSED"}
    visit.send("/ui/jobs/act", action="delete", confirmed="7", tags="of:bulk")
    assert ids_of(visit.page("/ui/jobs")) == [bystander]


def test_forms_and_addresses_that_no_page_makes_are_refused(visit: Visit, lab: Lab) -> None:
    long, [job] = "9" * 5000, lab.create()
    for fields in ({"action": "burn", "confirmed": "1"}, {"action": "kill", "confirmed": long}):
        answer = visit.send("/ui/jobs/act", id=str(job), **fields)
        assert answer.status_code == 400 and "was not confirmed" in answer.text
    answer = visit.send("/ui/jobs/act", action="retry", confirmed="1", id=str(job), then=long)
    assert answer.headers["location"].startswith("/ui/jobs?")
    for path, name in (("/ui/submit/job", "app_id"), ("/ui/submit/batch-job", "site_id")):
        assert visit.send(path, key="k", **{name: long}).status_code == 400
    assert "5 jobs killed." in visit.page("/ui/jobs?killed=5")
    assert "5 jobs sent on." in visit.page(f"/ui/jobs?retried=5&refused={long}")


def test_a_list_of_chosen_ids_stays_it_where_none_is_ticked(visit: Visit, lab: Lab) -> None:
    first, second, bystander = lab.create(3)
    address = f"/ui/jobs?id={first}&id={second}"
    page = visit.page(address)
    sent = re.findall(r'<input type="hidden" name="(\w+)" value="(\d+)">', page)
    assert sent == [("id", str(first)), ("id", str(second))] and "disabled" not in page
    asked = visit.page(f"/ui/jobs/confirm?action=kill&id={first}&id={second}&whom=all")
    assert "Kill 2 jobs" in asked and "these are all your jobs" not in asked
    ticked = visit.page(f"/ui/jobs/confirm?action=kill&id={first}&id={second}&ticked={second}")
    assert "Kill 1 job<" in ticked and f'name="id" value="{first}"' not in ticked
    back = f"id={first}&id={second}"
    done = visit.send("/ui/jobs/act", action="kill", confirmed="1", id=str(second), back=back)
    assert done.headers["location"] == f"{address}&killed=1&told=0"
    assert [lab.state(job) for job in (first, bystander)] == ["PREPROCESSED"] * 2


@pytest.mark.parametrize("action", ["kill", "retry", "delete"])
def test_with_nothing_ticked_nothing_is_done(action: str, visit: Visit, lab: Lab) -> None:
    """All that the filter chooses are meant only where that was said, and so are all jobs."""
    made = lab.create(3, tags={"of": "us"})
    lab.move(made[:1], "FAILED")
    for more in ("", "&tags=of:us", "&whom=ticked", "&ticked=", "&tags=of%3Dus&whom="):
        page = visit.page(f"/ui/jobs/confirm?action={action}{more}")
        assert "No job is ticked" in page and 'action="/ui/jobs/act"' not in page
    for fields in ({}, {"id": ""}, {"tags": " "}):
        refused = visit.send("/ui/jobs/act", action=action, confirmed="3", **fields)
        assert refused.status_code == 400 and "which jobs was not said" in refused.text
    assert [lab.state(job) for job in made] == ["FAILED", "PREPROCESSED", "PREPROCESSED"]
    page = visit.page(f"/ui/jobs/confirm?action={action}&whom=all")
    assert "these are all your jobs" in page and 'name="whom" value="all"' in page


@pytest.mark.parametrize(
    ("field", "text"), [("tags", "nocolon"), ("tags", "a=1, a=2"), ("batch_job_id", "x"), ("parent_id", "-1")]
)
@pytest.mark.parametrize("path", ["/ui/jobs", "/ui/analytics"])
def test_a_filter_with_an_error_stays_filled(
    path: str, field: str, text: str, visit: Visit, lab: Lab
) -> None:
    lab.create(1)
    page = visit.get(f"{path}?{field}={quote(text)}&workdir__contains=kept", headers=HTML).text
    assert 'class="fault" role="alert"' in page and 'value="kept"' in page
    assert f'value="{text}"' in page
    if path == "/ui/jobs":
        assert ids_of(page) == []


def test_tags_are_read_with_an_equals_sign_and_with_a_colon(visit: Visit, lab: Lab) -> None:
    [job] = lab.create(1, tags={"url": "a:b=c", "n": "1"})
    for text in ("url=a:b=c, n:1", "url:a:b=c,n=1", "n=1"):
        assert ids_of(visit.page(f"/ui/jobs?tags={quote(text)}")) == [job]
    assert "n=1</span>" in visit.page("/ui/jobs")


def test_filters_that_hold_several_ids_survive_their_form(visit: Visit, lab: Lab) -> None:
    first, second, _ = lab.create(3)
    page = visit.page(f"/ui/jobs?id={first}&id={second}")
    assert f'name="id" value="{first}, {second}" checked' in page
    assert ids_of(visit.page(f"/ui/jobs?id={first},+{second}")) == [second, first]
    assert visit.get("/ui/jobs?batch_job_id=1, 2").status_code == 200
    assert 'name="session_id" value="9" checked' in visit.page("/ui/jobs?session_id=9")


def test_a_failed_job_runs_once_more(visit: Visit, lab: Lab) -> None:
    [job] = lab.create()
    session = lab.session()
    lab.acquire(session)
    lab.run(session, [job], "RUN_ERROR")
    assert lab.state(job) == "FAILED"
    answer = visit.send("/ui/jobs/act", action="retry", confirmed="1", id=str(job), then=str(job))
    assert answer.headers["location"] == f"/ui/jobs/{job}" and lab.state(job) == "RESTART_READY"


def test_a_job_shows_its_life_and_kin(visit: Visit, lab: Lab) -> None:
    app = lab.add_app("Kin", [], parameters={"kelvin": {"required": True, "default": None, "help": ""}})
    [parent] = lab.create(workdir="parent")
    [job] = lab.create(parent_ids=[parent], parameters_json={"kelvin": 300}, app_id=app["id"])
    [child] = lab.create(parent_ids=[job], workdir="child")
    session = lab.session()
    lab.acquire(session)
    lab.run(session, [parent])
    lab.acquire(session)
    lab.move([job], "RUNNING", session, state_data={"nodes": ["nid7"]})
    lab.move([job], "RUN_TIMEOUT", session)
    lab.acquire(session)
    lab.move([job], "RUNNING", session, state_data={"nodes": ["nid8"]})
    page = visit.page(f"/ui/jobs/{job}")
    bars = re.findall(
        r"<rect class=\"fill (\w+)\"[^>]*><title>(\w+)(?:, attempt (\d))?",
        visit.part(f"/ui/jobs/{job}", "history"),
    )
    states = [state for _, state, _ in bars]
    assert states[0] == "AWAITING_PARENTS" and states.count("RUNNING") == 2 and states[-1] == "RUNNING"
    assert "nid7" in page and "nid8" in page and "kelvin" in page
    assert f'href="/ui/jobs/{parent}"' in page and f'href="/ui/jobs/{child}"' in page
    assert 'data-why="running"' in page


# ---- forms ----


def test_a_job_is_made_from_the_apps_parameters_once(visit: Visit, lab: Lab, client: Client) -> None:
    parameters = {
        "kelvin": {"required": True, "default": None, "help": ""},
        "label": {"required": False, "default": "x", "help": ""},
    }
    app = lab.add_app("Form", [], parameters=parameters)
    page = visit.page(f"/ui/submit/job?app_id={app['id']}")
    key = re.search(r'name="key" value="([^"]+)"', page)
    assert key is not None and 'name="parameter:kelvin" required' in page
    fields = {
        "app_id": str(app["id"]),
        "key": key[1],
        "workdir": "by/form",
        "tags": "a:b, c:d,e",
        "num_nodes": "2",
    }
    missing = visit.send("/ui/submit/job", **fields)
    assert (
        missing.status_code == 400
        and "&#39;kelvin&#39;" in missing.text
        and 'value="by/form"' in missing.text
    )
    fields |= {"parameter:kelvin": "300", "parameter:label": "true story"}
    answers = [visit.send("/ui/submit/job", **fields) for _ in range(2)]
    assert answers[0].status_code == 303 and answers[0].headers["location"] == answers[1].headers["location"]
    job = lab.job(int(answers[0].headers["location"].rpartition("/")[2]))
    assert job["parameters_json"] == {"kelvin": 300, "label": "true story"}
    assert (job["num_nodes"], job["workdir"]) == (2, "by/form")
    wrong = visit.send("/ui/submit/job", **{**fields, "key": "other", "num_nodes": "many", "workdir": "/abs"})
    assert wrong.status_code == 400 and "num_nodes" in wrong.text and "workdir" in wrong.text


def test_nodes_are_asked_for_within_what_the_queues_take(visit: Visit, lab: Lab, client: Client) -> None:
    queues = {"debug": {"max_nodes": 2, "max_walltime": 60, "max_queued_jobs": 1}}
    client.put(f"/sites/{lab.site['id']}", {"allowed_queues": queues, "allowed_projects": ["fusion"]})
    page = visit.page(f"/ui/submit/batch-job?site_id={lab.site['id']}")
    assert '<option value="debug"' in page and "<option>fusion" in page
    fields = {
        "site_id": str(lab.site["id"]),
        "key": "k",
        "queue": "debug",
        "project": "fusion",
        "job_mode": "mpi",
        "wall_time_min": "30",
    }
    refused = visit.send("/ui/submit/batch-job", **fields, num_nodes="3")
    assert refused.status_code == 400 and "debug" in refused.text
    made = visit.send("/ui/submit/batch-job", **fields, num_nodes="2")
    batch_job = int(made.headers["location"].rpartition("/")[2])
    assert client.get(f"/batch-jobs/{batch_job}")["state"] == "pending_submission"
    client.put(f"/batch-jobs/{batch_job}", {"state": "running"})
    lab.session(batch_job_id=batch_job)
    assert "to start nothing more" not in visit.page(f"/ui/batch-jobs/{batch_job}")
    drained = visit.send(f"/ui/batch-jobs/{batch_job}/drain")
    page = visit.page(drained.headers["location"])
    assert "to start nothing more" in page and f"/ui/batch-jobs/{batch_job}/drain" not in page
    visit.send(f"/ui/batch-jobs/{batch_job}/end")
    assert client.get(f"/batch-jobs/{batch_job}")["state"] == "pending_deletion"


# ---- live ----


def test_the_stream_says_what_changed_and_that_it_lives(
    password_server: PasswordServer, visit: Visit, lab: Lab
) -> None:
    with visit.http.stream("GET", "/ui/live", timeout=BEAT_SEC + 10) as stream:
        lines = stream.iter_lines()
        assert next(lines) == "event: hello"
        lab.create()
        assert 'data: ["jobs"]' in lines  # news of what was made before may still be on their way
        lab.batch_job()
        assert 'data: ["batch-jobs"]' in lines
        assert "event: beat" in lines


def test_below_a_proxys_path_all_addresses_are(new_database: Callable[[], str]) -> None:
    with PasswordServer(new_database(), root_path="/balsam") as server:
        user = server.new_user()
        with user.client, asking.client(base_url=server.url, headers=HTML) as http:
            assert http.get("/balsam/").headers["location"] == "/balsam/ui/"
            form = {"username": user.name, "password": user.password}
            answer = http.post("/balsam/ui/login", data=form)
            assert (
                answer.headers["location"] == "/balsam/ui/"
                and "path=/balsam/ui;" in answer.headers["set-cookie"].lower()
            )
            page = http.get("/balsam/ui/")
            assert page.status_code == 200
            for address in re.findall(r'(?:src|href|action|hx-get)="([^"#]+)"', page.text):
                assert address.startswith("/balsam/ui/"), address
