# %% [markdown]
# # 1 CLIP as a classifier of words
#
# **Question.** How can a network name the class of an image if it was never trained on these classes?
#
# **Time**: one minute on two processor cores with the miniature; with RN50 on a processor, set `samples` to 100. **You need**: matrix products, the softmax, some PyTorch.

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
dataset: str = "mini-shapes"  # a name from available_tasks(), or folder:PATH
seed: int = 0  # draws the images and the weights of the toy network
samples: int = 1000  # maximum of test and of validation images; 20 or more

# %% tags=["imports", "hide-input"]
import math

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from calip_core import encode_split, exhibits, load_backbone, load_task
from calip_core import metrics, zero_shot_classifier
from calip_core.datasets import corruptions
from calip_core.exhibits import baseline, interval, percent
from calip_core.features import choose_images
from calip_core.miniature import objective
from calip_core.teaching import AtLeast, BackboneName, Seed, TaskName
from calip_core.teaching import check_parameters, grade, prose
from calip_core.world import captions_for, render_scenes, sample_scenes

check_parameters(
    globals(), backbone=BackboneName, dataset=TaskName, seed=Seed, samples=AtLeast(20)
)
exhibits.style()

# %%
task = load_task(dataset)
test = task.splits["test"]
clip_model = load_backbone(backbone)
sentences = [task.templates[0].format(name) for name in task.classnames]

F_t = clip_model.encode_text(sentences)  # K x C, rows of unit length
tokens, labels = encode_split(clip_model, test, limit=samples, seed=seed)
F_v = tokens.pooled  # N x C, rows of unit length
s = clip_model.logit_scale
logits = s * F_v @ F_t.T  # N x K

# %% tags=["hide-input"]
chosen = choose_images(test, samples, seed)
about = f"{clip_model.name}, {len(labels)} test images of {task.name} ({len(F_t)} classes)"
four = np.linspace(0, len(labels) - 1, 4).astype(int)
shown = [test[chosen[i]][0] for i in four]
baseline.answers(shown, logits[four], labels[four], task.classnames, about)

# %% [markdown]
# **In short.** Write the class names as sentences and encode them: the text vectors *are* the classifier. CLIP picks the
# class whose vector makes the smallest angle with the image's. It needs no labelled image, because training on pairs of
# pictures and captions has put both in one space.
#
# ## A list of words is a classifier
#
# A classical image classifier ends in a matrix with one row per class. The rows are learned from labelled images, and a
# new class needs new labels. CLIP {cite:p}`radford2021clip` has no such rows. It has two encoders, one for images and
# one for text, and both end in the same space of $C$ numbers. Put each class name into a *template*, such as "a picture
# of a {}.". The unit vectors of the $K$ sentences are the rows of the classifier $F_t$, and the pooled vectors of $N$
# images are $F_v$. The cell above computed
#
# $$ \text{logits} = s \, F_v F_t^\top, $$ (eq-zero-shot)
#
# where $s$ is a number that CLIP learned, its *logit scale*. The largest logit of a row is the answer. This is
# *zero-shot* classification: no labelled image of the task is used. In the library the text side is `zero_shot_classifier`:

# %%
head_text = zero_shot_classifier(clip_model, task.classnames, task.templates[:1])
# In bf16 the last digits depend on the length of the longest sentence of a batch.
torch.testing.assert_close(head_text, F_t, rtol=0, atol=0.01)
hits = int(metrics.correct_predictions(logits, labels).sum())
found = metrics.wilson_interval(hits, len(labels))
prose(
    f"{about}: {percent(hits / len(labels))} of the answers are right, with the 95 % interval "
    f"{interval(found.low, found.high)}; a guess has {percent(1 / len(F_t))}."
)

# %% [markdown]
# ## How the two encoders learn to agree
#
# Take a batch of $N$ pictures, each with its caption, and encode both sides. The scaled cosines of all pictures with all
# captions are
#
# $$ B_{ij} = s \, \langle \text{image}_i, \text{text}_j \rangle. $$ (eq-similarity)
#
# Row $i$ of $B$ asks: which of these $N$ captions belongs to picture $i$? Column $j$ asks: which of these pictures
# belongs to caption $j$? Each question is a classification whose right answer lies on the diagonal. The *symmetric
# contrastive loss* is the mean cross-entropy of all $2N$ questions:
#
# $$ \mathcal{L} = -\frac{1}{2N} \sum_{i=1}^{N} \left[ \log \frac{\exp B_{ii}}{\sum_j \exp B_{ij}}
#      + \log \frac{\exp B_{ii}}{\sum_j \exp B_{ji}} \right]. $$ (eq-contrastive)
#
# This loss is known as InfoNCE {cite:p}`oord2018cpc`; ConVIRT used it in both directions before CLIP
# {cite:p}`zhang2022convirt`.


# %%
def contrastive_loss(image, text, scale):
    """Unit rows: picture i belongs to text i and to no other."""
    similarity = scale * image @ text.T
    own = torch.arange(len(similarity), device=similarity.device)
    return (cross_entropy(similarity, own) + cross_entropy(similarity.T, own)) / 2


torch.manual_seed(seed)
some, others = normalize(torch.randn(2, 5, 8), dim=-1)
diagonal = torch.eye(5, dtype=torch.bool)
same = objective.contrastive_loss(some, others, torch.tensor(10.0), diagonal)
torch.testing.assert_close(contrastive_loss(some, others, 10.0), same)

# %% [markdown]
# ### A CLIP from nothing, on one screen
#
# Three convolutions look at pictures of 32 by 32 pixels, and the text encoder is an average of word vectors. All weights
# start at random. The captions are the only teacher: nobody tells the network what a colour is.

# %%
# Draw the pictures, and turn the words of their captions into numbers.
batch, steps, held_out = 64, 128, 256
many = sample_scenes(steps * batch + held_out, seed=seed + 2, pairs="seen")
pixels = torch.from_numpy(render_scenes(many, resolution=32)).permute(0, 3, 1, 2)
pixels = pixels / 127.5 - 1
lines = [
    line.lower().strip(".").split() for line in captions_for(many, seed=seed + 2)
]
vocabulary = sorted({word for line in lines for word in line})
number = {word: i for i, word in enumerate(vocabulary, start=1)}  # 0: no word
rows = [torch.tensor([number[word] for word in line]) for line in lines]
words = nn.utils.rnn.pad_sequence(rows, batch_first=True)

# %%
torch.manual_seed(seed)
look = nn.Sequential(
    nn.Conv2d(3, 24, 3, 2, 1), nn.ReLU(),
    nn.Conv2d(24, 48, 3, 2, 1), nn.ReLU(),
    nn.Conv2d(48, 96, 3, 2, 1), nn.ReLU(),
    nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(96, 48),
)  # fmt: skip
read = nn.EmbeddingBag(len(number) + 1, 48, padding_idx=0)
log_scale = nn.Parameter(torch.tensor(math.log(10.0)))


# %%
def toy_loss(start):
    part = slice(start, start + batch)
    image, text = look(pixels[part]), read(words[part])
    return contrastive_loss(
        normalize(image, dim=1), normalize(text, dim=1), log_scale.exp()
    )


weights = [*look.parameters(), *read.parameters(), log_scale]
optimizer = torch.optim.AdamW(weights, lr=3e-3)
curve = {}
for step in range(1, steps + 1):
    optimizer.zero_grad()
    toy_loss((step - 1) * batch).backward()
    optimizer.step()
    if step % 8 == 0 or step == 1:
        with torch.no_grad():
            new = [
                toy_loss(start) for start in range(steps * batch, len(many), batch)
            ]
        curve[step] = float(torch.stack(new).mean())
baseline.learning_curve(curve, batch)

# %% [markdown]
# The loss cannot reach zero: many captions, such as *a star*, fit several pictures of a batch. CLIP used 32,768 pairs per
# batch, out of 400 million from the web ({cite:t}`radford2021clip`, sections 2.2 and 2.5).
# [Appendix A](A_train_miniature) trains OpenAI's architecture in the same way.
#
# ## One class, many sentences
#
# A template is a choice. "a photo of a star." and "a drawing of a star." give two vectors for one class, and two
# classifiers. A *prompt ensemble* averages the unit vectors of $T$ templates and makes the mean unit length again:
#
# $$ F_t[k] = \frac{\bar f_k}{\lVert \bar f_k \rVert}, \qquad
#    \bar f_k = \frac1T \sum_{\tau=1}^{T} f_{k\tau}. $$ (eq-ensemble)
#
# It costs nothing at test time, since one vector per class is left. {cite:t}`radford2021clip` (section 3.1.4) report a
# gain of 3.5 points on ImageNet from 80 templates. Here we try a few:

# %%
generic = ["{}", "a photo of a {}.", "a drawing of a {}."]
templates = list(dict.fromkeys([*task.templates, *generic]))[:6]
vectors = torch.stack(
    [
        clip_model.encode_text([t.format(n) for n in task.classnames])
        for t in templates
    ]
)  # T x K x C
ensemble = normalize(vectors.mean(dim=0), dim=1)  # K x C
hits = {
    name: metrics.correct_predictions(F_v @ text.T, labels)
    for name, text in zip([*templates, "ensemble"], [*vectors, ensemble], strict=True)
}

# %% [markdown]
# Which template would you use? To take the best line of the next table is to look at test labels: among many templates,
# one is always lucky. An honest choice takes the template that does best on *validation* images, and looks once at the
# test images.

# %%
val = task.splits["val"]
picked = templates[0]  # without validation images: the task's own
if len(val):
    val_tokens, val_labels = encode_split(clip_model, val, limit=samples, seed=seed)
    scores = [metrics.accuracy(val_tokens.pooled @ t.T, val_labels) for t in vectors]
    picked = templates[int(np.argmax(scores))]
baseline.templates(hits, picked, about)

# %% [markdown]
# An ensemble is an insurance: nobody has to choose, and a bad template costs little. From chapter 2 on, the classifier is
# the ensemble of the task's own templates.
#
# The sentences need not be the same for all classes. {cite:t}`pratt2023cupl` let a language model describe each class,
# as in "a star has five points that spread from its centre", and average the vectors of a class's own sentences. The
# library takes such *class descriptions* in place of templates. The ensemble is the special case in which all classes
# have the same sentences:

# %%
described = {name: [t.format(name) for t in templates] for name in task.classnames}
own_words = zero_shot_classifier(clip_model, task.classnames, described)
torch.testing.assert_close(own_words, ensemble, rtol=0, atol=0.01)

# %% [markdown]
# To try sentences of your own, change `described` and leave out the last line, which compares with the ensemble.
# Descriptions can also be read from a JSON file, with `load_task(dataset, prompts="descriptions.json")`
# ([appendix B](B_your_own_images) shows one). The miniature knows only the few words of its world: try descriptions with a
# CLIP that was trained on captions from the web.
#
# ## Can the probabilities be trusted?
#
# The softmax of a row of logits looks like probabilities, and the largest is the classifier's *confidence*. A classifier
# is *calibrated* if it is right 80 % of the time when its confidence is 80 %. The *expected calibration error* (ECE) is
# the mean gap between confidence and accuracy over bins of confidence {cite:p}`guo2017calibration`.
#
# A cosine is at most 1, so the confidence comes from the scale $s$: near $s = 0$ all classes are equally likely, and with
# a huge $s$ the winner takes all. **The scale changes the probabilities, but never the
# answer.** The next cell checks that. Then it fits the scale on validation images, which is called *temperature scaling*.

# %%
raw = (F_v @ F_t.T).double()
fitted, scales = s, np.geomspace(1, 1000, 61)
assert len({metrics.accuracy(scale * raw, labels) for scale in scales}) == 1
if len(val):
    val_raw = (val_tokens.pooled @ F_t.T).double()
    target = torch.as_tensor(val_labels, device=val_raw.device)
    losses = [float(cross_entropy(scale * val_raw, target)) for scale in scales]
    fitted = float(scales[np.argmin(losses)])
baseline.reliability({"as trained": s, "fitted on validation": fitted}, raw, labels)

# %% [markdown]
# All three terms of CALIP are multiplied by the same $s$, so CALIP's answers do not depend on it either. What a probability
# says of an image whose class is not on the list, [chapter 11](11_when_not_to_answer) asks.
#
# :::{live} words
# Choose a scene, write your own names and your own template, and turn the scale.
# :::
#
# ## Where it fails
#
# We can provoke mistakes. *Smaller* shrinks the picture onto a plain ground, *mixed* replaces cells of a 4 × 4 grid by
# those of another image, *noisy* adds Gaussian noise, and *coarse* removes detail. The knob is `strengths`:

# %%
strengths, few = (0.0, 0.3, 0.6), min(samples, 200)
counts = {name: [] for name in corruptions.SHIFTS}
for name in corruptions.SHIFTS:
    for strength in strengths:
        harder = corruptions.shifted(test, name, strength, seed)
        hard, hard_labels = encode_split(clip_model, harder, limit=few, seed=seed)
        right = metrics.correct_predictions(hard.pooled @ F_t.T, hard_labels)
        counts[name].append(int(right.sum()))
baseline.shift_curves(strengths, counts, len(right), 1 / len(F_t), clip_model.name)

# %% [markdown]
# The pooled vector has to sum up the whole image. If the object is small or partly covered, most of what it sums up is
# something else. What do the places of the image hold by themselves? [Chapter 2](02_spatial_tokens) looks.
#
# ## What we found
#
# - A zero-shot classifier is one matrix of text vectors, equation {eq}`eq-zero-shot`. CALIP keeps this term and adds two.
# - The two encoders agree because a contrastive loss trained each picture to find its caption among those of a batch.
# - A template is chosen on validation images, never on test images; an ensemble needs no choice.
# - The logit scale changes the confidence, but never the answer.
# - CLIP gets worse as the object gets smaller, is covered, or drowns in noise.

# %% [markdown]
# ## Exercises
#
# **Exercise 1.1 (build an ensemble).** Given the unit vectors of $T$ templates and $K$ classes (shape $T \times K \times
# C$), return the classifier of equation {eq}`eq-ensemble`, $K \times C$, with rows of unit length.


# %% tags=["exercise"]
def ensemble_text(vectors): ...


# %% tags=["exercise-check"]
plane = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
ensemble_cases = [
    ((vectors,), ensemble),
    ((vectors[:1],), vectors[0]),
    ((plane,), torch.tensor([[0.5**0.5, 0.5**0.5]])),
]
grade(ensemble_text, ensemble_cases)


# %% [markdown]
# :::{admonition} Hint
# :class: dropdown
# The mean of unit vectors is shorter than 1. Which dimension holds the templates, and which one the length?
# :::


# %% tags=["solution", "hide-input"]
def ensemble_text(vectors):
    return normalize(vectors.mean(dim=0), dim=1)


assert grade(ensemble_text, ensemble_cases) == "correct"

# %% [markdown]
# **Exercise 1.2 (predict: photographs).** The miniatures have seen drawn shapes and nothing else. The dataset `photos`
# has photographs, each with a sentence of its own. Write down what you expect of `mini-rn`: its accuracy compared with
# a guess, and its confidence. Then set `dataset = "photos"` and run the chapter again.
#
# :::{admonition} Hint
# :class: dropdown
# A softmax over the sentences adds up to 1, whatever the picture shows. Nothing in it means "none of these".
# :::
#
# :::{admonition} Solution
# :class: dropdown
# A few of the twenty answers are right, and the mean confidence is several times the accuracy: the model is wrong and
# sure. Nothing in its output warns the user. Set `backbone` to `RN50` to see a CLIP that was trained on photographs.
# :::
#
# **Exercise 1.3 (open: sentences for places).** Templates describe whole images: "a photo of a star.". CALIP also compares
# them with single places of the image. Which sentences would suit a place?
#
# :::{admonition} Hint
# :class: dropdown
# You need a score for places. [Chapter 2](02_spatial_tokens) plays the pointing game.
# :::
#
# :::{admonition} Solution
# :class: dropdown
# We know of no measurement for CALIP, which uses the templates of the whole image. One would find out by playing the
# pointing game of chapter 2 once per template, on images with known masks, and by choosing on one half of the
# images and reporting on the other.
# :::

# %% [markdown]
# ## Further reading
#
# - CLIP itself: {cite:t}`radford2021clip`. Its section 3.1 is on zero-shot transfer and prompts, section 6 on limits.
# - Calibration and temperature scaling: {cite:t}`guo2017calibration`; how modern networks, CLIP among them, compare:
#   {cite:t}`minderer2021calibration`.
# - Why CLIP withstands shifts better than classical classifiers: {cite:t}`fang2022data` find the reason in its data.
