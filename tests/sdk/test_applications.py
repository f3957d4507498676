"""ApplicationDefinitions: what is registered, what submit() refuses, what travels to the site."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest

from balsam.api import App, ApplicationDefinition, AppParameter, Job, JobState, Site, TransferSlot
from balsam.client.errors import ClientError
from balsam.core.limits import MAX_PAYLOAD_CHARS
from balsam.schemas import SerializeError
from balsam.sdk.command_template import TemplateError, TemplateWarning
from balsam.sdk.parameters import ParameterError
from balsam.sdk.same_workdir import WorkdirTaken
from tests.services import User

Apps = type[ApplicationDefinition]


def test_a_command_app_is_registered_with_its_parameters(hello: Apps) -> None:
    app = App.objects.get(name="Hello")
    assert app.id == hello.__app_id__
    assert app.parameters == {
        "greeting": AppParameter(required=False, default="hi", help="first word"),
        "name": AppParameter(required=True),
    }
    assert app.description == "Says hello."
    assert app.source_code.startswith("class Hello(ApplicationDefinition):")
    assert (app.hooks, app.isolate) == ([], False)
    assert app.serializer is not None and app.serializer.name == "cloudpickle"


def test_a_python_app_is_registered_with_its_signature(add: Apps) -> None:
    app = App.objects.get(name="Add")
    assert app.parameters == {
        "x": AppParameter(required=True, help="int"),
        "y": AppParameter(required=False, default="2", help="int"),
    }
    assert app.hooks == []


def test_hooks_overridden_anywhere_below_are_named(lab: Site) -> None:
    class Base(ApplicationDefinition):
        site = "lab"
        isolate = True

        def postprocess(self) -> None:
            super().postprocess()

    class Mixin:
        def shell_preamble(self) -> str:
            return "module load x"

    class Child(Mixin, Base):
        command_template = "true"

        def handle_error(self) -> None:
            self.job.state = JobState.restart_ready

    Child.sync()
    app = App.objects.get(name="Child")
    assert app.hooks is not None
    assert set(app.hooks) == {"postprocess", "shell_preamble", "handle_error"}
    assert app.isolate


def test_syncing_again_updates_the_same_app(hello: Apps) -> None:
    before = hello.__app_id__
    assert before is not None
    hello.command_template = "echo {{ greeting }} {{ name }} {{ more }}"
    hello.sync()
    assert hello.__app_id__ == before
    assert App.objects.count() == 1
    assert "more" in App.objects.get(id=before).parameters


def test_rename_from_keeps_the_apps_jobs(hello: Apps) -> None:
    job = hello.submit("w", name="x")

    class Greet(hello):  # type: ignore[valid-type, misc]
        """Greets."""

    Greet.sync(rename_from="Hello")
    Greet.sync(rename_from="Hello")  # a script that is run again
    assert [app.name for app in App.objects.all()] == ["Greet"]
    assert Job.objects.get(app_id=Greet).id == job.id

    class Other(hello):  # type: ignore[valid-type, misc]
        pass

    with pytest.raises(App.DoesNotExist, match="Nobody"):
        Other.sync(rename_from="Nobody")


def test_exactly_one_of_command_and_run(lab: Site) -> None:
    with pytest.raises(AttributeError, match="both"):

        class Both(ApplicationDefinition):
            site = "lab"
            command_template = "true"

            def run(self) -> None: ...

    class Neither(ApplicationDefinition):
        site = "lab"

    with pytest.raises(AttributeError, match="neither"):
        Neither.sync()

    class NoSite(ApplicationDefinition):
        command_template = "true"

    with pytest.raises(AttributeError, match="site"):
        NoSite.sync()


def test_the_site_is_an_id_a_name_or_a_site(lab: Site) -> None:
    for site in (lab.id, "lab", lab):
        app = type("Echo", (ApplicationDefinition,), {"site": site, "command_template": "echo"})
        assert issubclass(app, ApplicationDefinition) and app.resolve_site_id() == lab.id
        app.sync()
    lost = type("Echo", (ApplicationDefinition,), {"site": "nowhere", "command_template": "echo"})
    with pytest.raises(Site.DoesNotExist, match="nowhere"):
        lost.sync()  # type: ignore[attr-defined]


def test_wrong_parameters_are_refused_before_anything_is_sent(hello: Apps, add: Apps) -> None:
    for error in (TypeError, ValueError):
        with pytest.raises(
            error, match=r"Hello needs 'name' and does not take 'nam'.*greeting \(default hi\)"
        ):
            hello.submit("w", nam="x")
    with pytest.raises(ParameterError, match="Add does not take 'z'"):
        add.submit("w", x=1, z=2, save=False)
    with pytest.raises(ParameterError, match="Add needs 'x'"):
        Job("w", add)
    with pytest.raises(ParameterError, match="Hello needs 'name'"):
        Job.objects.create("w", "Hello", site_name="lab")
    assert Job.objects.count() == 0


def test_run_with_keywords_takes_anything(lab: Site) -> None:
    class Anything(ApplicationDefinition):
        site = "lab"

        def run(self, **kwargs: Any) -> None: ...

    Anything.sync()
    assert Anything.submit("w", a=1, b=2).get_parameters() == {"a": 1, "b": 2}


def test_an_apps_own_parameter_hides_our_option_of_that_name(lab: Site) -> None:
    class Rank(ApplicationDefinition):
        site = "lab"
        command_template = "rank {{ priority }}"

    Rank.sync()
    job = Rank.submit("w", priority="high", max_restarts=3)
    assert job.get_parameters() == {"priority": "high"}
    assert (job.priority, job.max_restarts) == (0, 3)


def test_parameters_travel_as_json_where_they_can(add: Apps) -> None:
    job = Job.objects.get(id=add.submit("w", x=[1, {"a": None}], y=2.5).id)
    assert job.parameters_json == job.get_parameters() == {"x": [1, {"a": None}], "y": 2.5}


@pytest.mark.parametrize("value", [(1, 2), {1: 2}, float("nan"), Path("x"), 2**80, "a\x00b", b"x", {1, 2}])
def test_parameters_that_are_no_json_come_back_unchanged(lab: Site, value: object) -> None:
    class Take(ApplicationDefinition):
        site = "lab"

        def run(self, x: object) -> None: ...

    Take.sync()
    job = Job.objects.get(id=Take.submit("w", x=value).id)
    assert job.parameters_json is None
    assert repr(job.get_parameters()["x"]) == repr(value)


def test_parameters_are_changed_before_and_after_saving(add: Apps) -> None:
    job = add.submit("w", x=1, save=False)
    job.set_parameters({"x": 2})
    job.save()
    assert job.get_parameters() == {"x": 2}
    job.get_parameters()["x"] = 99  # a copy
    job.set_parameters({"x": 3})
    job.save()
    assert Job.objects.get(id=job.id).get_parameters() == {"x": 3}


def test_parameters_that_became_no_json_are_not_shadowed_by_the_old(add: Apps) -> None:
    job = add.submit("w", x=1)
    job.set_parameters({"x": (1, 2)})
    job.save()
    assert Job.objects.get(id=job.id).get_parameters() == {"x": (1, 2)}


def test_too_large_parameters_name_the_job_and_the_limit(add: Apps) -> None:
    with pytest.raises(ValueError, match=rf"'big/one'.*{MAX_PAYLOAD_CHARS:,}"):
        add.submit("big/one", x=["a" * MAX_PAYLOAD_CHARS])
    assert Job.objects.count() == 0


def test_jobs_by_app_name_and_id(hello: Apps) -> None:
    by_name = Job.objects.create("w", "Hello", site_name="lab", parameters={"name": "x"})
    by_id = Job("w", by_name.app_id, parameters={"name": "y"})
    by_id.save()
    assert by_id.app_id == by_name.app_id == hello.__app_id__
    with pytest.raises(App.DoesNotExist, match="Helo"):
        Job.objects.create("w", "Helo", site_name="lab")


def test_an_app_that_was_never_synced_is_registered_by_its_first_job(lab: Site) -> None:
    class Late(ApplicationDefinition):
        site = "lab"
        command_template = "true"

    with pytest.raises(App.DoesNotExist, match=r"Late\.sync\(\)"):
        Job.objects.filter(app_id=Late).count()
    job = Late.submit("w")
    assert App.objects.get(name="Late").id == job.app_id == Late.__app_id__


def test_a_parent_that_was_never_saved_says_what_to_do(hello: Apps) -> None:
    parent = hello.submit("p", name="x", save=False)
    with pytest.raises(ValueError, match="save it first"):
        hello.submit("c", name="x", parent_ids=[parent])


def test_commands_are_filled_in_with_values_and_defaults(hello: Apps) -> None:
    job = hello.submit("w", name="a b; c")
    assert hello(job).get_arg_str() == "echo hi 'a b; c'"
    job = hello.submit("w", name="it's", greeting="> out.txt")
    assert hello(job).get_arg_str() == """echo '> out.txt' 'it'"'"'s'"""
    assert hello(job).get_environ_vars() == {"BALSAM_JOB_ID": str(job.id), "OMP_NUM_THREADS": "1"}


def test_a_command_of_several_lines_is_a_script_as_written(lab: Site) -> None:
    class Long(ApplicationDefinition):
        site = "lab"
        command_template = """
            # a remark
            solve --in {{ name }} \\
                --text "a  b"
            cat <<END
              two
            END
        """

    Long.sync()
    text = '# a remark\nsolve --in x \\\n    --text "a  b"\ncat <<END\n  two\nEND'
    assert Long(Long.submit("w", name="x")).get_arg_str() == text


def test_values_within_quotes_are_warned_of_when_the_app_is_synced(lab: Site) -> None:
    class Quoting(ApplicationDefinition):
        site = "lab"
        command_template = 'echo "{{ name }}"'

    with pytest.warns(TemplateWarning, match="app Quoting: the value of 'name' stands within double quotes"):
        Quoting.sync()


def test_values_that_no_command_can_be_given_are_refused_when_they_are_submitted(hello: Apps) -> None:
    with pytest.raises(ParameterError, match="'name' of Hello holds a NUL character"):
        hello.submit("w", name="run7\0\0")


@pytest.mark.parametrize("variables", [{"": "x"}, {"A=B": "x"}, {"A": "x\0"}])
def test_variables_that_no_program_can_have_are_refused(lab: Site, variables: dict[str, str]) -> None:
    body = {"site": "lab", "command_template": "true", "environment_variables": variables}
    with pytest.raises(ValueError, match="environment variable"):
        type("Odd", (ApplicationDefinition,), body).sync()  # type: ignore[attr-defined]


@pytest.mark.parametrize("workdir", ["~/x", "a\nb", "x" * 300, "ä" * 200, "../up"])
def test_workdirs_that_cannot_be_are_refused(hello: Apps, workdir: str) -> None:
    with pytest.raises(ClientError, match="workdir"):
        hello.submit(workdir, name="x")


def test_what_is_done_where_the_app_has_a_job_in_that_workdir(hello: Apps) -> None:
    first = hello.submit("w/1", name="x", if_exists="error")
    hello.submit("w/12", name="x", if_exists="error")
    assert hello.submit("w/1", name="x", if_exists="skip").id == first.id
    with pytest.raises(WorkdirTaken, match=f"job {first.id} .* has the workdir 'w/1' already"):
        hello.submit("w/1", name="x", if_exists="error")
    assert hello.submit("w/1", name="x").id != first.id
    with pytest.raises(ValueError, match="if_exists is 'no'"):
        hello.submit("w/1", name="x", if_exists="no")


def test_many_jobs_and_single_ones_take_what_is_there_or_refuse_it(hello: Apps) -> None:
    """Each way in which a job is made knows `if_exists`."""
    first = hello.submit("w/1", name="x")
    new = [Job(f"w/{n}", hello, parameters={"name": "x"}) for n in (1, 2)]
    made = Job.objects.bulk_create(new, if_exists="skip")
    assert (made[0].id, made[1].id > first.id, Job.objects.count()) == (first.id, True, 2)
    again = Job.objects.create("w/2", hello, parameters={"name": "x"}, if_exists="skip")
    assert again.id == made[1].id
    with pytest.raises(WorkdirTaken):
        Job("w/2", hello, parameters={"name": "x"}, if_exists="error").save()
    twice = [Job("w/3", hello, parameters={"name": "x"}) for _ in range(2)]
    with pytest.raises(WorkdirTaken, match="'w/3' is given twice"):
        Job.objects.bulk_create(twice, if_exists="error")
    assert Job.objects.count() == 2


def test_a_workdir_that_another_job_has_is_warned_of(hello: Apps, caplog: pytest.LogCaptureFixture) -> None:
    """Of whatever app, and however it was made; not where it is meant, nor where the other one is gone."""

    def told() -> list[str]:
        said = [record.getMessage() for record in caplog.records if "has the workdir" in record.getMessage()]
        caplog.clear()
        return said

    first = hello.submit("w/1", name="x")
    after = hello.submit("w/1", name="x", parent_ids=[first])
    assert told() == []
    second = Job("w/1", hello, parameters={"name": "x"})
    second.save()
    [said] = told()
    assert said.startswith(f"job {second.id} has the workdir 'w/1' of job {after.id} (AWAITING_PARENTS): ")
    many = [Job(f"w/{n // 2}", hello, parameters={"name": "x"}) for n in range(4, 8)]
    Job.objects.bulk_create(many)
    [said] = told()
    assert said.startswith(f"job {many[1].id} has the workdir 'w/2' of job {many[0].id} ")
    assert ", and 1 more of those that were made with it have others' too: " in said
    hello.submit("w/3", name="x", if_exists="allow")
    Job.objects.filter(id=[job.id for job in many]).delete()
    hello.submit("w/2", name="x")
    assert told() == []


def test_saving_a_job_that_was_deleted_elsewhere_says_so(hello: Apps) -> None:
    job = hello.submit("w", name="x")
    Job.objects.get(id=job.id).delete()
    job.priority = 5
    with pytest.raises(Job.DoesNotExist, match=f"Job {job.id} does not exist"):
        job.save()


def test_a_template_without_a_command_is_refused(lab: Site) -> None:
    class Idle(ApplicationDefinition):
        site = "lab"
        command_template = """
            # nothing yet
        """

    with pytest.raises(TemplateError, match="holds no command"):
        Idle.sync()


def test_a_parameter_named_like_a_function_of_jinja(lab: Site) -> None:
    class Scan(ApplicationDefinition):
        site = "lab"
        command_template = "scan {{ range }}"

    Scan.sync()
    assert Scan(Scan.submit("w", range="0-5")).get_arg_str() == "scan 0-5"


def test_a_template_that_is_no_template_says_so(lab: Site) -> None:
    class Broken(ApplicationDefinition):
        site = "lab"
        command_template = "echo {{ name }"

    with pytest.raises(TemplateError, match="can't be read"):
        Broken.sync()


def test_a_missing_value_is_an_error_at_the_site(hello: Apps) -> None:
    job = hello.submit("w", name="x")
    job.set_parameters({})
    with pytest.raises(TemplateError, match="name"):
        hello(job).get_arg_str()


def test_wrong_slots_and_parameters_name_the_app(lab: Site) -> None:
    class Odd(ApplicationDefinition):
        site = "lab"
        command_template = "true"
        transfers = {"x": {"required": True, "direction": "sideways", "local_path": "x"}}

    with pytest.raises(ValueError, match=r"transfers of app Odd"):
        Odd.sync()

    class Odder(ApplicationDefinition):
        site = "lab"
        command_template = "true {{ n }}"
        parameters = {"n": {"default": 3}}

    with pytest.raises(ValueError, match=r"'n' of app Odder"):
        Odder.sync()
    assert TransferSlot(required=False, direction="in", local_path="x").recursive is False  # type: ignore[arg-type]


def test_classes_are_loaded_by_site_name_and_id(hello: Apps, add: Apps) -> None:
    assert set(ApplicationDefinition.load_by_site("lab")) == {"Hello", "Add"}
    loaded = ApplicationDefinition.load_by_name("Hello", "lab")
    assert loaded.__app_id__ == hello.__app_id__
    assert ApplicationDefinition.load_by_id(add.__app_id__ or 0).__name__ == "Add"
    job = Job.objects.get(id=hello.submit("w", name="x").id)
    assert job.app.__name__ == "Hello"
    with pytest.raises(App.DoesNotExist):
        ApplicationDefinition.load_by_name("Nobody")


def test_a_class_that_does_not_load_says_why(bare_app: App) -> None:
    with pytest.raises(ApplicationDefinition.ModuleLoadError, match=r"Bare.*empty"):
        ApplicationDefinition.load_by_id(bare_app.id)
    with pytest.warns(RuntimeWarning, match="Bare"):
        assert ApplicationDefinition.load_by_site("lab") == {}
    bare_app.serialized_class = "bm9uc2Vuc2U="
    bare_app.save()
    with pytest.raises(ApplicationDefinition.ModuleLoadError, match="Bare"):
        ApplicationDefinition.load_by_id(bare_app.id)


def test_what_cant_be_sent_names_the_app(lab: Site) -> None:
    class Locked(ApplicationDefinition):
        site = "lab"
        lock = threading.Lock()

        def run(self) -> None: ...

    with pytest.raises(SerializeError, match="Locked"):
        Locked.sync()


USER_CODE = """
    from balsam.api import ApplicationDefinition
    import my_numbers
    from my_numbers import triple

    class Thrice(ApplicationDefinition):
        site = "lab"

        def run(self, x):
            return triple(x) + my_numbers.ONE

        def postprocess(self):
            super().postprocess()
            self.job.data = {"tripled": triple(1)}
"""


def test_user_modules_travel_with_the_app(lab: Site, me: User, tmp_path: Path) -> None:
    """A site has no copy of the user's files: a process without them opens and runs the class."""
    (tmp_path / "my_numbers.py").write_text("ONE = 1\n\ndef triple(x):\n    return 3 * x\n")
    (tmp_path / "my_apps.py").write_text(textwrap.dedent(USER_CODE))
    client = f"from balsam.client.transport import Client; c = Client({me.client.api_root!r}, {me.token!r})"
    use = "from balsam.sdk.context import use_client; use_client(c)"
    _python(f"{client}; {use}; from my_apps import Thrice; Thrice.sync()", tmp_path)
    at_site = """
        from types import SimpleNamespace
        from balsam.api import ApplicationDefinition
        app = ApplicationDefinition.load_by_name("Thrice")
        thrice = app(SimpleNamespace(state=None, data=None))
        assert thrice.run(2) == 7
        thrice.postprocess()
        assert (thrice.job.state, thrice.job.data) == ("POSTPROCESSED", {"tripled": 3})
        import sys
        assert "my_apps" not in sys.modules and "my_numbers" not in sys.modules
    """
    _python(f"{client}; {use}\n{textwrap.dedent(at_site)}", Path("/"))


def _python(code: str, folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_cleanup_files_that_nobody_removes_are_told_at_sync(
    lab: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """A switch that does nothing has to say so."""

    class Untidy(ApplicationDefinition):
        site = "lab"
        command_template = "true"
        cleanup_files = ["*.hdf"]

    Untidy.sync()
    assert "app Untidy names cleanup_files, and sites of this release remove none" in caplog.text
