# %% [markdown]
# # Blending three logits
#
# :::{admonition} In this chapter
# :class: tip
# **You will learn** how the two weights of CALIP's blend decide what is classified rightly; how to see *every* choice of
# weights at once, exactly and in an instant; and what a gain is worth that was searched for on the test labels.
#
# **Time**: about a minute on a laptop's processor with the miniature.
#
# **You need** chapter 3: the three logits.
# :::

# %% tags=["setup", "hide-input"]
# Nothing happens here where the library is installed. Elsewhere, as on Colab, it is
# fetched first. (Kept by `make sync`.)
import importlib.util
import os
import subprocess
import sys

if importlib.util.find_spec("calip_core") is None:
    _clone = ".." if os.path.isdir("../calip_core") else "calip-book"
    if not os.path.isdir(_clone):
        _url = "https://github.com/calip-book/calip-book"
        _url = os.environ.get("CALIP_REPOSITORY", _url)
        _git = ["git", "clone", "--quiet", "--depth=1", _url, _clone]
        subprocess.run(_git, check=True)
    _install = os.path.join(_clone, "book/tools/install_missing.py")
    subprocess.run([sys.executable, _install], check=True)
    sys.path.insert(0, os.path.abspath(_clone))
    importlib.invalidate_caches()

# %% tags=["parameters"]
backbone: str = "mini-vit"  # mini-rn, mini-vit, an OpenAI name like RN50, or a path
dataset: str = "mini-shapes"  # a name from available_tasks(), or folder:PATH
alpha: float = 0.5  # both temperatures of the attention; the released code has 0.5
seed: int = 0  # draws images, shuffles, and the resamples of the intervals
samples: int = 2000  # at most so many test images

# %%
from calip_core.teaching import (
    BackboneName,
    Count,
    Positive,
    Seed,
    TaskName,
    check_parameters,
)

check_parameters(
    globals(),
    backbone=BackboneName,
    dataset=TaskName,
    alpha=Positive,
    seed=Seed,
    samples=Count,
)

# %% [markdown]
# This chapter starts with `mini-vit`. Chapter 2 found that the tokens of `mini-rn` are nearly copies of its pooled vector.
# Then the two attended terms have little to add, and there is little for weights to decide. The parameter takes it all the
# same, if you want to see that.

# %%
import time

import numpy as np
import torch

from calip_core import (
    CalipConfig,
    ImageTokens,
    beta_landscape,
    calip_logits,
    encode_split,
    load_backbone,
    load_task,
    metrics,
    zero_shot_classifier,
)
from calip_core import exhibits
from calip_core.blend.landscape import released_grid
from calip_core.blend.line import line_landscape
from calip_core.blend.polygon import winning_polygon
from calip_core.teaching import grade, interactive, prose, show, table
from calip_core.exhibits import blending as blending_plots
from calip_core.blend.selection import FIXED

exhibits.style()
torch.manual_seed(seed)
clip_model = load_backbone(backbone)
task = load_task(dataset)
text = zero_shot_classifier(clip_model, task.classnames, task.templates)
config = CalipConfig(alpha_t=alpha, alpha_s=alpha)


def three_logits(split: str):
    """CALIP's three terms for at most ``samples`` images of a split, and their labels."""
    tokens, labels = encode_split(
        clip_model, task.splits[split], limit=samples, seed=seed, progress=False
    )
    return calip_logits(tokens, text, config, clip_model.logit_scale), labels


logits, labels = three_logits("test")
n, k = logits.clip.shape
clip_hits = metrics.correct_predictions(logits.clip, labels)
prose(
    f"{n} test images of `{task.name}`, {k} classes, `{clip_model.name}`. CLIP alone "
    "is "
    f"right on {clip_hits.mean():.1%}."
)

# %% [markdown]
# ## What a search costs
#
# The blend of chapter 3 has two free weights (CLIP's own, $\beta_1$, stays 1):
#
# $$ \ell(\beta_2, \beta_3) = \ell^{\text{clip}} + \beta_2\,\ell^{\text{text}} + \beta_3\,\ell^{\text{visual}}. $$ (eq-two-weights)
#
# The released code tries 200 values of each, 40,000 pairs in all. For each it blends the logits of all images, looks for
# the largest, and counts. Here is what a few of those evaluations take, done as it does them, and what the whole search
# would.


# %%
def released_accuracy(blend, target) -> float:
    """What the released code counts: how often the class that topk lists is right."""
    return float((blend.topk(1, dim=1).indices[:, 0] == target).float().mean())


beta2, beta3 = released_grid()
target = torch.as_tensor(labels, device=logits.clip.device)
started = time.perf_counter()
for i in range(20):
    blend = logits.combine(beta2=beta2[10 * i], beta3=beta3[10 * i])
    released_accuracy(blend, target)
per_pair = (time.perf_counter() - started) / 20

started = time.perf_counter()
landscape = beta_landscape(logits, labels, beta2=beta2, beta3=beta3)
at_once = time.perf_counter() - started
prose(
    f"One pair takes {1000 * per_pair:.2f} ms, so {len(beta2) * len(beta3):,} pairs "
    f"would take {per_pair * len(beta2) * len(beta3):.0f} seconds. `beta_landscape` "
    f"finds the accuracy at all of them in {at_once:.3f} seconds: "
    f"{per_pair * len(beta2) * len(beta3) / at_once:.0f} times as fast."
)

# %% [markdown]
# It is not an approximation. At any pair the count is that of the search:

# %%
draw = np.random.default_rng(seed)
for row, column in draw.integers(0, len(beta2), (25, 2)):
    blend = logits.combine(beta2=beta2[row], beta3=beta3[column])
    assert (
        landscape.correct[row, column]
        == metrics.correct_predictions(blend, labels).sum()
    )

# %% [markdown]
# ## Why it can be exact: polygons
#
# Take one image with label $y$. It is classified rightly when the label's blend is larger than that of every other
# class $j$. Write $d_j^{\text{clip}} = \ell_y^{\text{clip}} - \ell_j^{\text{clip}}$ for the lead of the label in one
# term, and likewise for the other two. Then the condition is
#
# $$ d_j^{\text{clip}} + \beta_2\, d_j^{\text{text}} + \beta_3\, d_j^{\text{visual}} > 0
#    \qquad \text{for all } j \ne y. $$ (eq-half-planes)
#
# Each of these $K - 1$ conditions holds in a half-plane of $(\beta_2, \beta_3)$. Where all hold is their intersection: a
# *convex polygon*. (On its border two classes tie. The library then takes the one with the lower number; the
# released code's `topk` does so from 64 classes on, and takes any below.) Along a horizontal or vertical line, that is an
# interval. So each image needs a few divisions for each line of the grid, not an evaluation at each point.
#
# Below are images whose fate the weights decide. The blue area is where the image is classified rightly.

# %% tags=["hide-input"]
wide2, wide3 = (0.0, 10.0), (0.0, 2.0)
outlines = [
    winning_polygon(logits, i, int(labels[i]), beta2=wide2, beta3=wide3)
    for i in range(min(n, 1000))
]


def area(corners: np.ndarray) -> float:
    """Area of a polygon (the shoelace formula)."""
    x, y = corners.T if len(corners) else np.zeros((2, 1))
    return abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


whole = (wide2[1] - wide2[0]) * (wide3[1] - wide3[0])
areas = np.array([area(corners) for corners in outlines]) / whole
undecided = np.flatnonzero((areas > 0.02) & (areas < 0.98))
ranked = undecided[np.argsort(areas[undecided])]
shown = ranked[np.linspace(0, len(ranked) - 1, min(8, len(ranked))).astype(int)]
if len(shown):
    show(
        blending_plots.polygons(
            [outlines[i] for i in shown],
            [
                f"{task.classnames[labels[i]]}, CLIP "
                + ("right" if clip_hits[i] else "wrong")
                for i in shown
            ],
            wide2,
            wide3,
        ),
        alt=f"{len(shown)} panels, one an image, with the convex area of weights at "
        "which "
        "the image is classified rightly. "
        + ", ".join(f"{areas[i]:.0%}" for i in shown)
        + " of the panels are covered.",
        caption="Weights at which an image is classified rightly. CLIP itself is the "
        "corner at the lower left.",
    )
prose(
    f"Of the first {len(outlines)} images, {np.mean(areas >= 0.98):.1%} are right and "
    f"{np.mean(areas <= 0.02):.1%} wrong at (almost) every pair, even over this wide "
    f"range. The weights decide about the other {len(undecided)}."
)

# %% [markdown]
# ## The landscape
#
# Add up the polygons of all images and you have the accuracy at every pair. First on the released grid, then on a wider
# one: the bounds of the released grid (2 and 0.1) are a choice too.

# %% tags=["hide-input"]
clip_accuracy = clip_hits.mean()
wide = beta_landscape(
    logits,
    labels,
    beta2=np.linspace(0, 10, 201),
    beta3=np.linspace(0, 2, 201),
)
for name, found in (("released grid", landscape), ("wider grid", wide)):
    best, first = found.best(), found.first_best()
    show(
        blending_plots.landscape(
            found,
            {
                "centre of the plateau": (best.beta2, best.beta3),
                "first best pair": (first.beta2, first.beta3),
                f"{FIXED[0]:g}, {FIXED[1]:g} (paper, ImageNet)": FIXED,
            },
        ),
        alt=f"Accuracy over the two weights, {name}: from {found.accuracy.min():.1%} "
        "to "
        f"{found.accuracy.max():.1%}. The best pairs lie around β₂ = {best.beta2:.3g}, "
        f"β₃ = {best.beta3:.3g}.",
        caption=f"The {name}: {found.correct.size:,} pairs, {n} test images. White: "
        "the "
        f"outline of the best pairs. CLIP alone has {clip_accuracy:.1%}.",
    )

# %% tags=["hide-input"]
interactive(
    blending_plots.landscape_hover(wide),
    alt="The wider landscape again; point at a place to read its weights and accuracy.",
    caption="Point at a place to read its weights and its accuracy.",
)
rows = []
for name, found in (("released grid", landscape), ("wider grid", wide)):
    best, first = found.best(), found.first_best()
    rows.append(
        [
            name,
            f"{found.accuracy.min():.2%} to {found.accuracy.max():.2%}",
            int(found.plateau().sum()),
            f"{first.beta2:.3g}, {first.beta3:.3g}",
            f"{best.beta2:.3g}, {best.beta3:.3g}",
            f"{found.share_within(0.5):.0%}",
        ]
    )
table(
    rows,
    [
        "grid",
        "accuracy",
        "best pairs",
        "the first of them",
        "centre of the plateau",
        "pairs within 0.5 points of the best",
    ],
    caption="How sharp is the choice? These numbers look at test labels: they "
    "describe.",
)

# %% [markdown]
# Where several pairs share the best count, they form a *plateau*. A search that keeps the first of them ends at its
# edge, where a few other images would have changed the count. Its centre may be the more robust choice, and it is what
# `landscape.best()` returns; below we measure both on images that did not choose. Where the best pair stands alone, as
# can be with many images, the two are the same; then the last column says more: how many other pairs are nearly as good.
#
# Along a single line nothing needs a grid at all. Here is the accuracy for every $\beta_3$ from 0 to 2 with
# $\beta_2 = 0$, as the staircase that it is.

# %% tags=["hide-input"]
along = line_landscape(logits.clip, logits.visual_attended, labels, low=0.0, high=2.0)
stretch = along.best()
show(
    blending_plots.line(along, r"$\beta_3$ (with $\beta_2 = 0$)"),
    alt=f"A staircase of {len(along.correct)} steps between "
    f"{along.correct.min() / n:.1%} "
    f"and {along.correct.max() / n:.1%}; its widest best stretch runs from "
    f"{stretch.low:.3g} to {stretch.high:.3g}.",
    caption=f"Exact accuracy along one line: {len(along.correct)} stretches.",
)

# %% [markdown]
# ## What tuning on test labels buys
#
# The released code keeps the best of its 40,000 pairs *on the labels it is scored on*. With so many tries something
# will fit by chance. How much? Ask the same search where the images have nothing to say: shuffle the two attended terms
# across the images, so that each image gets those of another. Then they know nothing of the image. What the search still
# gains is selection, and whatever a fixed preference among classes is worth, which the shuffled terms keep.

# %% tags=["hide-input"]
from calip_core.blend import selection
from calip_core.published import published_betas

chosen = selection.oracle(logits, labels)
control = selection.oracle_control(logits, labels, seed=seed, repeats=40)
show(
    blending_plots.selection_control(control.by_selection, control.gain),
    alt=f"Gains of {len(control.by_selection)} searches over shuffled terms: "
    f"{100 * control.by_selection.min():.2f} to "
    f"{100 * control.by_selection.max():.2f} points, mean "
    f"{100 * control.by_selection.mean():.2f}. The search over the true terms gains "
    f"{100 * control.gain:.2f}.",
    caption=f"The released search on {n} test images, and on shuffled copies of them.",
)
prose(
    f"Searching on the test labels gains {100 * control.gain:+.2f} points. The same "
    "search over shuffled terms gains "
    f"{100 * control.by_selection.mean():+.2f} points on average. "
    + (
        "So what the search finds cannot be told from what it finds without the images "
        if control.p_value > 0.05
        else "So the terms are tied to their images. That alone does not show that they "
        "add to CLIP: for that see the gain on images that did not choose, below "
    )
    + f"(permutation p = {control.p_value:.2g}, and it cannot be below "
    f"{1 / (1 + len(control.by_selection)):.2g} with so few)."
)

# %% [markdown]
# The fewer images choose, the better the choice looks, and the less it is worth. Let $m$ of the test images choose the
# pair, and apply that pair to the others:

# %% tags=["hide-input"]
sizes = [size for size in (50, 100, 200, 500, 1000, 2000, 5000) if size <= n // 2]
repeats = 30
tuned, elsewhere, by_first = np.zeros((3, len(sizes), repeats))
coarse2, coarse3 = released_grid(steps=40)
for s, size in enumerate(sizes):
    for r in range(repeats):
        order = draw.permutation(n)
        own, others = order[:size], order[size:]
        found = beta_landscape(
            logits[own.tolist()], labels[own], beta2=coarse2, beta3=coarse3
        )
        gained, gained_by_first = (
            metrics.correct_predictions(
                logits.combine(beta2=pair.beta2, beta3=pair.beta3), labels
            )
            - clip_hits.astype(float)
            for pair in (found.best(), found.first_best())
        )
        tuned[s, r], elsewhere[s, r] = gained[own].mean(), gained[others].mean()
        by_first[s, r] = gained_by_first[others].mean()
if sizes:
    show(
        blending_plots.optimism(sizes, tuned, elsewhere),
        alt="Gain against the number of images that chose. With "
        f"{sizes[0]} images the chosen pair gains {100 * tuned[0].mean():+.2f} points "
        "on "
        f"them and {100 * elsewhere[0].mean():+.2f} on others; with {sizes[-1]}, "
        f"{100 * tuned[-1].mean():+.2f} and {100 * elsewhere[-1].mean():+.2f}.",
        caption=f"Means and the middle 80 % of {repeats} draws. The gap between the "
        "two "
        "lines is optimism.",
    )
    ahead = [
        metrics.mean_interval(100 * (elsewhere[s] - by_first[s]))
        for s in range(len(sizes))
    ]
    prose(
        "Is the centre of the plateau more robust than the first best pair? On the images "
        "that did not choose, its gain less that of the first pair is "
        + ", ".join(
            f"{mean:+.2f} ± {half:.2f} points where {size} images chose"
            for size, (mean, half) in zip(sizes, ahead, strict=True)
        )
        + f" (mean of {repeats} draws; their images overlap, so the 95 % margins are "
        "somewhat too narrow). "
        + (
            "So it is, here."
            if all(mean > half for mean, half in ahead)
            else "Here it does worse: the first of several best pairs lies next to plain "
            "CLIP, and the less the blend helps, the better that is."
            if all(mean < -half for mean, half in ahead)
            else "Here the two can hardly be told apart."
            if all(abs(mean) <= half for mean, half in ahead)
            else "Neither is better throughout."
        )
    )
else:
    prose(f"{n} images are too few to be divided like this.")

# %% [markdown]
# ## Honest ways, and the dishonest one
#
# - **fixed**: the same for every dataset, stated beforehand: the paper's pair for ImageNet with RN50 (via SuS-X). For
#   that dataset itself it is no blind choice.
# - **published**: the paper's pair for this very dataset with RN50 (via SuS-X), where there is one. Which labels it was
#   chosen on is not known.
# - **validation**: the centre of the plateau on the validation images.
# - **label-free, certainty**: the pair whose predictions are the most certain on average (the least entropy). The blend
#   is first scaled to CLIP's own spread over the classes: larger logits are surer of themselves, right or wrong.
# - **label-free, information**: certain on every image, and varied over all of them; scaled likewise.
# - **label-free, term agreement**: the pair whose predictions agree most with those of the three terms alone.
# - **label-free, two views**: the pair whose predictions on an image and on a crop of its middle agree most, beyond
#   chance (Cohen's kappa).
# - **oracle**: on the test labels. It is not a result; it bounds what any way of choosing could reach on this grid.
#
# The label-free ways look at the test images, not at their labels.

# %% tags=["hide-input"]
from calip_core.features import choose_images
from calip_core.exhibits.results import FEW


def middle_crop(image):
    """The inner 85 % of an image: another view of the same thing."""
    left, top = 0.075 * image.width, 0.075 * image.height
    return image.crop((left, top, image.width - left, image.height - top))


numbers = choose_images(task.splits["test"], samples, seed)
view_tokens = []
for start in range(0, len(numbers), 64):
    crops = [
        clip_model.preprocess(middle_crop(task.splits["test"][i][0]))
        for i in numbers[start : start + 64]
    ]
    view_tokens.append(clip_model.encode_image(torch.stack(crops)))
view_logits = calip_logits(
    ImageTokens.cat(view_tokens), text, config, clip_model.logit_scale
)

selections = {"fixed": selection.fixed()}
if (task.name, clip_model.name) in published_betas():
    selections["published"] = selection.published(task.name, clip_model.name)
if len(task.splits["val"]):
    val_logits, val_labels = three_logits("val")
    selections["validation"] = selection.validation(val_logits, val_labels)
for criterion in selection.CRITERIA:
    name = "label-free, " + criterion.replace("_", " ")
    selections[name] = selection.label_free(logits, criterion)
selections["label-free, two views"] = selection.label_free_by_views(
    logits, view_logits
)
selections["oracle"] = chosen
rows, outcomes = [], {}
for name, pair in selections.items():
    blend = logits.combine(beta2=pair.beta2, beta3=pair.beta3)
    correct = metrics.correct_predictions(blend, labels)
    gain = correct.astype(float) - clip_hits
    test = outcomes[name] = metrics.mcnemar(correct, clip_hits)
    interval = metrics.paired_interval(test.only_a, test.only_b, n)
    p_value = {"test": "not valid", "unknown": f"{test.p_value:.2g}, labels unknown"}
    rows.append(
        [
            name,
            f"{pair.beta2:.3g}, {pair.beta3:.3g}",
            f"{correct.mean():.2%}",
            f"{100 * gain.mean():+.2f} ({100 * interval.low:+.2f} to "
            f"{100 * interval.high:+.2f})",
            f"{test.only_a} : {test.only_b}",
            p_value.get(pair.labels, f"{test.p_value:.2g}"),
        ]
    )
table(
    rows,
    [
        "protocol",
        "β₂, β₃",
        "accuracy",
        "gain in points (95 %)",
        "only CALIP : only CLIP right",
        "McNemar p",
    ],
    caption=f"CALIP against CLIP ({clip_accuracy:.2%}), {n} test images of "
    f"{task.name}, "
    f"{backbone}, α = {alpha:g}. A test on the labels that chose is not a test.",
)

# %% tags=["hide-input"]
honest = {
    name: test
    for name, test in outcomes.items()
    if selections[name].labels in ("none", "validation")
}
clear = [name for name, test in honest.items() if test.p_value < 0.05]
better = [name for name in clear if honest[name].only_a > honest[name].only_b]
worse = [name for name in clear if name not in better]
prose(
    f"These are {len(honest)} tests, one for each way to choose without test labels, so "
    f"about {0.05 * len(honest):.1f} of them would fall below 5 % by chance. "
    f"{len(better)} of the ways do better than CLIP at that level"
    + (f" ({', '.join(better)})" if better else "")
    + f" and {len(worse)} do worse"
    + (f" ({', '.join(worse)})" if worse else "")
    + ". Certainty is no evidence of being right: a criterion without labels has to be "
    "measured like anything else, and it may well end at a corner of the grid. Where the "
    f"two differ on few images, such as fewer than {FEW}, a row proves nothing either way."
)

# %% [markdown]
# ## What to conclude
#
# - The accuracy at all weights follows exactly from one pass over the margins. There is no reason to evaluate
#   pair by pair.
# - Many pairs can be nearly as good as the best. Report the plateau, not the best pair alone.
# - A gain that was chosen on the test labels contains selection. The shuffled control says how much.
# - Choose on validation images or fix the pair beforehand, and test on the same images in pairs.

# %% [markdown]
# ## Exercises
#
# **1. One image, one line.** For one image, `offset` ($K - 1$ numbers) holds the leads of the label in CLIP's logits,
# `slope` its leads in the text-attended term; $\beta_3 = 0$. Return the interval (`low`, `high`) of $\beta_2$ at which
# the label wins, within $-100$ and $100$. There is such an interval in every case given.


# %% tags=["exercise"]
def winning_interval(offset, slope): ...


# %% tags=["exercise-check"]
interval_cases = [
    ((np.array([1.0, 2.0]), np.array([-0.5, 1.0])), (-2.0, 2.0)),
    ((np.array([-1.0, 3.0, 5.0]), np.array([2.0, -0.5, 1.0])), (0.5, 6.0)),
    ((np.array([1.0]), np.array([0.25])), (-4.0, 100.0)),
]
grade(winning_interval, interval_cases)


# %% tags=["solution", "hide-input"]
def winning_interval(offset, slope):
    crossing = -offset / slope
    low = max([-100.0, *crossing[slope > 0]])
    high = min([100.0, *crossing[slope < 0]])
    return low, high


assert grade(winning_interval, interval_cases) == "correct"

# %% [markdown]
# **2. Count the intervals.** Given the `low` and `high` ends of many images' intervals and a `grid` of weights, return
# how many images are right at each weight. No loop over images is needed.


# %% tags=["exercise"]
def count_right(low, high, grid): ...


# %% tags=["exercise-check"]
count_cases = [
    (
        (
            np.array([0.0, 1.0, -5.0]),
            np.array([2.0, 3.0, 9.0]),
            np.array([0.5, 1.5, 2.5, 5.0]),
        ),
        np.array([2, 3, 2, 1]),
    )
]
grade(count_right, count_cases)


# %% tags=["solution", "hide-input"]
def count_right(low, high, grid):
    return np.searchsorted(np.sort(low), grid) - np.searchsorted(np.sort(high), grid)


assert grade(count_right, count_cases) == "correct"

# %% [markdown]
# ## Further reading
#
# - Where the per-dataset weights of the paper are listed: {cite:t}`udandarao2023susx`.
# - Rivals that are tuned in the same way, with weights searched on the evaluated images: {cite:t}`zhang2022tip`.
# - The paired test: {cite:t}`mcnemar1947`; the paired interval: {cite:t}`tango1998`.
