"""Command templates: a bash script in which an app's parameters stand in double braces (Jinja2).

The script is run as it is written, without the indentation that all of its lines share. Each value is one
word of the shell, whatever it holds:

    {{ x }}            one word, quoted where it has to be; also of an expression: {{ x * 2 }}, {{ files[0] }}
    {{ files | words }}  each item of a list one word
    {{ x | raw }}      text of the script, as it is
    {{ "-v" if x }}    constants of the template are text of the script, too

Only at that place, when a value is written, is it quoted: until then expressions see what the user gave.
"""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from balsam.sdk import shell_text
from balsam.sdk.shell_text import Value

if TYPE_CHECKING:
    from jinja2 import Environment, Template, nodes


class TemplateError(ValueError):
    """A command template that can't be read, or that names a parameter which the job does not have."""


class TemplateWarning(UserWarning):
    """A command template that hardly means what it says."""


class Text(str):
    """Text of the script: written as it is."""

    __slots__ = ()


@lru_cache(256)
def names(template: str) -> tuple[str, ...]:
    """The parameters that a template names, sorted; raises TemplateError."""
    import jinja2
    import jinja2.meta

    try:
        found = jinja2.meta.find_undeclared_variables(_parsed(template))
    except jinja2.TemplateError as exc:  # a filter or a test that there is not
        raise _unreadable(template, exc) from exc
    return tuple(sorted(found))


@lru_cache(256)
def is_plain(template: str) -> bool:
    """Whether it is filled in within a moment, whatever the values: no loops, calls, products or paddings."""
    from jinja2 import nodes

    if "{" not in template:
        return True
    tree = _parsed(template)
    costly = (nodes.For, nodes.Call, nodes.CallBlock, nodes.Mul, nodes.Pow)
    return not any(tree.find_all(costly)) and all(f.name in _QUICK for f in tree.find_all(nodes.Filter))


def script(template: str) -> str:
    """The text without the indentation that all of its lines share, and without empty lines at its ends."""
    return textwrap.dedent(template.replace("\r\n", "\n")).strip()


def render(template: str, parameters: Mapping[str, Any]) -> str:
    """The command; TemplateError names a parameter that is missing."""
    if "{" not in template:
        return script(template)
    compiled = _compiled(template)
    try:
        return compiled.render(parameters)
    except Exception as exc:  # expressions are the user's code: they may raise anything
        # Without the class's name where a sentence needs none.
        told = str(exc) if _is_of_jinja(exc) else f"{type(exc).__name__}: {exc}"
        raise TemplateError(f"the command template {_short(template)} can't be filled in: {told}") from exc


def doubts(template: str) -> list[str]:
    """Sentences on what in a template hardly means what it says; raises TemplateError where it is none."""
    names(template)
    parts = list(_parts(_parsed(template)))
    texts = [part for part in parts if isinstance(part, str)]
    if len(texts) == len(parts) and shell_text.is_empty("".join(texts)):
        raise TemplateError(f"the command template {template!r} holds no command")
    return shell_text.doubts(parts)


MAX_VALUE_BYTES = (1 << 17) - 1  # of one argument of a program, in Linux


def unfit(value: Any) -> str | None:
    """Why a value can't stand in any command: the end of a sentence."""
    if isinstance(value, str):
        if len(value) < 10_000 and value.isprintable():  # most are, and that is told at once
            return None
        if "\0" in value:
            return "holds a NUL character, which no program can be given"
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            return (
                "holds half of a character (a lone surrogate), as names of files that are no UTF-8 give: "
                "rename the file, or put its name into a file"
            )
        if size > MAX_VALUE_BYTES:
            return (
                f"takes {size:,} bytes, and a program can be given {MAX_VALUE_BYTES:,} at most: put it into "
                f"a file and give its path"
            )
    if isinstance(value, list | tuple | set):
        return next((fault for inner in value if (fault := unfit(inner))), None)
    if isinstance(value, dict):
        return next((fault for pair in value.items() for inner in pair if (fault := unfit(inner))), None)
    return None


# ---- reading ----

_QUICK = frozenset(
    {
        "d",
        "default",
        "first",
        "float",
        "int",
        "join",
        "last",
        "length",
        "lower",
        "q",
        "raw",
        "round",
        "string",
    }
    | {"trim", "upper", "words"}
)
_FUNCTION = "_jinja_"  # begins the names under which Jinja's own functions are known


def _parsed(template: str) -> nodes.Template:
    """The template, rewritten so that its values are quoted where they are written; raises TemplateError."""
    import jinja2

    text = script(template)
    # Bash's length of a variable, `${#name}`, is no comment of Jinja's.
    text = text.replace("${#", "{{ '${#' }}")
    try:
        tree = _environment().parse(text)
    except jinja2.TemplateError as exc:
        raise _unreadable(template, exc) from exc
    return _Rewriting(tree).done()


@lru_cache(256)
def _compiled(template: str) -> Template:
    """Compiling costs more than starting the process that it is for."""
    import jinja2

    try:
        return _environment().from_string(_parsed(template))
    except jinja2.TemplateError as exc:
        raise _unreadable(template, exc) from exc


def _unreadable(template: str, exc: Exception) -> TemplateError:
    line = getattr(exc, "lineno", None)
    where = f", line {line}" if line and "\n" in script(template) else ""
    return TemplateError(f"the command template {_short(template)} can't be read{where}: {exc}")


def _is_of_jinja(exc: Exception) -> bool:
    import jinja2

    return isinstance(exc, jinja2.TemplateError)


def _short(template: str) -> str:
    text = script(template)
    return repr(text if len(text) <= 200 else f"{text[:200]}...")


@cache
def _environment() -> Environment:
    import jinja2
    from jinja2.defaults import DEFAULT_NAMESPACE

    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
    # Their names are free for parameters; where a template calls one, it is found under another name.
    environment.globals = {f"{_FUNCTION}{name}": made for name, made in DEFAULT_NAMESPACE.items()}
    environment.filters |= {"q": _word, "words": _words, "raw": _text}
    return environment


def _word(value: Any) -> Text:
    """One word of a shell command; text stays as it is."""
    return value if isinstance(value, Text) else Text(shlex.quote(str(value)))


def _words(values: Iterable[Any]) -> Text:
    return Text(" ".join(map(_word, [values] if isinstance(values, str) else values)))


def _text(value: Any) -> Text:
    return Text(str(value))


class _Rewriting:
    """Puts the quoting into a template's tree, where it writes values."""

    def __init__(self, tree: nodes.Template) -> None:
        from jinja2 import nodes

        self._tree = tree
        # What these return is text that was quoted within.
        self._macros = {macro.name for macro in tree.find_all(nodes.Macro)} | {"caller"}

    def done(self) -> nodes.Template:
        from jinja2 import nodes

        self._rename_functions()
        for output in self._tree.find_all(nodes.Output):
            output.nodes = [self._written(node) for node in output.nodes]
        for assignment in self._tree.find_all(nodes.Assign):
            assignment.node = self._assigned(assignment.node)
        for block in self._tree.find_all(nodes.AssignBlock):
            block.filter = block.filter or self._filter(None, "raw", block.lineno)
        return self._tree

    def _rename_functions(self) -> None:
        """`range(3)` is Jinja's function, `{{ range }}` a parameter."""
        from jinja2 import nodes

        own = _environment().globals
        stored = {name.name for name in self._tree.find_all(nodes.Name) if name.ctx != "load"}
        for call in self._tree.find_all(nodes.Call):
            callee = call.node
            if isinstance(callee, nodes.Name) and callee.name not in stored | self._macros:
                callee.name = (
                    f"{_FUNCTION}{callee.name}" if f"{_FUNCTION}{callee.name}" in own else callee.name
                )

    def _written(self, node: nodes.Expr) -> nodes.Expr:
        """An expression whose value is written, as one word unless it is text."""
        from jinja2 import nodes

        if isinstance(node, nodes.TemplateData):
            return node
        if isinstance(node, nodes.Const):
            return self._constant(node)
        if isinstance(node, nodes.CondExpr):
            node.expr1 = self._written(node.expr1)
            node.expr2 = self._written(node.expr2) if node.expr2 is not None else nodes.TemplateData("")
            return node
        if isinstance(node, nodes.Name) and node.name == "self":
            raise self._no_parameter("self", node)
        callee = node.node if isinstance(node, nodes.Call) else None
        if isinstance(callee, nodes.Name) and callee.name in self._macros:
            return node
        return self._filter(node, "q", node.lineno)

    def _constant(self, node: nodes.Const) -> nodes.Expr:
        if node.value is None or isinstance(node.value, bool):
            raise self._no_parameter(str(node.value).lower(), node)
        from jinja2 import nodes

        return nodes.TemplateData(str(node.value), lineno=node.lineno)

    def _assigned(self, node: nodes.Node) -> nodes.Node:
        from jinja2 import nodes

        if isinstance(node, nodes.Const) and isinstance(node.value, str):
            return self._filter(node, "raw", node.lineno)
        if isinstance(node, nodes.CondExpr):
            for name in ("expr1", "expr2"):
                branch = getattr(node, name)
                setattr(node, name, branch and self._assigned(branch))
        return node

    def _filter(self, node: nodes.Expr | None, name: str, lineno: int) -> nodes.Filter:
        from jinja2 import nodes

        made = nodes.Filter(node, name, [], [], None, None, lineno=lineno)
        made.set_environment(_environment())
        return made

    def _no_parameter(self, name: str, node: nodes.Node) -> TemplateError:
        return TemplateError(
            f"line {node.lineno} of the command template: {name!r} is a word of the template language "
            f"(Jinja2) and can't be the name of a parameter; call it, say, {name + '_'!r}"
        )


def _parts(node: nodes.Node) -> Iterable[str | Value]:
    """The script's text and the places of its values, in the order in which they stand there."""
    from jinja2 import nodes

    if isinstance(node, nodes.Output):
        for written in node.nodes:
            yield from _parts_of_expression(written)
    else:
        for child in node.iter_child_nodes():
            yield from _parts(child)


def _parts_of_expression(node: nodes.Expr) -> Iterable[str | Value]:
    from jinja2 import nodes

    if isinstance(node, nodes.TemplateData):
        yield node.data
    elif isinstance(node, nodes.CondExpr):
        yield from _parts_of_expression(node.expr1)
        yield from _parts_of_expression(node.expr2) if node.expr2 is not None else ()
    elif isinstance(node, nodes.Filter) and node.name == "q" and node.node is not None:
        inner = node.node
        if isinstance(inner, nodes.Filter) and inner.name == "raw":
            yield "x"  # some text
        else:
            named = inner if isinstance(inner, nodes.Name) else inner.find(nodes.Name)
            yield Value(named.name if named is not None else "...")
    else:
        yield "x"
