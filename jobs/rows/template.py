"""Prompt templates: Jinja2 behind an allowlist. Plain `{{ column }}` templates take a fast path with the same result."""

from __future__ import annotations

import difflib
import operator
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from jinja2 import ChainableUndefined, TemplateSyntaxError, meta, nodes
from jinja2 import Template as JinjaTemplate
from jinja2.exceptions import SecurityError, UndefinedError
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing
from jinja2.visitor import NodeTransformer

from jobs.errors import BadTemplate
from jobs.rows import filters
from jobs.rows.values import text_of
from jobs.rows.variables import column_of

MAX_NODES = 200
MAX_TEXT = 1_000_000  # characters of the template itself
MAX_OUTPUT = 1_048_576  # bytes that one row may render to
MAX_CONCAT = 16
ROW = "row"
_RESERVED = frozenset({"self", "super", "caller", "varargs", "kwargs"})
_LOOP_NAMES = frozenset({"index", "index0", "revindex", "revindex0", "first", "last", "length"})
_ALLOWED: tuple[type[nodes.Node], ...] = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.List, nodes.Tuple, nodes.Dict, nodes.Pair,
    nodes.For, nodes.If, nodes.CondExpr, nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Filter, nodes.Test, nodes.Keyword,
    nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Neg, nodes.Pos, nodes.Add, nodes.Sub, nodes.Div, nodes.FloorDiv,
    nodes.Mod, nodes.Concat, nodes.Assign,
)  # fmt: skip
_IN_WORDS: dict[type[nodes.Node], str] = {
    nodes.Call: "Calling functions", nodes.Mul: "Multiplying with *", nodes.Pow: "Powers with **", nodes.Import: "import",
    nodes.FromImport: "import", nodes.Include: "include", nodes.Extends: "extends", nodes.Block: "block", nodes.Macro: "macro",
    nodes.CallBlock: "call", nodes.FilterBlock: "A filter block", nodes.AssignBlock: "A set block", nodes.With: "with",
}  # fmt: skip
_SURROGATE = re.compile("[\ud800-\udfff]")
_UNCOUNTED = (nodes.Template, nodes.Output, nodes.TemplateData)


class TemplateError(Exception):
    """A template that could not be filled in for one row. `line` is 1-based."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a template, as shown beside it. `part` is `system` or `user`; `name` is the unknown variable, if that is it, and
    `near` what was probably meant and works in its place."""

    part: str
    message: str
    line: int | None = None
    hint: str = ""
    name: str = ""
    near: str = ""


class _Absent(ChainableUndefined):
    """A missing item of a JSON value is empty, like NULL; a name that is no column at all is an error."""

    __slots__ = ()

    def __str__(self) -> str:
        if self._undefined_obj is missing and self._undefined_hint is None:
            raise UndefinedError(f"There is no column “{self._undefined_name}”.")
        return ""


_NUMBER_OPERATORS = {"-": operator.sub, "/": operator.truediv, "//": operator.floordiv, "%": operator.mod}


class _Environment(ImmutableSandboxedEnvironment):
    """Walks plain dicts and lists and nothing else; there is no attribute, global or call to get hold of."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})
    intercepted_unops = frozenset()

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return False

    def is_safe_callable(self, obj: Any) -> bool:
        return False

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, LoopContext) and attribute in _LOOP_NAMES:
            return getattr(obj, attribute)
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        try:
            if isinstance(obj, dict) or (isinstance(obj, (list, tuple, str)) and isinstance(argument, (int, slice))):
                return obj[argument]
        except (LookupError, TypeError):
            pass
        return _Absent(f"no item {argument!r}", obj=obj, name=str(argument))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "+" and isinstance(left, (str, list)) and type(right) is type(left):
            filters.charge(len(left) + len(right))
            return left + right  # type: ignore[operator]
        if not _is_number(left) or not _is_number(right):
            raise ValueError(f"{operator} needs two numbers; |int and |float make a number of a text")
        if operator == "+":
            return left + right
        if operator not in _NUMBER_OPERATORS:
            raise SecurityError(f"{operator} is not available in a template.")
        return _NUMBER_OPERATORS[operator](left, right)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _environment() -> _Environment:
    env = _Environment(undefined=_Absent, finalize=text_of, keep_trailing_newline=True, autoescape=False, cache_size=0, optimized=False)
    env.globals.clear()
    env.filters.clear()
    env.filters.update(filters.FILTERS)
    env.filters.update({filters.LOOP_ITEMS: filters.loop_items, filters.CONCATENATE: filters.concatenate, filters.SLICE: filters.slice_of})
    env.filters[filters.COMPARED] = filters.compared
    env.tests.clear()
    env.tests.update(filters.TESTS)
    return env


_ENV = _environment()


class Template:
    """A compiled template. Pure: `render` depends on its arguments only; may be used from several threads.

    `variables` are the names it takes from the row; `items` the headers in `row["…"]`; `whole_row` says that `row` is used
    in another way, so that all columns are needed.
    """

    def __init__(self, text: str, tree: nodes.Template) -> None:
        self.text = text
        self.variables = frozenset(meta.find_undeclared_variables(tree)) - {ROW}
        self.items, self.whole_row = _row_items(tree)
        self.segments = _segments(tree)
        self._jinja: JinjaTemplate | None = None
        if self.segments is None:
            filters.start_meter()
            self._jinja = JinjaTemplate.from_code(_ENV, _ENV.compile(_Metering().visit(tree)), {})
        else:
            # `%` formatting of our own escaped text with plain strings: no user text is ever a format.
            pieces = [piece.replace("%", "%%") if kind == "text" else "%s" for kind, piece in self.segments]
            self._format = "".join(pieces)

    @property
    def plain(self) -> bool:
        """Whether the template is text and columns alone."""
        return self.segments is not None

    @property
    def names(self) -> list[tuple[str, str]]:
        """For a plain template: what stands in each gap, ("variable" | "item", name), in order."""
        return [segment for segment in self.segments or () if segment[0] != "text"]

    def render(self, values: Mapping[str, Any]) -> str:
        """Fill in one row: variable → value, and `row` (header → value). Raises TemplateError."""
        if self.segments is None:
            return self._render_jinja(values)
        texts = [text_of(self._value(values, kind, name)) for kind, name in self.names]
        return within_limit(self._format % tuple(texts))

    def fill(self, columns: Sequence[Sequence[str]], n: int) -> list[str]:
        """Fill in `n` rows of a plain template at once; `columns` are the texts of each gap, in the order of `names`. Not size-checked."""
        if not columns:
            return [self._format % ()] * n
        return list(map(self._format.__mod__, zip(*columns, strict=True)))

    @staticmethod
    def _value(values: Mapping[str, Any], kind: str, name: str) -> Any:
        if kind == "item":
            return values.get(ROW, {}).get(name)
        if name not in values:
            raise TemplateError(f"There is no column “{name}”.")
        return values[name]

    def _render_jinja(self, values: Mapping[str, Any]) -> str:
        jinja = self._jinja
        assert jinja is not None
        filters.start_meter()
        context = jinja.new_context(values, shared=True)  # type: ignore[arg-type]
        pieces: list[str] = []
        n = 0
        try:
            for piece in jinja.root_render_func(context):
                n += len(piece)
                if n > MAX_OUTPUT:
                    raise TemplateError(_too_long())
                pieces.append(piece)
        except TemplateError:
            raise
        except Exception as error:
            raise TemplateError(_in_words(error), self._line_of(jinja)) from error
        return within_limit(_encodable("".join(pieces)))

    @staticmethod
    def _line_of(jinja: JinjaTemplate) -> int | None:
        trace, found = sys.exc_info()[2], None
        while trace is not None:
            if trace.tb_frame.f_code is jinja.root_render_func.__code__:
                found = jinja.get_corresponding_lineno(trace.tb_lineno)
            trace = trace.tb_next
        return found


def within_limit(text: str) -> str:
    """The text, if it is not longer than a row may be. Raises TemplateError."""
    if len(text) * 4 > MAX_OUTPUT and (len(text) > MAX_OUTPUT or len(text.encode("utf-8", "replace")) > MAX_OUTPUT):
        raise TemplateError(_too_long())
    return text


def _encodable(text: str) -> str:
    """A JSON value may hold half a surrogate pair (`"\\ud800"`), which no request can carry: it becomes U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return _SURROGATE.sub("\ufffd", text)
    return text


def _too_long() -> str:
    return f"The prompt of this row is longer than {MAX_OUTPUT // 1_048_576} MB."


def _in_words(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "The template or the value is nested too deeply."
    text = str(error).strip() or type(error).__name__
    return text[:500]


def compile_template(text: str) -> Template:
    """Compile a template that passes the allowlist. Raises BadTemplate with the line of its first problem."""
    return _compiled(text)


@lru_cache(maxsize=64)
def _compiled(text: str) -> Template:
    tree = _parse(text)
    for line, message, hint in _refusals(tree):
        raise BadTemplate(message, line, hint)
    try:
        return Template(text, tree)
    except (TemplateSyntaxError, RecursionError, SyntaxError, MemoryError) as error:
        raise BadTemplate(_in_words(error), getattr(error, "lineno", None)) from error


def _parse(text: str) -> nodes.Template:
    if len(text) > MAX_TEXT:
        raise BadTemplate(f"The template is longer than {MAX_TEXT:,} characters.")
    try:
        return _ENV.parse(text)
    except TemplateSyntaxError as error:
        raise BadTemplate(_syntax_in_words(error), error.lineno) from error
    except (RecursionError, MemoryError, ValueError, OverflowError) as error:
        raise BadTemplate("The template is nested too deeply or cannot be read.", None) from error


def _syntax_in_words(error: TemplateSyntaxError) -> str:
    message = (error.message or "The template cannot be read.").strip()
    if message.startswith("No filter named"):
        return message.replace("No filter named", "There is no filter").rstrip(".") + "."
    return message[:1].upper() + message[1:].rstrip(".") + "."


def _refusals(tree: nodes.Template) -> Iterator[tuple[int, str, str]]:
    """What the allowlist refuses, in the order of the text: (line, message, hint)."""
    n = 0
    stack: list[tuple[nodes.Node, int]] = [(tree, 0)]
    while stack:
        node, loops = stack.pop()
        n += 0 if isinstance(node, _UNCOUNTED) else 1
        if n > MAX_NODES:
            yield node.lineno, f"The template has more than {MAX_NODES} parts.", "Make it simpler."
            return
        refusal = _refusal(node, loops)
        if refusal:
            yield node.lineno, *refusal
            continue
        inner = loops + isinstance(node, nodes.For)
        stack.extend((child, inner) for child in reversed(list(node.iter_child_nodes())))


def _refusal(node: nodes.Node, loops: int) -> tuple[str, str] | None:
    """Why one node is refused: (message, hint), or None."""
    if not isinstance(node, _ALLOWED):
        what = _IN_WORDS.get(type(node), f"“{type(node).__name__}”")
        return f"{what} is not available in a template.", ""
    if isinstance(node, nodes.Filter):
        return _known(node, filters.FILTERS, "filter")
    if isinstance(node, nodes.Test):
        return _known(node, filters.TESTS, "test")
    if isinstance(node, nodes.Name) and (node.name in _RESERVED or node.name.startswith("__") or _assigns_row(node)):
        return f"The name “{node.name}” is not available in a template.", ""
    if isinstance(node, nodes.Getattr) and node.attr.startswith("__"):
        return f"The name “{node.attr}” is not available in a template.", ""
    if isinstance(node, nodes.For):
        return _loop_refusal(node, loops)
    if isinstance(node, nodes.Concat) and len(node.nodes) > MAX_CONCAT:
        return f"At most {MAX_CONCAT} parts can be joined with ~.", "Write the parts side by side instead."
    if isinstance(node, nodes.Mod) and (_is_text(node.left) or _is_text(node.right)):
        return "% on text is not available in a template.", ""
    if isinstance(node, nodes.Assign) and not isinstance(node.target, nodes.Name):
        return "set takes one name.", ""
    return None


def _is_text(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Const) and isinstance(node.value, str)


def _assigns_row(node: nodes.Name) -> bool:
    return node.ctx == "store" and node.name == ROW


def _loop_refusal(node: nodes.For, loops: int) -> tuple[str, str] | None:
    if loops or node.recursive:
        return "A loop inside a loop is not available in a template.", ""
    return None


def _known(node: nodes.Filter | nodes.Test, table: Mapping[str, Callable[..., Any]], word: str) -> tuple[str, str] | None:
    if node.name not in table:
        near = nearest(node.name, list(table))
        return f"There is no {word} “{node.name}”.", f"Did you mean “{near}”?" if near else f"Available: {', '.join(sorted(table))}."
    if node.dyn_args is not None or node.dyn_kwargs is not None:
        return "* and ** are not available in a template.", ""
    return None


class _Metering(NodeTransformer):
    """Sends `~`, slices, comparisons and the lists of loops through our own functions, which count their work and know absent values."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _filter(nodes.List(node.nodes, lineno=node.lineno), filters.CONCATENATE, [])

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        if not isinstance(node.arg, nodes.Slice):
            return node
        none = nodes.Const(None, lineno=node.lineno)
        return _filter(node.node, filters.SLICE, [node.arg.start or none, node.arg.stop or none, node.arg.step or none])

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        sides: list[Any] = [node, *node.ops]
        for side in sides:
            if not isinstance(side.expr, nodes.Const):
                side.expr = _filter(side.expr, filters.COMPARED, [])
        return node

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.iter = _filter(cast(nodes.Expr, node.iter), filters.LOOP_ITEMS, [])
        return node


def _filter(node: nodes.Expr, name: str, args: list[nodes.Expr]) -> nodes.Filter:
    return nodes.Filter(node, name, args, [], None, None, lineno=node.lineno, environment=_ENV)


def _row_item(node: nodes.Node) -> str | None:
    """The header in `row["…"]` or `row.…`, else None."""
    if not isinstance(node, (nodes.Getitem, nodes.Getattr)) or not isinstance(node.node, nodes.Name) or node.node.name != ROW:
        return None
    if isinstance(node, nodes.Getattr):
        return node.attr
    return node.arg.value if isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str) else None


def _row_items(tree: nodes.Template) -> tuple[frozenset[str], bool]:
    """The headers that the template takes from `row`, and whether it uses `row` in another way."""
    items = [item for node in tree.find_all((nodes.Getitem, nodes.Getattr)) if (item := _row_item(node)) is not None]
    n_row = sum(1 for name in tree.find_all(nodes.Name) if name.name == ROW)
    return frozenset(items), n_row > len(items)


def _segments(tree: nodes.Template) -> list[tuple[str, str]] | None:
    """The template as text, variables and items of the row, in order; None where it is more than that."""
    found: list[tuple[str, str]] = []
    for output in tree.body:
        if not isinstance(output, nodes.Output):
            return None
        for node in output.nodes:
            item = _row_item(node)
            if isinstance(node, nodes.TemplateData):
                found.append(("text", node.data))
            elif isinstance(node, nodes.Name) and node.name != ROW:
                found.append(("variable", node.name))
            elif item is not None:
                found.append(("item", item))
            else:
                return None
    return found


def variables(text: str) -> set[str]:
    """The names that a template takes from the row (not `row` itself). Raises BadTemplate."""
    return set(compile_template(text).variables)


def nearest(name: str, among: Sequence[str]) -> str:
    """The name that was probably meant, "" where none is near."""
    folded = {other.casefold(): other for other in among}
    found = difflib.get_close_matches(name.casefold(), list(folded), n=1, cutoff=0.6)
    return folded[found[0]] if found else ""


def check(system: str, user: str, columns: Sequence[Mapping[str, Any]]) -> list[Problem]:
    """All that is wrong with a prompt for a table with these columns (the ledger's `columns`), in the order of the text."""
    return [*_check_part("system", system, columns), *_check_part("user", user, columns)]


def _check_part(part: str, text: str, columns: Sequence[Mapping[str, Any]]) -> list[Problem]:
    try:
        tree = _parse(text)
        problems = [Problem(part, message, line, hint) for line, message, hint in _refusals(tree)]
        if not problems:
            compile_template(text)
    except BadTemplate as error:
        return [Problem(part, error.message, error.line, error.hint)]
    return problems or _unknown_names(part, tree, columns)


def _unknown_names(part: str, tree: nodes.Template, columns: Sequence[Mapping[str, Any]]) -> list[Problem]:
    names = [str(column["variable"]) for column in columns]
    headers = [str(column["name"]) for column in columns]
    unknown = sorted(name for name in meta.find_undeclared_variables(tree) - {ROW, *names} if column_of(columns, name) is None)
    works = dict(zip([*reversed(headers), *names], [*reversed(names), *names], strict=True))  # of doubled headers the first
    problems = [_unknown(part, name, _line_of(tree, name), names, works) for name in unknown]
    for node in tree.find_all((nodes.Getitem, nodes.Getattr)):
        item = _row_item(node)
        if item is not None and item not in headers:
            problems.append(_unknown(part, item, node.lineno, headers, dict(zip(headers, headers, strict=True))))
    return sorted(problems, key=lambda problem: problem.line or 0)


def _line_of(tree: nodes.Template, name: str) -> int | None:
    return min((node.lineno for node in tree.find_all(nodes.Name) if node.name == name and node.ctx == "load"), default=None)


def _unknown(part: str, name: str, line: int | None, among: Sequence[str], works: Mapping[str, str]) -> Problem:
    """`works`: what may have been meant, and what to write for it."""
    near = works.get(nearest(name, list(works)), "")
    if near:
        hint = f"Did you mean “{near}”?"
    else:
        hint = f"The columns are: {', '.join(among[:12])}{' …' if len(among) > 12 else ''}." if among else ""
    return Problem(part, f"There is no column “{name}”.", line, hint, name, near)
