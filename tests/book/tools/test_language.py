"""The house style, as far as a machine can check it: each planted fault is found, and good prose passes."""

import pytest

from book.tools import language
from book.tools.language import faults, long_sentences


def test_the_book_keeps_the_house_style() -> None:
    found = [f"{name}: {fault}" for name, text, rules in language.texts() for fault in faults(text, rules)]
    assert found == []


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("It gains 8.3% here", "write 'N %'"),
        ("about 5%.", "write 'N %'"),
        ("It is -3 points", "a real minus"),
        ("from (-0.5 to", "a real minus"),
        ("an interval [-1, 2]", "a real minus"),
        ("-1.2 at the start", "a real minus"),
        ("a image", "'an' before a vowel"),
        ("A orange hexagon", "'an' before a vowel"),
        ("an class", "'a' before a consonant"),
        ("the two are told apart", "in other words"),
        ("When left out, it", "in other words"),
        ("points most nearly the same way", "in other words"),
    ],
)
def test_a_planted_fault_is_found(text: str, rule: str) -> None:
    (fault,) = faults(f"Before it, some words. {text}" if text[0] != "-" else text)
    assert rule in fault


@pytest.mark.parametrize(
    "text",
    [
        "It gains 8.3 % here, −3 points, within [−1, 2]: an image, a one, an 8-shot run, an hour, a used one.",
        "`5%`, $-3$, `a image`, $$ -5 $$ and ```\n-5%\n```",
        "see [x](https://example.org/a%20b-5) and <img width=100%>, {cite:t}`a2020-3`",
        "- 3 of them\n- RN50-16, ViT-B/16, 1-3, pages 5-7",
    ],
)
def test_good_prose_passes(text: str) -> None:
    assert list(faults(text)) == []


def test_long_sentences_are_listed_and_lists_and_short_ones_are_not() -> None:
    assert list(long_sentences("word " * 41)) == ["41 words: " + "word " * 10 + "..."]
    assert list(long_sentences(("Word " * 30 + ". ") * 3)) == []
    assert list(long_sentences("\n".join(f"- item {'x ' * 20}" for _ in range(5)))) == []


def test_the_command_fails_on_a_fault_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [("page", "word " * 50, tuple(language._RULES))]
    monkeypatch.setattr(language, "texts", lambda: iter(texts))
    assert language.main() == 0 and "page: 50 words" in capsys.readouterr().out
    texts.append(("other", "5%", ("write 'N %', with a space",)))
    assert language.main() == 1 and "other: write 'N %'" in capsys.readouterr().err
