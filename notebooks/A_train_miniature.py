# %% [markdown]
# # Train your own miniature CLIP
#
# :::{admonition} In this chapter
# :class: tip
# **You will learn** where the small CLIPs of this book come from: what world they look at, which loss teaches them,
# which two terms were added to it so that little training goes a long way, and what a transformer needs besides.
#
# **Time**: the parameter `minutes` says how long training takes; the rest takes about a minute on a laptop's processor.
# What the full run took is on the model's card, shown below.
#
# **You need** the contrastive loss of [chapter 1](01_clip_baseline).
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
arch: str = "rn"  # vision tower: rn (ModifiedResNet) or vit (VisionTransformer)
minutes: float = 2.0  # how long to train; the learning rate follows the clock
seed: int = 0  # draws the first weights, the pictures and the captions

# %%
from calip_core.teaching import Choice, Minutes, Seed, check_parameters

check_parameters(globals(), arch=Choice("rn", "vit"), minutes=Minutes, seed=Seed)

# %%
import json
import math
from collections import Counter

import numpy as np
import torch
from torch.nn.functional import cross_entropy, normalize

from calip_core import metrics
from calip_core import exhibits
from calip_core.miniature.architecture import build_miniature
from calip_core.miniature.batches import make_batch
from calip_core.backbones.model_card import (
    MINIATURE_DIR,
    checkpoint_path,
    load_card,
)
from calip_core.miniature.evaluation import QUESTIONS, answer, make_question
from calip_core.miniature.objective import choice_loss, contrastive_loss
from calip_core.miniature.start import start_vit
from calip_core.miniature.train import train
from calip_core.world import (
    COLOURS,
    HELD_OUT_PAIRS,
    SHAPES,
    captions_for,
    render_digits,
    render_scenes,
    render_solids,
    sample_digits,
    sample_scenes,
    sample_solids,
)
from calip_core.backbones.clip_import import clip
from calip_core.teaching import grade, percent, prose, show, table
from calip_core.exhibits import training as figures

exhibits.style()
card = load_card(f"mini-{arch}")

# %% [markdown]
# ## A world that fits in a program
#
# CLIP was trained on pictures and captions from the web. Nobody can do that in a few minutes. So this book has a small
# world instead, drawn by a program. The program knows what it draws, so it can also write the captions.
#
# Most pictures are flat scenes: one main object, up to three small distractors, a background, some noise. Some are
# depth views of solids, for the chapters on point clouds. The rest are real pixels: scikit-learn's handwritten digits,
# the first half of them. Here are four of each.

# %%
parts = [
    (sample_scenes(4, seed, pairs="seen"), render_scenes),
    (sample_solids(4, seed), render_solids),
    (sample_digits(4, seed), render_digits),
]
show(
    figures.gallery(
        np.concatenate([render(part) for part, render in parts]),
        [caption for part, _ in parts for caption in captions_for(part, seed)],
    ),
    alt="Twelve pictures with captions: four scenes of coloured shapes, four grey "
    "depth views of solids, "
    "four handwritten digits.",
    caption="The three kinds of training pictures. A caption seldom says everything "
    "that is true.",
)

# %% [markdown]
# The shapes are drawn from their *signed distance functions*. Such a function says how far a point is from the outline,
# and on which side. Where the distance of a pixel is negative, the object covers it. This needs no drawing library,
# and it works for many pictures at once.
#
# One choice matters for the rest of the book. Some pairs of colour and shape are never shown in training, neither in a
# picture nor in a caption.

# %%
prose(
    f"The world has {len(SHAPES)} shapes and {len(COLOURS)} colours. Of the "
    f"{len(SHAPES) * len(COLOURS)} pairs, "
    f"{len(HELD_OUT_PAIRS)} are held out, for example *{' '.join(HELD_OUT_PAIRS[0])}* "
    "and "
    f"*{' '.join(HELD_OUT_PAIRS[-1])}*. Each colour and each shape is still seen, in "
    "other company."
)
shapes_left = Counter(colour for colour, _ in HELD_OUT_PAIRS)
fewest, most = min(shapes_left.values()), max(shapes_left.values())
colour_alone = len(shapes_left) / len(HELD_OUT_PAIRS)

# %% [markdown]
# The task `mini-pairs` asks about the held-out pairs alone, which no caption ever named. That is what *zero-shot* means
# here. Whoever answers it has to put together a colour and a shape that training showed apart.

# %%
prose(
    f"It is easier than it looks: among the {len(HELD_OUT_PAIRS)} pairs, each colour has "
    f"only {fewest if fewest == most else f'{fewest} to {most}'} shapes. Who guesses "
    f"blindly is right in {percent(1 / len(HELD_OUT_PAIRS))}; who knows the colour and "
    f"guesses the shape among those left, in {percent(colour_alone)}. Only what lies "
    "above the second number shows that shapes were understood too."
)

# %% [markdown]
# ## Two towers
#
# The miniature is OpenAI's own class `clip.model.CLIP`, at small widths. The text tower reads 32 tokens instead of 77.
# Most of its parameters sit in the table of token vectors, because it keeps CLIP's whole vocabulary.

# %%
model = build_miniature(arch, seed)
count_all = sum(p.numel() for p in model.parameters())
count_table = model.token_embedding.weight.numel()
count_vision = sum(p.numel() for p in model.visual.parameters())
towers = {
    "token table": count_table,
    "the rest of the text tower, and the logit scale": count_all
    - count_table
    - count_vision,
    "vision tower": count_vision,
    "all": count_all,
}
table(
    [[name, f"{count:,}"] for name, count in towers.items()],
    ["part", "parameters"],
    caption=f"Where the parameters of mini-{arch} are.",
)

# %% [markdown]
# ## The loss, in one screen
#
# Chapter 1 trained with one caption a picture, and took all other captions for wrong. In a small world that is often
# untrue: *a red circle* also fits the picture whose caption says *a circle*. So each batch carries a table of what is
# true, $Y_{ij} = 1$ when caption $j$ is true of picture $i$. The target is uniform over the true captions:
#
# $$ \mathcal{L}_{\text{contrast}} = -\frac{1}{2N} \sum_{i} \left[ \sum_j \frac{Y_{ij}}{\sum_{j'} Y_{ij'}}
#    \log \frac{\exp G_{ij}}{\sum_{j'} \exp G_{ij'}} + \sum_j \frac{Y_{ji}}{\sum_{j'} Y_{j'i}}
#    \log \frac{\exp G_{ji}}{\sum_{j'} \exp G_{j'i}} \right], $$ (eq-true-captions)
#
# where $G_{ij}$ is the scaled cosine of picture $i$ and caption $j$, as in chapter 1.


# %%
def loss_over_truth(image, text, scale, true):
    target = true / true.sum(dim=1, keepdim=True)
    back = true.T / true.T.sum(dim=1, keepdim=True)
    similarity = scale * normalize(image, dim=1) @ normalize(text, dim=1).T
    return (cross_entropy(similarity, target) + cross_entropy(similarity.T, back)) / 2


batch = make_batch(seed, 0, 32, model.visual.input_resolution)
with torch.no_grad():
    image, text = model.encode_image(batch.images), model.encode_text(batch.tokens)
scale = model.logit_scale.exp().detach()
torch.testing.assert_close(
    loss_over_truth(image, text, scale, batch.true.float()),
    contrastive_loss(image, text, scale, batch.true),
)
prose(
    f"In this batch of {len(text)} pictures, a picture has "
    f"{batch.true.sum(1).float().mean():.1f} true captions on "
    "average. A loss that allows only one would call "
    f"{int(batch.true.sum()) - len(text)} true captions wrong."
)

# %% [markdown]
# An anecdote from the making of this book, which no experiment in it repeats: with this loss alone, a first version of
# the miniature learned colours quickly and got stuck on the rest. All ten digits had almost the same text vector and
# almost the same image vector. Then each tower sees little to gain from telling them apart, because the other one
# does not.
#
# So two further terms were added. Both are cheap, because text is cheap:
#
# - **Choices.** Each picture is also compared with a set of captions that exclude one another: the shapes, the seen pairs
#   of colour and shape, the textures with their shapes, the solids, or the digits. This is zero-shot classification,
#   used for training.
# - **Spread.** Each of those captions is compared with the same captions. It must be most similar to itself. So texts
#   that exclude each other are pushed apart at once, and the vision tower has something to aim at.
#
# Both are the same cross-entropy. Look at the text vectors of a new model:

# %%
with torch.no_grad():
    for_shapes = normalize(model.encode_text(batch.questions[0].tokens), dim=1)
others = ~torch.eye(len(for_shapes), dtype=torch.bool)
start_cosine = (for_shapes @ for_shapes.T)[others].mean().item()
start_spread = choice_loss(
    for_shapes, for_shapes, scale, torch.arange(len(for_shapes))
).item()
prose(
    "Before training, two captions of different shapes have a mean cosine of "
    f"{start_cosine:.2f}. The spread term is "
    f"{start_spread:.2f}; if all captions were alike it would be $\\log "
    f"{len(for_shapes)}$ = "
    f"{math.log(len(for_shapes)):.2f}."
)

# %% [markdown]
# ## A transformer needs a better start
#
# A convolution looks for the same edge at every place, by its form. A vision transformer has to find out from pictures
# that an edge is an edge wherever it lies, and a short training shows it few. So `mini-vit` starts ahead, in three ways;
# `mini-rn` needs none of them.
#
# - **Whitened patches.** Left alone, the first layer hears colour at many times the loudness of edges. Let $\Sigma$ be
#   the covariance of the training patches, $u_1, u_2, \dots$ its directions from the strongest on and $\lambda_i$ their
#   variances. The layer starts as the rows $u_i^\top / \sqrt{\lambda_i}$, one a channel, turned by a random rotation. All
#   that it hears is then equally loud.
# - **Places known.** Its position vectors start as sines and cosines of row and column
#   {cite:p}`vaswani2017attention`, so that near places have like vectors.
# - **Words known.** Its text tower is that of `mini-rn`, and is not trained further: a picture tower learns to speak a
#   language that is already there. This is locked tuning {cite:p}`zhai2022lit` with the sides exchanged. It also means
#   that both miniatures compare their pictures with *the same* text vectors. Where they differ, the picture towers do.
#
# The first of the three can be seen at once: how loud are the channels of the first layer?

# %%
plain, started = build_miniature("vit", seed), build_miniature("vit", seed)
start_vit(started, seed)
pictures = make_batch(seed, 1, 64, started.visual.input_resolution).images
loudness = {}
for name, network in {"clip's own start": plain, "whitened": started}.items():
    with torch.no_grad():
        heard = network.visual.conv1(pictures).permute(0, 2, 3, 1).flatten(0, 2)
    loudness[name] = torch.linalg.eigvalsh(heard.T @ heard / len(heard)).sqrt()
table(
    [
        [
            name,
            f"{sizes[-1] / sizes.median():.1f}",
            f"{sizes.median() / sizes[0]:.1f}",
        ]
        for name, sizes in loudness.items()
    ],
    ["first layer", "loudest to median", "median to faintest"],
    caption="Size of what the first layer of a new mini-vit gives for new pictures, "
    "along its principal directions.",
)

# %% [markdown]
# ## Training
#
# The optimiser is AdamW {cite:p}`loshchilov2019adamw`. The learning rate rises for a twentieth of the run, then falls
# along half a cosine. Every picture is new: a batch is a function of the seed and of the step. So a run that was
# interrupted goes on with exactly the data that it would have seen.

# %%
trainer = train(arch, minutes=minutes, seed=seed, progress_bar=False)
own_curve = trainer.progress.curve
full_curve = json.loads(
    (MINIATURE_DIR / f"mini-{arch}.curve.json").read_text(encoding="utf-8")
)
last = own_curve[-1]
prose(
    f"This run saw {last['samples']:,.0f} pictures in {last['seconds'] / 60:.1f} "
    "minutes, "
    f"{last['samples'] / last['seconds']:.0f} a second. The shipped model saw "
    f"{card.training.samples:,} in "
    f"{card.training.minutes:.1f} minutes on {card.training.threads} "
    f"thread{'s' if card.training.threads != 1 else ''} of an {card.training.processor}, "
    f"{card.training.samples / card.training.minutes / 60:.0f} a second: how fast it goes "
    "depends on what else a machine does."
)

# %% tags=["hide-input"]
show(
    figures.training_curves(
        {"this run": own_curve, f"shipped mini-{arch}": full_curve},
        {"mini-shapes": "shapes", "mini-pairs": "held-out pairs"},
    ),
    alt="Training loss and accuracy against pictures seen. This run ends at loss "
    f"{last['loss']:.2f} with "
    f"{percent(last['mini-shapes'])} on shapes; the shipped run ends at loss "
    f"{full_curve[-1]['loss']:.2f} with "
    f"{percent(full_curve[-1]['mini-shapes'])}.",
    caption="A short run beside the shipped one. The learning rate of each falls to "
    "zero at its own end.",
)

# %% [markdown]
# ## How good is it?
#
# Both models now answer the same questions about new pictures. An accuracy is a share of a sample, so each comes with
# its 95 % interval {cite:p}`wilson1927`. The digits are those of the half that training did not see.

# %%
shipped, _ = clip.load(str(checkpoint_path(f"mini-{arch}")), device="cpu")


def accuracy_cell(network, name):
    correct = answer(network, make_question(name, 500, seed + 1))
    interval = metrics.wilson_interval(int(correct.sum()), len(correct))
    return f"{percent(correct.mean())} ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


# %% tags=["hide-input"]
rows = []
for name in QUESTIONS:
    classes = len(make_question(name, 500, seed + 1).classnames)
    rows.append(
        [
            name,
            classes,
            percent(1 / classes),
            accuracy_cell(trainer.model, name),
            accuracy_cell(shipped, name),
        ]
    )
table(
    rows,
    [
        "question",
        "classes",
        "guessing",
        f"this run, {minutes:g} min",
        f"shipped mini-{arch}",
    ],
    caption="Zero-shot accuracy on 500 new pictures each, with 95 % intervals. Other "
    "draws of pictures, as on the card below and in other chapters, move an accuracy "
    "within such an interval.",
)

# %% [markdown]
# What was a full run is written on the model card beside the weights: data, steps, time, machine, checksum and the
# accuracies. The code that wrote the weights wrote the card too.

# %% tags=["hide-input"]
table(
    [
        ["command", card.training.command],
        ["pictures", f"{card.training.samples:,}"],
        ["steps", f"{card.training.steps:,}"],
        ["minutes", f"{card.training.minutes:.1f}"],
        ["parameters", f"{card.parameters:,}"],
        ["text tower", card.training.text_tower],
        ["file size (MB)", f"{card.bytes / 1e6:.2f}"],
        ["logit scale", f"{card.logit_scale:.1f}"],
        ["licence", card.licence],
        *[
            [f"{name} ({result.images} images)", f"{percent(result.accuracy)}"]
            for name, result in card.accuracy.items()
        ],
    ],
    ["", f"mini-{arch}"],
    caption="The shipped model's card.",
)

# %% [markdown]
# To train the shipped model again, type the command of the card. It keeps a checkpoint about once a minute. Stop it
# with Ctrl-C when you like, and go on with `--resume`. More pictures make a better model: `--samples` says how many.

# %% [markdown]
# ## Exercises
#
# **1. What is true of what?** A picture has facts, a caption makes claims. Both are rows of numbers, one an attribute;
# a claim of $-1$ means that the caption says nothing of that attribute. Write a function that takes facts (pictures ×
# attributes) and claims (captions × attributes) and returns the table $Y$ (pictures × captions) with 1 where every
# claim holds.


# %% tags=["exercise"]
def truth_table(facts, claims): ...


# %% tags=["exercise-check"]
truth_cases = [
    (
        (torch.tensor([[0, 1], [0, 2]]), torch.tensor([[0, -1], [0, 1], [-1, 2]])),
        torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]]),
    ),
    (
        (torch.tensor([[3, 4, 5]]), torch.tensor([[-1, -1, -1], [3, 4, 4]])),
        torch.tensor([[1.0, 0.0]]),
    ),
]
grade(truth_table, truth_cases)


# %% tags=["solution", "hide-input"]
def truth_table(facts, claims):
    holds = (claims[None] == facts[:, None]) | (claims[None] == -1)
    return holds.all(dim=-1).float()


assert grade(truth_table, truth_cases) == "correct"

# %% [markdown]
# **2. Warm up, then cool down.** Write the factor of the learning rate: `done` is the share of the run that is over,
# between 0 and 1. It rises in a straight line to 1 over the first `warmup`, then falls along half a cosine to 0.


# %% tags=["exercise"]
def learning_rate_factor(done, warmup): ...


# %% tags=["exercise-check"]
factor_cases = [
    ((0.025, 0.05), 0.5),
    ((0.05, 0.05), 1.0),
    ((0.6, 0.2), 0.5),
    ((1.0, 0.1), 0.0),
]
grade(learning_rate_factor, factor_cases)


# %% tags=["solution", "hide-input"]
def learning_rate_factor(done, warmup):
    if done < warmup:
        return done / warmup
    return 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))


assert grade(learning_rate_factor, factor_cases) == "correct"

# %% [markdown]
# ## Further reading
#
# - CLIP's own training, at web scale: {cite:t}`radford2021clip`, section 2.
# - The residual network under `mini-rn`: {cite:t}`he2016resnet`; the transformer under `mini-vit`:
#   {cite:t}`dosovitskiy2021vit`.
# - The optimiser: {cite:t}`loshchilov2019adamw`. A tower that stays as it is: {cite:t}`zhai2022lit`.
