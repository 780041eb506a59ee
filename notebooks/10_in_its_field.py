# %% [markdown]
# # 10 CALIP in its field
#
# **Question.** Many methods promise more from a frozen CLIP without a label. Most of them look at more than the one image: at
# crops of it, at the images before it, or at the whole test set. What do they gain, what do they assume, and when does it
# go wrong?
#
# **Time**: two to three minutes on a laptop's processor with the miniatures; large backbones need a GPU, because MTA encodes
# 64 views of each image. **You need**: chapters [3](03_calip_attention) and [4](04_when_it_pays).

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
dataset: str = "mini-pairs"  # a name from available_tasks(), or folder:PATH
backbone: str = "mini-rn"  # mini-rn, mini-vit, an OpenAI name such as RN50, or a path
samples: int = 2000  # at most so many test images per task, 100 or more
crop_samples: int = 300  # test images for MTA, which encodes 64 views of each
batch: int = 60  # images per batch, where its composition is varied
draws: int = 10  # batches, or streams, per point of a curve

# %% tags=["imports", "hide-input"]
import numpy as np
import torch
from torch.nn.functional import normalize, one_hot

from calip_core import evaluate, exhibits, load_backbone
from calip_core import load_task, make_method
from calip_core.analysis import composition, speed
from calip_core.analysis.window import encode_sample
from calip_core.evaluation.store import append
from calip_core.exhibits import field as show
from calip_core.methods.inmap import balance, harden
from calip_core.teaching import AtLeast, BackboneName, Count, TaskName
from calip_core.teaching import check_parameters, grade

check_parameters(
    globals(),
    dataset=TaskName,
    backbone=BackboneName,
    samples=AtLeast(100),
    crop_samples=Count,
    batch=Count,
    draws=Count,
)
exhibits.style()

# %%
names = [dataset, "mini-shapes", "mini-pairs", "mini-textures", "digits"]
tasks = [load_task(name) for name in dict.fromkeys(names)]
joint, value = (load_backbone(backbone, tokens=kind) for kind in ("joint", "value"))
rivals = ["distribution_normalization", "tda", "dmn"]
rivals += ["inmap", "transclip", "stata", "zlap"]


def measured(task, method, model=joint, limit=samples, **options):
    """A record, kept for later."""
    record = evaluate(task, model, method, limit=limit, options=options)
    append(record)
    return record


records = []
for task in tasks:
    records += [measured(task, "zero_shot"), measured(task, "calip")]
    records += [
        measured(task, "calip", prior="constant"),
        measured(task, "calip", value),
    ]
    records += [measured(task, method) for method in rivals]
records.append(measured(tasks[0], "mta", limit=crop_samples))
display(show.gains(records), show.in_short(records))

# %% [markdown]
# All methods get the same features and the same classes, with the options that their authors published. Each is compared
# with zero-shot CLIP on the same images, and with no method that sees something else: a reader who has one photograph
# cannot use a method that needs a thousand. On digits, CLIP leaves little to gain.
#
# ## What a method sees

# %%
show.needs()

# %% [markdown]
# Here are the ideas, on the images that the rest of the chapter uses. $f$ is the pooled feature $F_v$ of an image, and $t_k$
# the text feature of class $k$.

# %%
images = {one.name: encode_sample(one, joint, limit=samples) for one in tasks}
task = tasks[0]
sample = images[task.name]
text, val = sample.text, sample.val
tokens, labels = sample.test, sample.test_labels
f, t, s = tokens.pooled.float(), text.float(), joint.logit_scale
heads = {}
for method in ["zero_shot", "calip", *rivals]:
    head = make_method(method, logit_scale=s)
    unlabelled = val if head.sees == "unlabelled" else None
    heads[method] = head.fit(unlabelled, None, text)


def agree(method, by_hand, images=tokens):
    """Stop if the equation and the library's head differ."""
    library = heads[method].logits(images)
    torch.testing.assert_close(by_hand.to(library), library, rtol=1e-3, atol=1e-2)


# %% [markdown]
# ### Nothing: CALIP
#
# CALIP's attention stays within one image. So its answer does not depend on which other images there are
# ([chapter 3](03_calip_attention)):

# %%
few = torch.arange(5)
agree("calip", heads["calip"].logits(tokens)[few], tokens[few])

# %% [markdown]
# ### Unlabelled images: distribution normalization
#
# In OpenAI's CLIP, all image vectors lie in a narrow cone, and so do all text vectors. **DN** subtracts a quarter of the mean
# image $\bar f$ and of the mean class $\bar t$ before it compares {cite:p}`zhou2023dn`:
#
# $$ \ell_k = s \cos\bigl(f - \tfrac14 \bar f,\; t_k - \tfrac14 \bar t\bigr). $$ (eq-dn)
#
# The mean comes from a hundred images without labels. Subtracting CALIP's prior with the same kind of images is the
# option `prior="mean"` of [chapter 3](03_calip_attention).

# %%
mean = heads["distribution_normalization"].mean
image, classes = (
    normalize(x - m / 4, dim=1) for x, m in [(f, mean), (t, t.mean(dim=0))]
)
agree("distribution_normalization", s * image @ classes.T)
print(f"length of the mean image: {mean.norm():.2f} (1: all images are one)")

# %% [markdown]
# ### A stream: TDA
#
# **TDA** remembers {cite:p}`karmanov2024tda`. It is Tip-Adapter ([chapter 9](09_few_shots)) with CLIP's own guesses in
# place of labels: for each class it keeps the three images $f_i$ of which CLIP was surest so far, and each adds
# $a\, e^{-b (1 - f \cdot f_i)}$ to its guessed class. A second memory holds images on which CLIP was not sure; these
# subtract a little from the classes that CLIP found possible for them. For the first image of a stream, the first memory
# holds just that image. (The published $a$ is for CLIP's scale of 100.)

# %%
first = tokens[:1]
clip = s * first.pooled.float() @ t.T
guess = one_hot(clip.argmax(dim=1), len(t))
a, b = heads["tda"].options.alpha * s / 100, heads["tda"].options.beta
sure = make_method("tda", logit_scale=s, negative_alpha=0.0).fit(None, None, text)
own_cosine = float(f[0] @ f[0])  # about 1
torch.testing.assert_close(
    sure.logits(first), clip + a * np.exp(-b * (1 - own_cosine)) * guess
)

# %% [markdown]
# **DMN** keeps up to fifty images per class, chosen in the same way {cite:p}`zhang2024dmn`. From those that resemble the
# image in question it averages a second vector for each class, whose cosine counts as much as that of the text. Both
# methods depend on the order of the images, so the order is drawn by a seed.
#
# ### A batch: InMaP, TransCLIP, StatA, ZLaP
#
# **InMaP** replaces the text vectors by class vectors that it learns from the images {cite:p}`qian2023inmap`. It starts from
# probabilities, those of the cosines at a temperature of 0.01. Sinkhorn's iteration makes *every class equally frequent*.
# The result counts as labels, and a share above 0.6 as a whole label. From these, 2,000 steps of gradient descent learn the
# class vectors.
#
# **TransCLIP** models the batch by one Gaussian per class {cite:p}`zanella2024transclip`. Three forces decide the share
# $z_{ik}$ of image $i$ in class $k$: CLIP's probability $y_{ik}$, the Gaussian, and the three nearest images $j$, which
# should belong to the same class. With their cosines $w_{ij}$,
#
# $$ \begin{aligned}
#    z_{ik} \propto y_{ik} \exp\Bigl(
#    & \tfrac{1}{50} \log \mathcal N(f_i; \mu_k, \sigma) \\
#    & + \tfrac13 \textstyle\sum_j w_{ij} z_{jk}\Bigr).
#    \end{aligned} $$ (eq-transclip)
#
# (The factor 1/50 is in the authors' code.) **StatA** is TransCLIP whose means are tied to the texts, the more so the fewer
# images a class has {cite:p}`zanella2025stata`. **ZLaP** lets labels spread from the texts through a graph of nearest
# neighbours {cite:p}`stojnic2024zlap`.
#
# ### Views: MTA
#
# **MTA** encodes 63 random crops of the image as well and takes the mode of all 64 vectors in place of the image's own. A crop
# counts more if its predictions agree with those of other crops {cite:p}`zanella2024mta`. It needs no other image, but 64
# runs of the encoder. CALIP's spatial tokens are the cheap relative: vectors of parts of the image from a single run.
#
# ## The composition of the batch
#
# A test set holds all classes about equally often. A user's batch need not: the photographs of one walk show five kinds
# of birds, not two hundred. So draw batches that hold only some of the classes, and leave the list of class names as it
# is.

# %%
k, seeds = len(task.classnames), range(draws)
levels = composition.numbers_present(labels, k, batch)
presence = composition.by_composition(
    tokens, labels, heads, levels, size=batch, seeds=seeds
)
display(
    show.curves(
        presence, "classes present", f"{task.name}: batches of {batch} images."
    ),
    show.composition_in_short(presence, k),
)

# %% [markdown]
# CALIP cannot be hurt by a batch, since it does not see it. TDA and DMN are not hurt either, but so small a batch cannot
# fill their memories: the next section gives them more. Why do others lose? Look at InMaP's labels for one batch with the
# fewest classes:

# %%
rng = np.random.default_rng(0)
chosen = composition.draw_batch(labels, levels[min(levels)](rng), batch, rng)
drawn = tokens[torch.from_numpy(chosen)]
guesses = torch.softmax(drawn.pooled.float() @ t.T / 0.01, dim=1)
pseudo = harden(balance(guesses, 20), 0.6)
shares = {
    "truth": np.bincount(labels[chosen], minlength=k) / batch,
    "zero-shot CLIP": np.bincount(guesses.argmax(dim=1).cpu(), minlength=k) / batch,
    "InMaP's labels": pseudo.mean(dim=0).cpu().numpy(),
}
show.class_shares(shares, task.classnames)

# %% [markdown]
# Sinkhorn's iteration hands every class the same share of the batch. InMaP was made for whole test sets, where that is
# nearly true, and where it removes CLIP's preference for some names. With few classes present it is false: nearly all
# images have to get a wrong label, and InMaP learns those labels. Even a small batch of *all* classes does not hold them
# equally often, because its images are drawn by chance.
#
# TransCLIP and ZLaP assume no shares, and can still suffer. TransCLIP puts a Gaussian on every class, also on those that are
# absent. The mean of such a class is a weighted mean of images of *other* classes, so it moves in among them:

# %%
z = heads["transclip"].logits(drawn).exp()
means = normalize(z.T @ drawn.pooled.float(), dim=1)
absent = np.bincount(labels[chosen], minlength=k) == 0
show.absent_means(means, t, drawn.pooled.float(), absent)

# %% [markdown]
# There it takes images from the classes that are present. StatA ties such a mean to its text. The likely reason for ZLaP is
# that it divides by the degree of each node, the sum of its edges: a text without images of its own has only weak edges, so
# each of them counts for more.
#
# A batch can also hurt where nothing is wrong with its composition. All but InMaP trust that images which lie close
# together show the same class. Here is how often that is true on the whole test sets:

# %%
agreement = {
    name: composition.neighbours_agree(sample.test, sample.test_labels)
    for name, sample in images.items()
}
show.neighbours(records, agreement)

# %% [markdown]
# Now all classes may be present, but not equally often. These are the methods that see the batch:

# %%
tails = {ratio: composition.long_tail(k, ratio) for ratio in (10, 100)}
seeing = {m: h for m, h in heads.items() if m == "zero_shot" or h.sees == "batch"}
imbalance = composition.by_composition(
    tokens, labels, seeing, tails, size=batch, seeds=seeds
)
ratio = "most frequent class to the rarest, as a ratio"
show.curves(imbalance, ratio, f"{task.name}: batches of {batch} images.")

# %% [markdown]
# ## The order and the length of the stream
#
# A memory needs time to fill, and it trusts CLIP's guesses. What happens in short streams, and where the classes come one
# after another, as in a video?

# %%
streaming = {m: heads[m] for m in heads if heads[m].sees in ("nothing", "stream")}
lengths = [n for n in (20, 100, 500) if n <= len(labels)]
streams = composition.by_stream(
    tokens, labels, streaming, lengths=lengths, seeds=seeds
)
show.curves(streams, "length of the stream", f"{task.name}, images in two orders.")

# %% [markdown]
# ## What an answer costs

# %%
timed = tokens[: min(200, len(labels))]
work = {m: lambda head=head: head.logits(timed) for m, head in heads.items()}
heads["mta"] = make_method("mta", logit_scale=s).fit(None, None, text)
views = timed[torch.arange(len(timed)).repeat_interleave(64)]
work["mta"] = lambda: heads["mta"].logits(views)
seconds = speed.paired_seconds(work, repeats=1)
show.cost(seconds, len(timed), heads)

# %% [markdown]
# With a large backbone the encoder costs more than any of these heads, and 64 runs of it cost 64 times as much. A method
# that sees a batch has another price, which is no number: the first answer comes when the last image has arrived.
#
# ## Published numbers

# %%
show.published_gains()

# %% [markdown]
# Of these methods' authors, only StatA's publish what happens when classes are absent. Their README has four of the methods
# on one backbone; InMaP's has no numbers. We found no table with all of them on the same features.
#
# ## When to use which

# %%
show.which(records, presence)

# %% [markdown]
# First ask what you have, then look only at methods that need no more:
#
# - **One image at a time, or answers that must not depend on other people's images**: methods that see nothing, views, or
#   unlabelled images collected before.
# - **A stream of images**: also TDA and DMN. Their memories need several hundred images, so the last column says nothing
#   about them.
# - **A whole collection**: also the methods that see a batch. If you do not know how often its classes occur, take one
#   that does not clearly lose in either column.
#
# A mean over tasks hides that the same method can gain on one and lose on another: look at the first figure too.
#
# ## Where our versions differ from the published ones
#
# - Our features have unit length before any method sees them. DN and DMN subtract or average features as the encoder gives
#   them.
# - DMN reads 64 views of each image, here one: its losses above are those of this variant. StatA also ties the variance to the texts, here only the mean.
# - InMaP's first temperature is 0.01, CLIP's own. The miniature's is larger, so there InMaP starts from sharper
#   probabilities than the classifier's.
# - TDA's options are those published for ImageNet, for every dataset; its authors tune them per dataset.
# - MTA's crops are torchvision's random resized crops, as in its code, but of the whole picture before CLIP's own
#   preprocessing.
#
# ## What we found
#
# - What a method sees matters more than how it computes. Compare methods only with those that see the same.
# - A method that sees the batch learns how frequent the classes are, or assumes it. A wrong assumption costs more than a
#   right one gains.
# - CALIP's answer for an image is the same in every batch. That is a property, not a gain.
#
# ## Exercises
#
# **Exercise 10.1 (Sinkhorn's iteration).** Write it for a positive matrix with a row for each of $n$ images and a column for
# each of $k$ classes. Scale the columns so that each sums to $n / k$, then the rows so that each sums to 1. Repeat both.


# %% tags=["exercise"]
def sinkhorn(probabilities, steps): ...


# %% tags=["exercise-check"]
rng = np.random.default_rng(0)
matrices = [rng.dirichlet(np.ones(3), size=n) for n in (3, 6)]
sinkhorn_cases = [
    ((p, steps), balance(torch.from_numpy(p), steps).numpy())
    for p in matrices
    for steps in (1, 50)
]
grade(sinkhorn, sinkhorn_cases)

# %% [markdown]
# :::{admonition} Hint
# :class: dropdown
# Divide by `p.sum(axis=0)` and multiply by $n / k$; then divide by `p.sum(axis=1, keepdims=True)`.
# :::


# %% tags=["solution", "hide-input"]
def sinkhorn(probabilities, steps):
    p = probabilities
    n, k = p.shape
    for _ in range(steps):
        p = p / p.sum(axis=0) * (n / k)
        p = p / p.sum(axis=1, keepdims=True)
    return p


assert grade(sinkhorn, sinkhorn_cases) == "correct"

# %% [markdown]
# **Exercise 10.2 (predict: larger batches).** Set `batch` to 200, for which two classes no longer have enough images. Which
# curves of the first composition figure move up, and at which end? Predict, then run.
#
# :::{admonition} Hint
# :class: dropdown
# Which methods estimate something from the batch, and which assume something about it?
# :::
#
# :::{admonition} Solution
# :class: dropdown
# What is *estimated*, a mean or a neighbourhood, becomes better with more images: TransCLIP, StatA and ZLaP move up where
# many classes are present. What is *assumed* does not: where eight classes are present, equal shares stay as wrong as they were, and InMaP does not recover.
# With all classes present its assumption comes nearer to the truth, since chance evens out, and its curve moves up most.
# :::
#
# **Exercise 10.3 (open: a fair prior).** Could InMaP be told the true shares of the classes? Who would know them?
#
# :::{admonition} Hint
# :class: dropdown
# Sinkhorn's iteration takes any target for the column sums.
# :::
#
# :::{admonition} Solution
# :class: dropdown
# The targets would be $n\, \pi_k$ in place of $n / k$. A shop knows what it sold last year, and a survey knows last
# year's counts. Estimating $\pi$ from CLIP's own guesses is also possible, and InMaP's code has an option for it. Then
# CLIP's preferences come back in.
# :::
#
# ## Further reading
#
# - Batches and streams of realistic composition: {cite:t}`zanella2025stata`.
# - [TTABC](https://github.com/walawalagoose/TTABC) collects methods of this kind, CALIP among them.
