# %% [markdown]
# # CLIP, the baseline
#
# :::{admonition} In this chapter
# :class: tip
# **You will learn** how CLIP is trained, and how a list of words becomes a classifier; what prompt ensembles are worth;
# when CLIP's probabilities can be trusted; and where it fails. Everything CALIP adds is measured against this baseline.
#
# **Time**: about a minute on a laptop's processor with the miniature.
#
# **You need** matrix products, the softmax, and a first acquaintance with PyTorch.
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
backbone: str = "mini-rn"  # mini-rn, mini-vit, an OpenAI name such as RN50, or a path
dataset: str = "mini-shapes"  # a name from available_tasks(), or folder:PATH
seed: int = 0  # draws the images, the resamples of the intervals and the toy network
samples: int = 1000  # at most so many test and validation images each, 20 or more

# %%
from calip_core.teaching import (
    AtLeast,
    BackboneName,
    Seed,
    TaskName,
    check_parameters,
)

check_parameters(
    globals(), backbone=BackboneName, dataset=TaskName, seed=Seed, samples=AtLeast(20)
)

# %%
import math
import re
from textwrap import fill

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from calip_core import (
    encode_split,
    load_backbone,
    load_task,
    metrics,
    zero_shot_classifier,
)
from calip_core import exhibits
from calip_core.miniature import objective
from calip_core.world import (
    captions_for,
    render_scenes,
    sample_digits,
    sample_scenes,
    sample_solids,
)
from calip_core.datasets.corruptions import SHIFTS, shifted
from calip_core.features import choose_images
from calip_core.methods import make_method
from calip_core.teaching import grade, percent, prose, show, table
from calip_core.exhibits import baseline as figures
from PIL import Image

exhibits.style()
clip_model = load_backbone(backbone)
task = load_task(dataset)
is_miniature = clip_model.name.startswith("mini-")  # its training words are known
prose(
    f"Parameters of this run: backbone `{clip_model.name}`, whose joint space has "
    f"{clip_model.embed_dim} dimensions; "
    f"dataset `{task.name}` ({task.title}) with {len(task.classnames)} classes and "
    f"{len(task.splits['test'])} test "
    f"images, of which at most {samples} are used."
)

# %% [markdown]
# ## Why compare images with words?
#
# A classical image classifier ends in a matrix with one row per class. The rows are learned from labelled images. A new
# class needs new labels and new training, and what a row means is written nowhere.
#
# CLIP {cite:p}`radford2021clip` has no such rows. It has two encoders, one for images and one for text, and both end in
# the same vector space. There, a picture and a sentence that describes it point the same way. So any sentence can be
# a class. You write down the names of your classes, and the classifier is ready.
#
# This is called *zero-shot* classification: no labelled image of the task is used. The chapters that follow improve
# on it without giving that up.
#
# ## How CLIP learns
#
# Take a batch of $N$ pictures, each with its caption. Encode both sides and make every vector unit length. Then the
# products of all pictures with all captions are $N \times N$ cosines. Multiply them by a *logit scale* $s$, which is
# learned too:
#
# $$ G_{ij} = s \, \langle \text{image}_i, \text{text}_j \rangle. $$ (eq-similarity)
#
# Row $i$ of $G$ asks: which of these $N$ captions belongs to picture $i$? Column $j$ asks: which of these pictures
# belongs to caption $j$? Each question is a classification whose right answer lies on the diagonal. The *symmetric
# contrastive loss* is the mean cross-entropy of all $2N$ questions:
#
# $$ \mathcal{L} = -\frac{1}{2N} \sum_{i=1}^{N} \left[ \log \frac{\exp G_{ii}}{\sum_j \exp G_{ij}}
#      + \log \frac{\exp G_{ii}}{\sum_j \exp G_{ji}} \right]. $$ (eq-contrastive)
#
# This form of loss is known as InfoNCE {cite:p}`oord2018cpc`. ConVIRT used it in both directions, for chest X-rays
# and their reports, before CLIP did so for the web {cite:p}`zhang2022convirt`. In code it is three lines:


# %%
def contrastive_loss(
    image: torch.Tensor, text: torch.Tensor, scale: float | torch.Tensor
) -> torch.Tensor:
    """Unit rows: picture i belongs to text i and to no other."""
    similarity = scale * image @ text.T
    own = torch.arange(len(similarity), device=similarity.device)
    return (cross_entropy(similarity, own) + cross_entropy(similarity.T, own)) / 2


# %% [markdown]
# The library's version also allows for captions that are true of several pictures. With the diagonal alone it is the
# same number:

# %%
torch.manual_seed(seed)
some, others = normalize(torch.randn(2, 5, 8), dim=-1)
torch.testing.assert_close(
    contrastive_loss(some, others, 10.0),
    objective.contrastive_loss(
        some, others, torch.tensor(10.0), torch.eye(5, dtype=torch.bool)
    ),
)

# %% [markdown]
# Somebody who knows nothing gives all $N$ captions the same probability. Their loss is $\log N$. This is the number
# to beat.
#
# Here are ten pictures of the miniature world, with captions from the same generator. Each shows a pair of colour and
# shape that no training picture and no training caption of the miniature had. A column below is one picture, a row one
# caption.

# %%
scenes = sample_scenes(10, seed=seed + 1, pairs="held_out")
scene_pictures = [Image.fromarray(pixels) for pixels in render_scenes(scenes)]
captions = captions_for(scenes, seed=seed + 1)
scene_images = clip_model.encode_image(
    torch.stack([clip_model.preprocess(p) for p in scene_pictures])
).pooled
scene_texts = clip_model.encode_text(captions)

cosines = (scene_texts @ scene_images.T).cpu().double()
batch_loss = float(
    contrastive_loss(scene_images, scene_texts, clip_model.logit_scale)
)
found = int((cosines.argmax(0) == torch.arange(10)).sum())
own_mean, other_mean = (
    float(cosines.diag().mean()),
    float((cosines.sum() - cosines.trace()) / 90),
)

# %% tags=["hide-input"]
show(
    figures.similarity_matrix(cosines.numpy(), captions, scene_pictures, "cosine"),
    alt="A matrix of ten captions by ten pictures. Cosines on the framed diagonal, "
    "where caption and picture belong "
    f"together, average {own_mean:.2f}; those off it average {other_mean:.2f}. For "
    f"{found} of the ten pictures the "
    "largest cosine of its column is the framed one.",
    caption="Ten new pictures and their captions in the joint space of "
    f"{clip_model.name}. Training pulls the framed "
    "cosines up and pushes all others down.",
)
prose(
    f"A framed cosine averages {own_mean:.2f}, any other {other_mean:.2f}. The loss "
    "of this batch at the model's own "
    f"scale, $s$ = {clip_model.logit_scale:.1f}, is {batch_loss:.2f} nats; guessing "
    "would give log 10 = "
    f"{math.log(10):.2f}. {found} of the ten pictures find their own caption. "
    + "Guessing would find one on average. "
    + (
        "Most colours and shapes that never met in training are understood together."
        if found >= 6 and is_miniature
        else "That is little: this backbone does not know this world."
        if found <= 2
        else ""
    )
)

# %% [markdown]
# ### A CLIP from nothing, in one screen
#
# The principle needs neither a big network nor the web. Below, three convolutions look at pictures of 32 by 32
# pixels, and the text encoder is a mere average of word vectors. All weights start at random. The batch is the only
# teacher: nobody tells the network what a colour is.

# %%
torch.manual_seed(seed)
toy_batch, toy_steps, held_out = 64, 128, 256
many = sample_scenes(toy_steps * toy_batch + held_out, seed=seed + 2, pairs="seen")
pixels = (
    torch.from_numpy(render_scenes(many, resolution=32)).permute(0, 3, 1, 2) / 127.5
    - 1
)
words = [
    caption.lower().replace(".", "").split()
    for caption in captions_for(many, seed=seed + 2)
]
number = {
    word: i + 1
    for i, word in enumerate(sorted({word for line in words for word in line}))
}
longest = max(map(len, words))
lines = torch.tensor(
    [[number[word] for word in line] + [0] * (longest - len(line)) for line in words]
)

look = nn.Sequential(
    nn.Conv2d(3, 24, 3, 2, 1), nn.ReLU(), nn.Conv2d(24, 48, 3, 2, 1), nn.ReLU(), nn.Conv2d(48, 96, 3, 2, 1), nn.ReLU(),
    nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(96, 48),
)  # fmt: skip
read = nn.EmbeddingBag(len(number) + 1, 48, padding_idx=0)
log_scale = nn.Parameter(torch.tensor(math.log(10.0)))
optimizer = torch.optim.AdamW(
    [*look.parameters(), *read.parameters(), log_scale], lr=3e-3
)


def toy_loss(rows: slice) -> torch.Tensor:
    image, caption = (
        normalize(look(pixels[rows]), dim=1),
        normalize(read(lines[rows]), dim=1),
    )
    return contrastive_loss(image, caption, log_scale.exp())


batches = [
    slice(start, start + toy_batch) for start in range(0, len(many), toy_batch)
]
steps, curve = [], {"the next training batch": [], "pictures kept back": []}
for step, rows in enumerate(batches[:toy_steps], 1):
    loss = toy_loss(rows)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 16 == 0 or step == 1:
        with torch.no_grad():
            new = torch.stack([toy_loss(rest) for rest in batches[toy_steps:]]).mean()
        steps.append(step)
        for values, value in zip(curve.values(), (loss, new), strict=True):
            values.append(value.item())

# %% tags=["hide-input"]
toy_start, toy_end = curve["pictures kept back"][0], curve["pictures kept back"][-1]
show(
    figures.learning_curve(steps, curve, math.log(toy_batch)),
    alt="Contrastive loss against training steps. On pictures kept back it falls "
    f"from {toy_start:.2f} to {toy_end:.2f} nats "
    f"in {steps[-1]} steps; guessing is {math.log(toy_batch):.2f}.",
    caption=f"A toy CLIP learns from batches of {toy_batch} pictures with captions. "
    "Every picture is shown once.",
)
prose(
    f"After {steps[-1]} steps the loss on pictures kept back is {toy_end:.2f} nats, "
    f"{math.log(toy_batch) - toy_end:.2f} below "
    f"guessing. In other words, the toy narrows {toy_batch} captions down to about "
    f"{math.exp(toy_end):.0f}. It could not "
    "reach one: many captions, such as *a star*, fit several pictures of the batch. "
    "Appendix A does "
    "the same with OpenAI's architecture, and shows how this book's miniature was trained."
)

# %% [markdown]
# Two things make the real recipe harder than the toy. Large batches matter, since every other caption in the batch is
# a wrong answer to learn from: CLIP used 32,768 pairs per batch, out of 400 million pairs from the web
# ({cite:t}`radford2021clip`, sections 2.2 and 2.5). And captions repeat. Two pictures of a red star in one batch
# are each other's "wrong" answer, though either caption would be right. The miniature's training counts such
# duplicates as right answers.
#
# ## A classifier made of words
#
# Now freeze both encoders. Put each class name into a *template*, such as "a picture of a {}.". Encode the $K$
# sentences: their unit vectors are the rows of the classifier $F_t$ ($K \times C$). The pooled vectors of $N$ pictures
# are $F_v$ ($N \times C$). Then
#
# $$ \text{logits} = s \, F_v F_t^\top, $$ (eq-zero-shot)
#
# and the largest logit of a row is the answer. By hand:

# %%
template = task.templates[0]
tokens, labels = encode_split(
    clip_model, task.splits["test"], limit=samples, seed=seed, progress=False
)
chosen = choose_images(task.splits["test"], samples, seed)
s = clip_model.logit_scale

# K x C
F_t = clip_model.encode_text([template.format(name) for name in task.classnames])
F_v = tokens.pooled  # N x C
logits = s * F_v @ F_t.T  # N x K

# %% [markdown]
# The library has both steps under names. They are held to the equation here, and the chapter would stop if they
# differed:

# %%
text = zero_shot_classifier(clip_model, task.classnames, [template])
head = make_method("zero_shot", logit_scale=s).fit(None, None, text)
# In bf16 the last digits depend on how long the longest prompt of a batch is.
rounding = {"rtol": 0, "atol": 0.01}
torch.testing.assert_close(text, F_t, **rounding)
torch.testing.assert_close(head.logits(tokens), s * F_v @ text.T)

# %%
hits = metrics.correct_predictions(logits, labels)
interval = metrics.wilson_interval(int(hits.sum()), len(hits))
guess = 1 / len(task.classnames)
top = min(3, len(task.classnames))
table(
    [
        [
            "right at the first guess (top-1)",
            percent(hits.mean()),
            f"{percent(interval.low)} to {percent(interval.high)}",
        ],
        [
            f"right within {top} guesses (top-{top})",
            percent(metrics.top_k_accuracy(logits, labels, top)),
            "",
        ],
        ["a random guess", percent(guess), ""],
    ],
    ["zero-shot classifier", "accuracy", "95 % interval (Wilson)"],
    caption=f"{clip_model.name} on {len(labels)} test images of {task.name}, "
    f"{len(task.classnames)} classes, template "
    f"“{template}”.",
)
prose(
    f"The *Wilson interval* {{cite:p}}`wilson1927` says how well {len(labels)} images "
    "can measure an accuracy. True accuracies from "
    f"{percent(interval.low)} to {percent(interval.high)} fit these images. Keep that "
    f"width of {100 * (interval.high - interval.low):.1f} points in mind when two "
    "methods were measured on different images. On the same images much smaller "
    "differences can be told, with the paired tests below."
)

# %% [markdown]
# ### Which classes, and taken for what?
#
# One number hides a lot. Classes that look alike are taken for one another, and names that training showed seldom are
# known less well. (The miniature saw all its shapes about equally often. There it is likeness that counts.)

# %% tags=["hide-input"]
totals = np.bincount(labels, minlength=len(task.classnames))
correct = np.bincount(labels, weights=hits, minlength=len(task.classnames)).astype(
    int
)
by_class = metrics.per_class_accuracy(logits, labels)
worst, best = int(np.nanargmin(by_class)), int(np.nanargmax(by_class))
show(
    figures.class_accuracies(task.classnames, correct, totals),
    alt=f"Accuracy of each class, worst first. The worst is {task.classnames[worst]} "
    f"with {percent(by_class[worst])}, "
    f"the best {task.classnames[best]} with {percent(by_class[best])}; all together "
    f"reach {percent(hits.mean())}.",
    caption="Accuracy by class, worst first (at most 24 are drawn). Vermilion "
    "diamonds: the interval lies below the "
    "accuracy of all classes together.",
)

# %% tags=["hide-input"]
answers = logits.argmax(dim=1).cpu().numpy()
confusion = np.zeros((len(task.classnames), len(task.classnames)), dtype=int)
np.add.at(confusion, (labels, answers), 1)
wrong = confusion - np.diag(confusion.diagonal())
involved = np.sort(np.argsort(-(wrong.sum(0) + wrong.sum(1)), kind="stable")[:12])
truth, answer = np.unravel_index(int(wrong.argmax()), wrong.shape)
show(
    figures.confusion_matrix(
        confusion[np.ix_(involved, involved)], [task.classnames[k] for k in involved]
    ),
    alt="A matrix of wrong answers, truth by answer. The most frequent one: "
    f"{task.classnames[truth]} taken for "
    f"{task.classnames[answer]}, {wrong.max()} time{'s' if wrong.max() != 1 else ''}.",
    caption=f"Wrong answers among the {len(involved)} classes that are most involved "
    "in them; right answers left blank.",
)
prose(
    f"The most frequent mistake takes *{task.classnames[truth]}* for "
    f"*{task.classnames[answer]}*: {wrong.max()} of "
    f"{totals[truth]} images of that class, and "
    f"{percent(wrong.max() / max(1, wrong.sum()))} of all mistakes."
    if wrong.any()
    else "There is no mistake to show: every image was classified correctly."
)

# %% [markdown]
# ## Prompt ensembles
#
# A template is a choice. "a photo of a star." and "a drawing of a star." give two vectors for one class, and two
# classifiers. A *prompt ensemble* takes several templates, averages the unit vectors of a class and makes the mean
# unit length again:
#
# $$ F_t[k] = \frac{\bar f_k}{\lVert \bar f_k \rVert}, \qquad
#    \bar f_k = \frac1T \sum_{\tau=1}^{T} f_{k\tau}. $$ (eq-ensemble)
#
# It costs nothing at test time, since still one vector a class is left. {cite:t}`radford2021clip` (section 3.1.4)
# report a gain of 3.5 points on ImageNet from an ensemble of 80 templates over a single one. Is it so here?

# %%
own_article = {name.split()[0].lower() for name in task.classnames} & {
    "a",
    "an",
    "the",
}
# Names such as "a bed of gravel" bring their article along.
name = "{}" if own_article else "a {}"
generic = [
    "{}", f"{name}.", f"a photo of {name}.", f"a picture of {name}.", f"a drawing of {name}.",
    f"an image with {name} in it.", f"this is {name}.", f"a blurry picture of {name}.",
]  # fmt: skip
templates = list(dict.fromkeys([*task.templates, *generic]))
vectors = torch.stack(
    [
        clip_model.encode_text([t.format(name) for name in task.classnames])
        for t in templates
    ]
)
ensemble = normalize(vectors.mean(dim=0), dim=1)  # vectors: T x K x C
torch.testing.assert_close(
    ensemble,
    zero_shot_classifier(clip_model, task.classnames, templates),
    **rounding,
)


def hits_of(text: torch.Tensor) -> np.ndarray:
    """Which test images the classifier with these text vectors gets right."""
    return metrics.correct_predictions(F_v @ text.T, labels)


single = np.stack([hits_of(one) for one in vectors])  # T x N
together = hits_of(ensemble)

# %% [markdown]
# Two classifiers that see the same images should be compared image by image. Those that both get right, or both get
# wrong, say nothing about the difference. *McNemar's test* {cite:p}`mcnemar1947` looks at the others: if both were
# equally good, each would win about half of them. The *paired bootstrap* redraws the images many times and gives an
# interval for the difference itself.

# %% tags=["hide-input"]
rows, gains, intervals = [], [], []
for template_hits, name in zip(single, templates, strict=True):
    test = metrics.mcnemar(template_hits, together)
    difference = template_hits.astype(int) - together
    gains.append(difference.mean())
    intervals.append(metrics.bootstrap_interval(difference, seed=seed))
    rows.append(
        [
            f"“{name}”",
            percent(template_hits.mean()),
            test.only_a,
            test.only_b,
            f"{test.p_value:.2g}",
        ]
    )
rows.append(
    [f"ensemble of all {len(templates)}", percent(together.mean()), "", "", ""]
)
table(
    rows,
    [
        "template",
        "accuracy",
        "only it is right",
        "only the ensemble is right",
        "McNemar's p",
    ],
    caption=f"Single templates against their ensemble: {len(labels)} test images of "
    f"{task.name}, {clip_model.name}.",
)

# %% tags=["hide-input"]
best_one, worst_one = int(np.argmax(gains)), int(np.argmin(gains))
show(
    figures.template_comparison(templates, gains, intervals, "the ensemble"),
    alt="Accuracy of each template less that of the ensemble. From "
    f"{100 * gains[worst_one]:+.1f} points for "
    f"“{templates[worst_one]}” to {100 * gains[best_one]:+.1f} for "
    f"“{templates[best_one]}”; "
    f"{sum(0.0 in i for i in intervals)} of {len(templates)} intervals contain zero.",
    caption="Left of zero: the ensemble is better. Hollow grey: the 95 % interval "
    "leaves the sign open.",
)

# %% [markdown]
# The best template of the figure was found by looking at test labels. That is not an honest rival: among many
# templates, one is always lucky. An honest choice takes the template that does best on *validation* images, and then
# looks once at the test.

# %%
has_validation = len(task.splits["val"]) > 0
if has_validation:
    val_tokens, val_labels = encode_split(
        clip_model, task.splits["val"], limit=samples, seed=seed, progress=False
    )
    val_accuracy = [
        metrics.accuracy(val_tokens.pooled @ one.T, val_labels) for one in vectors
    ]
    picked = int(np.argmax(val_accuracy))
else:
    picked = 0  # nothing to choose on: the task's own template
against = metrics.mcnemar(together, single[picked])
gain = together.astype(int) - single[picked]
gain_interval = metrics.bootstrap_interval(gain, seed=seed)
alpha = 0.05 / len(templates)
clear = sum(metrics.mcnemar(one, together).p_value < alpha for one in single)

draw = np.random.default_rng(seed)
by_size = {
    size: [
        hits_of(
            normalize(
                vectors[draw.permutation(len(templates))[:size].tolist()].mean(0),
                dim=1,
            )
        ).mean()
        for _ in range(1 if size == len(templates) else 20)
    ]
    for size in range(1, len(templates) + 1)
}

# %% tags=["hide-input"]
show(
    figures.ensemble_sizes(by_size),
    alt="Accuracy of random ensembles by size. One template: "
    f"{percent(min(by_size[1]))} to {percent(max(by_size[1]))}, "
    f"mean {percent(np.mean(by_size[1]))}. All {len(templates)}: "
    f"{percent(by_size[len(templates)][0])}.",
    caption="Ensembles of templates drawn at random, twenty draws a size. The mean "
    "may rise; the spread shrinks.",
)


# %% tags=["hide-input"]
def words_of(lines: list[str]) -> set[str]:
    return {word for line in lines for word in re.findall("[a-z]+", line.lower())}


# Words that no caption of the miniature's world holds, template by template
world_words = set().union(
    *(
        words_of(captions_for(part, seed))
        for part in (
            sample_scenes(4000, seed, pairs="seen"),
            sample_solids(1000, seed),
            sample_digits(1000, seed),
        )
    )
)
unmet = {
    i: sorted(words_of([line.replace("{}", "")]) - world_words)
    for i, line in enumerate(templates)
}
unmet = {i: found for i, found in unmet.items() if found and is_miniature}
spread = [100 * gains[i] for i in unmet]
verdict = (
    "The ensemble wins." if gain_interval.low > 0 else
    "The single template wins." if gain_interval.high < 0 else
    "These images cannot tell the two apart."
)  # fmt: skip
prose(
    "Against the template "
    f"{'chosen on the validation images' if has_validation else 'of the task'}, "
    f"“{templates[picked]}”, the ensemble changes the accuracy by "
    f"{100 * gain.mean():+.1f} points (95 % interval "
    f"{100 * gain_interval.low:+.1f} to {100 * gain_interval.high:+.1f}, McNemar's p "
    f"= {against.p_value:.2g}). {verdict} "
    f"Of all {len(templates)} templates, {clear} "
    f"{'differs' if clear == 1 else 'differ'} clearly from the ensemble "
    "once the number of tests is accounted "
    f"for (p below 0.05 / {len(templates)}).\n\n"
    "So an ensemble is an insurance first. A template picked blindly averages "
    f"{percent(np.mean(by_size[1]))} here and "
    f"can be as low as {percent(single.mean(1).min())}; the ensemble has "
    f"{percent(together.mean())} without anybody "
    "choosing. "
    + (
        f"{len(unmet)} of the templates hold words that no caption of the miniature "
        "world does ("
        + ", ".join(
            f"*{word}*" for word in sorted({w for ws in unmet.values() for w in ws})
        )
        + "). Against the ensemble these templates range from "
        f"{min(spread):+.1f} to {max(spread):+.1f} points: words never met in training "
        "move a vector in ways that nobody can predict. "
        if unmet
        else ""
    )
    + "How much the template matters depends on the backbone: run this cell with yours."
)

# %% [markdown]
# ## Can the probabilities be trusted?
#
# The softmax of a row of logits looks like probabilities. The largest is the classifier's *confidence*. A classifier
# is *calibrated* if it is right 80 % of the time when it says 80 %. The *expected calibration error* (ECE) is the mean
# absolute gap between confidence and accuracy over bins of confidence, bins weighted by their images
# {cite:p}`guo2017calibration`.
#
# The logit scale $s$ sets the confidence. Cosines lie between $-1$ and 1, and those of different classes are closer
# still: with $s = 1$ all classes get similar probabilities. With a huge $s$, the winner takes all. But no $s$
# above zero changes the order of the logits. **The scale changes the probabilities, and never the answer.**

# %%
raw = (F_v @ F_t.T).double()  # cosines; in float32, rounding could make ties
scales = np.geomspace(1, 1000, 61)


def mean_confidence(scale: float) -> float:
    return float((scale * raw).softmax(dim=1).amax(dim=1).mean())


def calibration_error(scale: float) -> float:
    return metrics.reliability(scale * raw, labels).expected_calibration_error


errors = [calibration_error(scale) for scale in scales]
accuracies = [metrics.accuracy(scale * raw, labels) for scale in scales]
assert max(accuracies) == min(accuracies)  # the scale never changes the answer

# %% [markdown]
# The best scale for a task can be fitted, which is known as *temperature scaling* {cite:p}`guo2017calibration`: the
# one number that makes the labels of the *validation* images most likely. A task without validation images has to
# live with the scale that training left behind.

# %%
if has_validation:
    val_cosines, val_target = (
        (val_tokens.pooled @ F_t.T).double(),
        torch.as_tensor(val_labels, device=F_t.device),
    )
    likelihood = [
        -float(cross_entropy(scale * val_cosines, val_target)) for scale in scales
    ]
    fitted = float(scales[int(np.argmax(likelihood))])
else:
    fitted = s

# %% tags=["hide-input"]
curves = {f"scale of the training, s = {s:.0f}": metrics.reliability(s * raw, labels)}
if has_validation:
    curves[f"fitted on validation, s = {fitted:.0f}"] = metrics.reliability(
        fitted * raw, labels
    )
before, after = calibration_error(s), calibration_error(fitted)
show(
    figures.reliability_diagrams(curves),
    alt="Accuracy against confidence. With the scale of the training, confidence "
    f"averages {percent(mean_confidence(s))} "
    f"and accuracy is {percent(hits.mean())}: ECE {100 * before:.1f} points."
    + (
        f" With the scale fitted on validation images the ECE is {100 * after:.1f} "
        "points."
        if has_validation
        else ""
    ),
    caption="Reliability diagrams. Above the diagonal the classifier is too modest, "
    "below it too sure. Large dots hold "
    "many images.",
)

# %% tags=["hide-input"]
lowest = int(np.argmin(errors))
show(
    figures.scale_sweep(
        scales,
        {
            "accuracy": accuracies,
            "mean confidence": [mean_confidence(x) for x in scales],
            "ECE": errors,
        },
        {"training": s}
        | ({"fitted": fitted} if has_validation and not 0.5 < fitted / s < 2 else {}),
    ),
    alt="Accuracy, mean confidence and ECE against the logit scale from 1 to 1000. "
    "Accuracy is flat at "
    f"{percent(hits.mean())}. Confidence rises from {percent(mean_confidence(1))} to "
    f"{percent(mean_confidence(1000))}. The "
    f"ECE is smallest, {100 * errors[lowest]:.1f} points, near a scale of "
    f"{scales[lowest]:.0f}.",
    caption="What the logit scale does: the answer stays, the confidence does not.",
)
leaning = "too sure of itself" if mean_confidence(s) > hits.mean() else "too modest"
prose(
    f"With $s$ = {s:.1f}, {clip_model.name} is {leaning} by "
    f"{100 * abs(mean_confidence(s) - hits.mean()):.1f} points on "
    f"average; its ECE is {100 * before:.1f} points. With $s$ = 1 its mean confidence "
    f"would be {percent(mean_confidence(1))}, where a guess among "
    f"{len(task.classnames)} is {percent(guess)}. "
    + (
        f"The scale fitted on validation images, {fitted:.0f}, gives "
        f"{100 * after:.1f} points on the test images. "
        if has_validation
        else "There are no validation images here to fit a better scale on. "
    )
    + "CALIP's released code uses 100 for every backbone. For accuracies that is a "
    "matter of taste, even for CALIP, "
    "since all three of its terms are multiplied by $s$. It stops being so when a "
    "term without $s$ joins the blend, such as "
    "the cache of Tip-Adapter {cite:p}`zhang2022tip`: then the scale is a weight."
)

# %% [markdown]
# ## Where it fails
#
# Mistakes that the model is *sure* of teach the most. These are the worst ones.

# %%
probabilities = logits.double().softmax(dim=1).amax(dim=1).cpu().numpy()
mistakes = np.flatnonzero(~hits)[np.argsort(-probabilities[~hits], kind="stable")][:8]
shown = mistakes if len(mistakes) else np.argsort(probabilities, kind="stable")[:8]

# %% tags=["hide-input"]
show(
    figures.picture_grid(
        [task.splits["test"][chosen[i]][0] for i in shown],
        [
            f"“{task.classnames[answers[i]]}”, {probabilities[i]:.0%}\nis "
            f"{task.classnames[labels[i]]}"
            for i in shown
        ],
        hits[shown].tolist(),
    ),
    alt="Pictures with wrong answers of high confidence: "
    + "; ".join(
        f"{task.classnames[labels[i]]} taken for {task.classnames[answers[i]]} "
        f"({probabilities[i]:.0%})"
        for i in mistakes
    )
    if len(mistakes)
    else "No picture was classified wrongly; those with the lowest confidence are "
    "shown.",
    caption=f"The most confident of {int((~hits).sum())} mistakes: answer, its "
    "probability, and the truth. When there "
    "is no mistake, the least confident answers.",
)

# %% [markdown]
# Mistakes can also be provoked. The test images are made harder in four ways, each with growing strength:
#
# - *smaller*: the picture shrinks and lies somewhere on a plain ground;
# - *mixed*: cells of a 4 × 4 grid show another test image instead, which covers and clutters;
# - *noisy*: every value gets Gaussian noise;
# - *coarse*: the detail goes, the layout stays.
#
# The images are the same at every point of the curves.

# %%
levels, few = (0.2, 0.4, 0.6), min(samples, 200)
clean = metrics.correct_predictions(
    head.logits(
        encode_split(
            clip_model, task.splits["test"], limit=few, seed=seed, progress=False
        )[0]
    ),
    np.asarray(task.splits["test"].labels)[
        list(choose_images(task.splits["test"], few, seed))
    ],
)
shift_hits = {name: [int(clean.sum())] for name in SHIFTS}
for name, counts in shift_hits.items():
    for level in levels:
        harder = shifted(task.splits["test"], name, level, seed)
        hard_tokens, hard_labels = encode_split(
            clip_model, harder, limit=few, seed=seed, progress=False
        )
        counts.append(
            int(
                metrics.correct_predictions(
                    head.logits(hard_tokens), hard_labels
                ).sum()
            )
        )

# %% tags=["hide-input"]
probe = chosen[int(np.flatnonzero(hits)[0]) if hits.any() else 0]
show(
    figures.picture_grid(
        [task.splits["test"][probe][0]]
        + [
            shifted(task.splits["test"], name, 0.4, seed)[probe][0] for name in SHIFTS
        ],
        ["as it is", *(f"{name}, 0.4" for name in SHIFTS)],
        columns=5,
    ),
    alt="One test image as it is, and under each of the shifts "
    + ", ".join(SHIFTS)
    + " at strength 0.4.",
    caption="One test image under the four shifts.",
)
drops = {
    name: (counts[-1] - counts[0]) / len(clean) for name, counts in shift_hits.items()
}
hardest, mildest = min(drops, key=drops.get), max(drops, key=drops.get)
show(
    figures.shift_curves((0.0, *levels), shift_hits, len(clean), guess),
    alt=f"Accuracy against the strength of four shifts. At strength {levels[-1]} it "
    f"changes most under “{hardest}”, by "
    f"{100 * drops[hardest]:+.0f} points, and least under “{mildest}”, by "
    f"{100 * drops[mildest]:+.0f}; from "
    f"{percent(clean.mean())} without a shift.",
    caption=f"Zero-shot accuracy under shifts, the same {len(clean)} test images "
    "each, with 95 % Wilson intervals.",
)
prose(
    f"Strength {levels[-1]} of *{hardest}* changes the accuracy by "
    f"{100 * drops[hardest]:+.0f} points, *{mildest}* by "
    f"{100 * drops[mildest]:+.0f}. (A strength of one shift cannot be compared with the "
    "same strength of another.) The pooled vector has to sum up the whole image. "
    "CALIP's hypothesis is that where an object is small or partly covered, the spatial "
    "tokens still hold what the pooled vector lost. Chapter 2 looks at those tokens, "
    "and chapter 3 at what CALIP makes of them."
)

# %% [markdown]
# ## An open vocabulary
#
# Nothing above is tied to its classes. Here are real photographs, some of them those of OpenAI's own notebook, with a
# sentence each. Which sentence does the model give to which picture?

# %%
photos = load_task("photos")
photo_text = zero_shot_classifier(clip_model, photos.classnames, photos.templates)
photo_tokens, photo_labels = encode_split(
    clip_model, photos.splits["test"], progress=False
)
photo_logits = s * photo_tokens.pooled @ photo_text.T
photo_hits = metrics.correct_predictions(photo_logits, photo_labels)
photo_confidence, photo_answers = (
    part.cpu().numpy() for part in photo_logits.double().softmax(dim=1).max(dim=1)
)
photo_interval = metrics.wilson_interval(int(photo_hits.sum()), len(photo_hits))

# %% tags=["hide-input"]
eight = range(min(8, len(photo_hits)))
show(
    figures.picture_grid(
        [photos.splits["test"][i][0] for i in eight],
        [
            fill(
                f"“{photos.classnames[photo_answers[i]]}” {photo_confidence[i]:.0%}",
                26,
            )
            for i in eight
        ],
        photo_hits[: len(eight)].tolist(),
    ),
    alt=f"Photographs with the sentence that {clip_model.name} finds most likely: "
    + "; ".join(
        f"{photos.classnames[i]}: answer {photos.classnames[photo_answers[i]]}, "
        f"{photo_confidence[i]:.0%}"
        for i in eight
    )
    + f". {int(photo_hits[: len(eight)].sum())} of {len(eight)} are right.",
    caption=f"The sentence of {len(photos.classnames)} that {clip_model.name} finds "
    "most likely. Blue frame: right, "
    "vermilion: wrong.",
)
below = 1 / len(photos.classnames) in photo_interval
too_sure = photo_confidence.mean() > photo_interval.high
prose(
    f"{clip_model.name} gets {int(photo_hits.sum())} of {len(photo_hits)} photographs "
    "right "
    f"({percent(photo_hits.mean())}, interval {percent(photo_interval.low)} to "
    f"{percent(photo_interval.high)}; guessing: "
    f"{percent(1 / len(photos.classnames))}), with a mean confidence of "
    f"{percent(photo_confidence.mean())}. "
    + ("These photographs cannot tell that from guessing. " if below else "")
    + (
        (
            "A CLIP that was trained on drawn shapes knows neither such pictures nor "
            "most of these words. "
            if is_miniature
            else ""
        )
        + "Nothing in its output says so: a softmax "
        "over sentences must choose one of them, "
        "and on pictures unlike its training a model can be confident and wrong."
        if below or too_sure
        else "No label of these pictures was given to it: the sentences alone made the "
        "classifier."
    )
)

# %% [markdown]
# The same code with OpenAI's weights is one command away. It downloads the checkpoint once and verifies it:
#
# ```bash
# papermill notebooks/01_clip_baseline.ipynb out.ipynb -p backbone RN50 -p dataset photos
# ```
#
# This was **not** run for the built book, which uses no network. What `RN50` makes of the photographs is for you to see.
#
# ## What to take along
#
# - A zero-shot classifier is one matrix of text vectors, equation {eq}`eq-zero-shot`. CALIP keeps this term and adds two.
# - Differences between methods are measured on the same images, with a paired test and an interval.
# - Whatever is chosen (a template, a scale, later CALIP's weights) is chosen on validation images, never on the test.
# - The logit scale changes the confidence and not the answer.

# %% [markdown]
# ## Exercises
#
# **1. Build an ensemble.** Given the unit vectors of $T$ templates and $K$ classes (shape $T \times K \times C$), return
# the classifier of equation {eq}`eq-ensemble`, $K \times C$, rows of unit length.


# %% tags=["exercise"]
def ensemble_text(vectors): ...


# %% tags=["exercise-check"]
ensemble_cases = [
    ((vectors,), ensemble),
    ((vectors[:1],), vectors[0]),
    (
        (torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]),),
        torch.tensor([[0.5**0.5, 0.5**0.5]]),
    ),
]
grade(ensemble_text, ensemble_cases)


# %% tags=["solution", "hide-input"]
def ensemble_text(vectors):
    return normalize(vectors.mean(dim=0), dim=1)


assert grade(ensemble_text, ensemble_cases) == "correct"

# %% [markdown]
# **2. Same answers, other confidence.** Write a function that takes cosines ($N \times K$) and a scale, and returns two
# tensors of length $N$: the answers and their confidences. The check runs it at three scales. Before you run it: which
# of the two will depend on the scale?


# %% tags=["exercise"]
def answer_and_confidence(cosines, scale): ...


# %% tags=["exercise-check"]
scale_cases = [
    (
        (raw, scale),
        ((scale * raw).argmax(dim=1), (scale * raw).softmax(dim=1).amax(dim=1)),
    )
    for scale in (1.0, 20.0, 100.0)
]
grade(answer_and_confidence, scale_cases)


# %% tags=["solution", "hide-input"]
def answer_and_confidence(cosines, scale):
    confidence, answer = (scale * cosines).softmax(dim=1).max(dim=1)
    return answer, confidence


assert grade(answer_and_confidence, scale_cases) == "correct"
# Only the confidence does
assert torch.equal(
    answer_and_confidence(raw, 1.0)[0], answer_and_confidence(raw, 100.0)[0]
)

# %% [markdown]
# ## Further reading
#
# - CLIP itself: {cite:t}`radford2021clip`. Its section 3.1 is on zero-shot transfer and prompts, section 6 on limits.
# - The contrastive loss: {cite:t}`oord2018cpc`; two-way between images and text: {cite:t}`zhang2022convirt`.
# - Calibration and temperature scaling: {cite:t}`guo2017calibration`; how modern networks, CLIP among them, compare:
#   {cite:t}`minderer2021calibration`.
# - Better prompts without images: a language model describes the classes, {cite:t}`pratt2023cupl`; templates weighted
#   without labels, {cite:t}`allingham2023prompt`. With a few images: learned prompts, {cite:t}`zhou2022coop`.
# - Why CLIP withstands shifts better than classical classifiers: its data, says {cite:t}`fang2022data`.
