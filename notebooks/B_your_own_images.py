# %% [markdown]
# # B Your own images
#
# **Question.** How do I classify my own images into my own classes, and when may I believe the number that comes out?
#
# **Time**: half a minute on a laptop's processor with the miniature. **You need**: [chapter 3](03_calip_attention), and some
# images. If you have none at hand, a small folder is drawn for you.

# %% tags=["setup", "hide-input"]
# Where the library is missing, as on Colab, this fetches it. (Kept by `make sync`.)
import importlib.util
import os
import runpy
import subprocess
import sys

# On Colab, caches and results end with the runtime, unless Google Drive keeps them.
_KEEP_ON_DRIVE = False  # @param {type:"boolean"}
if _KEEP_ON_DRIVE:
    from google.colab import drive

    drive.mount("/content/drive")
    os.environ["CALIP_CACHE"] = "/content/drive/MyDrive/calip/cache"
    os.environ["CALIP_RESULTS"] = "/content/drive/MyDrive/calip/runs.jsonl"

if importlib.util.find_spec("calip_core") is None:
    _clone = ".." if os.path.isdir("../calip_core") else "calip-book"
    if not os.path.isdir(_clone):
        _url = "https://github.com/calip-book/calip-book"
        _url = os.environ.get("CALIP_REPOSITORY", _url)
        print(f"Fetching {_url}")
        _git = ["git", "clone", "--quiet", "--depth=1", _url, _clone]
        subprocess.run(_git, check=True)
    _tool = runpy.run_path(os.path.join(_clone, "book/tools/install_missing.py"))
    if _tool["main"]():
        raise RuntimeError("a package that the book needs was not installed")
    sys.path.insert(0, os.path.abspath(_clone))
    importlib.invalidate_caches()

from calip_core.teaching import show_runtime

show_runtime()

# %% tags=["parameters"]
folder: str = ""  # a folder with one sub-folder of images per class; empty draws one
backbone: str = "mini-rn"  # mini-rn, mini-vit, an OpenAI name such as RN50, or a path
tokens: str = "joint"  # spatial tokens: joint, value or pre_pool
template: str = "a picture of a {}."  # the sentence that a class name is put into
unreadable: str = "error"  # error, or skip: leave out images that cannot be read
seed: int = 0  # draws the example folder

# %% tags=["imports", "hide-input"]
import tempfile
from pathlib import Path

import numpy as np

from calip_core import (
    encode_split,
    exhibits,
    load_backbone,
    load_task,
    make_method,
    zero_shot_classifier,
)
from calip_core.datasets.standins.own_folder import write_own_folder
from calip_core.exhibits import own_images
from calip_core.teaching import BackboneName, Choice, Seed, check_parameters, grade

check_parameters(
    globals(),
    folder=str,
    backbone=BackboneName,
    tokens=Choice("joint", "value", "pre_pool"),
    template=str,
    unreadable=Choice("error", "skip"),
    seed=Seed,
)
exhibits.style()
if not folder:
    drawn = Path(tempfile.mkdtemp(prefix="calip_"), "my_images")
    folder = str(write_own_folder(drawn, seed))

# %%
task = load_task(f"folder:{folder}", unreadable=unreadable)
own_images.one_per_class(task)

# %% [markdown]
# **In short.** Put the images of each class into a folder that is named after the class. Ten lines give answers, an
# accuracy and its interval. Believe the number only if it beats chance, and look at the images that it is made of.
#
# ## A folder is a task
#
# An underscore stands for a space. There is no list and no file of labels:
#
# ```
# my_images/
#     red_circle/    one.jpg  two.jpg  ...
#     blue_star/     ...
# ```
#
# `load_task` cuts every class into 50 % for training, 20 % for validation and 30 % for the test, by a hash of the file
# names. The same files give the same cut on every machine. An image that cannot be read stops the cell and is named; with
# `unreadable = "skip"` it is left out.
#
# ## The ten lines

# %%
clip_model = load_backbone(backbone, tokens=tokens)
text = zero_shot_classifier(clip_model, task.classnames, [template])
encoded, labels = encode_split(clip_model, task.splits["test"])

logits = {}
for name in ("zero_shot", "calip"):
    head = make_method(name, logit_scale=clip_model.logit_scale)
    logits[name] = head.fit(None, None, text).logits(encoded)
answers = {name: found.argmax(dim=1).cpu().numpy() for name, found in logits.items()}

# %%
own_images.beside_chance(answers, labels, f"{len(text)} classes, {backbone}")

# %%
own_images.verdict(answers["zero_shot"], answers["calip"], labels, backbone)

# %% [markdown]
# Nothing is trained here, so only the test images are used. CALIP blends with the fixed weights of
# [chapter 5](05_blending), which also shows how to choose them on validation images.
#
# ## Look before you believe
#
# An accuracy hides what went wrong. Look at the images, first at the least certain ones:

# %%
probabilities = logits["calip"].softmax(dim=1)
own_images.least_certain(task.splits["test"], task.classnames, labels, probabilities)

# %% [markdown]
# The folder that we draw for you is a trap. It mixes pairs that the miniature's training held out, such as *red circle*,
# with pairs that it showed, such as *red hexagon* ([appendix A](A_train_miniature)). Most wrong answers take a shown pair
# of the same colour for a held-out one: the model prefers what it knows. The accuracy alone did not say so. (In the task
# `mini-pairs` of the other chapters all pairs are held out, so no shown pair competes.)
#
# ## What to check
#
# - **Chance.** A classifier that answers one class to everything is right on all images of that class. The column
#   *chance* allows for such favourites.
# - **Names.** CLIP knows words, not numbers: call a class what a caption would call it. Try another `template`, or
#   describe each class in sentences of its own ([chapter 1](01_clip_baseline)). They go into a JSON file such as
#   `{"red circle": ["a red disc."], "blue star": ["a blue star.", "five blue points."]}`, with every class of the folder.
#   `load_task("folder:my_images", prompts="descriptions.json")` then has them as `task.templates`: pass these in place of
#   `[template]`.
# - **Enough images.** With $n$ test images, the interval reaches about $1/\sqrt{n}$ to each side. Thirty images cannot
#   show a gain of one point.
# - **No peeking.** Choose templates and weights on `task.splits["val"]`. Use the test images once.
# - **The right model.** The miniature knows only its own small world. For photographs, set `backbone` to `RN50` or larger.
#
# ## What we found
#
# - Zero-shot classification of one's own images needs a folder and a sentence, and no training.
# - The number needs its interval, the level of chance, and a look at the images.
#
# ## Exercises
#
# **Exercise B.1 (how many images?).** By the normal approximation, the 95 % interval of an accuracy $p$ from $n$ images is
# $\pm 1.96 \sqrt{p(1-p)/n}$. Write a function that returns the smallest $n$ with a half width of at most `half`.


# %% tags=["exercise"]
def images_needed(p, half): ...


# %% tags=["exercise-check"]
needed_cases = [((0.5, 0.1), 97), ((0.9, 0.01), 3458), ((0.6, 0.05), 369)]
grade(images_needed, needed_cases)

# %% [markdown]
# :::{admonition} Hint
# :class: dropdown
# Set the half width equal to `half`, solve for $n$, and round up.
# :::


# %% tags=["solution", "hide-input"]
def images_needed(p, half):
    return int(np.ceil(p * (1 - p) * (1.96 / half) ** 2))


assert grade(images_needed, needed_cases) == "correct"

# %% [markdown]
# **Exercise B.2 (predict: what does the sentence do?).** The miniature was trained on captions such as "a picture of a red
# circle". Predict what happens to accuracy and to chance with the template `"{}"`, and with `"nothing but {} here"`. Then set
# `template` and run the appendix again.
#
# :::{admonition} Hint
# :class: dropdown
# All classes share the sentence. What of the text vectors can it change, and what not?
# :::
#
# :::{admonition} Solution
# :class: dropdown
# The sentence moves all text vectors in a similar way, so much of it cancels when classes are compared. On the drawn
# folder the bare name is about as good as the full sentence, and the odd one is no worse: what differs is a few of 96
# images, far less than the interval allows. The level of chance changes only if some class becomes a favourite.
# :::
#
# **Exercise B.3 (open: which sentence, without labels?).** You have many images and no labels at all. How would you choose
# among ten templates?
#
# :::{admonition} Hint
# :class: dropdown
# [Chapter 5](05_blending) chooses blend weights without labels, by criteria that look at predictions alone.
# :::
#
# :::{admonition} Solution
# :class: dropdown
# Known: averaging the text vectors of all templates needs no choice, and a bad one costs little ([chapter 1](01_clip_baseline)).
# Confidence alone is a bad guide, since a favourite answer can be confident. Agreement between templates is a candidate.
# To find out, take a labelled task, hide the labels, choose by each criterion, and compare with the average on images that
# the choice has not seen.
# :::
#
# ## Further reading
#
# - Prompts as classifiers, and how to word them: {cite:t}`radford2021clip`, section 3.1.4.
# - The interval used here: {cite:t}`wilson1927`.
