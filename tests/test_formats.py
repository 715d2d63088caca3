from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import formats as f

NOW = datetime(2026, 11, 21, 14, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (f.integer(1234567), "1,234,567"),
        (f.integer(0), "0"),
        (f.integer(-5), "−5"),
        (f.integer(None), "–"),
        (f.compact(1_234_000), "1.2 M"),
        (f.compact(9_999), "9,999"),
        (f.compact(12_345), "12.3 k"),
        (f.compact(123_456), "123 k"),
        (f.compact(999_999), "1.0 M"),
        (f.compact(999_999_999), "1.0 B"),
        (f.compact(None), "–"),
        (f.usd(Decimal("41.472")), "$41.47"),
        (f.usd(Decimal("1234.5")), "$1,234.50"),
        (f.usd(Decimal("0.00421")), "$0.0042"),
        (f.usd(Decimal("0.00421"), 2), "<$0.01"),
        (f.usd(Decimal("0.0000001")), "<$0.0001"),
        (f.usd(Decimal("-1.5")), "−$1.50"),
        (f.usd(Decimal(0)), "$0"),
        (f.usd(Decimal(0), 4), "$0"),
        (f.usd(None), "–"),
        (f.usd_places([Decimal("0.5"), None, Decimal("0.9")]), 4),
        (f.usd_places([Decimal("0.5"), Decimal(1)]), 2),
        (f.usd_places([]), 2),
        (f.usd_range(Decimal("41.4"), Decimal("46.2")), "$41–47"),
        (f.usd_range(Decimal("1.901"), Decimal("2.391")), "$1.90–2.40"),
        (f.usd_range(Decimal("0.0421"), Decimal("0.05")), "$0.0421–0.0500"),
        (f.usd_range(Decimal("0.0042"), Decimal("0.005")), "$0.0042–0.0050"),
        (f.usd_range(Decimal(0), Decimal("0.00001")), "under $0.0001"),
        (f.usd_range(Decimal("0.00002"), Decimal("0.0003")), "up to $0.0003"),
        (f.usd_range(Decimal("0.00002"), Decimal("0.03")), "up to $0.0300"),
        (f.usd_range(Decimal(0), Decimal("1.5")), "up to $1.50"),
        (f.about("$41–47"), "about $41–47"),
        (f.about("under $0.0001"), "under $0.0001"),
        (f.usd_range(Decimal(5), Decimal(5)), "$5.00"),
        (f.usd_range(Decimal(0), Decimal(0)), "$0"),
        (f.usd_range(None, None), "–"),
        (f.usd_range(Decimal("1.5"), None), "$1.50 or more"),
        (f.percent(999, 1000), "99 %"),
        (f.percent(1000, 1000), "100 %"),
        (f.percent(0, 10), "0 %"),
        (f.percent(0, 0), "–"),
        (f.share(34, 1000), "3.4 %"),
        (f.share(1, 100_000), "<0.1 %"),
        (f.share(99_999, 100_000), ">99.9 %"),
        (f.share(7, 7), "100 %"),
        (f.share(0, 7), "0 %"),
        (f.share(0, 0), "–"),
        (f.duration(0), "0 s"),
        (f.duration(0.4), "<1 s"),
        (f.duration(42.9), "42 s"),
        (f.duration(185), "3 min"),
        (f.duration(7500), "2 h 5 min"),
        (f.duration(7200), "2 h"),
        (f.duration(273_600), "3 d 4 h"),
        (f.duration(None), "–"),
        (f.duration_range(180, 7500), "3 min – 2 h 5 min"),
        (f.duration_range(180, 181), "3 min"),
        (f.ago(NOW - timedelta(seconds=12), NOW), "12 s ago"),
        (f.ago(NOW + timedelta(minutes=3), NOW), "in 3 min"),
        (f.ago(NOW, NOW), "just now"),
        (f.ago(None, NOW), "–"),
        (f.bytes_(999), "999 B"),
        (f.bytes_(1_234_567), "1.2 MB"),
        (f.bytes_(999_999), "1.0 MB"),
        (f.bytes_(None), "–"),
    ],
)
def test_numbers_read_as_the_style_says(made: object, expected: object) -> None:
    assert made == expected


@given(st.integers(0, 10**9), st.integers(1, 10**9))
def test_percent_is_100_only_when_done_and_never_too_high(done: int, total: int) -> None:
    shown = int(f.percent(done, total).removesuffix(" %"))
    assert (shown == 100) == (done >= total)
    assert shown * total <= min(done, total) * 100


@given(st.integers(-(10**14), 10**14))
def test_integers_read_back(value: int) -> None:
    assert int(f.integer(value).replace(",", "").replace("−", "-")) == value


@given(st.decimals(0, 10**7, places=6), st.decimals(0, 10**7, places=6))
def test_a_shown_range_holds_the_real_one(one: Decimal, two: Decimal) -> None:
    low, high = sorted((one, two))
    parts = [Decimal(part.replace(",", "").lstrip("underpto $<")) for part in f.usd_range(low, high).split("–")]
    assert parts[0] <= low or len(parts) == 1
    assert parts[-1] >= high


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        ("67.12", "$68"),
        ("1234567.01", "$1,234,568"),
        ("2.391", "$2.40"),
        ("0.03001", "$0.0301"),
        ("0.0001", "$0.0001"),
        ("0.00001", "$0.0001"),
        ("0", "$0"),
    ],
)
def test_an_upper_bound_is_one_number_rounded_up(amount: str, words: str) -> None:
    assert f.usd_most(Decimal(amount)) == words


@given(st.decimals(min_value=Decimal("0.02"), max_value=10**7, places=8))
def test_an_upper_bound_is_the_end_of_its_range(value: Decimal) -> None:
    words = f.usd_most(value)
    assert Decimal(words.replace(",", "").lstrip("$")) >= value
    assert f.usd_range(Decimal(0), value) == f"up to {words}"


@given(st.decimals(min_value=Decimal("0.0001"), max_value=10**7, places=8))
def test_dollars_read_back_within_half_a_unit(value: Decimal) -> None:
    places = f.usd_places([value])
    assert abs(Decimal(f.usd(value).replace(",", "").lstrip("$")) - value) <= Decimal(5).scaleb(-places - 1)


@given(st.integers(10_000, 10**14))
def test_compact_is_within_a_twentieth(value: int) -> None:
    number, letter = f.compact(value).split(" ")
    read = Decimal(number.replace(",", "")) * {"k": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}[letter]
    assert abs(read - value) <= Decimal(value) / 20
    assert Decimal(number.replace(",", "")) < 1000
