"""Command templates: what becomes of values, of text and of names."""

from __future__ import annotations

from typing import Any

import pytest

from balsam.sdk.command_template import TemplateError, doubts, is_plain, names, render, unfit

VALUES: dict[str, Any] = {
    "x": "a b",
    "n": 5,
    "files": ["a", "b c"],
    "d": {"k": "v w"},
    "empty": "",
    "no": None,
}


class TestValues:
    """Every value is one word when it is written, and what the user gave until then."""

    @pytest.mark.parametrize(
        ("template", "command"),
        [
            ("echo {{ x }}", "echo 'a b'"),
            ("echo {{ x | q }}", "echo 'a b'"),
            ("echo {{ x | raw }}", "echo a b"),
            ("echo {{ empty }} {{ no }} {{ n }}", "echo '' None 5"),
            ("echo {{ files }}", "echo '[\\'a\\', \\'b c\\']'".replace("\\'", "'\"'\"'")),
            ("{% for f in files %}-i {{ f }} {% endfor %}", "-i a -i 'b c' "),
            ("cat {{ files | words }}", "cat a 'b c'"),
            ("cat {{ files | map('q') | join(' ') | raw }}", "cat a 'b c'"),
            ("cat {{ files | join(' ') }}", "cat 'a b c'"),
            ("echo {{ n * 2 }} {{ files[1] }} {{ d.k }} {{ files | length }}", "echo 10 'b c' 'v w' 2"),
            ("echo {{ missing | default('a b') }}", "echo 'a b'"),
            ("echo {{ '%.2f' | format(n) }}", "echo 5.00"),
            ("echo --in={{ x }}", "echo --in='a b'"),
            ("echo {{ '--in=' ~ x }}", "echo '--in=a b'"),
            ("{% if n > 3 %}big{% else %}small{% endif %}", "big"),
        ],
    )
    def test_written(self, template: str, command: str) -> None:
        assert render(template, VALUES) == command

    @pytest.mark.parametrize(
        ("template", "command"),
        [
            ("echo {{ 'a b' }} {{ 3 }}", "echo a b 3"),
            ("run {{ '-v --fast' if n else '-q -r' }}", "run -v --fast"),
            ("run {{ '-v' if not n }} end", "run  end"),
            ("{% set o = '-a -b' %}run {{ o }}", "run -a -b"),
            ("{% set o %}-a {{ x }}{% endset %}run {{ o }}", "run -a 'a b'"),
            ("{% macro opt(v) %}-o {{ v }}{% endmacro %}run {{ opt(x) }}", "run -o 'a b'"),
            ("echo ${#x} # {# gone #}{{ n }}", "echo ${#x} # 5"),
            ("{% raw %}awk '{{print}}'{% endraw %}", "awk '{{print}}'"),
        ],
    )
    def test_text_of_the_template_stays_text(self, template: str, command: str) -> None:
        assert render(template, VALUES) == command

    def test_lines_lose_the_indentation_that_they_share_and_values_none(self) -> None:
        template = "\n    cat <<E\n      {{ x | raw }}\n    E\n"
        assert render(template, {"x": "1\n    2"}) == "cat <<E\n  1\n    2\nE"
        assert render("a\r\nb", {}) == "a\nb"

    @pytest.mark.parametrize("template", ["{{ gone }}", "{{ n / 0 }}", "{{ n + x }}", "{{ x.y.z }}"])
    def test_what_cannot_be_filled_in_says_why(self, template: str) -> None:
        with pytest.raises(TemplateError, match="can't be filled in"):
            render(template, VALUES)


class TestNames:
    """Every name is a parameter like any other, or is refused with a sentence."""

    @pytest.mark.parametrize(
        "name", ["range", "dict", "lipsum", "cycler", "joiner", "namespace", "loop", "for"]
    )
    def test_names_that_jinja_knows_are_parameters(self, name: str) -> None:
        template = f"echo {{{{ {name} }}}}"
        assert names(template) == (name,)
        assert render(template, {name: "0-5 6"}) == "echo '0-5 6'"

    def test_functions_of_jinja_can_still_be_called(self) -> None:
        template = "{% for i in range(3) %}{{ i }}{% endfor %} {{ range }}"
        assert names(template) == ("range",)
        assert render(template, {"range": "x"}) == "012 x"

    @pytest.mark.parametrize("name", ["self", "true", "none", "False", "not"])
    def test_words_of_the_language_are_refused(self, name: str) -> None:
        with pytest.raises(TemplateError):
            names(f"echo {{{{ {name} }}}}")

    def test_what_may_take_long_is_not_filled_in_at_once(self) -> None:
        for quick in ("true", "echo {{ x }}", "{% if x %}a{% endif %}", "{{ x | default('') }}"):
            assert is_plain(quick)
        for long in ("{{ x * 9 }}", "{% for i in x %}{% endfor %}", "{{ x | center(9) }}", "{{ range(9) }}"):
            assert not is_plain(long)


class TestUnfit:
    """What no program can be given is told before anything is sent."""

    @pytest.mark.parametrize(
        ("value", "told"),
        [
            ("run7\0\0", "NUL"),
            ("\ud800", "surrogate"),
            ("a\udcff.dat", "no UTF-8"),
            (["a", {"b": "\0"}], "NUL"),
            ("ä" * 70_000, "140,000 bytes"),
        ],
    )
    def test_told(self, value: object, told: str) -> None:
        assert told in (unfit(value) or "")

    @pytest.mark.parametrize("value", ["", "it's\n", 5, None, 1.5, ["a", "ä"], {"k": ("v",)}])
    def test_anything_else_will_do(self, value: object) -> None:
        assert unfit(value) is None


class TestDoubts:
    @pytest.mark.parametrize(
        ("template", "told"),
        [
            ('echo "{{ x }}"', "double quotes"),
            ("echo 'in {{ x }}'", "single quotes"),
            ("cat <<E\n{{ x }}\nE", "a here-document"),
            ('echo $(f) "$(g {{ n }} \'h\')" "{{ x }}"', "'x' stands within double quotes"),
            ("cat <<E\n  a\n  E\necho {{ x }}", "'E' is never closed"),
        ],
    )
    def test_told(self, template: str, told: str) -> None:
        assert told in " ".join(doubts(template))

    @pytest.mark.parametrize(
        "template",
        [
            "echo {{ x }}",
            'echo "{{ x | raw }}" "$HOME"/{{ x }}',
            "# don't {{ x }}\necho {{ x }}",
            'cat <<E | grep "x"\nit\'s\nE\necho {{ x }}',
            "cat <<-'E' > {{ x }}\n\t\"\n\tE\necho $((1 << 3)) {{ x }}",
            'echo "$(f {{ x }})" \\" {{ x }} \'a\'',
            "{{ x }}",
        ],
    )
    def test_none(self, template: str) -> None:
        assert doubts(template) == []

    @pytest.mark.parametrize("template", ["", " \n ", "# a\n  # b", "{# c #}"])
    def test_no_command_at_all_is_no_template(self, template: str) -> None:
        with pytest.raises(TemplateError, match="holds no command"):
            doubts(template)
