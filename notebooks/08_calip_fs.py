# %% [markdown]
# # 8 CALIP-FS
#
# **Question.** The attention of [chapter 3](03_calip_attention) has no parameters. What do a few linear layers in it
# learn from 1 to 16 labelled images per class?
#
# **Time**: about one minute on a laptop's processor with the miniatures. A large backbone has to encode several
# thousand images first: take a GPU, or fewer `samples`. **You need**: chapters
# [3](03_calip_attention) and [4](04_when_it_pays).

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
tokens: str = "joint"  # spatial tokens: joint, value or pre_pool
most_shots: int = 16  # shots are 1, 4, 16, up to this
draws: int = 3  # support sets: seeds 1, 2, ... of CoOp's sampler
samples: int = 2000  # maximum number of test images

# %% tags=["imports", "hide-input"]
import numpy as np
import pandas as pd
import torch

from calip_core import CalipConfig, calip_logits, encode_split, evaluate, exhibits
from calip_core import load_backbone, load_task, make_method
from calip_core.evaluation.store import append
from calip_core.evaluation.support_sets import support_split
from calip_core.exhibits import calip_fs as show
from calip_core.features import text_features
from calip_core.methods.calip_fs import CalipFs, CalipFsConfig
from calip_core.metrics import accuracy
from calip_core.teaching import (
    BackboneName,
    Choice,
    Count,
    TaskName,
    check_parameters,
    grade,
)

check_parameters(
    globals(),
    dataset=TaskName,
    backbone=BackboneName,
    tokens=Choice("joint", "value", "pre_pool"),
    most_shots=Count,
    draws=Count,
    samples=Count,
)
exhibits.style()

# %%
clip_model = load_backbone(backbone, tokens=tokens)
task = load_task(dataset)
shots = [n for n in (1, 4, 16) if n <= most_shots]
seeds = range(1, draws + 1)

records = [
    evaluate(task, clip_model, "calip_fs", shots=n, seed=seed, limit=samples)
    for n in shots
    for seed in seeds
]
records += [evaluate(task, clip_model, "calip", seed=s, limit=samples) for s in seeds]
for record in records:
    append(record)
display(show.accuracy_over_shots(records), show.in_short(records))

# %% [markdown]
# The layers start so that nothing changes, and only the one *behind* the attention can learn at first. From tokens
# that are copies of one another, three of the seven layers never learn anything. Part of a gain can be a mere preference
# for some classes, whatever the image shows.
#
# ## A matrix for every role
#
# A *support set* of $n$ *shots* holds $n$ labelled images per class. In chapter 3 every
# feature plays three roles with one and the same vector:
#
# $$ F_t^a = \mathrm{softmax}_M\bigl(F_t F_s^\top / \alpha_t\bigr)\, F_s, \qquad
#    F_s^a = \mathrm{softmax}_K\bigl(F_s F_t^\top / \alpha_s\bigr)\, F_t. $$ (eq-fs-roles)
#
# On the left, $F_t$ asks (the *query*), $F_s$ is compared with the question (the *key*), and $F_s$ is also what is
# handed back (the *value*). On the right the two modalities change places. A few labelled images can show which
# directions matter in which role. So CALIP-FS puts one linear layer in front of each role:

# %%
text = text_features(clip_model, task.classnames, task.templates)
test, labels = encode_split(clip_model, task.splits["test"], limit=samples)
m, c = test.spatial.shape[1:]
show.diagram(tokens=m, classes=len(text), width=c)

# %% [markdown]
# ## The equations and their code
#
# **Project** (rows 1 and 2 of the figure). Primes mark the matrices of the text:
#
# $$ \begin{aligned}
#    Q_s &= F_s W_q^\top, & K_s &= F_s W_k^\top, & V_s &= F_s W_v^\top, \\
#    Q_t &= F_t W_q'^\top, & K_t &= F_t W_k'^\top, & V_t &= F_t W_v'^\top.
#    \end{aligned} $$ (eq-fs-roles-learnt)
#
# **Attend both ways** (rows 3 and 4), with a scale $c$ that is one over a temperature. One more matrix, $W_p$,
# follows in both directions:
#
# $$ S_t = \mathrm{softmax}_M\bigl(c\, Q_t K_s^\top\bigr), \qquad F_t^a = S_t V_s W_p^\top, $$ (eq-fs-text)
#
# $$ S_s = \mathrm{softmax}_K\bigl(c\, Q_s K_t^\top\bigr), \qquad F_s^a = S_s V_t W_p^\top. $$ (eq-fs-image)
#
# **Pool and blend** (rows 5 and 6), as in chapter 3:
#
# $$ \begin{aligned}
#    F_v^a &= \mathrm{mean}_M\, F_s^a + \max\nolimits_M F_s^a, \\
#    \ell &= s\,\bigl(\beta_1 F_v F_t^\top + \beta_2 F_v F_t^{a\top} + \beta_3 F_v^a F_t^\top\bigr).
#    \end{aligned} $$ (eq-fs-logits)
#
# The function returns the three terms. The keys of `w` are the names that the library uses: `s_` for the image's
# side, `t_` for the text's, `post` for $W_p$.


# %%
def terms(w, f_v, f_s, f_t, scale, c=2.0):
    """The three logits of CALIP-FS before they are blended."""
    S_t = torch.softmax(
        c * (f_t @ w["t_q"].T) @ (f_s @ w["s_k"].T).mT, dim=2
    )  # n K M
    S_s = torch.softmax(c * (f_s @ w["s_q"].T) @ (f_t @ w["t_k"].T).T, dim=2)  # n M K
    F_t_a = S_t @ (f_s @ w["s_v"].T) @ w["post"].T  # n K C
    F_s_a = S_s @ (f_t @ w["t_v"].T) @ w["post"].T  # n M C
    F_v_a = F_s_a.mean(dim=1) + F_s_a.amax(dim=1)  # n C
    return [
        scale * x
        for x in (f_v @ f_t.T, (F_t_a * f_v[:, None]).sum(dim=2), F_v_a @ f_t.T)
    ]


# %% [markdown]
# Two checks. With every matrix the identity and $c = 2$, this *is* CALIP with its temperature of one half. And a
# fitted head of the library computes the same.

# %%
few = test[:5].to(torch.float32)
f_v, f_s, f_t = few.pooled, few.spatial, text.float()
scale = clip_model.logit_scale
ROLES = ("s_q", "s_k", "s_v", "t_q", "t_k", "t_v", "post")
identity = torch.eye(c).to(f_t)

by_hand = terms(dict.fromkeys(ROLES, identity), f_v, f_s, f_t, scale)
calip = calip_logits(few, f_t, CalipConfig.official(), scale)
by_library = calip.clip, calip.text_attended, calip.visual_attended
for mine, theirs in zip(by_hand, by_library, strict=True):
    torch.testing.assert_close(mine, theirs.to(mine), rtol=1e-3, atol=1e-3 * scale)

n = shots[len(shots) // 2]  # from here on: this many shots
supports = {s: encode_split(clip_model, support_split(task, n, s)) for s in seeds}
fixed = {"logit_scale": scale, **CalipFs.fixed(n).options}
head = make_method("calip_fs", seed=1, **fixed).fit(*supports[1], text)
mine = sum(terms(head.state_dict(), f_v, f_s, f_t, scale))
torch.testing.assert_close(mine, head.logits(few).to(mine), rtol=1e-3, atol=2e-3)

# %% [markdown]
# ## What is known and open
#
# The authors have released no code for CALIP-FS, and we could read no more of the paper than its abstract and
# introduction. The projections, the attention in both directions, the projection behind it, the pool and the blend
# are known through `yuranusduke/CALIP`, the one public implementation, whose author is not one of the paper's. The
# rest is open. This library makes each choice an option:
#
# | open | here | `yuranusduke/CALIP` |
# |---|---|---|
# | layers in front | one square matrix per role, no bias | hidden layers of 128 and 128 with ReLU, biases |
# | text and image | their own matrices | shared |
# | start | identities, and $W_p = 0$: exactly zero-shot CLIP | random |
# | scale $c$ | 2, the released temperature of ½ | $C^{-1/2}$ |
# | $\beta_2$, $\beta_3$ | 1, 1; with validation images, chosen from 0 to 2 | 0.08, 0.02 |
# | logit scale $s$ | CLIP's own | 14.3 |
# | epochs of SGD, rate 0.002 | 50 to 20 by shots | 200 |
#
# ## What the matrices learn
#
# How far does training turn a matrix? Weight decay shrinks every matrix by a common factor, so take the distance to
# the nearest multiple $aI$ of its start. Fit the head on two kinds of tokens ([chapter 2](02_spatial_tokens)) and from
# two starts: zero-shot CLIP ($W_p = 0$) and CALIP ($W_p = I$).

# %%
STARTS = {"CLIP": CalipFsConfig.ours(), "CALIP": CalipFsConfig.from_calip()}


def fit(support_sets, **options):
    """One head per support set."""
    return [
        make_method("calip_fs", seed=s, **{**fixed, **options}).fit(*support, text)
        for s, support in support_sets.items()
    ]


heads = {f"{tokens}, from {s}": fit(supports, config=STARTS[s]) for s in STARTS}
other = "joint" if tokens == "value" else "value"
other_model = load_backbone(backbone, tokens=other)
others = {1: encode_split(other_model, support_split(task, n, 1))}
heads |= {f"{other}, from {s}": fit(others, config=STARTS[s]) for s in STARTS}
show.moves(heads)

# %% [markdown]
# ## Why so little moves
#
# **A zero in the product.** Both attended terms are linear in $W_p$. As long as $W_p = 0$, no other matrix can change
# a logit, so its gradient is exactly zero. $W_p$ has to grow first, and it ends far from an identity's size.
#
# **Copies.** If all tokens of an image are the same vector, then $S_t V_s$ is that vector's value, whatever the
# weights: $W_q'$ and $W_k$ get no gradient. It is also the same for every class, so $F_v F_t^{a\top}$ adds one number
# to all logits, which the softmax of the loss ignores: $W_v$ gets none either. From exact copies these three of the
# seven matrices learn nothing; from joint tokens, which are nearly copies, nearly nothing.
#
# Both can be read off the gradient before the first step:

# %%
support, support_labels = supports[1]
f_v, f_s = support.pooled.float(), support.spatial.float()
targets = torch.as_tensor(support_labels).to(f_v.device)


def gradients(post):
    w = {role: identity.clone().requires_grad_() for role in ROLES}
    w["post"] = post.clone().requires_grad_()
    logits = sum(terms(w, f_v, f_s, f_t, scale))
    torch.nn.functional.cross_entropy(logits, targets).backward()
    return {role: float(w[role].grad.norm()) for role in ROLES}


show.gradients(
    {
        "from CLIP ($W_p = 0$)": gradients(0 * identity),
        "from CALIP ($W_p = I$)": gradients(identity),
    }
)

# %% [markdown]
# ## A class bias
#
# What, then, does $W_p$ learn? At $c = 2$ the weights $S_s$ differ little between classes, so every token
# collects roughly the mean class vector $\bar t$. With $W_v' \approx I$, mean plus maximum give
#
# $$ F_v^a F_t^\top \approx 2\, \bar t\, W_p^\top F_t^\top, $$ (eq-fs-bias)
#
# one number per class that does not depend on the image: a *class bias*, the prior in the visual term of [chapter
# 3](03_calip_attention), now learned. To measure it, replace what the attended terms add by its mean over the support
# images:


# %%
def added(head, images):
    """What the two attended terms add to CLIP's logits."""
    parts, beta = head.terms(images), head.chosen
    return beta["beta2"] * parts.text_attended + beta["beta3"] * parts.visual_attended


def scores(heads):
    rows = []
    for head, (support, _) in zip(heads, supports.values(), strict=True):
        bias = added(head, support).mean(dim=0)  # K: the same for every test image
        parts = head.terms(test).clip, head.chosen["beta1"]
        alone = parts[0] * parts[1] + bias
        rows.append((accuracy(head.logits(test), labels), accuracy(alone, labels)))
    return pd.DataFrame(rows, columns=["CALIP-FS", "class bias alone"])


clip_top1 = accuracy(head.terms(test).clip, labels)
ours = scores(heads[f"{tokens}, from CLIP"])
show.bias_share(ours, clip_top1)

# %% [markdown]
# ## What we found
#
# - CALIP-FS is CALIP with seven matrices. With six identities and $W_p = 0$ it starts as zero-shot CLIP.
# - With this start, $W_p$ moves most. The other six wait for it, and three of them learn almost nothing from copies:
#   tokens have to differ before attention can learn, as in the window of [chapter 4](04_when_it_pays).
# - Part of the gain is a class bias. Whoever reports a gain of a trained attention should report the bias beside it.
# - Where its rivals stand with the same labels is the subject of [chapter 9](09_few_shots).
#
# ## Exercises
#
# **Exercise 8.1 (class bias).** A softmax ignores a number that is added to all logits of an image. Given what a head
# adds to CLIP's logits, `added` ($n \times K$), return its class bias ($K$): the mean over the images of what matters
# to the softmax, so that it sums to zero.


# %% tags=["exercise"]
def class_bias(added): ...


# %% tags=["exercise-check"]
bias_cases = [
    ((np.array([[1.0, 3.0]]),), np.array([-1.0, 1.0])),
    ((np.array([[2.0, 2.0, 2.0]]),), np.zeros(3)),
    ((np.array([[0.0, 3.0, 0.0], [9.0, 6.0, 3.0]]),), np.array([1.0, 1.0, -2.0])),
]
grade(class_bias, bias_cases)

# %% [markdown]
# :::{admonition} Hint
# :class: dropdown
# Subtract from each row its mean. Then take the mean of each column.
# :::


# %% tags=["solution", "hide-input"]
def class_bias(added):
    return (added - added.mean(axis=1, keepdims=True)).mean(axis=0)


assert grade(class_bias, bias_cases) == "correct"

# %% [markdown]
# **Exercise 8.2 (predict: other tokens).** Set `tokens` to `"value"` and run the chapter again. Before you do: which
# gradients of the table grow, which stay zero, and does the accuracy rise?
#
# :::{admonition} Hint
# :class: dropdown
# Which of the two reasons of "Why so little moves" depends on the tokens?
# :::
#
# :::{admonition} Solution
# :class: dropdown
# Value tokens differ from each other. From CALIP's start all seven gradients are now of similar size. From CLIP's
# start six are still zero: that reason does not depend on the tokens. With `mini-rn` on `mini-pairs` the accuracy
# stays within the spread of the draws: the class bias does most of the work, and it does not need tokens that differ.
# :::
#
# **Exercise 8.3 (open: the real CALIP-FS).** Does CALIP-FS learn more than a class bias with OpenAI's RN50?
#
# :::{admonition} Hint
# :class: dropdown
# Run this chapter with `backbone="RN50"` and a dataset whose classes CLIP confuses, such as EuroSAT. Which two
# columns do you compare, and over how many draws?
# :::
#
# :::{admonition} Solution
# :class: dropdown
# Nobody has published it. We found no accuracy of CALIP-FS in a source that we could read, and no ablation with the
# class bias alone. The comparison of the two columns of `scores`, over CoOp's three draws and with `tokens` set
# to `joint` and to `value`, would answer it.
# :::
#
# ## Further reading
#
# - The method: {cite:t}`guo2023calip`.
# - The protocol of few shots without a validation set: {cite:t}`silva2024clap`.
# - The recipe and the support sets: {cite:t}`zhou2022coop`.
