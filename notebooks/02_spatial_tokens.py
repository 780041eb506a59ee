# %% [markdown]
# # 2 Where the grid goes
#
# **Question.** CLIP's image encoder computes a grid of features, and returns one vector. Where does the grid go, and
# can we have it back without training anything?
#
# **Time**: about a minute on two processor cores with the miniatures; with ViT-B/16 on a processor about three minutes
# for `samples = 50`. **You need** [chapter 1](01_clip_baseline).

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
tokens: str = "joint"  # joint and value are always compared; pre_pool is a third kind
dataset: str = "mini-shapes"  # a name from available_tasks(), or folder:PATH
seed: int = 0  # which images are drawn
samples: int = 300  # images, and scenes with masks; large models without a GPU: 50
examples: int = 2  # images that are shown with their heat-maps

# %% tags=["imports", "hide-input"]
import torch
from PIL import Image
from torch.nn.functional import normalize
from tqdm.auto import tqdm

from calip_core import exhibits, load_backbone, load_task, world, zero_shot_classifier
from calip_core.analysis.localization import pointing_hits, points_on_object
from calip_core.analysis.pool import one_head_pool
from calip_core.backbones.dense import run_and_watch
from calip_core.datasets.task import Split
from calip_core.exhibits import grid
from calip_core.exhibits.pictures import picture_seen
from calip_core.features import choose_images, encode_split
from calip_core.teaching import (
    AtLeast,
    BackboneName,
    Choice,
    Count,
    Seed,
    TaskName,
    check_parameters,
    grade,
)

check_parameters(
    globals(),
    backbone=BackboneName,
    tokens=Choice("joint", "value", "pre_pool"),
    dataset=TaskName,
    seed=Seed,
    samples=AtLeast(20),
    examples=Count,
)
torch.set_grad_enabled(False)
exhibits.style()

# %% [markdown]
# `load_backbone` gives an image's vector *and* a grid of $M$ vectors, the **spatial tokens**. Two kinds of tokens, joint
# and value, live in the space of the texts. So each token has a cosine with the text of a class: a heat-map.

# %%
kinds = list(dict.fromkeys(["joint", "value", tokens]))


def with_tokens(name):
    """One encoder per kind of tokens."""
    return {
        kind: load_backbone(name, precision="fp32", tokens=kind) for kind in kinds
    }


def heat(spatial, text, classes):
    """Cosine of every token with the text of its image's class: n, M."""
    return (spatial @ text[classes].unsqueeze(2)).squeeze(2)


encoders = with_tokens(backbone)
encoder = encoders["joint"]
task = load_task(dataset)
test = task.splits["test"]
text = zero_shot_classifier(encoder, task.classnames, task.templates)
features = {}
for kind in kinds:
    features[encoder.name, kind], labels = encode_split(
        encoders[kind], test, limit=samples, seed=seed
    )

# %% tags=["hide-input"]
chosen = choose_images(test, samples, seed)
shown = list(range(0, len(labels), max(1, len(labels) // examples)))[:examples]
grid.token_maps(
    [picture_seen(test[chosen[i]][0], encoder.preprocess) for i in shown],
    {
        k: heat(features[encoder.name, k].spatial[shown], text, labels[shown])
        for k in kinds
    },
    encoder.grid,
    [task.classnames[labels[i]] for i in shown],
    backbone=encoder.name,
)

# %% [markdown]
# **In short.** The last layer of CLIP's ResNets is an attention that pools the grid. If every place asks a question of its
# own, nearly every place gets the same answer: in the miniature ResNet, *joint* tokens, which CALIP uses, are copies of
# the pooled vector. If every place speaks for itself, the tokens differ, and the hottest one usually lies on the object:
# these are *value* tokens.
#
# ## The pool is an attention
#
# OpenAI's ResNets {cite:p}`radford2021clip,he2016resnet` end in a feature map with one column $x_m$ per place. Other
# ResNets take the mean of the columns. CLIP's has an **attention pool** {cite:p}`vaswani2017attention`. It puts the mean
# in front, $x_0 = \tfrac{1}{M} \sum_m x_m$, and adds a learned vector for each position. Then tokens ask tokens. For each
# head, with matrices $P_q, P_k, P_v$ and keys of width $d_k$:
#
# $$
# \begin{aligned}
# z_i &= P_c \sum_{j=0}^{M} a_{ij}\, P_v x_j, \qquad i = 0, \dots, M, \\
# a_{ij} &= \operatorname{softmax}_j \frac{(P_q x_i)^\top P_k x_j}{\sqrt{d_k}}.
# \end{aligned}
# $$ (eq-attention-pool)
#
# (The results of the heads stand side by side before $P_c$; biases are omitted.) CLIP asks one question, that of the
# mean, and keeps its answer as $F_v = z_0 / \lVert z_0 \rVert$. It never computes $z_1, \dots, z_M$. CALIP does: with unit
# length, they are its $F_s$, the **joint tokens**.
#
# The code below is the whole pool. `sharpness` is a knob that CLIP does not have: it multiplies the questions.

# %%
sharpness = 1.0  # turn it: 0 asks nothing, 8 asks loudly


def pool_input(pool, places):
    """The mean, then every place, with their positions: n, M + 1, d."""
    x = torch.cat([places.mean(dim=1, keepdim=True), places], dim=1)
    return x + pool.positional_embedding


def attention_pool(pool, places, sharpness=1.0):
    """Every answer z_i of CLIP's attention pool, and the weights a_ij of each head."""
    x = pool_input(pool, places)
    q, k, v = (
        project(x).unflatten(2, (pool.num_heads, -1)).transpose(1, 2)
        for project in (pool.q_proj, pool.k_proj, pool.v_proj)
    )  # n, heads, M + 1, d / heads
    a = (sharpness * q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=-1)
    return pool.c_proj((a @ v).transpose(1, 2).flatten(2)), a


# %% [markdown]
# We feed it the feature maps of up to 100 images. (If the chapter's backbone is a transformer, `mini-rn` steps in here.)
# The code stops if its answers differ from the library's.

# %%
is_resnet = hasattr(encoder.model.visual, "attnpool")
partner = with_tokens("mini-vit" if is_resnet else "mini-rn")
both = {encoder.name: encoders, partner["joint"].name: partner}
library = encoders if is_resnet else partner
resnet = library["joint"]
visual, pool = resnet.model.visual, resnet.model.visual.attnpool
probe = torch.stack([resnet.preprocess(test[i][0]) for i in chosen[:100]])
probe = probe.to(resnet.device)
maps = [
    run_and_watch(visual, images, visual.layer4)[2]
    for images in tqdm(probe.split(20), "feature maps", leave=False)
]
places = torch.cat(maps).flatten(2).mT  # n, M, d: one row per place
z, a = attention_pool(pool, places)

near = {"rtol": 1e-3, "atol": 1e-4}
some = resnet.encode_image(probe[:8])
torch.testing.assert_close(normalize(z[:8, 0], dim=-1), some.pooled, **near)
torch.testing.assert_close(normalize(z[:8, 1:], dim=-1), some.spatial, **near)

grid.pool_attention(attention_pool(pool, places, sharpness)[1], backbone=resnet.name)

# %% [markdown]
# Row after row looks the same. Training only ever used the mean's question. The other questions find much the same
# places, so their answers are alike. A user who drew the weights of OpenAI's RN50x4 saw the same
# ([openai/CLIP #237](https://github.com/openai/CLIP/issues/237)).
#
# ## What each place would say alone
#
# Every joint token mixes *all* places. Take the mixture apart. Let $a_{hm}$ be the weight that head $h$ of the pooled query
# gives to token $m$, $v_{hm}$ that head's value of the token, and $W_h$ the head's columns of $P_c$. With the bias $b$ of
# $P_c$, the pool's output is a double sum:
#
# $$
# z_0 = b + \sum_h \sum_{m=0}^{M} a_{hm}\, W_h\, v_{hm}.
# $$ (eq-head-by-head)
#
# Now let every head look at token $m$ alone, $a_{hm} = 1$. What is left is one linear map of $x_m$:
#
# $$
# z^{\text{val}}_m = b + \sum_h W_h\, v_{hm} = b + P_c\,(P_v x_m + b_v).
# $$ (eq-value-tokens)
#
# With unit length, these are the **value tokens**, after MaskCLIP {cite:p}`zhou2022maskclip` (whose ResNet adds no
# positions). The pool could give each of them as its output, so they live in the space of the texts. They cost less than
# joint tokens, because nobody asks.

# %%
x = pool_input(pool, places)
value = pool.c_proj(pool.v_proj(x))  # n, M + 1, c: what each token says alone
v = pool.v_proj(x).unflatten(2, (pool.num_heads, -1))  # n, M + 1, heads, d / heads
W = pool.c_proj.weight.unflatten(1, (pool.num_heads, -1))  # c, heads, d / heads
by_head = pool.c_proj.bias + torch.einsum("nhm,nmhd,chd->nc", a[:, :, 0], v, W)

torch.testing.assert_close(by_head, z[:, 0], **near)
torch.testing.assert_close(
    normalize(value[:8, 1:], dim=-1),
    library["value"].encode_image(probe[:8]).spatial,
    **near,
)

# %% [markdown]
# Is the pooled vector a weighted mean of the value tokens? If all heads agreed, $a_{hm} = a_m$, then
# {eq}`eq-head-by-head` would be exactly $z_0 = \sum_m a_m z^{\text{val}}_m$, because the weights add up to 1. They do
# not: each head of the miniature bets nearly everything on one place, and different heads bet on different places. So we
# measure the distance from the *one-head picture*, in which every head has the mean of all heads' weights. The plain
# mean of the value tokens is the simplest pool of all.

# %%
exact, one_head = one_head_pool(pool, places)
plain = normalize(value[:, 1:].mean(dim=1), dim=-1)
grid.pool_table(
    {"CLIP's own": exact, "one head": one_head, "mean of value tokens": plain},
    zero_shot_classifier(resnet, task.classnames, task.templates),
    labels[: len(places)],
    backbone=resnet.name,
)

# %% [markdown]
# A cosine of 1 in the second row would make the pooled vector a weighted mean of value tokens. The miniature falls short
# of 1; how far depends on the images (try `dataset = "digits"`).
#
# ## Transformers
#
# A vision transformer {cite:p}`dosovitskiy2021vit` carries a **class token** $t_0$ beside the $M$ patch tokens through
# all layers. At the end CLIP applies a layer norm and a projection $P$ to $t_0$ alone; CALIP applies them to every token:
#
# $$
# F_v \propto \operatorname{LN}(t_0)\, P, \qquad
# F_{s,m} \propto \operatorname{LN}(t_m)\, P, \quad m = 1, \dots, M
# $$ (eq-vit-tokens)
#
# where $\propto$ means "made unit length". No pool mixes the places at the end, so these joint tokens are no copies. Yet
# in the last block the class token collects from the patches for the last time, as the pool does in a ResNet. So let
# every token of that block attend to itself alone. With its input $t'_m$, its first layer norm $\operatorname{LN}_1$,
# and the value and output matrices of its attention (biases omitted), the value tokens are
#
# $$
# F^{\text{val}}_{s,m} \propto \operatorname{LN}\bigl(P_o P_v \operatorname{LN}_1(t'_m)\bigr)\, P.
# $$ (eq-vit-value-tokens)
#
# This leaves out the residual $t'_m$ and the block's MLP, which MaskCLIP keeps.
#
# ## The pointing game
#
# Pretty maps convince too easily. The *pointing game* {cite:p}`zhang2018excitation` asks in how many images the hottest
# token of the true class lies on the object. The miniature world knows where it is, so this section uses its scenes,
# whatever the chapter's dataset. A token points at the centre of its cell; `tolerance` forgives near misses.

# %%
tolerance = 1 / 16  # of the picture's side; turn it: 0 forgives nothing

scenes = world.sample_scenes(samples, 1_000_000_000 + seed, pairs="seen")
drawn, masks = world.render_scenes(scenes), world.object_masks(scenes)
scene_split = Split(lambda i: Image.fromarray(drawn[i]), scenes.shape)
templates = load_task("mini-shapes").templates
pixels = round(tolerance * masks.shape[1])

hits, on_object = {}, {}
for name, networks in both.items():
    own_grid = networks["joint"].grid
    shapes = zero_shot_classifier(networks["joint"], world.SHAPES, templates)
    on_object[name] = points_on_object(masks, own_grid, pixels)
    hits[name] = {}
    for kind, network in networks.items():
        found, _ = encode_split(network, scene_split)
        warm = heat(found.spatial, shapes, scenes.shape)
        hits[name][kind] = pointing_hits(warm, on_object[name])

grid.pointing_game(hits, on_object)

# %% [markdown]
# Two players that never look set the scale: a random cell, and the one cell that is most often right. The joint tokens of
# `mini-rn` lose to that fixed cell; its value tokens beat it. In `mini-vit` the order is the same, although its joint
# tokens are no copies: tokens that differ need not point at the object.
#
# :::{live} finding
# Play it yourself: find a word of your own in a scene, in your drawing or in a picture of yours.
# :::
#
# ## How much do tokens differ?
#
# A softmax over tokens can only choose if there is something to choose from. The table shows mean cosines, and splits the
# variance of all tokens into three parts that add up to 100 %:
#
# - **image**: what all places of an image say. The pooled vector can say it too.
# - **place**: what a place says in every image.
# - **own**: what one place says in one image. Only this part can point at an object.

# %%
other = partner["joint"].name
for kind in kinds:
    features[other, kind], _ = encode_split(
        partner[kind], test, limit=samples, seed=seed
    )
grid.token_table(features, task=task.title)

# %% [markdown]
# ## What we found
#
# - CLIP's pool is already an attention: one question to the whole grid, asked by the mean.
# - In the miniature ResNet, joint tokens are copies of its answer: an attention over them has nothing to choose from.
# - Value tokens are free as well. They differ from place to place, and the hottest one usually lies on the object.
# - The pooled vector is no weighted mean of value tokens, because the heads of the pool look at different places.
#
# CALIP uses joint tokens. [Chapter 3](03_calip_attention) derives its attention for tokens of any kind, and
# [chapter 4](04_when_it_pays) measures for which of them it pays.
#
# ## Exercises
#
# **Exercise 2.1 (one head).** Write `one_head_mean(weights, values)`: `weights` holds the weights of $H$ heads over $M$
# tokens ($H \times M$), `values` the value tokens ($M \times C$). Give every head the mean of all heads' weights, and
# return the pooled vector ($C$), not of unit length.


# %% tags=["exercise"]
def one_head_mean(weights, values): ...


# %% tags=["exercise-check"]
agreeing = torch.tensor([[0.25, 0.75], [0.25, 0.75]])
opposed = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
given = torch.tensor([[4.0, 0.0, 1.0], [0.0, 4.0, 1.0]])
one_head_cases = [
    ((agreeing, given), torch.tensor([1.0, 3.0, 1.0])),
    ((opposed, torch.eye(2)), torch.tensor([0.5, 0.5])),
]
grade(one_head_mean, one_head_cases)

# %% [markdown]
# :::{admonition} Hint
# :class: dropdown
# First take the mean over heads. What is left is a product of a row with a matrix.
# :::


# %% tags=["solution", "hide-input"]
def one_head_mean(weights, values):
    return weights.mean(dim=0) @ values


assert grade(one_head_mean, one_head_cases) == "correct"
ours = normalize(one_head_mean(a[0, :, 0], value[0]), dim=-1)
torch.testing.assert_close(ours, one_head[0], **near)  # the library's

# %% [markdown]
# **Exercise 2.2 (predict: a pool that does not ask).** Before you run anything: at `sharpness = 0` in the code of the
# pool, what is every row of the attention matrix, and how far are joint tokens from one another? At `sharpness = 8`, do
# the queries of `mini-rn` share much less of their attention, or about as much as before? Then turn the knob.
#
# :::{admonition} Hint
# :class: dropdown
# With no question, the softmax sees zeros. For the second part, look at the heads' largest weights,
# `a[0, :, 0].amax(dim=1)`: how much sharper can they get?
# :::
#
# :::{admonition} Solution
# :class: dropdown
# At 0 every weight is $1/(M + 1)$. All rows are equal, so all answers are equal: perfect copies, and 100 % shared. At 8
# hardly anything changes. The heads of `mini-rn` bet nearly everything on one place already, and it is the same place
# whoever asks. So weak questions are not the reason for the copies. The keys decide: all queries prefer the same ones.
# :::
#
# **Exercise 2.3 (open: real weights).** Are the joint tokens of OpenAI's RN50 copies on photographs, and do its value
# tokens differ as much as those of the miniature?
#
# :::{admonition} Hint
# :class: dropdown
# Which of the measurements above needs no masks?
# :::
#
# :::{admonition} Solution
# :class: dropdown
# Known: the issue cited above shows queries of a real pool that look at the same places, and MaskCLIP segments images
# with value tokens of the real weights. Not known to us: the numbers of the last table. One command finds them, with
# heat-maps of the photographs (it downloads the weights, and takes a few minutes on a processor):
#
# `papermill notebooks/02_spatial_tokens.ipynb out.ipynb -p backbone RN50 -p dataset photos -p samples 50`
# :::
#
# ## Further reading
#
# - {cite:t}`zhou2022maskclip` segment images with value tokens.
# - {cite:t}`zhang2018excitation` introduce the pointing game.
