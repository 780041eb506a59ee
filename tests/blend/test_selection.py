import inspect

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from calip_core import metrics
from calip_core.blend import selection
from calip_core.blend.selection import Grid
from calip_core.datasets import resolve_name
from calip_core.published import published_betas
from calip_core.tokens import CalipLogits

GRID = Grid(np.linspace(0, 2, 5), np.linspace(0, 1, 4))


def noise(n, k, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return CalipLogits(*(torch.randn(n, k, generator=generator) for _ in range(3)))


def at(score, logits, beta2, beta3):
    """A criterion's value at one pair."""
    return score(logits, Grid(np.array([float(beta2)]), np.array([float(beta3)]))).item()


def informative(n=200, k=4, seed=0, strength=3.0):
    """CLIP's logits are noise; the text-attended term knows the label."""
    labels = np.random.default_rng(seed).integers(0, k, n)
    logits = noise(n, k, seed)
    knows = strength * torch.nn.functional.one_hot(torch.from_numpy(labels), k).float()
    return CalipLogits(logits.clip, knows, 0.1 * logits.visual_attended), labels


def test_fixed_is_what_was_stated():
    chosen = selection.fixed(0.5, 0.1)
    assert (chosen.beta2, chosen.beta3, chosen.labels, chosen.images) == (0.5, 0.1, "none", 0)


def test_the_default_fixed_pair_is_the_published_one_of_imagenet():
    default, paper = selection.fixed(), selection.published("imagenet")
    assert (default.beta2, default.beta3) == (paper.beta2, paper.beta3) == selection.FIXED
    assert "SuS-X" in paper.chosen_by and paper.protocol == "published"
    assert default.labels == "none" and paper.labels == "unknown"  # nobody says what the paper's pairs were chosen on


def test_every_published_pair_has_a_source():
    table = published_betas()
    assert len(table) == 11 and (table["eurosat", "RN50"].beta2, table["eurosat", "RN50"].beta3) == (6.08, 0.06)
    assert all(row.source for row in table.values())


def test_a_pair_is_found_by_any_name_of_its_dataset():
    assert selection.published(resolve_name("flowers102"), "RN50") == selection.published("oxford_flowers", "RN50")
    with pytest.raises(ValueError, match="no published blend weights for imagenet@80"):  # its prompts were others
        selection.published(resolve_name("ImageNet@80"))


def test_an_unpublished_pair_is_refused():
    with pytest.raises(ValueError, match=r"no published blend weights for eurosat with ViT-B/16.*'fixed'"):
        selection.published("eurosat", "ViT-B/16")


def test_only_the_oracle_takes_test_labels():
    public = [f for _, f in inspect.getmembers(selection, inspect.isfunction) if f.__module__ == selection.__name__]
    takers = {f.__name__ for f in public if "test_labels" in inspect.signature(f).parameters}
    assert takers == {"oracle", "oracle_control"}


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.integers(2, 30), st.integers(2, 5))
def test_validation_and_oracle_find_the_best_accuracy_of_the_grid(seed, n, k):
    logits, labels = noise(n, k, seed), np.random.default_rng(seed).integers(0, k, n)
    best = max(metrics.accuracy(logits.combine(beta2=b2, beta3=b3), labels) for b2, b3 in GRID.pairs())
    for chosen in (selection.validation(logits, labels, GRID), selection.oracle(logits, labels, GRID)):
        assert chosen.score == pytest.approx(best)
        assert metrics.accuracy(logits.combine(beta2=chosen.beta2, beta3=chosen.beta3), labels) == chosen.score
    assert selection.validation(logits, labels, GRID).labels == "validation"
    assert selection.oracle(logits, labels, GRID).labels == "test"


def test_the_control_is_small_where_attention_knows_the_label():
    logits, labels = informative()
    control = selection.oracle_control(logits, labels, seed=0, repeats=9, grid=GRID)
    oracle = selection.oracle(logits, labels, GRID)
    assert control.gain == pytest.approx(oracle.score - metrics.accuracy(logits.clip, labels))
    assert control.by_selection.max() < control.gain / 3 and control.p_value == 0.1


def test_the_control_is_as_large_where_attention_knows_nothing():
    labels = np.random.default_rng(3).integers(0, 4, 200)
    control = selection.oracle_control(noise(200, 4), labels, seed=0, repeats=19, grid=GRID)
    assert control.gain > 0 and control.by_selection.mean() > 0  # a gain out of nothing
    assert control.p_value > 0.05


def test_the_control_follows_its_seed():
    logits, labels = informative(50)
    a, b, c = (selection.oracle_control(logits, labels, seed=s, repeats=5, grid=GRID).by_selection for s in (1, 1, 2))
    assert a.tolist() == b.tolist() != c.tolist()
    with pytest.raises(ValueError, match="repeats is 0"):
        selection.oracle_control(logits, labels, seed=0, repeats=0)


def test_certainty_and_information_by_hand():
    sure = CalipLogits(torch.tensor([[50.0, 0.0], [0.0, 50.0]]), torch.zeros(2, 2), torch.zeros(2, 2))
    torn = CalipLogits(torch.zeros(2, 2), torch.zeros(2, 2), torch.zeros(2, 2))
    assert at(selection.certainty, sure, 0, 0) == pytest.approx(0, abs=1e-6)
    assert at(selection.certainty, torn, 0, 0) == pytest.approx(-np.log(2))
    assert at(selection.information, sure, 0, 0) == pytest.approx(np.log(2), abs=1e-6)
    assert at(selection.information, torn, 0, 0) == pytest.approx(0, abs=1e-6)


def test_certainty_is_not_bought_by_larger_weights():
    term = noise(20, 3).clip
    same = CalipLogits(term, term, term)
    assert at(selection.certainty, same, 5.0, 5.0) == pytest.approx(at(selection.certainty, same, 0.0, 0.0), rel=1e-5)


@pytest.mark.parametrize("criterion", ["certainty", "information"])
@pytest.mark.parametrize("factors", [(1, 2, 1), (1, 1, 5)])
def test_a_term_is_not_chosen_for_its_larger_spread(criterion, factors):
    # All terms say the same and one says it louder: no weight is better than another.
    term = noise(20, 3).clip
    louder = CalipLogits(*(factor * term for factor in factors))
    score = selection.CRITERIA[criterion]
    assert at(score, louder, 5.0, 5.0) == pytest.approx(at(score, louder, 0.0, 0.0), rel=1e-4)


def test_a_choice_says_among_what_it_was_made():
    logits, labels = noise(20, 3), np.arange(20) % 3
    assert selection.validation(logits, labels).grid.startswith("200 x 200 pairs, beta2 0.001 to 1.99, beta3 0.001 to")
    assert selection.label_free(logits, grid=GRID).grid == "5 x 4 pairs, beta2 0 to 2, beta3 0 to 1"
    assert selection.fixed().grid is None and selection.published("dtd").grid is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_chooses_as_the_processor_does():
    logits, labels = informative()
    on_gpu = CalipLogits(*(term.cuda() for term in vars(logits).values()))
    for choose in (selection.validation, selection.oracle):
        here, there = choose(logits, labels, GRID), choose(on_gpu, labels, GRID)
        assert (here.beta2, here.beta3, here.score) == (there.beta2, there.beta3, there.score)
    for criterion in selection.CRITERIA:
        here, there = (selection.label_free(terms, criterion, GRID) for terms in (logits, on_gpu))
        assert (here.beta2, here.beta3) == (there.beta2, there.beta3)
        assert here.score == pytest.approx(there.score, abs=1e-5)
    controls = [selection.oracle_control(terms, labels, seed=0, repeats=3, grid=GRID) for terms in (logits, on_gpu)]
    assert controls[0].by_selection.tolist() == controls[1].by_selection.tolist()


def test_term_agreement_counts_votes():
    a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    logits = CalipLogits(a, b, b)
    assert at(selection.term_agreement, logits, 0, 0) == pytest.approx(1 / 3)
    assert at(selection.term_agreement, logits, 2, 0) == pytest.approx(2 / 3)


@pytest.mark.parametrize("criterion", list(selection.CRITERIA))
def test_a_criterion_chooses_its_maximum_on_the_grid(criterion):
    logits = noise(30, 3, 5)
    chosen = selection.label_free(logits, criterion, GRID)
    scores = {pair: at(selection.CRITERIA[criterion], logits, *pair) for pair in GRID.pairs()}
    assert chosen.score == pytest.approx(max(scores.values())) == pytest.approx(scores[chosen.beta2, chosen.beta3])
    assert chosen.chosen_by == criterion and chosen.labels == "none" and chosen.images == 30


def test_labels_unseen_can_still_help():
    logits, labels = informative()
    chosen = selection.label_free(logits, "information", GRID)
    gain = metrics.accuracy(logits.combine(beta2=chosen.beta2, beta3=chosen.beta3), labels)
    assert gain > metrics.accuracy(logits.clip, labels)


def test_two_views_agree_where_the_shared_term_weighs_most():
    logits, _ = informative()
    other = CalipLogits(noise(200, 4, 9).clip, logits.text_attended, noise(200, 4, 8).visual_attended)
    chosen = selection.label_free_by_views(logits, other, GRID)
    assert chosen.beta2 == 2.0 and chosen.beta3 == 0.0
    with pytest.raises(ValueError, match="two views of the same images"):
        selection.label_free_by_views(logits, other[:3], GRID)


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.integers(2, 40), st.integers(2, 5))
def test_kappa_is_that_of_scikit_learn(seed, n, k):
    a, b = np.random.default_rng(seed).integers(0, k, (2, n))
    if len({*a, *b}) > 1:
        ours = selection.kappa(torch.from_numpy(a), torch.from_numpy(b), classes=k)
        assert ours == pytest.approx(cohen_kappa_score(a, b), abs=1e-12)


def test_kappa_of_one_name_for_all_is_zero():
    ones = torch.ones(5, dtype=torch.int64)
    assert selection.kappa(ones, ones, classes=3) == 0


def test_bad_requests_are_named(shapes_unchecked):
    with pytest.raises(ValueError, match="criterion is 'magic', expected one of certainty"):
        selection.label_free(noise(3, 2), "magic")
    with pytest.raises(ValueError, match="no images"):
        selection.label_free(noise(0, 2))
    with pytest.raises(ValueError, match="at least one finite weight"):
        Grid(np.array([np.nan]), np.array([0.0]))
