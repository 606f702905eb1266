"""Names that are cut stay apart."""

from __future__ import annotations

from gradloop.drawing.labels import shorten, shorten_all


def test_long_names_are_shown_around_where_they_differ():
    names = [f"measurement of sensor number {k} in the left engine of the plane" for k in range(30)]
    for length in (9, 14, 22):
        cut = shorten_all(names, length)
        assert len(set(cut)) == len(names)
        assert all(str(k) in name for k, name in enumerate(cut))


def test_one_name_of_another_kind_changes_nothing():
    services = [f"How satisfied are you with service {k} of our company" for k in range(4)]
    cut = shorten_all(["other", *services], 14)
    assert cut[0] == "other"
    assert len(set(cut)) == 5


def test_names_that_no_cut_tells_apart_are_numbered():
    assert len(set(shorten_all(["a" * 40 + letter + "c" * 40 for letter in "xyz"], 10))) == 3


def test_a_line_break_is_a_space():
    assert shorten("a\nb") == "a b"
