"""Job templates: what is rendered, what a shell makes of it, and what is wrong with a template."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from balsam.core import start
from balsam.platform.machine import UnknownMachine, load_machine, machine_names
from balsam.platform.nodes import detect_local, parse_visible_gpus
from balsam.platform.template import Partition, ScriptFacts, TemplateError, render

FACTS = ScriptFacts(
    batch_job_id=7,
    project="local",
    queue="local",
    num_nodes=1,
    wall_time_min=10,
    job_mode="serial",
    filter_tags={},
    partitions=[],
    optional_params={},
    balsam_site_path=Path("/sites/one"),
    balsam_bin=Path("/opt/bin"),
    python="/opt/bin/python",
)


def words_of(script: str, folder: Path) -> list[str]:
    """The arguments with which the script calls its launcher, one per line."""
    file = folder / "script.sh"
    file.write_text(script)
    done = subprocess.run(["bash", str(file)], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_default_template_starts_the_launcher_in_the_site_with_mode_and_wall_time() -> None:
    script = render(load_machine("local").job_template, FACTS)
    assert "export BALSAM_SITE_PATH=/sites/one" in script
    assert (
        f"exec /opt/bin/python {start.__file__} balsam.launcher.main --batch-job 7 -j serial -t 10" in script
    )


def test_nothing_that_a_user_typed_becomes_a_shell_command(tmp_path: Path) -> None:
    wicked = "$(touch pwned); echo 'a b' \"c\" `id` \n&"
    site = tmp_path / "a site; with 'quotes'"
    site.mkdir()
    launcher = tmp_path / "print words"
    launcher.write_text('#!/bin/bash\nfor word in "$@"; do printf "%q\\n" "$word"; done\n')
    launcher.chmod(0o700)
    facts = replace(
        FACTS,
        filter_tags={wicked: wicked},
        partitions=[Partition("mpi", 2, {"k": wicked})],
        balsam_site_path=site,
        python=str(launcher),
    )
    words = words_of(render(load_machine("local").job_template, facts), tmp_path)
    expected = subprocess.run(
        ["bash", "-c", 'printf "%q\\n" "$@"', "x", f"{wicked}={wicked}", f"mpi:2:k={wicked}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert words[words.index("--tag") + 1] == expected[0]
    assert words[words.index("--part") + 1] == expected[1]
    assert not list(tmp_path.rglob("pwned"))


def test_what_there_is_not_is_nothing() -> None:
    template = (
        "{% if filter_tags.kind %}x{% endif %}{{ optional_params.nope }}{{ unknown.more }}|{{ pg_bin }}"
    )
    assert render(template, FACTS) == "|None"


@pytest.mark.parametrize("broken", ["{{ 1 / 0 }}", "{{ wall_time_min + queue }}", "{{ num_nodes() }}"])
def test_whatever_a_template_raises_is_told_with_its_line(broken: str) -> None:
    with pytest.raises(TemplateError, match=r"^here.sh, line 2: "):
        render(f"#!/bin/bash\n{broken}\n", FACTS, "here.sh")


def test_partitions_become_flags_and_none_become_nothing() -> None:
    partitions = [Partition("mpi", 2, {"a": "1", "b": "2"}), Partition("serial", 1, {})]
    template = "{{ partitions }}"
    assert render(template, FACTS) == ""
    assert render(template, replace(FACTS, partitions=partitions)) == "--part mpi:2:a=1:b=2 --part serial:1"


def test_templates_of_older_sites_still_render() -> None:
    older = (
        "{{balsam_bin}} {{pg_bin}} {{launcher_cmd}} -j {{job_mode}} -t {{wall_time_min - 2}} {{partitions}}"
    )
    assert render(older, FACTS).startswith(
        f"/opt/bin None /opt/bin/python {start.__file__} balsam.launcher.main"
    )


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("\n{{ nodes() }}", r"site/t.sh, line 2: 'nodes' is undefined; a job template may use batch_job_id"),
        ("\n\n{% if %}", r"site/t.sh, line 3: "),
    ],
)
def test_a_wrong_template_is_an_error_with_place_and_remedy(template: str, sentence: str) -> None:
    with pytest.raises(TemplateError, match=sentence):
        render(template, FACTS, "site/t.sh")


def test_every_machine_that_ships_loads_and_renders() -> None:
    assert "local" in machine_names()
    for name in machine_names():
        machine = load_machine(name)
        assert machine.queues and machine.projects
        render(machine.job_template, FACTS)


def test_an_unknown_machine_is_an_error_that_names_those_there_are() -> None:
    with pytest.raises(UnknownMachine, match=r"there is no machine 'moon'; there are: .*local"):
        load_machine("moon")


def test_the_local_node_has_the_cpus_of_this_process_and_no_gpus_unless_named() -> None:
    (node,) = detect_local({})
    assert node.cpus and node.mem_mb > 0 and node.gpus == ()
    assert detect_local({"CUDA_VISIBLE_DEVICES": "1,3"})[0].gpus == ("1", "3")


@pytest.mark.parametrize(
    ("text", "gpus"),
    [
        ("", ()),
        ("0", ("0",)),
        (" 0, 2 ", ("0", "2")),
        ("0,-1,2", ("0",)),
        ("-1", ()),
        ("GPU-ab", ("GPU-ab",)),
    ],
)
def test_visible_gpus_end_at_the_first_invalid_one(text: str, gpus: tuple[str, ...]) -> None:
    assert parse_visible_gpus(text) == gpus
