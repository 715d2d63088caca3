"""Templates: what they render, what they name as wrong, and what no payload gets out of them."""

from __future__ import annotations

import json

import pytest

from jobs.errors import BadTemplate
from jobs.rows.render import needed_columns, render_one
from jobs.rows.template import MAX_OUTPUT, Problem, Template, TemplateError, check, compile_template, variables
from jobs.rows.values import walkable
from jobs.rows.variables import variable_names

COLUMNS = [
    {"key": "c0", "name": "Ticket Text", "variable": "ticket_text", "type": "text"},
    {"key": "c1", "name": "meta", "variable": "meta", "type": "json"},
]
META = '{"city": "Köln",  "n": 1.50, "tags": ["a", "b"], "deep": {"x": [1, 2]}, "none": null}'


def render(text: str, **values: object) -> str:
    return compile_template(text).render(values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hi {{ name }}!", "Hi Ada!"),
        ("100% {{ name }} %s {0}", "100% Ada %s {0}"),
        ("{{ absent }}|{{ absent|default('–') }}|{{ absent[:3] }}", "|–|"),
        ("{{ meta }}", META),
        ("{{ meta.city }} {{ meta['n'] }} {{ meta.tags }} {{ meta.deep.x[1] }}", 'Köln 1.50 ["a", "b"] 2'),
        ("{{ meta.nowhere.at.all }}{{ meta.none }}", ""),
        ("{{ meta.keys }}{{ name.upper }}", ""),
        ("{% for tag in meta.tags %}{{ loop.index }}={{ tag }}{% if not loop.last %},{% endif %}{% endfor %}", "1=a,2=b"),
        ("{% for key, value in meta.deep|items %}{{ key }}:{{ value }}{% endfor %}", "x:[1, 2]"),
        ("{{ name|upper|lower|title|trim }} {{ name[:2] }} {{ name|length }} {{ name ~ 1 ~ name }}", "Ada Ad 3 Ada1Ada"),
        ("{{ price|float|round(1) }} {{ price|int }} {{ '2.5'|round }} {{ 7 % 4 }} {{ 1 + 2 - 4 }}", "3.5 3 3 3 -1"),
        ("{{ 'a b c d'|truncate(5) }} {{ 'abcdef'|truncate(5, true, '…') }} {{ 'one two'|wordcount }}", "a... abcd… 2"),
        ("{{ 'aXbX'|replace('X', '-') }} {{ meta.tags|join('/') }} {{ meta.tags|first }}{{ meta.tags|last }}", "a-b- a/b ab"),
        ("{{ meta.tags|tojson }} {{ name|tojson }} {{ true }}", '["a", "b"] "Ada" true'),
        ("{% if price|float > 3 %}dear{% else %}cheap{% endif %}", "dear"),
        ("{% set x = name ~ '!' %}{{ x }}{{ x }}", "Ada!Ada!"),
        ("{% raw %}{{ name }}{% endraw %}\n", "{{ name }}\n"),
        ("{{ row['Full Name'] }} {{ row.short }}", "Ada L. A"),
    ],
)
def test_template_renders(text: str, expected: str) -> None:
    row = {"Full Name": "Ada L.", "short": "A"}
    assert render(text, name="Ada", absent=None, meta=walkable(META), price="3.49", row=row) == expected


def test_plain_and_jinja_templates_render_alike() -> None:
    values = {
        "a": "7*7 {{ x }} 100%",
        "b": None,
        "c": True,
        "d": 1.5,
        "e": 12345678901234567890,
        "f": walkable("[1,  2]"),
        "g": walkable("-0"),
    }
    plain = compile_template("".join(f"%{{{{ {name} }}}};" for name in values))
    jinja = compile_template("".join(f"%{{{{ {name} }}}};" for name in values) + "{% if false %}{% endif %}")
    assert (plain.plain, jinja.plain) == (True, False)
    assert plain.render(values) == jinja.render(values) == "%7*7 {{ x }} 100%;%;%true;%1.5;%12345678901234567890;%[1,  2];%-0;"


def test_row_data_is_never_evaluated() -> None:
    assert render("{{ a }}{{ a|upper }}", a="{{7*7}}{% for %}") == "{{7*7}}{% for %}{{7*7}}{% FOR %}"


def test_half_surrogate_pair_becomes_replacement_character() -> None:
    assert render("{{ m.x }}!", m=walkable(r'{"x": "a\ud800b"}')) == "a\ufffdb!"


def test_check_names_unknown_columns_with_line_and_suggestion() -> None:
    assert check("{{ metta.city }}", "a\n{{ ticket_text }}\n{{ row['Ticket Tex'] }}", COLUMNS) == [
        Problem("system", "There is no column “metta”.", 1, "Did you mean “meta”?", "metta", "meta"),
        Problem("user", "There is no column “Ticket Tex”.", 3, "Did you mean “Ticket Text”?", "Ticket Tex", "Ticket Text"),
    ]


def test_check_names_far_names_with_the_columns_there_are() -> None:
    assert check("", "{{ zzz }}", COLUMNS) == [
        Problem("user", "There is no column “zzz”.", 1, "The columns are: ticket_text, meta.", "zzz")
    ]


def test_check_accepts_what_is_right() -> None:
    assert check("You are kind.", "{{ ticket_text|truncate(50) }} {% if meta.x %}{{ row['Ticket Text'] }}{% endif %}", COLUMNS) == []


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a\n{{ b", 2, "Unexpected end of template, expected 'end of print statement'."),
        ("a\n\n{% foo %}", 3, "Encountered unknown tag 'foo'."),
        ("{{ a|uper }}", 1, "There is no filter “uper”."),
        ("\n{{ a.b() }}", 2, "Calling functions is not available in a template."),
        ("{% for a in b %}\n{% for c in d %}{% endfor %}{% endfor %}", 2, "A loop inside a loop is not available in a template."),
        ("{{ '%s' % a }}", 1, "% on text is not available in a template."),
        ("{{ a is callable }}", 1, "There is no test “callable”."),
        ("{{ " + " + ".join(["1"] * 120) + " }}", 1, "The template has more than 200 parts."),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", None, "The template is nested too deeply or cannot be read."),
    ],
)
def test_compile_says_what_is_wrong_and_where(text: str, line: int | None, message: str) -> None:
    with pytest.raises(BadTemplate) as caught:
        compile_template(text)
    assert (caught.value.line, caught.value.message) == (line, message)


def test_row_failure_has_line_and_words() -> None:
    with pytest.raises(TemplateError) as caught:
        render("x\n\n{{ a|round }}", a="abc")
    assert (caught.value.line, caught.value.message) == (3, "round needs a number, but the value is “abc”")


def test_output_longer_than_a_megabyte_fails_the_row_alone() -> None:
    assert render("{{ a }}", a="x" * MAX_OUTPUT) == "x" * MAX_OUTPUT
    for text in ("{{ a }}", "{{ a }}{% if true %}{% endif %}"):
        with pytest.raises(TemplateError, match="longer than 1 MB"):
            render(text, a="ä" * (MAX_OUTPUT // 2 + 1))


def test_variables_are_those_of_the_row() -> None:
    assert variables("{{ a }}{% for x in b.c %}{{ x }}{{ loop.index }}{% endfor %}{% set y = d %}{{ y }}{{ row['e'] }}") == {"a", "b", "d"}


PAYLOADS = [
    "{{ ''.__class__ }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ a.__class__ }}",
    "{{ a['__class__'] }}",
    "{{ a|attr('__class__') }}",
    "{{ a|attr('\\x5f\\x5fclass\\x5f\\x5f') }}",
    "{{ a['\\x5f\\x5fclass\\x5f\\x5f'] }}",
    "{{ self }}",
    "{{ self._TemplateReference__context }}",
    "{{ self.__init__.__globals__ }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ joiner.__init__.__globals__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ lipsum.__globals__['os'].popen('id').read() }}",
    "{{ lipsum() }}",
    "{{ dict(a=1) }}",
    "{{ range(10) }}",
    "{{ config }}",
    "{{ config.items() }}",
    "{{ request.application.__globals__ }}",
    "{{ url_for.__globals__ }}",
    "{{ get_flashed_messages.__globals__ }}",
    "{{ g.pop.__globals__ }}",
    "{{ settings.SECRET_KEY }}",
    "{{ [].__class__.__base__ }}",
    "{{ {}.__class__ }}",
    "{{ ().__class__.__bases__[0] }}",
    "{{ 1.__class__ }}",
    "{{ (1).__class__ }}",
    "{{ true.__class__ }}",
    "{{ none.__class__ }}",
    "{{ a.upper.__self__ }}",
    "{{ a.format(b=1) }}",
    "{{ '{0.__class__}'.format(a) }}",
    "{{ '{a.__init__}'.format_map(dict(a=a)) }}",
    "{{ '%c' % 95 }}",
    "{{ '%s'|format(a) }}",
    "{{ '%c'|format(95) }}",
    "{{ a|map(attribute='__class__')|list }}",
    "{{ [a]|map('attr', '__class__')|list }}",
    "{{ [a]|groupby('__class__') }}",
    "{{ [a]|sum(attribute='x') }}",
    "{{ [a]|sort(attribute='__class__') }}",
    "{{ [a]|selectattr('__class__')|list }}",
    "{{ a|pprint }}",
    "{{ a|xmlattr }}",
    "{{ a|safe }}",
    "{{ a|e }}",
    "{% import 'os' as os %}",
    "{% from 'os' import system %}",
    "{% include '/etc/passwd' %}",
    "{% extends 'base' %}",
    "{% block x %}{% endblock %}",
    "{% macro m() %}{{ caller() }}{% endmacro %}{{ m.__globals__ }}",
    "{% call a() %}{% endcall %}",
    "{% filter upper %}x{% endfilter %}",
    "{% set x = ''.__class__ %}{{ x }}",
    "{% set a.b = 1 %}",
    "{% set row = 1 %}",
    "{% with x=''.__class__ %}{{ x }}{% endwith %}",
    "{% for c in ''.__class__.__mro__ %}{{ c }}{% endfor %}",
    "{% for x in a recursive %}{{ loop(x) }}{% endfor %}",
    "{% if a.__class__ %}{% endif %}",
    "{% for x in [1] %}{{ loop.__class__ }}{% endfor %}",
    "{% for x in [1] %}{{ loop.cycle('a') }}{% endfor %}",
    "{% set x %}{{ a }}{% endset %}",
    "{{ a|default(*[1]) }}",
    "{{ a|default(**{'x': 1}) }}",
    "{{ a|_slice(1, 2, 3) }}",
    "{{ a|_loop_items }}",
    "{{ __builtins__ }}",
    "{{ caller }}",
    "{{ varargs }}",
    "{{ kwargs }}",
    "{{ super() }}",
    "{% do a.append(1) %}",
    "{% debug %}",
    "{% trans %}x{% endtrans %}",
    "{{ a.b.c.__init__ }}",
]
LEAKS = ("<class", "<built-in", "<function", "<bound", "<module", "<jinja2", "<TemplateReference", "object at 0x", "root:", "uid=")


@pytest.mark.parametrize("payload", PAYLOADS)
def test_payload_gets_nothing(payload: str) -> None:
    """Refused, failed, or rendered without a trace of a Python object."""
    try:
        found = render(payload, a=walkable('{"x": 1}'), b="text")
    except (BadTemplate, TemplateError):
        return
    assert [leak for leak in LEAKS if leak in found] == []
    assert found in ("", "{}")


def test_payloads_are_many() -> None:
    assert len(PAYLOADS) >= 60


BOMBS = [
    "{{ 'a' * 500000000 }}",
    "{{ 9 ** 9 ** 9 }}",
    "{{ '%500000000d'|format(1) }}",
    "{{ 'a'|center(500000000) }}",
    "{{ 'a'|indent(500000000) }}",
    "{{ 'a'.ljust(500000000) }}",
    "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}",
    "{{ range(99999)|list }}",
    "{% for x in big %}{{ long }}{% endfor %}",
    "{% for x in big %}{{ long|upper|lower|title }}{% endfor %}",
    "{{ long|replace('x', long) }}",
    "{{ long|replace('', long) }}",
    "{{ " + "~".join(["long"] * 17) + " }}",
    "{{ " + "~".join(["long"] * 4) + " }}",
    "{{ big|join(long) }}",
    "{% set a = long %}" + "{% set a = a ~ a %}" * 30 + "{{ a|length }}",
    "{% set a = long %}" + "{% set a = a + a %}" * 30 + "{{ a|length }}",
    "{% set a = big %}" + "{% set a = a + a %}" * 30 + "{{ a|length }}",
    "{% set a = 'x' %}" + "{% set a = a|replace('x', 'xxxxxxxxxx') %}" * 12 + "{{ a }}",
    "{% for x in huge %}{% endfor %}",
    "{% for x in long %}{% endfor %}",
    "{{ lipsum(n=100000) }}",
    "{{ 'a'|wordwrap(1) * 9 }}",
    "{{ 1|round(500000000) }}",
    "{{ 'a'|truncate(9999, false, long) }}{{ long }}{{ long }}{{ long }}{{ long }}",
    "{{ [" + "[" * 300 + "]" * 300 + "] }}",
]


@pytest.mark.parametrize("bomb", BOMBS)
def test_bomb_is_refused(bomb: str) -> None:
    with pytest.raises((BadTemplate, TemplateError)):
        render(bomb, long="x" * 300_000, big=list(range(10_000)), huge=list(range(10_001)))


def test_bombs_are_many() -> None:
    assert len(BOMBS) >= 20


def test_compiled_templates_are_shared() -> None:
    assert isinstance(compile_template("{{ same }}"), Template)
    assert compile_template("{{ same }}") is compile_template("{{ same }}")


@pytest.mark.parametrize(
    "inner",
    [
        "{% if 'aaaaaaaaaaaab' in text %}x{% endif %}",
        "{% if 'aaaaaaaaaaaab' is in text %}x{% endif %}",
        "{% if text == other %}x{% endif %}",
        "{% if text is ne other %}{% endif %}",
        "{% if list == same %}x{% endif %}",
        "{% if nested == [list] %}x{% endif %}",
        "{% if digits|int %}{% endif %}",
        "{% if digits|float > 3 %}{% endif %}",
    ],
)
def test_no_row_makes_a_template_work_for_minutes(inner: str) -> None:
    numbers = json.dumps(list(range(10_000)))
    values = {"text": "a" * 900_000, "other": "a" * 899_999 + "b", "digits": "1" * 900_000}
    values |= {"list": walkable(numbers), "same": walkable(numbers), "nested": [walkable(numbers)]}
    with pytest.raises(TemplateError, match="too much work"):
        compile_template("{% for i in list %}" + inner * 12 + "{% endfor %}").render(values)


def test_honest_comparisons_stay_within_their_share() -> None:
    values = {"tags": walkable(json.dumps([f"tag{i}" for i in range(1_000)])), "text": "word " * 20_000 + "tag7 "}
    assert compile_template("{% for tag in tags %}{% if tag in text %}{{ tag }};{% endif %}{% endfor %}").render(values) == "tag7;"


def test_a_header_that_is_a_name_works_as_itself() -> None:
    headers = ["Größe", "Ticket Text", "_row", "größe", "名前"]
    columns = [
        {"key": f"c{i}", "name": header, "variable": variable, "type": "text"}
        for i, (header, variable) in enumerate(zip(headers, variable_names(headers), strict=True))
    ]
    assert [column["variable"] for column in columns][:4] == ["grosse", "ticket_text", "row_", "grosse_2"]
    values = {f"c{i}": f"v{i}" for i in range(5)}
    plain = "{{ Größe }} {{ grosse }} {{ _row }} {{ größe }} {{ 名前 }} {{ Gro\u0308ße }}"
    assert check("", plain, columns) == []
    said = "v0 v0 v2 v3 v4 v0"
    assert render_one(columns, values, "", plain)[1] == said
    assert render_one(columns, values, "", plain + "{% if Größe %}!{% endif %}")[1] == said + "!"
    assert [column["key"] for column in needed_columns(columns, (compile_template("{{ Größe }}{{ _row }}"),))] == ["c0", "c2"]


def test_what_is_proposed_in_place_of_an_unknown_name_works() -> None:
    columns = [
        {"key": "c0", "name": "Größe", "variable": "grosse", "type": "text"},
        {"key": "c1", "name": "Ticket Text", "variable": "ticket_text", "type": "text"},
        {"key": "c2", "name": "_row id", "variable": "row_id", "type": "text"},
    ]
    for written, near in (("Größen", "grosse"), ("Ticket_Text", "ticket_text"), ("_row_id", "row_id"), ("xyz", "")):
        (problem,) = check("", f"{{{{ {written} }}}}", columns)
        assert (problem.name, problem.near) == (written, near)
        assert near == "" or check("", f"{{{{ {near} }}}}", columns) == []
    (problem,) = check("", '{{ row["Ticket text"] }}', columns)
    assert problem.near == "Ticket Text"
