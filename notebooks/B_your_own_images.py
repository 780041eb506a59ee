# %% [markdown]
# # Your own images in ten lines
#
# :::{admonition} In this chapter
# :class: tip
# **You will learn** how to classify your own images into classes of your own with CLIP and CALIP: what folder to make,
# what ten lines to write, and what to check before you believe the result.
#
# **Time**: half a minute on a laptop's processor with the miniature.
#
# **You need** chapter 3, and some images. Without images of yours a small folder is drawn for you.
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
folder: str = ""  # a folder with one sub-folder of images per class; empty draws one
backbone: str = "mini-rn"  # mini-rn, mini-vit, an OpenAI name such as RN50, or a path
template: str = "a picture of a {}."  # the sentence that a class name is put into
unreadable: str = "error"  # error, or skip: leave out images that cannot be read
seed: int = 0  # draws the example folder

# %%
from calip_core.teaching import BackboneName, Choice, Seed, check_parameters

check_parameters(
    globals(),
    folder=str,
    backbone=BackboneName,
    template=str,
    unreadable=Choice("error", "skip"),
    seed=Seed,
)

# %% [markdown]
# ## A folder is a task
#
# Put the images of each class into a sub-folder that is called like the class. An underscore stands for a space. That
# is all: no list, no labels file.
#
# ```
# my_images/
#     red_circle/    one.jpg  two.jpg  ...
#     blue_star/     ...
# ```
#
# Where you gave no folder, the next cell draws one: a few hundred pictures of nine classes from the procedural world.

# %%
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from calip_core.world import (
    COLOURS,
    SHAPES,
    render_scenes,
    sample_scenes,
)
from calip_core.teaching import grade, prose, show, table
from calip_core.blend.selection import FIXED

if not folder:
    folder = str(Path(tempfile.mkdtemp(prefix="calip_")) / "my_images")
    wanted = {
        f"{colour} {shape}"
        for colour in ("red", "orange", "pink")
        for shape in ("circle", "hexagon", "drop")
    }
    scenes = sample_scenes(8000, 2_000_000_000 + seed)
    names = [
        f"{COLOURS[c]} {SHAPES[s]}"
        for c, s in zip(scenes.colour, scenes.shape, strict=True)
    ]
    chosen = [i for i, name in enumerate(names) if name in wanted][:300]
    for i, pixels in zip(
        chosen, render_scenes(scenes[np.array(chosen)]), strict=True
    ):
        file = Path(folder, names[i].replace(" ", "_"), f"{i}.png")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)

# %% [markdown]
# ## The ten lines

# %%
from calip_core import encode_split, load_backbone, load_task, make_method, metrics
from calip_core import zero_shot_classifier

model = load_backbone(backbone)
task = load_task(f"folder:{folder}", unreadable=unreadable)
text = zero_shot_classifier(model, task.classnames, [template])
tokens, labels = encode_split(model, task.splits["test"], progress=False)
answers = {}
for name in ("zero_shot", "calip"):
    head = make_method(name, logit_scale=model.logit_scale).fit(None, None, text)
    answers[name] = head.logits(tokens)

# %% [markdown]
# `load_task` cuts every class into 50 % for training, 20 % for validation and 30 % for the test, by a hash of the file
# names. The same files give the same cut on every machine. Nothing here is trained, so only the test images are used.
# An image that cannot be read stops the cell and is named; with `unreadable = "skip"` it is left out.

# %%
hits = {
    name: metrics.correct_predictions(logits, labels)
    for name, logits in answers.items()
}
rows = []
for name, correct in hits.items():
    interval = metrics.wilson_interval(int(correct.sum()), len(correct))
    rows.append(
        [name, f"{correct.mean():.1%}", f"{interval.low:.1%} to {interval.high:.1%}"]
    )
table(
    rows,
    ["method", "accuracy", "95 % interval (Wilson)"],
    caption=f"{len(labels)} test images, {len(task.classnames)} classes, {backbone}.",
)
test = metrics.mcnemar(hits["calip"], hits["zero_shot"])
prose(
    f"CALIP alone is right on {test.only_a} images, CLIP alone on {test.only_b} "
    f"(McNemar's p = {test.p_value:.2g}). "
    + (
        "They never disagree about being right, so there is nothing to compare."
        if test.only_a + test.only_b == 0
        else "These images cannot tell the two apart."
        if test.p_value > 0.05
        else f"{'CALIP' if test.only_a > test.only_b else 'CLIP'} is right more often, by "
        "more than chance usually explains."
    )
    + f" CALIP's weights are fixed here, at {FIXED[0]:g} and {FIXED[1]:g}; chapter 5 "
    "chooses them."
)

# %% [markdown]
# ## Look before you believe
#
# An accuracy hides what went wrong. Look at the images, at least at the least certain ones.

# %%
from calip_core import exhibits
from calip_core.exhibits.baseline import picture_grid

exhibits.style()
probabilities = answers["calip"].softmax(dim=1)
confidence, predicted = (values.cpu() for values in probabilities.max(dim=1))
least = confidence.argsort()[:8].tolist()
show(
    picture_grid(
        [task.splits["test"][i][0] for i in least],
        [
            f"“{task.classnames[predicted[i]]}” {confidence[i]:.0%}\n"
            f"is {task.classnames[labels[i]]}"
            for i in least
        ],
        [bool(predicted[i] == labels[i]) for i in least],
    ),
    alt=f"The {len(least)} test images with the least certain answers: "
    + "; ".join(
        f"{task.classnames[labels[i]]} taken for {task.classnames[predicted[i]]}"
        for i in least
    )
    + ".",
    caption="The least certain answers of CALIP. Blue frame: right, vermilion: wrong.",
)

# %% [markdown]
# ## What to check
#
# - **Names.** CLIP knows words, not numbers: call a class what a caption would call it. Try another `template`.
# - **Images enough.** With $n$ test images the interval is about $1/\sqrt{n}$ wide to each side. Thirty images cannot
#   show a gain of one point.
# - **No peeking.** Choose templates and weights on `task.splits["val"]`. Touch the test images once.
# - **The right model.** The miniature knows its own small world. For photographs set `backbone` to `RN50` or larger.

# %% [markdown]
# ## Exercises
#
# **1. How many images?** By the normal approximation the 95 % interval of an accuracy $p$ from $n$ images is
# $\pm 1.96 \sqrt{p(1-p)/n}$. Write a function that returns the smallest $n$ with a half width of at most `half`.


# %% tags=["exercise"]
def images_needed(p, half): ...


# %% tags=["exercise-check"]
needed_cases = [((0.5, 0.1), 97), ((0.9, 0.01), 3458), ((0.6, 0.05), 369)]
grade(images_needed, needed_cases)


# %% tags=["solution", "hide-input"]
def images_needed(p, half):
    return int(np.ceil(p * (1 - p) * (1.96 / half) ** 2))


assert grade(images_needed, needed_cases) == "correct"

# %% [markdown]
# ## Further reading
#
# - Prompts as classifiers, and how to word them: {cite:t}`radford2021clip`, section 3.1.4.
# - The interval used here: {cite:t}`wilson1927`.
