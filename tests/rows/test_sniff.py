from __future__ import annotations

from pathlib import Path

import pytest

from jobs.rows.ingest import IngestLimits, sniff
from jobs.rows.sniff import look


@pytest.mark.parametrize(
    ("content", "filename", "words"),
    [
        ("a,b\n1,2\n", "x.csv", "CSV, UTF-8, comma, header in line 1"),
        ("a,b;c\n1,2;3\n1;2\n", "x.csv", "CSV, UTF-8, semicolon, header in line 1"),
        ("a\tb\n1\t2\n", "x.txt", "TSV, UTF-8, tab, header in line 1"),
        ("1,2\n3,4\n", "x.csv", "CSV, UTF-8, comma, no header"),
        ("name,2019,2020\nx,1,2\n", "x.csv", "CSV, UTF-8, comma, header in line 1"),
        ("text\nhello, world\nbye\n", "x.csv", "CSV, UTF-8, comma, header in line 1"),
        ("'a';'b'\n'1;2';'3'\n", "x.csv", "CSV, UTF-8, semicolon, single quotes, header in line 1"),
        ('[{"a":1}]', "x.csv", "JSON, UTF-8"),
        ("Report, Q3\nof today\n\na;b\n1;2\n", "x.csv", "CSV, UTF-8, semicolon, header in line 4"),
        ("Report\n\na;b\n1;2;3\n", "x.csv", "CSV, UTF-8, comma, header in line 1"),  # not told apart from one column: refused as before
        ("text\n\nhello\nbye\n", "x.csv", "CSV, UTF-8, comma, header in line 1"),
        ('{"a":1}\n{"a":2}\n', "x.csv", "JSON lines, UTF-8"),
        ("[id],[name]\n1,2\n", "x.csv", "CSV, UTF-8, comma, header in line 1"),
    ],
)
def test_sniff_says_how_a_file_is_read(tmp_path: Path, content: str, filename: str, words: str) -> None:
    source = tmp_path / "source"
    source.write_text(content)
    assert sniff(source, filename).words == words


LANGUAGES = {
    "cp1252": [
        "Le produit est arrivé cassé, où est déjà passé le garçon ? Ça va être réglé à Noël",
        "Il prodotto è già rotto, perché? La città è più bella così",
        "O produto não chegou, você está informação São João coração à irmã",
        "El señor llegó mañana año corazón también está roto ¿qué?",
        "Størrelsen på æsken er grøn, jeg får pengene på Åsen",
        "Größe müde Straße, die „Übung“ ist schön – 5 €",
        "Þetta er íslenska, það er gott að þú ert hér",
        "café",
    ],
    "cp1254": ["Ürün kırıldı, şikayet ediyorum, lütfen değiştirin çok güzel"],
    "cp1250": ["Příliš žluťoučký kůň úpěl ďábelské ódy", "zażółć gęślą jaźń proszę zwrócić pieniądze", "Árvíztűrő tükörfúrógép, nagyon jó"],
    "cp1257": ["Lietuvių kalba yra graži, ačiū už pagalbą", "Latviešu valoda ir skaista, paldies jūsu palīdzībai ļoti"],
    "cp1251": ["Быстрая коричневая лиса прыгает через ленивую собаку"],
    "cp1253": ["Το προϊόν είναι σπασμένο και θέλω τα χρήματα πίσω"],
}


@pytest.mark.parametrize(("page", "text"), [(page, text) for page, texts in LANGUAGES.items() for text in texts])
@pytest.mark.parametrize("n", [1, 3, 200])
def test_languages_are_read_as_they_were_written(tmp_path: Path, page: str, text: str, n: int) -> None:
    words = text.replace(",", "").split()
    lines = ["id;text", *(f"{i};{' '.join(words[i % len(words) :] + words[: i % len(words)])}" for i in range(n))]
    (tmp_path / "s").write_bytes("\n".join(lines).encode(page))
    guess = look(tmp_path / "s", "s.csv", tmp_path, IngestLimits()).encoding
    assert "\n".join(lines).encode(page).decode(guess) == "\n".join(lines)
