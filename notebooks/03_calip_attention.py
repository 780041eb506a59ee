# %% [markdown]
# # 3 The attention
#
# **Question.** CALIP lets class names and the places of an image attend to each other, without a learned parameter. What
# does that attention compute, and what can it say that CLIP does not say already?
#
# **Time**: one to two minutes on two processor cores with the miniature. With `RN50` on a processor, set `samples` to
# 200. **You need**: chapters [1](01_clip_baseline) and [2](02_spatial_tokens).

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
tokens: str = "joint"  # spatial tokens: joint, value or pre_pool
alpha: float = 0.5  # temperature of both attentions: 0.5 as released, 2 in two ports
seed: int = 0  # draws the images
samples: int = 1000  # at most so many images per split, 20 or more

# %% tags=["imports", "hide-input"]
import torch
from torch.nn.functional import normalize

from calip_core import (
    CalipConfig,
    calip_logits,
    encode_split,
    evaluate,
    exhibits,
    load_backbone,
    load_task,
    metrics,
    parameter_free_attention,
    teaching,
    zero_shot_classifier,
)
from calip_core.analysis.expansions import (
    effective_share,
    text_first_order,
    visual_first_order,
)
from calip_core.exhibits import attention, percent
from calip_core.exhibits.pictures import picture_seen
from calip_core.features import choose_images
from calip_core.teaching import grade, prose

teaching.check_parameters(
    globals(),
    backbone=teaching.BackboneName,
    dataset=teaching.TaskName,
    tokens=teaching.Choice("joint", "value", "pre_pool"),
    alpha=teaching.Positive,
    seed=teaching.Seed,
    samples=teaching.AtLeast(20),
)
torch.set_grad_enabled(False)
exhibits.style()

# %%
task = load_task(dataset)
test = task.splits["test"]
clip_model = load_backbone(backbone, tokens=tokens)
scale = clip_model.logit_scale
text = zero_shot_classifier(clip_model, task.classnames, task.templates).double()
features, labels = encode_split(clip_model, test, limit=samples, seed=seed)
features = features.to(torch.float64)  # some differences below are tiny

example = int(metrics.correct_predictions(features.pooled @ text.T, labels).argmax())
F_t, F_v = text, features.pooled[example]
likely = (F_t @ F_v).topk(min(3, len(text))).indices

image = test[choose_images(test, samples, seed)[example]][0]
maps = {}
for kind in dict.fromkeys(["joint", "value", tokens]):
    model = load_backbone(backbone, tokens=kind)
    F_s = model.encode_image(model.preprocess(image)[None]).spatial[0]
    A = F_s.double() @ F_t[likely].T
    maps[kind] = [column.view(model.grid).cpu().numpy() for column in A.T]

# %% tags=["hide-input"]
picture = picture_seen(image, clip_model.preprocess)
names, truth = [task.classnames[k] for k in likely], task.classnames[labels[example]]
attention.affinities(picture, maps, names, truth)

# %% [markdown]
# **In short.** CALIP's attention is kernel smoothing: a weighted mean whose weights come from cosines and a temperature.
# At the published temperatures it hardly chooses. Then the text term is an echo of CLIP's answer, as strong as the tokens
# differ, plus a remainder. The visual term is CLIP's answer averaged over the grid and smeared over similar classes, plus
# a preference for some classes that is the same for every image.
#
# ## The affinity
#
# CLIP compares one vector $F_v$ per image with one vector $F_t$ per class, and drops the grid of spatial tokens $F_s$.
# CALIP {cite:p}`guo2023calip` keeps it. All vectors have unit length and live in one space, so every token has a cosine
# with every class, the *affinity*:
#
# $$ A = F_s F_t^\top \in \mathbb{R}^{M \times K}. $$ (eq-affinity)
#
# The picture above shows columns of $A$ as maps.

# %%
F_s = features.spatial[example]
A = F_s @ F_t.T  # M x K

affinity = features.spatial @ text.T  # of all images: n x M x K
over_tokens = float(affinity.std(1, correction=0).mean())
over_classes = float(affinity.std(2, correction=0).mean())
prose(
    f"With {tokens} tokens, $A$ has a standard deviation of {over_tokens:.3f} from token to token and of "
    f"{over_classes:.3f} from class to class (means over {len(labels)} images)."
)

# %% [markdown]
# ## The text looks at the image
#
# A softmax over the $M$ tokens turns each column of $A$ into weights. The weighted mean of the tokens is the class's new
# vector, made of *this* image:
#
# $$ F_t^a = \operatorname{softmax}_M(A / \alpha_t)^\top F_s \in \mathbb{R}^{K \times C}. $$ (eq-text-attends)
#
# This is **kernel smoothing** (Nadaraya and Watson {cite:p}`nadaraya1964,watson1964`): the value at a query is a mean of
# the values at data points, weighted by how near each is. Here the tokens are data points and values, and the class vector
# is the query. For unit vectors $\lVert x - x_m \rVert^2 = 2 - 2\, x \cdot x_m$, so the weights of {eq}`eq-text-attends`
# are those of the Gaussian kernel $\exp(-\lVert x - x_m \rVert^2 / 2 h^2)$ with $\alpha_t = h^2$. The temperature is the
# *bandwidth* $h$, squared: a small one looks at the nearest token alone, a large one at all tokens alike.

# %%
look_at_tokens = (A / alpha).softmax(dim=0)  # M x K, columns sum to 1
F_t_a = look_at_tokens.T @ F_s

# Kernel smoothing has the same weights: the chapter would stop here if they differed
kernel = torch.exp(-torch.cdist(F_s, F_t).square() / (2 * alpha))
torch.testing.assert_close(kernel / kernel.sum(dim=0), look_at_tokens)

# %% [markdown]
# ## The image looks at the text
#
# The other direction exchanges the roles. Each token is a query, and the class vectors are the data points:
#
# $$ F_s^a = \operatorname{softmax}_K(A / \alpha_s) F_t \in \mathbb{R}^{M \times C}. $$ (eq-image-attends)
#
# So each token becomes a mixture of class vectors. The released code pools them into one vector per image by adding the
# mean and the maximum over the tokens:
#
# $$ F_v^a = \operatorname{mean}_M F_s^a + \max\nolimits_M F_s^a \in \mathbb{R}^{C}. $$ (eq-pool)
#
# It uses $\alpha_t = \alpha_s = \tfrac12$: it multiplies $A$ by 2. (CLIP Surgery {cite:p}`li2023clipsurgery` also weighs
# classes by a softmax of twice the cosine.)

# %%
look_at_classes = (A / alpha).softmax(dim=1)  # M x K, rows sum to 1
F_s_a = look_at_classes @ F_t
F_v_a = F_s_a.mean(dim=0) + F_s_a.amax(dim=0)

found = parameter_free_attention(F_s[None], F_t, alpha_t=alpha, alpha_s=alpha)
torch.testing.assert_close(found, (F_t_a[None], F_s_a[None]))

# %% [markdown]
# ## Three logits
#
# Each attended feature is compared with its plain partner. With CLIP's own logits that makes three terms, times CLIP's
# logit scale $s$, blended by three weights:
#
# $$ \text{logits} = \beta_1\, s\, F_v F_t^\top + \beta_2\, s\, F_v F_t^{a\top} + \beta_3\, s\, F_v^a F_t^\top. $$ (eq-blend)
#
# `calip_logits` never builds the $K \times C$ matrix $F_t^a$ of each image. Move the brackets, and the matrix disappears:
#
# $$ F_v F_t^{a\top} = \left(F_v F_s^\top\right) \operatorname{softmax}_M(A/\alpha_t). $$ (eq-identity)

# %%
logits = calip_logits(features, text, CalipConfig(alpha, alpha), logit_scale=scale)
by_hand = {
    "clip": scale * F_v @ F_t.T,
    "text_attended": scale * (F_v @ F_s.T) @ look_at_tokens,
    "visual_attended": scale * F_v_a @ F_t.T,
}
for name, values in by_hand.items():
    torch.testing.assert_close(getattr(logits, name)[example], values)

about = f"{task.name}, {clip_model.name}, {tokens} tokens, α = {alpha:g}"

# %% [markdown]
# ## What the text's attention can say
#
# Write $q_m$ for the cosine of token $m$ with the pooled vector, and $a_{mk}$ for the attention of class $k$ on token
# $m$. By {eq}`eq-identity`, the text-attended logit is a weighted mean:
#
# $$ F_v F_{t,k}^{a\top} = \sum_m a_{mk}\, q_m, \qquad a_{mk} = \operatorname{softmax}_m (A_{mk} / \alpha_t). $$ (eq-weighted-mean)
#
# The $q_m$ do not depend on the class; only the weights do. While $A/\alpha_t$ varies little, $e^x \approx 1 + x$ makes
# $a_{mk} \approx \tfrac1M \big(1 + (A_{mk} - \bar A_k)/\alpha_t\big)$, with $\bar A_k$ the mean of column $k$. So
#
# $$ F_v F_{t,k}^{a\top} \approx \operatorname{mean}_m q_m
#    + \frac{1}{\alpha_t} \operatorname{Cov}_m(q, A_k). $$ (eq-first-order)
#
# The mean is the same for all classes and decides nothing. A class wins if the tokens most like $F_v$ are also those
# that fit the class. And the temperature is a common factor: *to first order it changes how much the term weighs, like
# $\beta_2$, and not what it says.*

# %%
q = (features.spatial @ features.pooled.unsqueeze(2)).squeeze(2)  # n x M
q_varies = q - q.mean(1, keepdim=True)
covariance = torch.einsum("nm,nmk->nk", q_varies, affinity) / q.shape[1]


def error(exact, first_order):
    """What the expansion misses of the differences between classes."""
    exact, missed = (
        x - x.mean(1, keepdim=True) for x in (exact, exact - first_order)
    )
    return float(missed.norm() / exact.norm())


first_order = q.mean(1, keepdim=True) + covariance / alpha
torch.testing.assert_close(first_order, text_first_order(features, text, alpha))
text_error = error(logits.text_attended / scale, first_order)

# %% [markdown]
# The covariance has two parts. Split each token into its part along $F_v$ and the rest, $F_{s,m} = q_m F_v + u_m$ with
# $u_m \perp F_v$. Then
#
# $$ \operatorname{Cov}_m(q, A_k) = \operatorname{Var}_m(q)\; F_v F_{t,k}^\top
#    + \operatorname{Cov}_m(q, u F_{t,k}^\top). $$ (eq-two-parts)
#
# The first part is an *echo*: CLIP's own cosine times a number that is never negative. Alone, it gives exactly CLIP's
# answers. Only the second part can say something new. It asks whether the tokens most like $F_v$ also lean towards the
# class in what they hold beside $F_v$.

# %%
echo = q_varies.square().mean(1, keepdim=True) * (features.pooled @ text.T)
leaning = covariance - echo
summands = {"echo of CLIP": echo, "leaning": leaning, "both": covariance}

# %% tags=["hide-input"]
attention.parts(summands, labels, about)

# %% [markdown]
# With joint tokens on `mini-rn`, the $q_m$ hardly differ, so the echo is faint. The leaning is larger and nearly noise: it
# rarely puts the true class first *or* last, because the wrong classes lean more, to both sides. Set `tokens` to `"value"`
# and run the chapter again. Now the echo outgrows the leaning, and most of what the term says is CLIP's answer once more.
#
# ## What the image's attention can say
#
# Now the same for the other direction. Let $G = F_t F_t^\top$ hold the cosines between classes. For the mean over
# the tokens, the visual term is, exactly,
#
# $$ \operatorname{mean}_m (F_s^a)_m\, F_t^\top = \operatorname{mean}_m \operatorname{softmax}_K(A_m/\alpha_s)\; G. $$ (eq-visual-exact)
#
# While $A/\alpha_s$ varies little from class to class, expand this softmax like the other. Write
# $\bar t = \operatorname{mean}_k F_{t,k}$ for the mean class vector, and $\bar A_k = \operatorname{mean}_m A_{mk}$ for
# CLIP's answer averaged over the grid. Then
#
# $$
# \begin{aligned}
# \operatorname{mean}_m (F_s^a)_m\, F_{t,k}^\top \approx{}& \underbrace{\bar t\, F_{t,k}^\top}_{\text{prior}} \\
#    &+ \frac{1}{\alpha_s K} \sum_j \big(\bar A_j - \operatorname{mean}_j \bar A_j\big)\, G_{jk}.
# \end{aligned}
# $$ (eq-visual-first-order)
#
# The first summand is a **prior**: it favours the classes whose names resemble all the others, and no image has a say in
# it. The second is CLIP's own question put to the mean token, **smeared** by $G$: each class also gets the scores of
# the classes that resemble it. It shrinks as $\alpha_s$ grows; the prior does not.

# %%
G, t_bar = text @ text.T, text.mean(dim=0)
answer = affinity.mean(dim=1)  # CLIP's, averaged over the grid: n x K
centred = answer - answer.mean(dim=1, keepdim=True)

first_order = t_bar @ text.T + centred @ G / (alpha * len(text))
torch.testing.assert_close(first_order, visual_first_order(features, text, alpha))
by_mean = CalipConfig(alpha, alpha, pooling="mean")
exact = calip_logits(features, text, by_mean, logit_scale=1.0).visual_attended
torch.testing.assert_close(exact, (affinity / alpha).softmax(2).mean(1) @ G)

prose(
    f"At α = {alpha:g}, the first order misses {percent(text_error)} of the differences between classes in the text "
    f"term, and {percent(error(exact, first_order))} in the visual term."
)

# %% [markdown]
# ## Without the prior
#
# If the prior is a constant, one can subtract it. The head `calip` does so in two ways, by its option `prior`:
#
# - `"constant"` subtracts the first-order prior. The maximum over the tokens has the same limit $\bar t$ as their mean, so
#   for mean plus maximum it is $2\, s\, \bar t\, F_{t,k}^\top$. It needs nothing but the text.
# - `"mean"` subtracts the term's mean over images *without labels*, those of the validation split. The record then says
#   that the head `sees` unlabelled images.

# %%
protocol = "validation" if len(task.splits["val"]) else "fixed"
kinds = ["keep", "constant", "mean"]
if not any(len(task.splits[split]) for split in ("val", "train")):
    kinds.remove("mean")
shared = {"seed": seed, "limit": samples}
alone, blended = {}, {}
for kind in kinds:
    for a in (2.0, 0.5):
        options = {"config": {"alpha_t": a, "alpha_s": a}, "prior": kind}
        options |= {"beta1": 0.0, "beta2": 0.0, "beta3": 1.0}
        alone[kind, a] = evaluate(task, clip_model, options=options, **shared)
    options = {"config": "official", "prior": kind}
    blended[kind] = evaluate(
        task, clip_model, protocol=protocol, options=options, **shared
    )

# %% tags=["hide-input"]
attention.prior(alone, blended)

# %% [markdown]
# On `mini-rn`, much of what the term says alone is its prior. Without it the term classifies far better. Yet the blend
# hardly changes: what is left is CLIP's own answer, smeared, and the published $\beta_3$ are so small that the prior does
# hardly any harm.
#
# ## The temperature
#
# Both expansions hold far above the spread of the affinities. There, the temperature only scales what the image adds to a
# term. Attention begins to *choose* where the temperature comes down to that spread. Move the temperature:

# %%
first_answer = {kind: heats[0] for kind, heats in maps.items()}
slider_alphas = [2.0, 1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005]
attention.temperature_slider(picture, first_answer, slider_alphas, names[0])

# %% [markdown]
# :::{live} affinity
# Choose a class and a place, in the picture or in the matrix too, and move α: which weights stay even, which become
# sharp, and what do the three logits make of them?
# :::
#
# How even is a softmax? Its *effective number* of choices is the exponential of its entropy: $M$ if all tokens weigh the
# same, 1 if one token takes all. Divided by $M$ (or $K$), it is the effective share.

# %%
token_share = effective_share((affinity / alpha).softmax(1), 1)
class_share = effective_share((affinity / alpha).softmax(2), 2)
prose(
    f"At α = {alpha:g}, a class effectively uses {percent(token_share)} of the tokens, and a token "
    f"{percent(class_share)} of the classes."
)

# %% [markdown]
# ## What we found
#
# - Attention without parameters is kernel smoothing, and the temperature is the bandwidth.
# - To first order, the text term is a covariance over the tokens: an echo of CLIP, as strong as the $q_m$ vary, and a
#   leaning of the tokens beside $F_v$.
# - To first order, the visual term is a prior that no image changes, plus CLIP's answer smeared over similar classes. The prior
#   can be removed without labels. That improves the term alone but hardly changes the blend.
# - Far above the spread of the affinities, a temperature acts like a weight. When the attention pays is the question of
#   [chapter 4](04_when_it_pays). [Appendix C](C_versions) compares the published versions.
#
# ## Exercises
#
# **Exercise 3.1 (the text looks).** Write equation {eq}`eq-text-attends` for a batch: `spatial` is `n m c`, `text` is
# `k c`, the result `n k c`.


# %% tags=["exercise"]
def attend_text(spatial, text, alpha): ...


# %% tags=["exercise-check"]
generator = torch.Generator().manual_seed(1)
small = normalize(torch.randn(2, 5, 8, generator=generator), dim=-1)
words = normalize(torch.randn(3, 8, generator=generator), dim=-1)
expected = parameter_free_attention(small, words, alpha_t=0.3, alpha_s=1.0)[0]
attend_cases = [((small, words, 0.3), expected)]
grade(attend_text, attend_cases)

# %% [markdown]
# :::{admonition} Hint
# :class: dropdown
# The affinity is `n m k`. Which dimension must sum to 1? A transposition brings the weights to `n k m`.
# :::


# %% tags=["solution", "hide-input"]
def attend_text(spatial, text, alpha):
    weights = (spatial @ text.T / alpha).softmax(dim=1)
    return weights.transpose(1, 2) @ spatial


assert grade(attend_text, attend_cases) == "correct"

# %% [markdown]
# **Exercise 3.2 (predict: value tokens).** Before you set `tokens` to `"value"`: which numbers in the table of the echo and
# the leaning will grow, and by how much will the accuracy of the text-attended term alone change? And at which
# temperature will the text's softmax start to choose?
#
# :::{admonition} Hint
# :class: dropdown
# The echo is proportional to the variance of $q$. Chapter 2 shows the cosines of value tokens with the pooled vector.
# :::
#
# :::{admonition} Solution
# :class: dropdown
# With `mini-rn`, value tokens spread far more around $F_v$. The variance of $q$ grows by orders of magnitude, and the
# echo with it; the leaning grows less. So the term alone becomes a classifier. It is an echo, not a second opinion: the
# leaning alone still puts the true class first less often than a guess. The spread of the affinities from token to token
# grows about tenfold, and with it the temperature at which the softmax starts to choose.
# :::
#
# **Exercise 3.3 (open: why do the wrong classes lean more?).** With joint tokens, the leaning of the true class is smaller
# than that of the others. Is it because $u_m$ is perpendicular to $F_v$, which already points towards the true class?
#
# :::{admonition} Hint
# :class: dropdown
# $u_m F_{t,k}^\top$ sees only the part of $F_{t,k}$ across $F_v$. Its length is $\sqrt{1 - c_k^2}$, with
# $c_k = F_v F_{t,k}^\top$.
# :::
#
# :::{admonition} Solution
# :class: dropdown
# Geometry is a part of the reason: the true class has the largest $c_k$, so the least is left across $F_v$. Compare the
# ratio of $\sqrt{1 - c_k^2}$ between true and other classes with the ratio of the leanings' sizes. On `mini-rn` the
# first explains a large part of the second, but not all of it. The rest is open. One idea: the pool was trained to gather the
# evidence for the true class into $F_v$, which leaves little of it in $u_m$. To test it, follow both ratios along
# the training of a miniature ([appendix A](A_train_miniature)).
# :::
#
# ## Further reading
#
# - The method: {cite:t}`guo2023calip`. The attention it does without: {cite:t}`vaswani2017attention`.
# - Attention introduced as kernel smoothing: {cite:t}`zhang2023d2l`, chapter "Attention Mechanisms and Transformers".
