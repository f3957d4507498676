"""`balsam alert`: be told by a webhook or by mail when something is wrong."""

from __future__ import annotations

import time
from typing import IO

import click

from balsam.cli.connection import connect
from balsam.cli.listing import Form, Listing, Row, View, listing_options
from balsam.cli.options import confirm, member, refuse_idle, site_option, tags_of
from balsam.cli.printable import printable
from balsam.cli.site_selector import selected_sites
from balsam.cli.table import minute
from balsam.client.errors import NotFoundError
from balsam.client.transport import Client
from balsam.core.alerts import DEFAULTS, MAX_ALERT_MINUTES, AlertKind, Channel
from balsam.sdk.context import default_client

TEST_SEC = 60.0
POLL_SEC = 0.2
KINDS = ", ".join(kind.replace("_", "-") for kind in AlertKind)
RULES = Listing(
    columns=(
        *("id", "condition", "of", "address", "firing", "last_message", "kind", "site_id", "tags", "minutes"),
        *("threshold", "min_jobs", "remind_hours", "channel", "signed", "created", "sent_at", "error"),
        "error_at",
    ),
    shown=("id", "condition", "of", "address", "firing", "last_message"),
    titles={"id": "ID", "address": "To"},
)


@click.group()
@click.pass_context
def alert(context: click.Context) -> None:
    """Be told by a webhook or by mail when jobs fail, nothing starts, nodes idle or a site is down."""
    connect(context)


@alert.command(help=f"Make a rule. KIND: {KINDS}.")
@click.argument("kind")
@click.option("--webhook", metavar="URL", help="Post messages there, as JSON.")
@click.option(
    "--webhook-file",
    type=click.File(encoding="utf-8"),
    help="A file with the URL, where that is a secret; - for standard input.",
)
@click.option("--mail", metavar="ADDRESS", help="Send messages there, where the server sends mail.")
@click.option(
    "--secret-file",
    type=click.File(encoding="utf-8"),
    help="A file with a secret that signs the webhook's messages.",
)
@click.option(
    "-t", "--tag", "tags", multiple=True, metavar="KEY=VALUE", help="Only jobs so tagged (failure-rate)."
)
@click.option(
    "--minutes", type=click.FloatRange(1, MAX_ALERT_MINUTES), help="How long, or within which time."
)
@click.option(
    "--threshold", type=click.FloatRange(0, 1, min_open=True), help="The fraction of jobs, or of busy nodes."
)
@click.option("--min-jobs", type=click.IntRange(min=1), help="That must have ended before a rate is told.")
@click.option("--remind-hours", type=click.FloatRange(min=0), help="How often; 0: never.  [default: 24]")
@site_option("-s")
def add(
    kind: str,
    webhook: str | None,
    webhook_file: IO[str] | None,
    mail: str | None,
    secret_file: IO[str] | None,
    tags: tuple[str, ...],
    site_selector: str,
    **limits: float | None,
) -> None:
    url = webhook if webhook_file is None else webhook_file.read().strip()
    if (url is None) == (mail is None) or (webhook and webhook_file):
        raise click.UsageError("Where to? Give one of --webhook, --webhook-file and --mail.")
    which = member(AlertKind, kind.replace("-", "_"), "KIND")
    if which is not AlertKind.failure_rate:
        refuse_idle({"min_jobs"}, f"in a {which.replace('_', '-')} rule")
    body: Row = {
        "kind": which,
        "site_id": selected_sites(site_selector),
        "tags": tags_of(tags, "--tag"),
        "channel": Channel.mail if url is None else Channel.webhook,
        "address": mail if url is None else url,
        "secret": None if secret_file is None else secret_file.read().strip(),
        **{name: value for name, value in limits.items() if value is not None},
    }
    made = default_client().post("/alerts/rules", body)
    click.echo(f"Made rule {made['id']}: {_condition(made)}. `balsam alert test {made['id']}` tries it.")


@alert.command()
@listing_options(RULES)
def ls(view: View) -> None:
    """List your rules, what fires, and messages that did not arrive."""
    client = default_client()
    rules = client.get("/alerts/rules")
    if view.form is Form.TEXT and not rules:
        click.echo("No alert rules. `balsam alert add --help` tells how to make one.")
        return
    names = {site["id"]: site["name"] for site in client.get("/sites/", {"count": "no"})["results"]}
    view.show_first(_row(one, names) for one in rules)
    if view.form is not Form.TEXT:
        return
    for one in client.get("/alerts/"):
        click.echo(printable(f"rule {one['rule_id']} fires since {minute(one['since'])}: {one['sentence']}"))
    for one in rules:
        if one["error"]:
            click.echo(printable(f"rule {one['id']}: a message did not arrive: {one['error']}"))


@alert.command()
@click.argument("ids", nargs=-1, type=int, required=True, metavar="ID...")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def rm(ids: tuple[int, ...], yes: bool) -> None:
    """Remove rules, with their messages that are still on their way."""
    named = ", ".join(map(str, ids))
    confirm(f"Remove the alert rule{'s' * (len(ids) > 1)} {named}, and messages not sent yet?", yes)
    for rule_id in ids:
        try:
            default_client().delete(f"/alerts/rules/{rule_id}")
        except NotFoundError as exc:
            raise _no_rule(rule_id) from exc
        click.echo(f"Removed rule {rule_id}.")


@alert.command()
@click.argument("rule_id", type=int, metavar="ID")
def test(rule_id: int) -> None:
    """Send a test message, and tell whether it arrived."""
    client = default_client()
    try:
        sent = client.post(f"/alerts/rules/{rule_id}/test", None)
    except NotFoundError as exc:
        raise _no_rule(rule_id) from exc
    sent = _ended(client, sent)
    if sent["ended"] is None:
        raise click.ClickException(
            "the message is still on its way: `balsam alert ls` tells what becomes of it"
        )
    if sent["error"]:
        raise click.ClickException(f"the message did not arrive: {sent['error']}")
    click.echo("The message was taken.")


def _ended(client: Client, sent: Row) -> Row:
    deadline = time.monotonic() + TEST_SEC
    while sent["ended"] is None and time.monotonic() < deadline:
        time.sleep(POLL_SEC)
        sent = client.get(f"/alerts/deliveries/{sent['id']}")
    return sent


def _no_rule(rule_id: int) -> click.ClickException:
    return click.ClickException(f"no alert rule {rule_id} (see `balsam alert ls`)")


def _row(rule: Row, names: dict[int, str]) -> Row:
    sites = (
        "all sites"
        if rule["site_id"] is None
        else ", ".join(names.get(i, f"site {i}") for i in rule["site_id"])
    )
    tags = " ".join(f"{key}={value}" for key, value in sorted(rule["tags"].items()))
    return {
        **rule,
        "condition": _condition(rule),
        "of": f"{sites} {tags}".strip(),
        "last_message": _last(rule),
    }


def _last(rule: Row) -> str:
    if rule["error"]:
        return f"failed {minute(rule['error_at'])}"
    return f"sent {minute(rule['sent_at'])}" if rule["sent_at"] else ""


def _condition(rule: Row) -> str:
    kind, minutes = AlertKind(rule["kind"]), f"{rule['minutes']:g} min"
    words = {
        AlertKind.failure_rate: f"of {rule['min_jobs']} jobs and more in {minutes}",
        AlertKind.idle_allocation: f"of the nodes busy for {minutes}",
    }
    name = kind.replace("_", "-")
    if DEFAULTS[kind].threshold is None:
        return f"{name} for {minutes}"
    bound = "at least" if kind is AlertKind.failure_rate else "less than"
    return f"{name}, {bound} {rule['threshold']:.3g} {words[kind]}"
