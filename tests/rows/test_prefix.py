"""Fixed text first: what moves, what stays, and that nothing but the order changes."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.rows.prefix import fixed_first, shared_start
from jobs.rows.template import compile_template

RULES = "Answer with one of: billing, bug, question.\nBe brief."


def test_rules_after_the_columns_move_behind_the_system_prompt() -> None:
    found = fixed_first("You sort tickets.", f"Ticket: {{{{ text }}}}\n\n{RULES}")
    assert found is not None
    assert (found.system, found.user, found.moved) == (f"You sort tickets.\n\n{RULES}", "Ticket: {{ text }}", (RULES,))


def test_rules_on_both_sides_keep_their_order() -> None:
    found = fixed_first("", "Sort this.\n\nTicket:\n\n{{ text }}\n\nNote: {{ note }}\n\nUse the labels.\n \nNo prose.\n\nAnswer:\n")
    assert found is not None
    assert found.system == "Sort this."
    assert found.user == "Ticket:\n\n{{ text }}\n\nNote: {{ note }}\n\nUse the labels.\n\nNo prose.\n\nAnswer:"


@pytest.mark.parametrize(
    "user",
    [
        "Ticket: {{ text }}",
        "Only rules, no column.",
        "{{ text }}\n{{ note }} and rules in the same paragraph",
        "{% set x = text %}\n\n{{ x }}\n\nRules.",
        "{{- text -}}\n\nRules.",
        "{% raw %}{{ text }}{% endraw %}\n\n{{ text }}\n\nRules.",
        "{{ text }}\n\nAnswer:",
        "{% if %}\n\nRules",
    ],
)
def test_what_cannot_move_safely_stays(user: str) -> None:
    assert fixed_first("S", user) is None


def test_blocks_are_never_cut() -> None:
    user = "{% if text %}\n\nTicket {{ text }}\n\nRules inside.\n\n{% endif %}\n\nRules outside."
    found = fixed_first("", user)
    assert found is not None
    assert (found.system, found.user) == ("Rules outside.", "{% if text %}\n\nTicket {{ text }}\n\nRules inside.\n\n{% endif %}")


def test_columns_with_one_value_in_all_rows_are_fixed_text() -> None:
    user = 'Product: {{ product }}\n\n{{ text }}\n\nFor {{ row["Team Name"] }} {% if product %}only{% endif %}'
    assert fixed_first("", user) is None
    found = fixed_first("", user, {"product"}, {"Team Name"})
    assert found is not None
    assert found.user == "{{ text }}"
    assert found.system == 'Product: {{ product }}\n\nFor {{ row["Team Name"] }} {% if product %}only{% endif %}'


words = st.sampled_from(["Rules.", "Ticket {{ text }}", "{{ note }}", "Be brief", "Labels:\n- a\n- b", "{% if note %}N{% endif %}", "End:"])


@settings(max_examples=150, deadline=None)
@given(st.lists(words, min_size=1, max_size=7), st.sampled_from(["", "You sort."]))
def test_nothing_but_the_order_changes(parts: list[str], system: str) -> None:
    """Every row's request holds the same paragraphs before and after, and starts with at least as much that is shared."""
    user = "\n\n".join(parts)
    found = fixed_first(system, user)
    rows = [{"text": "one", "note": "x"}, {"text": "two", "note": ""}, {"text": "drei", "note": "y"}]

    def told(*templates: str) -> list[str]:
        return ["\n\n".join(filter(None, (compile_template(t).render(row) for t in templates))) for row in rows]

    if found is None:
        return
    before, after = told(system, user), told(found.system, found.user)

    def paragraphs(text: str) -> Counter[str]:
        return Counter(part for part in text.split("\n\n") if part)

    assert [paragraphs(text) for text in after] == [paragraphs(text) for text in before]
    assert len(shared_start(after).rstrip()) >= len(shared_start(before).rstrip())
    assert len(shared_start([compile_template(found.system).render(row) for row in rows])) == len(found.system)


def test_shared_start() -> None:
    assert shared_start(["abc d", "abc e"]) == "abc "
    assert shared_start([]) == ""
