"""All of a launcher's HTTP, in one thread and in order: lease, reports, acquisition.

One request is in flight at a time, and it is repeated with its key until it is answered: so the server sees
each thing once, and in the order in which it happened. What must be decided is in `lease_steps`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from uuid import uuid4

import orjson

from balsam.client.errors import AuthError, ClientError, NotFoundError, ServerRefused
from balsam.client.transport import Client
from balsam.core import digest
from balsam.core.clock import ClockOffset, now_us, to_us
from balsam.core.limits import LEASE_SEC
from balsam.core.states import DONE_STATES, RUN_END_STATES, JobState
from balsam.launcher.appetite import NOTHING, Wanted, is_dry
from balsam.launcher.last_word import LauncherEnd
from balsam.launcher.lease_steps import START_GATHER_SEC, Situation, Step, gather_sec, next_step, pause_after
from balsam.launcher.news import (
    Acquired,
    AppsChanged,
    Cut,
    Lost,
    News,
    Nothing,
    Opened,
    Rejected,
    SpoolTrouble,
    Unanswered,
)
from balsam.launcher.outbox import WRITE_AGAIN_SEC, Outbox
from balsam.runtime.pulse import Pulse
from balsam.runtime.spool import Batch, SpoolFolder
from balsam.runtime.updates import Entry, Update

log = logging.getLogger(__name__)

BEATS_PER_LEASE = 4
POLL_SEC = 10.0  # without word from the stream, as a safety net
BLIND_POLL_SEC = 1.0  # while the stream is cut
_LAST_STATES = RUN_END_STATES | DONE_STATES  # with which the server releases a job


@dataclass(frozen=True)
class Terms:
    """What a launcher may run: the fields of its session, and of each request for jobs."""

    session: dict[str, Any]
    acquire: dict[str, Any]
    minutes_left: Callable[[], float]
    may_poll: bool = True
    gone_at: float = float("inf")  # of `time.monotonic()`: a launcher that is there yet hangs


@dataclass
class _Shared:
    """What the loop's thread writes and the courier's thread reads; under one lock."""

    asked: Wanted = NOTHING
    hinted: bool = True
    sighted: bool = False  # the stream is up
    acknowledged: bool = True
    answers_seen: int = 0
    apps_changed: bool = False
    node_trouble: str = ""
    in_doubt: bool = False
    given_back: set[int] = field(default_factory=set)
    report_at: float | None = None  # when the first of the new reports is to go; None: there are none
    finish_by: float | None = None


class Courier:
    """Start it, give it reports and questions, finish it."""

    def __init__(
        self,
        make_client: Callable[[], Client],
        terms: Terms,
        post: Callable[[News], None],
        spools: SpoolFolder,
    ) -> None:
        self._make_client = make_client
        self._client = make_client()
        self._terms = terms
        self._post = post
        self._shared = _Shared()
        self._bell = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)
        self._session_id: int | None = None
        self._lease_sec = LEASE_SEC
        self._held: set[int] = set()
        self._outbox = Outbox(spools, terms.session["batch_job_id"], terms.session["partition"] or 0)
        self._losing = False
        self._mending: dict[int, Entry] = {}  # ends of runs that were refused, by job id; in doubt
        self._mended: set[int] = set()
        self._trouble: str | None = None
        self._told_trouble = ""  # of the nodes, to this session
        self._told_clock = 0
        self._acquire_key = ""
        self._acquire_body: dict[str, Any] | None = None
        self._acquire_sent = 0.0
        self._fresh_jobs: list[dict[str, Any]] | None = None
        self._known_apps: dict[int, int] = {}  # which version the loop has of each
        self._apps_changed = False
        self._answers = 0
        self._next_poll = 0.0
        self._dry = False
        self._last_answer = time.monotonic()
        self._last_beat = 0.0
        self._next_report = 0.0
        self._last_step = Step.wait
        self._failures = 0
        self._cut_told = False
        self._clock = ClockOffset()
        self.pulse = Pulse(lambda: self._client, until=terms.gone_at)

    # ---- called by the loop ----

    def start(self) -> None:
        self._thread.start()

    def report(self, *updates: Update) -> None:
        """Writes them to the spool at once, whatever the courier does at the time."""
        offset_us = self._clock.us
        self._outbox.append([update.body(offset_us) for update in updates])
        starts_only = all(update.state is JobState.running for update in updates)
        due = time.monotonic() + (START_GATHER_SEC if starts_only else 0.0)
        with self._bell:
            self._tell_trouble()
            earlier = self._shared.report_at is None or due < self._shared.report_at
            # Else they have gone already, with a batch that was being made, or it wakes by itself, in time.
            if self._outbox.has_more and earlier:
                self._shared.report_at = due
                self._bell.notify()

    def note_job(self, job_id: int) -> None:
        """Which job is being prepared or started, should this process die of it; 0: none."""
        self._outbox.note_job(job_id)

    def note_ending(self, end: LauncherEnd) -> None:
        """Why the launcher ends; told with its last word, whoever brings that to the server."""
        self._outbox.note_ending(asdict(end))

    def ask(self, wanted: Wanted, answers_seen: int) -> None:
        """Asks for jobs; replaces an earlier question that has not gone out.

        `answers_seen`: how many `Acquired` the asker had taken in when it decided.
        """
        with self._bell:
            if (wanted, answers_seen) != (self._shared.asked, self._shared.answers_seen):
                self._shared.asked, self._shared.answers_seen = wanted, answers_seen
                self._bell.notify()

    def give_back(self, job_ids: Collection[int]) -> None:
        """These will not be started here: the next heartbeat, at once, does not name them."""
        with self._bell:
            self._shared.given_back.update(job_ids)
            self._shared.in_doubt = True
            self._bell.notify()

    def tell_trouble(self, sentence: str) -> None:
        """What keeps jobs from starting here; empty: nothing any more. It goes with a heartbeat, at once."""
        with self._bell:
            self._shared.node_trouble = sentence
            self._bell.notify()

    def hint(self) -> None:
        """There may be jobs to be had."""
        with self._bell:
            self._shared.hinted = True
            self._bell.notify()

    def set_sighted(self, sighted: bool) -> None:
        """Whether hints can be relied upon."""
        with self._bell:
            self._shared.sighted = sighted

    def forget_apps(self) -> None:
        """Apps may have changed: those that have are fetched, for jobs that have not started."""
        with self._bell:
            self._shared.apps_changed = True
            self._bell.notify()

    def acknowledge(self) -> None:
        """What was `Lost` is dead."""
        if self._session_id is None:
            self.pulse.forget()
        with self._bell:
            self._shared.acknowledged = True
            self._bell.notify()

    def doubt(self) -> None:
        """Makes sure of the lease before anything else is sent."""
        with self._bell:
            self._shared.in_doubt = True
            self._bell.notify()

    def finish(self, within_sec: float) -> bool:
        """Sends what is left, ends the session and the thread; False if the time was too short for that."""
        with self._bell:
            self._shared.finish_by = time.monotonic() + within_sec
            self._bell.notify()
        self._thread.join(within_sec + 1.0)
        if self._thread.is_alive() or self._session_id is not None:
            return False
        return self._outbox.left_in_sec(0.0) is None

    # ---- the thread ----

    def _run(self) -> None:
        try:
            self._outbox.take_left()
            while (step := self._await_step()) is not Step.end:
                self._attempt(step)
        except Exception:
            log.exception("the courier has failed; the launcher's lease will run out")
            raise

    def _attempt(self, step: Step) -> None:
        """Whatever goes wrong is tried again: without this thread jobs would be held and nothing be told."""
        try:
            self._try(step)
        except Exception as exc:  # a host without files or threads, a site's folder that is away
            if self._failures == 0:
                log.exception("the courier fails at step %s", step)
            self._failed(exc)

    def _try(self, step: Step) -> None:
        try:
            self._carry_out(step)
        except AuthError as exc:
            self._failed(exc)
            self._client = self._make_client()  # the site's token may have been renewed
        except ServerRefused as exc:
            self._answered()
            self._refused(step, exc)
        except ClientError as exc:
            self._failed(exc)
        else:
            self._answered()

    def _carry_out(self, step: Step) -> None:
        actions: dict[Step, Callable[[], None]] = {
            Step.deliver: lambda: self._outbox.deliver(self._client),
            Step.open: self._open,
            Step.resync: self._resync,
            Step.beat: self._beat,
            Step.report: self._report,
            Step.acquire: self._acquire,
            Step.fetch_apps: self._fetch_apps,
            Step.note: lambda: self._outbox.send_notes(self._client),
            Step.close: self._close,
        }
        actions[step]()

    def _await_step(self) -> Step:
        """Waits until there is something to do, and says what."""
        with self._bell:
            while True:
                self._take_in()
                now = time.monotonic()
                situation = self._situation(now)
                step, wait_sec = next_step(situation)
                if step is not Step.wait:
                    self._last_step = step
                    return step
                if self._trouble is not None:
                    wait_sec = WRITE_AGAIN_SEC if wait_sec is None else min(wait_sec, WRITE_AGAIN_SEC)
                self._bell.wait(wait_sec)

    def _take_in(self) -> None:
        shared = self._shared
        self._held -= shared.given_back
        shared.given_back.clear()
        if shared.apps_changed:
            shared.apps_changed = False
            self._apps_changed = bool(self._known_apps)
        if self._losing and shared.acknowledged:
            self._losing = False
            self._outbox.settle()
        self._outbox.try_again(time.monotonic())
        if not self._outbox.has_more:
            shared.report_at = None  # the last batch took along what came while it was made
        self._tell_trouble()

    def _tell_trouble(self) -> None:
        """When the disk takes no reports, and when it does again. Under the lock."""
        trouble = self._outbox.trouble
        if trouble == self._trouble:
            return
        self._trouble = trouble
        self._outbox.note_trouble()
        self._post(SpoolTrouble(trouble))

    def _situation(self, now: float) -> Situation:
        shared = self._shared
        silent_sec = self._silent_sec(now)
        if self._session_id is not None and silent_sec > self._lease_sec / 2:
            shared.in_doubt = True
        may_ask = shared.asked.jobs > 0 and shared.answers_seen == self._answers and self._terms.may_poll
        return Situation(
            has_session=self._session_id is not None,
            acknowledged=shared.acknowledged,
            in_doubt=shared.in_doubt,
            left_in_sec=self._outbox.left_in_sec(now),
            reports_in_sec=max(self._next_report, shared.report_at or 0.0) - now
            if self._outbox.has_more
            else None,
            lacks_apps=self._fresh_jobs is not None or self._apps_changed,
            acquiring=self._acquire_body is not None,
            wants_jobs=may_ask and (not self._dry or shared.hinted or now >= self._next_poll),
            may_acquire=self._trouble is None and not self._losing and self._outbox.is_settled,
            has_note=self._outbox.has_notes,
            just_acquired=self._last_step is Step.acquire,
            poll_in_sec=self._next_poll - now if may_ask else None,
            beat_in_sec=0.0
            if shared.node_trouble != self._told_trouble
            else self._last_beat + self._lease_sec / BEATS_PER_LEASE - now,
            finish_in_sec=None if shared.finish_by is None else shared.finish_by - now,
        )

    def _silent_sec(self, now: float) -> float:
        """How long the server has not answered; this thread may have been held up by a file meanwhile."""
        return now - max(self._last_answer, self.pulse.confirmed)

    def _answered(self) -> None:
        if self._failures:
            log.info("the server answers again after %.0f s", time.monotonic() - self._last_answer)
        self._failures = 0
        self._cut_told = False
        self._last_answer = time.monotonic()

    def _failed(self, exc: Exception) -> None:
        """No answer: sure of nothing until the lease is confirmed, then the same request again."""
        if self._failures == 0:
            log.warning("%s; jobs go on, reports wait", exc)
            self._post(Unanswered())
        self._outbox.sync()
        self._failures += 1
        silent_sec = self._silent_sec(time.monotonic())
        if silent_sec > self._lease_sec and not self._cut_told:
            self._cut_told = True
            self._post(Cut(silent_sec))
        with self._bell:
            self._shared.in_doubt = self._session_id is not None
            finish_by = self._shared.finish_by
            pause = pause_after(self._failures)
            if finish_by is not None:
                pause = min(pause, max(0.0, finish_by - time.monotonic()))
            self._sleep(pause)

    def _sleep(self, seconds: float) -> None:
        """Other than `finish`, nothing that the loop says shortens it."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            finishing = self._shared.finish_by is not None
            self._bell.wait(left)
            if self._shared.finish_by is not None and not finishing:
                return

    # ---- requests ----

    def _open(self) -> None:
        sent, asked_at = now_us(), time.monotonic()
        session = self._client.post("/sessions/", self._terms.session)
        # Before anything is stamped.
        self._clock.add(sent, to_us(datetime.fromisoformat(session["heartbeat"])), now_us())
        self.pulse.follow(session["id"], session["lease_sec"], asked_at)
        self._lease_sec = session["lease_sec"]
        self._session_id = session["id"]
        self._told_trouble, self._told_clock = "", 0
        self._last_beat = time.monotonic()
        self._outbox.open(session["id"])
        log.info("session %d is open", session["id"])
        self._post(Opened(session["id"], self._lease_sec))

    def _beat(self) -> None:
        answer = self._tick({"digest": digest.of_ids(self._held)})
        if not answer["in_step"]:
            self._resync()

    def _resync(self) -> None:
        answer = self._tick({"job_ids": sorted(self._held)})
        with self._bell:
            self._shared.in_doubt = False
        lost = self._held - set(answer["job_ids"] or ())
        # What is being reported right now may be released already: that is no loss.
        self._lose(lost - self._outbox.under_way, "the server gave them to nobody or to somebody else")
        self._mend()

    def _tick(self, body: dict[str, Any]) -> dict[str, Any]:
        trouble = self._shared.node_trouble
        if trouble != self._told_trouble:
            body = {**body, "trouble": trouble}
        clock_ahead_us = self._clock.telling_us
        if clock_ahead_us or self._told_clock:
            body = {**body, "clock_ahead_us": clock_ahead_us}
        sent, asked_at = now_us(), time.monotonic()
        answer: dict[str, Any] = self._client.put(f"/sessions/{self._session_id}", body)
        self.pulse.confirm(asked_at)
        self._told_trouble, self._told_clock = trouble, clock_ahead_us
        self._last_beat = time.monotonic()
        self._clock.add(sent, answer["server_time_us"], now_us())
        return answer

    def _report(self) -> None:
        began = time.monotonic()
        with self._bell:
            self._shared.report_at = None
        batch, refused = self._outbox.send(self._client)
        if batch is None:
            return
        self._next_report = began + gather_sec(len(batch.entries))
        log.debug("%d updates took %.1f ms", len(batch.entries), (time.monotonic() - began) * 1e3)
        self._settle(batch, refused)

    def _settle(self, batch: Batch, refused: list[tuple[Entry, str]]) -> None:
        no = {entry.end for entry, _ in refused}
        self._held -= {e.job_id for e in batch.entries if e.state in _LAST_STATES and e.end not in no}
        if not refused:
            return
        # By the fence, or since the job is deleted: the next answer tells which are still ours.
        self._mending = {
            entry.job_id: entry
            for entry, _ in refused
            if entry.state in RUN_END_STATES and entry.job_id in self._held - self._mended
        }
        lost = {entry.job_id for entry, _ in refused} & self._held
        self._lose(lost - self._mending.keys(), "the server refused an update of them")
        self.doubt()

    def _mend(self) -> None:
        """Tells what can be told of runs whose ends the server did not take, though they are ours."""
        ends = [entry for job_id, entry in self._mending.items() if job_id in self._held]
        self._mending = {}
        for entry in ends:
            log.error("the end of the run of job %d can't be stored as it is", entry.job_id)
            self._mended.add(entry.job_id)
            item = orjson.loads(entry.line)
            told = {name: item[name] for name in ("id", "state_timestamp")}
            sentence = "the report of this run could not be stored: the launcher's log and its spool tell why"
            self._outbox.append([{**told, "state": JobState.run_error, "state_data": {"error": sentence}}])

    def _acquire(self) -> None:
        if self._acquire_body is None:
            with self._bell:
                self._shared.hinted = False
                asked = self._shared.asked
            self._acquire_key = str(uuid4())
            self._acquire_body = {
                **self._terms.acquire,
                "max_num_jobs": asked.jobs,
                "max_aggregate_nodes": asked.nodes,
                "max_wall_time_min": max(0.0, self._terms.minutes_left()),
            }
        self._acquire_sent = time.monotonic()
        path = f"/sessions/{self._session_id}"
        jobs = self._client.post(path, self._acquire_body, key=self._acquire_key)
        self._held.update(job["id"] for job in jobs)
        self._dry = is_dry(
            jobs, self._acquire_body["max_num_jobs"], self._acquire_body["max_aggregate_nodes"]
        )
        with self._bell:
            sighted = self._shared.sighted
        self._next_poll = time.monotonic() + (POLL_SEC if sighted else BLIND_POLL_SEC)
        self._acquire_body = None
        self._fresh_jobs = jobs
        if jobs or not self._dry:
            self._fetch_apps()
        else:
            self._fresh_jobs = None  # nothing: the question stays open
            self._post(Nothing())

    def _fetch_apps(self) -> None:
        if self._fresh_jobs is None:
            self._refresh_apps()
            return
        trip_sec = time.monotonic() - self._acquire_sent
        wanted = {job["app_id"]: job["app_version"] for job in self._fresh_jobs}
        apps = self._apps_with({i for i, version in wanted.items() if self._known_apps.get(i, 0) < version})
        log.debug("%d jobs acquired in %.1f ms", len(self._fresh_jobs), trip_sec * 1e3)
        jobs, self._fresh_jobs = self._fresh_jobs, None
        with self._bell:
            self._answers += 1
            self._shared.asked = NOTHING
        self._post(Acquired(jobs, apps, trip_sec))

    def _refresh_apps(self) -> None:
        """Fetches what has another version than the one that the loop has."""
        query = {"id": sorted(self._known_apps)}
        newest = dict(self._client.get("/apps/newest", query)["versions"])
        changed = {i for i, number in newest.items() if self._known_apps.get(i, 0) < number}
        if apps := self._apps_with(changed):
            self._post(AppsChanged(apps))
        self._apps_changed = False

    def _apps_with(self, ids: set[int]) -> list[dict[str, Any]]:
        if not ids:
            return []
        apps: list[dict[str, Any]] = self._client.get("/apps/", {"id": sorted(ids), "count": "no"})["results"]
        self._known_apps.update({app["id"]: app["version"] for app in apps})
        return apps

    def _close(self) -> None:
        session_id = self._session_id
        self._outbox.tell_ending(self._client)
        self._client.delete(f"/sessions/{session_id}")
        self._session_id = None
        self.pulse.forget()
        log.info("session %s is closed", session_id)
        self._outbox.close()

    # ---- losses ----

    def _refused(self, step: Step, exc: ServerRefused) -> None:
        if step is Step.open:
            self._post(Rejected(str(exc)))
            with self._bell:
                self._shared.finish_by = time.monotonic()
        elif isinstance(exc, NotFoundError):
            self._session_over(str(exc))
        elif step is Step.note:
            log.warning("the BatchJob takes no notes: %s", exc)
            self._outbox.drop_notes()
        else:
            self._failed(exc)

    def _session_over(self, sentence: str) -> None:
        """The lease has run out: everything that it covered is somebody else's."""
        log.warning("session %s is over (%s)", self._session_id, sentence)
        self._session_id = None
        self.pulse.lose()
        self._outbox.give_up()
        self._mending, self._losing = {}, False
        self._acquire_body = None
        self._fresh_jobs = None
        self._held.clear()
        with self._bell:
            self._shared.in_doubt = False
            self._shared.hinted = True
            self._shared.acknowledged = self._shared.finish_by is not None
        self._post(Lost(None, "the session is over"))

    def _lose(self, job_ids: set[int], reason: str) -> None:
        if not job_ids:
            return
        log.warning("lost %d jobs: %s", len(job_ids), reason)
        self._held -= job_ids
        self._losing = True
        with self._bell:
            self._shared.acknowledged = False
        self._post(Lost(frozenset(job_ids), reason))
