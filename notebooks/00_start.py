# %% [markdown]
# # 0 Five minutes
#
# **Question.** CLIP compares one vector of an image with one vector per class name. Can a second look at the image help,
# if nothing is trained for it?
#
# **Time**: half a minute on two processor cores with the miniature. **You need**: Python, matrix products, and what a neural network is.

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
backbone: str = "mini-rn"  # mini-rn, mini-vit, an OpenAI name such as RN50, or a path
dataset: str = "mini-pairs"  # a name from available_tasks(), or folder:PATH
tokens: str = "value"  # spatial tokens beside joint ones: value or pre_pool
example: int = 0  # number of the image shown, from 0
seed: int = 0  # draws the test images
samples: int = 1000  # maximum number of test images

# %% tags=["imports", "hide-input"]
from calip_core.teaching import BackboneName, Choice, Count, Seed, TaskName
from calip_core.teaching import check_parameters, grade
from calip_core import calip_logits, encode_split, exhibits, load_backbone, load_task
from calip_core import metrics, zero_shot_classifier
from calip_core.analysis.pool import spoil_pool
from calip_core.exhibits import start
from calip_core.exhibits.pictures import picture_seen
from calip_core.features import choose_images

check_parameters(
    globals(),
    backbone=BackboneName,
    dataset=TaskName,
    tokens=Choice("value", "pre_pool"),
    example=Seed,
    seed=Seed,
    samples=Count,
)
exhibits.style()

# %%
task = load_task(dataset)
test = task.splits["test"]
views, logits = {}, {}
for kind in ("joint", tokens):
    clip_model = load_backbone(backbone, tokens=kind)
    text = zero_shot_classifier(clip_model, task.classnames, task.templates)
    views[kind], labels = encode_split(clip_model, test, limit=samples, seed=seed)
    logits[kind] = calip_logits(views[kind], text, logit_scale=clip_model.logit_scale)

shown = example % len(labels)
image, truth = test[choose_images(test, samples, seed)[shown]]

# %% tags=["hide-input"]
picture = picture_seen(image, clip_model.preprocess)
start.one_image(picture, views, logits, text, task.classnames, truth, shown)

# %% [markdown]
# **In short.** CLIP's image encoder ends in an attention that pools all places of the image into one vector. CALIP adds
# a second attention that needs no training. It pays in a window: where the places say different things, and where the
# pool is imperfect but not broken.
#
# ## Two attentions
#
# CLIP {cite:p}`radford2021clip` turns an image into one vector and each class name into another. It picks the class
# whose vector makes the smallest angle with the image's. Before that, its encoder holds a *grid* of vectors, one per
# place of the image. A learned attention, the *pool*, decides how much each place counts. Then the grid is thrown away.
#
# CALIP {cite:p}`guo2023calip` keeps the grid. Each class name attends to the places that fit it, and each place attends
# to the class names that fit it. This attention has no parameters: it needs only cosines and a softmax. So there are
# three logits per class:
#
# - **CLIP**: the pooled vector against the class name;
# - **text attended**: the pooled vector against what the class name found in the image;
# - **visual attended**: what the places found among the class names, against the class name.
#
# The code above computes all three, with two kinds of spatial tokens. CALIP's own are the **joint** tokens. In the
# ResNet `mini-rn` they are nearly copies of the pooled vector: their map is flat, and the text-attended logits hardly
# differ between classes. **Value** tokens hold what each place alone would contribute to the pool, and their map has
# structure. Turn the knob: set `example` to 1, 2, 3 and see how often the cross lies on or near the object.
#
# ## Do three logits give better answers than one?
#
# The final score is a weighted sum. We take the weights that the literature reports for ImageNet with RN50
# {cite:p}`udandarao2023susx`, so nothing is tuned on our images:

# %%
BETA2, BETA3 = 1.12, 0.02
blend = {
    kind: part.combine(beta2=BETA2, beta3=BETA3) for kind, part in logits.items()
}
about = f"{clip_model.name}, {len(labels)} test images of {task.name} ({len(text)} classes)"
start.terms(logits, labels, (BETA2, BETA3), about)

# %% [markdown]
# Two lessons, for `mini-rn`. With joint tokens, CALIP's blend is CLIP's answer again: a copy adds nothing. With value
# tokens, the text-attended term classifies on its own. But the pool was trained, and where it is nearly always right, a
# free attention beside it has little left to correct. ([Appendix D](D_statistics) explains the interval and the p-value.)
#
# ## The window
#
# So what if the pool were worse? We spoil it on purpose. A share $\lambda$ of the pooled vector is replaced by the plain
# mean of all places, as if the pool did not know where to look:

# %%
scale, clip_hits, calip_hits = (
    clip_model.logit_scale,
    {},
    {kind: {} for kind in views},
)
for spoil in (0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9):
    for kind, view in views.items():
        spoiled = spoil_pool(view, views[tokens].spatial, spoil)
        parts = calip_logits(spoiled, text, logit_scale=scale)
        both = parts.combine(beta2=BETA2, beta3=BETA3)
        clip_hits[spoil] = metrics.correct_predictions(parts.clip, labels)
        calip_hits[kind][spoil] = metrics.correct_predictions(both, labels)
start.window(clip_hits, calip_hits, about)

# %% [markdown]
# That is the story of this book. A nearly perfect pool leaves a second attention nothing to add. A broken pool drags it
# down, because the text-attended term uses the pooled vector too. In between, value tokens win back part of what the
# pool lost. With these weights, copies do not.
#
# ($\lambda$ is an intervention, not a network that somebody trained. [Chapter 4](04_when_it_pays) also follows a real
# network while it learns, and finds no clear gain there.)
#
# ## The chapters
#
# | | chapter | its question |
# |---|---|---|
# | 1 | [CLIP as a classifier of words](01_clip_baseline) | How can a list of words be a classifier? |
# | 2 | [Where the grid goes](02_spatial_tokens) | What do the places of an image hold, and what does the pool make of them? |
# | 3 | [The attention](03_calip_attention) | What do CALIP's two attentions compute? |
# | 4 | [When is free attention worth it?](04_when_it_pays) | What has to hold for the method to pay? |
# | 5 | [Blending honestly](05_blending) | Which weights, chosen on which images? |
# | 6 | [The eleven benchmarks](06_benchmarks_2d) | What does CALIP gain on which dataset, and how certain is it? |
# | 7 | [Point clouds](07_point_clouds) | How does CLIP classify shapes in space? |
# | 8 | [CALIP-FS](08_calip_fs) | What does the attention learn from a few labelled images? |
# | 9 | [Rivals with few shots](09_few_shots) | Is it better than other methods with the same images? |
# | 10 | [CALIP in its field](10_in_its_field) | What do methods gain that look at more than the one image? |
# | 11 | [When not to answer](11_when_not_to_answer) | What does a score mean, and when should a classifier say nothing? |
# | A | [Train your own miniature](A_train_miniature) | Where does the small CLIP come from? |
# | B | [Your own images](B_your_own_images) | How do I classify my images? |
# | C | [The versions and their bugs](C_versions) | Which CALIP do people run? |
# | D | [Statistics](D_statistics) | When is a difference real? |
#
# The [notation](../notation) is the same everywhere.
#
# ## Two worlds, one code path
#
# The backbone above, unless you chose another, is a *miniature*: a real CLIP in OpenAI's architecture, small enough to
# ship with this book. So every figure here was computed on a processor, without a download. Set `backbone` to `RN50`, and
# the same cells download OpenAI's weights, verify them, and run. We have not run the book with them. Each page opens on
# Colab, and each chapter runs again with other parameters from the command line:
#
# ```bash
# papermill notebooks/00_start.ipynb out.ipynb -p dataset mini-shapes -p example 3
# ```
#
# ## What we found
#
# - CLIP's pool is already an attention, and a trained one.
# - A second attention needs tokens that differ from the pooled vector. CALIP's joint tokens hardly do, value tokens do.
# - Even then it pays only in a window: here, with a pool that is about half spoiled.

# %% [markdown]
# ## Exercises
#
# **Exercise 0.1 (blend by hand).** The final score is a weighted sum of three arrays, with weight 1 for CLIP. Write it.


# %% tags=["exercise"]
def blend_logits(clip, text_attended, visual_attended, beta2, beta3): ...


# %% tags=["exercise-check"]
arrays = [
    logits[tokens].clip,
    logits[tokens].text_attended,
    logits[tokens].visual_attended,
]
blend_cases = [
    ((*arrays, b2, b3), logits[tokens].combine(beta2=b2, beta3=b3))
    for b2, b3 in [(0.0, 0.0), (1.12, 0.02), (5.0, 0.18)]
]
grade(blend_logits, blend_cases)


# %% [markdown]
# :::{admonition} Hint
# :class: dropdown
# It is the line that `logits.combine` hides: one product per attended term, and a sum.
# :::


# %% tags=["solution", "hide-input"]
def blend_logits(clip, text_attended, visual_attended, beta2, beta3):
    return clip + beta2 * text_attended + beta3 * visual_attended


assert grade(blend_logits, blend_cases) == "correct"

# %% [markdown]
# **Exercise 0.2 (predict: a larger β₂).** At which end of the λ axis does a larger β₂ help, and at which does it hurt? Write your
# prediction down. Then set `BETA2 = 3.0` and run the cells again from there.
#
# :::{admonition} Hint
# :class: dropdown
# β₂ weighs the text-attended term against CLIP's own. Which of the two is right more often at λ = 0, and which in the middle, at λ = 0.45?
# :::
#
# :::{admonition} Solution
# :class: dropdown
# At λ = 0, CLIP is right far more often than the text-attended term alone, so more weight for that term costs accuracy.
# In the middle of the window CLIP is weaker and the same weight wins more. Near λ = 1 every term holds a broken vector,
# and more weight loses more. With joint tokens hardly anything changes.
# :::
#
# **Exercise 0.3 (open: real weights).** Does CALIP gain more from value tokens than from joint tokens with OpenAI's RN50 on
# real images? What would you measure, and what would you compare it with?
#
# :::{admonition} Hint
# :class: dropdown
# One parameter of this chapter changes the backbone. Which images would show the window: those on which CLIP is nearly
# always right, or others?
# :::
#
# :::{admonition} Solution
# :class: dropdown
# We do not know: no publication of CALIP on value tokens was found. [Chapter 4](04_when_it_pays) gives the command that
# a reader with a GPU runs. Compare both kinds on the same images with a paired test, choose the weights on validation
# images, and include a dataset on which CLIP is often wrong.
# :::

# %% [markdown]
# ## Further reading
#
# - CLIP: {cite:t}`radford2021clip`. CALIP: {cite:t}`guo2023calip`.
