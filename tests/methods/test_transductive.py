"""Heads without training that see other images, against slow references written from their equations in float64."""

import math

import numpy as np
import pytest
import torch

from calip_core.methods import METHODS, make_method
from calip_core.tokens import ImageTokens

SCALE = 20.0
WITHOUT_LABELS = ["inmap", "transclip", "stata", "tda", "dmn", "zlap"]


def problem(n=24, k=4, c=8, seed=0, only=None):
    """Class vectors and noisy images of them, in float64."""
    random = np.random.default_rng(seed)
    text = random.normal(size=(k, c))
    labels = random.choice(only or range(k), size=n)
    images = text[labels] + 1.5 * random.normal(size=(n, c))
    text, images = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (text, images))
    return images, text


def tokens(images):
    return ImageTokens.without_places(torch.from_numpy(images))


def answers(name, images, text, unlabelled=None, **options):
    head = make_method(name, logit_scale=SCALE, **options)
    head.fit(None if unlabelled is None else tokens(unlabelled), None, torch.from_numpy(text))
    return head.logits(tokens(images)).numpy()


def softmax(row):
    powers = [math.exp(value - max(row)) for value in row]
    return np.array([power / sum(powers) for power in powers])


def unit(vector):
    return vector / math.sqrt(sum(value * value for value in vector))


def nearest(images, i, count):
    others = sorted((j for j in range(len(images)) if j != i), key=lambda j: -(images[i] @ images[j]))
    return others[:count]


def test_distribution_normalization_is_the_cosine_of_shifted_features():
    images, text = problem()
    others, _ = problem(seed=1, n=9)
    found = answers("distribution_normalization", images, text, others, amount=0.3)
    mean, middle = others.mean(axis=0), text.mean(axis=0)
    for i, image in enumerate(images):
        for k, row in enumerate(text):
            assert found[i, k] == pytest.approx(SCALE * unit(image - 0.3 * mean) @ unit(row - 0.3 * middle))


def test_distribution_normalization_draws_its_images_by_seed():
    images, text = problem()
    others, _ = problem(seed=1, n=9)
    some = [answers("distribution_normalization", images, text, others, sample=4, seed=seed) for seed in (0, 0, 1)]
    assert np.array_equal(some[0], some[1]) and not np.allclose(some[0], some[2])


def inmap_reference(images, text, steps, rate=10.0, tau=0.04):
    n, k = len(images), len(text)
    shares = np.array([softmax(image @ text.T / 0.01) for image in images])
    for _ in range(20):
        for j in range(k):
            shares[:, j] *= n / k / shares[:, j].sum()
        for i in range(n):
            shares[i] /= shares[i].sum()
    for row in shares:
        if row.max() > 0.6:
            best = row.argmax()
            row[:] = 0
            row[best] = 1
    vectors, before = text.copy(), math.inf
    for _ in range(steps):
        gradient = np.zeros_like(vectors)
        for image, wanted in zip(images, shares, strict=True):
            gradient += np.outer(softmax(vectors @ image / tau) - wanted, image) / (n * tau)
        norm = math.sqrt((gradient**2).sum())
        rate, before = (rate / 2 if norm > before else rate), norm
        vectors = np.array([unit(row) for row in vectors - rate * gradient])
    return SCALE * images @ vectors.T


def test_inmap_descends_on_balanced_pseudo_labels():
    images, text = problem()
    np.testing.assert_allclose(answers("inmap", images, text, steps=15), inmap_reference(images, text, 15))


def transclip_reference(images, text, alpha=None, neighbours=3):
    n, k = len(images), len(text)
    prior = np.array([softmax(SCALE * text @ image) for image in images])
    graph = np.zeros((n, n))
    for i in range(n):
        for j in nearest(images, i, neighbours):
            graph[i, j] = max(0, images[i] @ images[j])
    z = prior.copy()
    for _ in range(10):
        means = []
        for j in range(k):
            mean = unit(sum(z[i, j] * images[i] for i in range(n)))
            if alpha is not None:
                share = z[:, j].sum() / (alpha + z[:, j].sum())
                mean = unit(share * mean + (1 - share) * text[j])
            means.append(mean)
        variance = sum(z[i, j] * (images[i] - means[j]) ** 2 for i in range(n) for j in range(k)) / z.sum()
        for _ in range(5):
            new = np.empty_like(z)
            for i in range(n):
                own = [-0.5 * ((images[i] - mean) ** 2 / variance).sum() for mean in means]
                pull = sum((graph[i, m] + graph[m, i]) * z[m] for m in range(n)) / (2 * neighbours)
                new[i] = softmax(np.log(prior[i]) + np.array(own) / 50 + pull)
            z = new
    return np.log(z)


@pytest.mark.parametrize(("name", "alpha"), [("transclip", None), ("stata", 1.0)])
def test_transclip_and_stata_alternate_assignments_and_gaussians(name, alpha):
    images, text = problem()
    np.testing.assert_allclose(answers(name, images, text), transclip_reference(images, text, alpha), rtol=1e-9)


def entropy(shares):
    return -sum(share * math.log(share) for share in shares if share > 0) / math.log(len(shares))


def keep_least(held, item, capacity):
    """The items of least entropy; of equals the earlier."""
    held.append(item)
    held.sort(key=lambda other: other[0])
    del held[capacity:]


def tda_reference(images, text):
    sure, unsure = ([[] for _ in text] for _ in range(2))
    rows = []
    for image in images:
        clip = SCALE * text @ image
        shares = softmax(clip)
        k, e = int(clip.argmax()), entropy(shares)
        keep_least(sure[k], (e, image), 3)
        if 0.2 < e < 0.5:
            keep_least(unsure[k], (e, image, [float(0.03 < share < 1) for share in shares]), 2)
        row = clip.copy()
        for j, held in enumerate(sure):
            row[j] += sum(SCALE / 100 * 2 * math.exp(-5 * (1 - key @ image)) for _, key in held)
        for _, key, mask in (item for held in unsure for item in held):
            row -= SCALE / 100 * 0.117 * math.exp(-(1 - key @ image)) * np.array(mask)
        rows.append(row)
    return np.array(rows)


def test_tda_adds_sure_images_and_subtracts_unsure_ones():
    images, text = problem(n=60)
    np.testing.assert_allclose(answers("tda", images, text), tda_reference(images, text))


def dmn_reference(images, text, capacity):
    memory = [[] for _ in text]
    rows = []
    for image in images:
        clip = SCALE * text @ image
        keep_least(memory[int(clip.argmax())], (entropy(softmax(clip)), image), capacity)
        row = clip.copy()
        for k, held in enumerate(memory):
            keys = [text[k], *(key for _, key in held)]
            row[k] += SCALE * unit(sum(math.exp(-5.5 * (1 - key @ image)) * key for key in keys)) @ image
        rows.append(row)
    return np.array(rows)


def test_dmn_reads_a_second_class_vector_from_its_memory():
    images, text = problem(n=60)
    np.testing.assert_allclose(answers("dmn", images, text, capacity=4), dmn_reference(images, text, 4))


def test_zlap_spreads_labels_through_the_graph():
    images, text = problem()
    n, k = len(images), len(text)
    adjacency = np.zeros((k + n, k + n))
    for i in range(n):
        for j in nearest(images, i, 3):
            adjacency[k + i, k + j] += max(0, images[i] @ images[j]) / 2
            adjacency[k + j, k + i] += max(0, images[i] @ images[j]) / 2
        for j in sorted(range(k), key=lambda j: -(images[i] @ text[j]))[:3]:
            adjacency[k + i, j] = adjacency[j, k + i] = max(0, images[i] @ text[j]) ** 5
    degrees = adjacency.sum(axis=1)
    normalised = adjacency / np.sqrt(np.outer(degrees, degrees))
    expected = SCALE * np.linalg.inv(np.eye(k + n) - 0.3 * normalised)[k:, :k]
    np.testing.assert_allclose(answers("zlap", images, text, neighbours=3), expected, atol=1e-4)


def mta_reference(views, text, rounds=5):
    n = len(views)
    shares = [softmax(SCALE * text @ view) for view in views]
    squares = np.array([[((a - b) ** 2).sum() for b in views] for a in views])
    near = [sorted(np.delete(row, p))[: int(0.3 * (n - 1))] for p, row in enumerate(squares)]
    widths = [sum(row) / len(row) / 2 for row in near]
    mode, y = views[0], np.full(n, 1 / n)

    def kernel(p):
        return math.exp(-((views[p] - mode) ** 2).sum() / (2 * widths[p]))

    for _ in range(rounds):
        density = [kernel(p) for p in range(n)]
        for _ in range(rounds):
            pull = [sum(shares[p] @ shares[q] * y[q] for q in range(n)) for p in range(n)]
            y = softmax([(density[p] + 4 * pull[p]) / 0.2 for p in range(n)])
        for _ in range(rounds):
            mode = unit(sum(y[p] * kernel(p) * views[p] for p in range(n)))
    return SCALE * text @ mode


def test_mta_finds_the_mode_of_each_image_by_itself():
    views, text = problem(n=3 * 12)
    found = answers("mta", views, text, crops=11)
    assert found.shape == (3, 4)
    for i, own in enumerate(views.reshape(3, 12, -1)):
        np.testing.assert_allclose(found[i], mta_reference(own, text), rtol=1e-9)


def test_mta_of_equal_views_is_zero_shot_clip():
    images, text = problem(n=2)
    found = answers("mta", np.repeat(images, 8, axis=0), text, crops=7)
    np.testing.assert_allclose(found, SCALE * images @ text.T)


def test_mta_refuses_rows_that_are_not_whole_images():
    images, text = problem(n=10)
    with pytest.raises(ValueError, match="mta got 10 rows, expected 4 per image: itself and 3 crops"):
        answers("mta", images, text, crops=3)


@pytest.mark.parametrize("name", WITHOUT_LABELS)
def test_the_same_images_have_the_same_answers_again(name):
    images, text = problem()
    assert np.array_equal(answers(name, images, text), answers(name, images, text))
    assert METHODS[name].sees in ("batch", "stream")


@pytest.mark.parametrize("name", WITHOUT_LABELS)
def test_one_image_alone_has_an_answer(name):
    images, text = problem(n=1)
    found = answers(name, images, text)
    assert found.shape == (1, 4) and np.isfinite(found).all()


def test_transclip_has_nothing_to_add_to_one_image_in_single_precision():
    images, text = (rows.astype(np.float32) for rows in problem(n=1, seed=1))
    expected = np.log(softmax(SCALE * text @ images[0]))
    np.testing.assert_allclose(answers("transclip", images, text)[0], expected, atol=1e-2)


@pytest.mark.parametrize("name", [name for name in WITHOUT_LABELS if METHODS[name].sees == "batch"])
def test_the_order_within_a_batch_does_not_matter(name):
    images, text = problem()
    order = np.random.default_rng(3).permutation(len(images))
    np.testing.assert_allclose(answers(name, images[order], text), answers(name, images, text)[order], atol=1e-4)


def test_anchors_hold_where_the_batch_lacks_classes():
    images, text = problem(n=40, only=[0, 1], seed=2)
    stray = {name: (answers(name, images, text).argmax(axis=1) > 1).mean() for name in ("transclip", "stata")}
    assert stray["stata"] <= stray["transclip"]


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("distribution_normalization", {"sample": 0}, "sample"),
        ("inmap", {"steps": 0}, "steps"),
        ("transclip", {"neighbours": 0}, "neighbours"),
        ("stata", {"alpha": 0.0}, "alpha"),
        ("tda", {"capacity": 0}, "capacity"),
        ("dmn", {"beta": -1.0}, "beta"),
        ("zlap", {"spread": 1.0}, "spread is 1.0, expected a number from 0 to below 1"),
        ("zlap", {"logit_scale": 0.0}, "logit_scale"),
        ("mta", {"crops": 0}, "crops"),
        ("mta", {"nearest": 0.0}, "nearest is 0.0, expected a share above 0 and up to 1"),
    ],
)
def test_options_out_of_range_are_named(name, options, said):
    with pytest.raises(ValueError, match=said):
        make_method(name, **options)
