"""Commands: from a script, its preamble and its environment to what is started, tried with bash itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.launcher.command import Command, CommandError, argument_list, under_launcher
from balsam.sdk import command_template

PATH = {"PATH": os.environ["PATH"]}


def bash(command: Command, folder: Path | None = None) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    words = argument_list(command, PATH)
    ended = subprocess.run(words, capture_output=True, text=True, cwd=folder, env=PATH, timeout=20)
    return ended.returncode, ended.stdout, ended.stderr


class TestCommands:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("true", ["true"]),
            ("echo 'a b'  \"c d\" e", ["echo", "a b", "c d", "e"]),
            ("/opt/x --n=3 a,b:c", ["/opt/x", "--n=3", "a,b:c"]),
        ],
    )
    def test_plain_command_needs_no_shell(self, text: str, words: list[str]) -> None:
        assert argument_list(Command(text), PATH) == words

    @pytest.mark.parametrize(
        "text",
        [
            "echo $HOME",
            "a > b",
            "a; b",
            "a && b",
            "ls *.txt",
            "echo `date`",
            "X=1 env",
            "cd /tmp",
            "source x",
            "echo 'open",
            "echo a\\ b",
            "echo ~",
            "echo {a,b}",
            "true # comment",
        ],
    )
    def test_what_only_a_shell_understands_goes_to_one(self, text: str) -> None:
        words = argument_list(Command(text), PATH)
        assert words[1:] == ["-c", text]

    def test_exported_shell_function_is_found(self) -> None:
        words = argument_list(Command("srunx a"), {**PATH, "BASH_FUNC_srunx%%": "() { :; }"})
        assert words[1:] == ["-c", "srunx a"]

    @pytest.mark.parametrize(
        ("text", "sentence"), [("", "empty"), ("  ", "empty"), ("nonesuch 1", "nonesuch")]
    )
    def test_command_that_cannot_be_started_says_why(self, text: str, sentence: str) -> None:
        with pytest.raises(CommandError, match=sentence):
            argument_list(Command(text), PATH)

    @pytest.mark.parametrize(
        ("name", "value"),
        [("", "x"), ("A=B", "x"), ("A\0", "x"), ("A", "x\0y"), ("A", "\ud800"), ("A", "x" * 200_000)],
    )
    def test_a_variable_that_no_program_can_be_given_is_named(self, name: str, value: str) -> None:
        with pytest.raises(CommandError, match="variable"):
            argument_list(Command("true"), {**PATH, name: value})

    @pytest.mark.parametrize("text", ["echo x\0y", "echo \ud800", "echo " + "x" * 200_000, "echo 'x\0y'"])
    def test_a_command_that_no_program_can_be_given_says_why(self, text: str) -> None:
        with pytest.raises(CommandError, match=r"the command (holds|takes)"):
            argument_list(Command(text), PATH)

    def test_names_of_files_may_be_any_bytes(self) -> None:
        assert argument_list(Command("ls a\udcff"), PATH)[-1] == "a\udcff"

    def test_only_the_last_command_of_a_script_counts_unless_it_is_strict(self) -> None:
        for text in ("false\necho x", "false | echo x", "echo ${NONE} x"):
            assert bash(Command(text))[:2] == (0, "x\n")
        assert bash(Command("false\necho x", strict=True))[:2] == (1, "")
        assert bash(Command("false | cat\necho x", strict=True))[:2] == (1, "")
        assert bash(Command("echo ${NONE} x", strict=True))[:2] == (1, "")
        assert bash(Command("false\necho x", "true", strict=True))[:2] == (1, "")

    @given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40))
    def test_a_value_arrives_as_one_argument_whatever_it_holds(self, value: str) -> None:
        text = command_template.render("printf [%s] {{ x }} {{ x }}", {"x": value})
        words = argument_list(Command(text), PATH)
        assert subprocess.run(words, capture_output=True, env=PATH).stdout == f"[{value}][{value}]".encode()

    @given(
        st.text(max_size=30),
        st.one_of(st.text(max_size=30), st.lists(st.text(max_size=9), max_size=3)),
        st.dictionaries(st.text(max_size=3), st.text(max_size=9), max_size=3),
        st.booleans(),
    )
    def test_whatever_it_is_told_it_is_started_or_refused_with_a_sentence(
        self, text: str, preamble: str | list[str], variables: dict[str, str], strict: bool
    ) -> None:
        """Nothing that a job may hold is a launcher's end."""
        quoted = command_template.render("true {{ x }}", {"x": text})
        environment = {**PATH, **variables}
        try:
            words = argument_list(Command(quoted, preamble, variables, strict), environment)
        except CommandError as exc:
            assert str(exc)
            return
        ended = subprocess.run(
            ["true", *words], env=environment, stdin=subprocess.DEVNULL, executable="/bin/true", timeout=20
        )
        assert ended.returncode == 0


class TestUnderAnMpiLauncher:
    """As release 0.7: the launcher's line stands before the first command, and binds as its name would."""

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("echo one && echo two", "M echo one\ntwo\n"),
            ("echo one\necho two", "M echo one\ntwo\n"),
            ("\n# first\n\necho one # x\n", "M echo one\n"),
            ("echo one | tr a-z A-Z", "M ECHO ONE\n"),
            ("cat <<E\nhi\nE\necho x", "M cat\nx\n"),
            ("echo a \\\n  b; echo c", "M echo a b\nc\n"),
        ],
    )
    def test_the_first_command_is_the_one_with_ranks(self, text: str, told: str) -> None:
        assert bash(Command(under_launcher("echo M", text)))[:2] == (0, told)

    @pytest.mark.parametrize("text", ["if true; then a; fi", "(a; b)", "{ a; }", "for i in 1; do a; done"])
    def test_what_no_program_begins_is_told(self, text: str) -> None:
        with pytest.raises(CommandError, match="in mpi mode the MPI launcher stands before"):
            under_launcher("echo M", text)
        assert under_launcher("", text) == text


class TestPreambles:
    """A text is one script whose last status counts; lines are one that ends at the first failure."""

    @pytest.mark.parametrize(
        "preamble",
        [
            "export X=ran",
            "false\nX=ran",
            "module() { return 1; }\nmodule load\nX=ran",
            "cd /nonexistent 2>/dev/null\nX=ran",
            "hostname | grep -q nowhere; X=ran",
            "cat > /dev/null <<END\nit's in\nEND\nX=ran",
            "X=ra\\\nn",
            "case a in\n  a) X=ran;;\nesac",
            "set -e\ntrue\nX=ran",
            ["export X=ran"],
            ["cat > /dev/null <<END", "in", "END", "X=ran"],
            ["if false; then", "exit 9", "fi", "X=ran"],
            ["f() {", "  false", "  true", "}", "f", "X=ran"],
            ["source ./sourced"],
            ["false || true", "false | true", "X=ran # done"],
            ["X=\\", "ran"],
            ["true &", "X=ran"],
        ],
    )
    def test_the_command_runs_after_it_in_the_same_shell(
        self, preamble: str | Sequence[str], tmp_path: Path
    ) -> None:
        (tmp_path / "sourced").write_text("false\nX=ran\n")
        command = Command("echo $X; declare -F | grep -i balsam; trap -p", preamble)
        assert bash(command, tmp_path)[1:] == ("ran\n", "")

    @pytest.mark.parametrize(
        ("preamble", "code", "told"),
        [
            ("true\nfalse", 1, "failed with exit code 1 at its line 2: false"),
            ("# 100%\n(exit 4)", 4, "failed with exit code 4"),
            ("return 3\ntrue", 3, "failed with exit code 3"),
            ("exit 3", 3, "ended the shell with exit code 3"),
            ("exit 0", 0, "ended the shell with exit code 0, before the command was run"),
            ("set -e\nfalse\ntrue", 1, "ended the shell with exit code 1"),
            ("it's", 2, "failed with exit code 2"),
            (["false", "true"], 1, "failed with exit code 1: false"),
            (["f() { return 7; }", "f", "true"], 7, "failed with exit code 7: return 7"),
            (["source ./sourced", "true"], 5, "failed with exit code 5: source ./sourced"),
            (["true", "(exit 2)"], 2, "failed with exit code 2"),
        ],
    )
    def test_one_that_fails_keeps_the_command_from_running(
        self, preamble: str | Sequence[str], code: int, told: str, tmp_path: Path
    ) -> None:
        (tmp_path / "sourced").write_text("true\nreturn 5\n")
        returncode, out, err = bash(Command("echo ran", preamble), tmp_path)
        assert (returncode, out) == (code, "")
        assert f"balsam: the shell preamble {told}" in err
        assert err.count("balsam:") == 1

    def test_in_a_strict_app_any_line_of_a_text_may_fail_it(self) -> None:
        for preamble in ("false\ntrue", "false | true\ntrue"):
            assert bash(Command("echo ran", preamble, strict=True))[:2] == (1, "")
        assert bash(Command("echo ran", "f() { false; true; }\nf", strict=True))[:2] == (0, "ran\n")

    def test_traps_and_folders_of_a_preamble_stay(self, tmp_path: Path) -> None:
        preamble = f"mkdir {tmp_path}/in\ncd {tmp_path}/in\ntrap 'echo bye' EXIT"
        assert bash(Command("pwd", preamble))[1] == f"{tmp_path}/in\nbye\n"

    def test_errors_of_the_command_count_its_own_lines(self) -> None:
        for preamble in ("", "true\ntrue"):
            assert "line 2: syntax error" in bash(Command("echo a\nfi", preamble))[2]
            assert "line 2: nonesuch: command not found" in bash(Command("true\nnonesuch", preamble))[2]
