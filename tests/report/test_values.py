"""Numbers as the page writes them."""

from __future__ import annotations

import pytest

from snnkit.report.values import GAP, joules, percent, plural, si, whole


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (0, "", "0"),
        (7, "", "7"),
        (999, "", "999"),
        (999.9, "", "1 k"),
        (1000, "", "1 k"),
        (12345, "", "12.3 k"),
        (1234567, "", "1.23 M"),
        (999999, "", "1 M"),
        (0.12, "", "0.12"),
        (2.5e-6, "J", "2.5 µJ"),
        (9.9999e-7, "J", "1 µJ"),
        (0, "J", "0 J"),
        (-4500, "", "-4.5 k"),
        (None, "", "–"),
        (True, "", "–"),
        ("12", "", "–"),
    ],
)
def test_si(value, unit, words):
    assert si(value, unit) == words.replace(" ", GAP)


def test_energy_takes_the_prefix_that_suits_its_size():
    assert joules(0.0012, "uJ") == f"1.2{GAP}nJ"
    assert joules(1234.0, "pJ") == f"1.23{GAP}nJ"
    assert joules(3.0, "spikes") == f"3{GAP}spikes"


def test_percent_counts_and_plurals():
    assert percent(0.878) == f"87.8{GAP}%"
    assert percent(None) == "–"
    assert whole(1234567) == "1,234,567"
    assert [plural(n, "core") for n in (1, 2, 1024)] == ["1 core", "2 cores", "1,024 cores"]
