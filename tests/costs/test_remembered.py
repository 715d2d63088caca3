"""A child counts the sample of an estimate, so that no process of ours holds the tokenizer for it."""

from __future__ import annotations

import subprocess
import sys

from jobs.costs import tokens
from jobs.costs.tokens import ENCODINGS, TokenModel, count_all, remember


def test_what_was_counted_elsewhere_is_what_counts_here() -> None:
    texts = ["How do I get a refund?", "äöü 日本語", "", "How do I get a refund?"]
    counted = count_all(texts)
    assert [text for text, _ in counted] == texts[:2]
    model = TokenModel("openai", "gpt-6-luna")
    before = [model.count_chat("Be brief.", text) for text in texts]
    remember(counted)
    assert [model.count_chat("Be brief.", text) for text in texts] == before
    remember([("Be brief.", dict.fromkeys(ENCODINGS, 1_000))])
    assert model.count("Be brief.") > 1_000 * 0.9
    tokens._counted.clear()


def test_the_memory_is_bounded() -> None:
    remember((str(i), dict.fromkeys(ENCODINGS, 1)) for i in range(10_000))
    assert len(tokens._counted) <= 2 * tokens._REMEMBERED + 2
    tokens._counted.clear()


def test_a_counted_text_does_not_load_the_tokenizer() -> None:
    code = (
        "import sys; from jobs.costs.tokens import TokenModel, remember\n"
        "remember([('x', {'o200k_base': 7})])\n"
        "assert TokenModel('openai', 'gpt-6-luna').count('x') == 7\n"
        "assert 'bpe_openai' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr == ""
