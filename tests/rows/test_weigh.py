"""The most tokens that texts may have: never less than a tokenizer makes of them, and for running text not far above."""

from __future__ import annotations

import base64
import gettext
import random
import string
import uuid
from pathlib import Path

import django
import pytest

from jobs.costs.tokens import TokenModel
from jobs.rows.weigh import Weigher

O200K, CL100K = TokenModel("openai", "gpt-5"), TokenModel("openai", "text-embedding-3-small")
chance = random.Random(20261122)
LOCALES = Path(django.__file__).parent / "conf" / "locale"


def drawn(letters: str, n: int = 8_000) -> str:
    return "".join(chance.choices(letters, k=n))


def span(first: int, last: int) -> str:
    return "".join(map(chr, range(first, last)))


def numbers(form: str, between: str) -> str:
    return between.join(format(chance.uniform(-9, 9), form) for _ in range(2_000))


STRANGE = {
    "base64": base64.b64encode(chance.randbytes(6_000)).decode(),
    "hex": chance.randbytes(4_000).hex(),
    "HEX": chance.randbytes(4_000).hex().upper(),
    "uuid": " ".join(str(uuid.UUID(bytes=chance.randbytes(16))) for _ in range(200)),
    "digits": drawn(string.digits),
    "digits apart": ",".join(drawn(string.digits)),
    "bits apart": " ".join(drawn("01")),
    "numbers": numbers(".4f", ","),
    "numbers apart": numbers(".2f", ", "),
    "letters": drawn(string.ascii_lowercase),
    "letters apart": " ".join(drawn(string.ascii_letters)),
    "genes": drawn("acgt"),
    "GENES": drawn("ACGT"),
    "passwords": drawn(string.ascii_letters + string.digits),
    "signs": drawn(string.punctuation),
    "all of ASCII": drawn(string.printable),
    "controls": drawn(span(0, 9) + span(14, 32)),
    "accents": drawn(span(0xC0, 0x180)),
    "emoji": drawn(span(0x1F300, 0x1F650)),
    "emoji joined": "".join(f"{drawn(span(0x1F440, 0x1F480), 1)}{drawn(span(0x1F3FB, 0x1F400), 1)}\u200d" for _ in range(2_000)),
    "Tibetan": drawn(span(0xF40, 0xFBC)),
    "Ethiopic": drawn(span(0x1200, 0x1357)),
    "cuneiform": drawn(span(0x12000, 0x12300)),
    "rare Han": drawn(span(0x20000, 0x2A6D0)),
}


def prose(path: Path) -> str:
    """Django's own messages in a language."""
    with path.open("rb") as file:
        found = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
    return "\n".join(text for key, text in found.items() if key and isinstance(text, str) and text != key)


LANGUAGES = {path.parts[-3]: text for path in sorted(LOCALES.glob("*/LC_MESSAGES/django.mo")) if len(text := prose(path)) > 4_000}
ENGLISH = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text()


def ratio(weigher: Weigher, tokens: TokenModel, text: str) -> float:
    return weigher.most([""], [text], len(text.encode())) / tokens.count(text)


@pytest.mark.parametrize("name", STRANGE)
def test_strange_text_has_no_more_tokens(name: str) -> None:
    assert ratio(Weigher(), O200K, STRANGE[name]) >= 1
    assert ratio(Weigher(vocabulary=False), CL100K, STRANGE[name]) >= 1


def test_prose_has_no_more_tokens_and_not_far_fewer() -> None:
    found = {name: ratio(Weigher(), O200K, text) for name, text in (LANGUAGES | {"en": ENGLISH}).items()}
    assert len(found) > 70
    assert (min(found.values()) >= 1, max(found.values()) < 2.5, found["en"] < 1.7, found["de"] < 1.7) == (True, True, True, True)


def test_prose_of_the_older_tokenizer() -> None:
    found = {name: ratio(Weigher(vocabulary=False), CL100K, text) for name, text in (LANGUAGES | {"en": ENGLISH}).items()}
    assert [name for name, share in found.items() if share < 1] == ["cy", "hy"]  # Welsh and Armenian, 2 to 6 % more
    assert min(found.values()) > 0.93


def test_what_a_model_makes_of_it_and_what_stands_beside_it() -> None:
    text = "The printer does not print. " * 40
    plain = Weigher().most(["You sort tickets."], [text], 10_000)
    assert 1.5 * plain < Weigher(factor=1.6).most(["You sort tickets."], [text], 10_000) < 1.7 * plain
    assert Weigher(per_request=11).most(["You sort tickets."], [text], 10_000) == plain + 11
    assert Weigher(factor=9).most([""], [text], len(text)) == len(text)  # never more than bytes


def test_a_constant_text_counts_for_each_request() -> None:
    system = "You sort tickets of a town."
    one, many = Weigher().most([system], ["x"], 10_000), Weigher().most([system] * 500, ["x"] * 500, 10_000_000)
    assert many == pytest.approx(500 * one, rel=0.2)
    differing = [f"{system} Ward {i}." for i in range(500)]
    assert Weigher().most(differing, ["x"] * 500, 10_000_000) > many


def test_nothing_is_no_tokens_and_lone_surrogates_are_text() -> None:
    assert Weigher().most([], [], 0) == 0
    assert 0 < Weigher().most([""], ["a\ud800b"], 100) < 10


def test_of_long_texts_a_quarter_is_weighed_and_stands_for_the_whole() -> None:
    prose, odd = "The parcel of order 1234 is late, said Müller. ", "pQ7zXw9LkT0vB3mN"
    texts = [(odd if i % 20 == 0 else prose) * 20 for i in range(2_000)]
    weigher = Weigher()
    n_bytes = sum(len(text.encode()) for text in texts)
    whole = sum(weigher.most([""], [text], n_bytes) for text in texts)
    assert sum(map(len, texts)) > 1_000_000
    assert abs(weigher.most([""] * len(texts), texts, n_bytes) / whole - 1) < 0.02
