# %% [markdown]
# # Start here
#
# :::{admonition} In this chapter
# :class: tip
# **You will learn** what CALIP does, in one picture and a few lines of code, and the three ways to use this book.
#
# **Time**: half a minute on a laptop's processor with the miniature.
#
# **You need** Python, and a first acquaintance with neural networks and matrix products.
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
seed: int = 0  # draws the test images
samples: int = 1000  # at most so many test images

# %%
from calip_core.teaching import BackboneName, Count, Seed, TaskName, check_parameters

check_parameters(
    globals(), backbone=BackboneName, dataset=TaskName, seed=Seed, samples=Count
)

# %% [markdown]
# ## The idea in one picture
#
# CLIP {cite:p}`radford2021clip` turns an image into one vector and each class name into another. The class whose
# vector points most nearly the same way wins. On its way to that one vector, CLIP's image encoder makes a whole *grid*
# of vectors, one for each part of the image, and throws the grid away.
#
# CALIP {cite:p}`guo2023calip` keeps the grid. It lets each class look for itself in the image, and each part of the
# image look for its class. Both looks are plain attention without a single learned parameter, so nothing is trained.

# %%
import numpy as np

from calip_core import (
    calip_logits,
    encode_split,
    load_backbone,
    load_task,
    metrics,
    zero_shot_classifier,
)
from calip_core import exhibits
from calip_core.features import choose_images
from calip_core.teaching import percent, prose, show, table
from calip_core.exhibits.calip import idea

exhibits.style()
clip_model = load_backbone(backbone)
task = load_task(dataset)
text = zero_shot_classifier(clip_model, task.classnames, task.templates)
tokens, labels = encode_split(
    clip_model, task.splits["test"], limit=samples, seed=seed, progress=False
)
logits = calip_logits(tokens, text, logit_scale=clip_model.logit_scale)

# %% tags=["hide-input"]
hits = metrics.correct_predictions(logits.clip, labels)
example = int(np.flatnonzero(hits)[0]) if hits.any() else 0
image = clip_model.preprocess(
    task.splits["test"][choose_images(task.splits["test"], samples, seed)[example]][0]
)
image = (
    ((image - image.amin()) / (image.amax() - image.amin()))
    .permute(1, 2, 0)
    .double()
    .numpy()
)
closest = logits.clip[example].topk(min(3, len(text))).indices.tolist()
affinity = (
    (tokens.spatial[example] @ text[closest].T)
    .cpu()
    .double()
    .numpy()
    .T.reshape(-1, *clip_model.grid)
)

show(
    idea(image, affinity, [task.classnames[k] for k in closest], clip_model.grid),
    alt=f"A test image under a grid of {clip_model.grid[0]} by {clip_model.grid[1]} "
    "parts; beside it, for the classes "
    + ", ".join(task.classnames[k] for k in closest)
    + ", a heat-map of how well each part fits the class name. "
    + f"The best fit is {affinity[0].max():.2f} for {task.classnames[closest[0]]}.",
    caption="What CALIP uses and CLIP throws away: the fit (cosine) of every part of "
    "the image with every class name. "
    f"Shown: {backbone}'s three most likely classes; white cross: best part. It need not lie on "
    "the object: chapter 2 measures how often it does.",
)

# %% [markdown]
# ## The same in code
#
# The cells above already were the whole method. They loaded a backbone and a task, made one text vector per class, encoded
# the images into one pooled and many spatial vectors each, and computed three kinds of logits. They are blended:

# %%
# The paper's weights for ImageNet with RN50, via SuS-X.
blend = logits.combine(beta1=1.0, beta2=1.12, beta3=0.02)

rows = []
for name, values in {"CLIP": logits.clip, "CALIP": blend}.items():
    correct = metrics.correct_predictions(values, labels)
    interval = metrics.wilson_interval(int(correct.sum()), len(correct))
    rows.append(
        [
            name,
            percent(correct.mean()),
            f"{percent(interval.low)} to {percent(interval.high)}",
        ]
    )
table(
    rows,
    ["method", "accuracy", "95 % interval (Wilson)"],
    caption=f"{len(labels)} test images of {task.name}, {len(task.classnames)} "
    f"classes, {backbone}; weights fixed beforehand.",
)
test = metrics.mcnemar(metrics.correct_predictions(blend, labels), hits)
prose(
    f"CALIP corrects {test.only_a} images that CLIP gets wrong and spoils "
    f"{test.only_b} that CLIP gets right "
    f"(McNemar's p = {test.p_value:.2g}). "
    + ("That is no difference one could rely on. " if test.p_value > 0.05 else "")
    + "The book is honest about such numbers: it says when the method helps, when it "
    "does not, and why."
)

# %% [markdown]
# ## Two worlds
#
# The backbone above, unless you chose another, is a *miniature*: a real CLIP, in OpenAI's own architecture, but small
# enough to live in this repository. It was trained on a procedural world of coloured shapes (appendix A trains one in
# front of you). Thanks to it every figure and number in this book was computed when the book was built, on a
# processor, without a download.
#
# OpenAI's models take the same code path. Put `RN50` or `ViT-B/16` where it says `mini-vit`: OpenAI's weights are
# downloaded, their checksum is verified, and the same cells run. They were *not* run for the built book, whose numbers
# are all the miniature's. Where a published number is shown, its source is given beside it.
#
# ## Three ways to use this book
#
# **Read.** Every page shows the results of its own code.
#
# **Run.** Each page has a button that opens it on Colab, where a GPU runs OpenAI's weights, and a button that downloads
# the notebook for your own machine.
#
# **Re-run.** Every chapter has a cell of parameters under its set-up. From the repository, with its environment active:
#
# ```bash
# papermill notebooks/00_start.ipynb out.ipynb -p backbone mini-vit -p dataset digits
# ```
#
# A wrong value or a misspelt name stops in the first seconds and lists what is possible.
#
# ## The chapters
#
# | | chapter | what it answers |
# |---|---|---|
# | 1 | [CLIP, the baseline](01_clip_baseline) | How does one classify with words? When can its probabilities be trusted? |
# | 2 | [What the pooled vector throws away](02_spatial_tokens) | What do the parts of an image know? |
# | 3 | [CALIP's attention, derived](03_calip_attention) | How do image and text attend to each other, and what does it gain? |
# | 4 | [Blending three logits](05_blending) | Which weights, chosen how, and what is tuning on test labels worth? |
# | 5 | [The eleven benchmarks](06_benchmarks_2d) | What does CALIP gain, on which dataset, how surely? |
# | 6 | [Point clouds, seen as images](07_point_clouds) | How does CLIP classify clouds of points? |
# | 7 | [Few shots](09_few_shots) | What do 1 to 16 labelled images per class gain? |
# | A | [Train your own miniature](A_train_miniature) | Where does the small CLIP come from? |
# | B | [Your own images](B_your_own_images) | How do I classify images of mine? |
#
# Symbols are the paper's and the same everywhere; the [notation](../notation) lists them.

# %% [markdown]
# ## Exercises
#
# **1. Blend by hand.** The blend is a weighted sum of three arrays. Write it.


# %% tags=["exercise"]
def blend_logits(clip, text_attended, visual_attended, beta2, beta3): ...


# %% tags=["exercise-check"]
from calip_core.teaching import grade

blend_cases = [
    (
        (logits.clip, logits.text_attended, logits.visual_attended, b2, b3),
        logits.combine(beta2=b2, beta3=b3),
    )
    for b2, b3 in [(0.0, 0.0), (1.12, 0.02), (5.0, 0.18)]
]
grade(blend_logits, blend_cases)


# %% tags=["solution", "hide-input"]
def blend_logits(clip, text_attended, visual_attended, beta2, beta3):
    return clip + beta2 * text_attended + beta3 * visual_attended


assert grade(blend_logits, blend_cases) == "correct"

# %% [markdown]
# ## Further reading
#
# - CLIP: {cite:t}`radford2021clip`. CALIP: {cite:t}`guo2023calip`.
