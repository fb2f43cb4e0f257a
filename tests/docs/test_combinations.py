"""The page of algorithms, policies and spaces says what is so."""

from combinations import PAGE, page


def test_the_page_says_what_is_so() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == page(text), "run python tests/docs/combinations.py --write"
