# %% [markdown]
# # What the pooled vector throws away
#
# :::{admonition} In this chapter
# :class: tip
# **You will learn** how CLIP's two families of image encoders make one vector out of many, and how to keep the many;
# how a sentence becomes a heat-map over an image, and how to *measure* whether the map points at the right place; what
# these spatial tokens know that the pooled vector has lost, and where they disappoint.
#
# **Time**: under a minute on two processor cores with the miniature.
#
# **You need** [chapter 1](01_clip_baseline): zero-shot classifiers and their notation.
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
backbone: str = "mini-rn"  # mini-rn, mini-vit, an OpenAI name such as RN50, or a path
dataset: str = "mini-shapes"  # a name from available_tasks(), or folder:PATH
seed: int = 0  # which images are drawn
samples: int = 300  # images of the task, and scenes with known masks; 20 or more
examples: int = 3  # images that are shown with their heat-maps

# %%
from calip_core.teaching import (
    AtLeast,
    BackboneName,
    Count,
    Seed,
    TaskName,
    check_parameters,
)

check_parameters(
    globals(),
    backbone=BackboneName,
    dataset=TaskName,
    seed=Seed,
    samples=AtLeast(20),
    examples=Count,
)

# %%
from textwrap import shorten

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.nn.functional import normalize

from calip_core import load_backbone, load_task, zero_shot_classifier
from calip_core.features import choose_images, encode_split
from calip_core.metrics import (
    bootstrap_interval,
    correct_predictions,
    mcnemar,
    wilson_interval,
)
from calip_core.teaching import grade, prose, show, table
from calip_core.exhibits import style
from calip_core.exhibits.heatmaps import (
    Estimate,
    HeatRow,
    estimates_chart,
    heat_map_table,
    picture_seen,
    token_matrices,
    tokens_in_plane,
)

style()
torch.set_grad_enabled(False)


def is_resnet(encoder):
    return hasattr(encoder.model.visual, "attnpool")


encoder = load_backbone(backbone, precision="fp32")
partner = load_backbone(
    "mini-vit" if is_resnet(encoder) else "mini-rn", precision="fp32"
)
resnet, vit = (encoder, partner) if is_resnet(encoder) else (partner, encoder)
task = load_task(dataset)
test = task.splits["test"]
prose(
    f"The chapter looks at **{encoder.name}** and, because CLIP has two families of "
    "image encoders, at "
    f"**{partner.name}** of the other family. The images are those of the task "
    f"*{task.title}* "
    f"({len(test):,} test images, {len(task.classnames)} classes)."
)


def closeness(tokens):
    """Mean cosine of the spatial tokens with the pooled vector of their image."""
    return float((tokens.spatial @ tokens.pooled.unsqueeze(2)).mean())


glance = {
    net.name: closeness(
        encode_split(net, test, limit=32, seed=seed, progress=False)[0]
    )
    for net in (resnet, vit)
}
COPIES = 0.95  # from this cosine on, the chapter calls tokens copies
copied = [name for name, value in glance.items() if value > COPIES]
prose(
    "One number before we start: how like the pooled vector are the spatial tokens? "
    "Their mean cosine with it is "
    + " and ".join(f"{value:.3f} for {name}" for name, value in glance.items())
    + ". "
    + (
        f"**The tokens of {' and '.join(copied)} are nearly copies of the pooled "
        "vector.** A heat-map of such a network is one vector drawn many times, with "
        "small deviations; what is left to see in them is what this chapter measures."
        if copied
        else "Neither network's tokens are copies of it."
    )
)

# %% [markdown]
# ## One point or many
#
# Chapter 1 turned an image into **one** vector $F_v$ with $C$ numbers, and compared it with one vector per class. That
# is all that zero-shot CLIP ever looks at. Yet inside the network the image was a *grid* until the last moment.
#
# A **spatial token** is what the network has to say about one cell of that grid. CALIP needs $M$ of them, $F_s$, in
# the same space as $F_v$ and as the text. Here is one image both ways.
#
# The right panel is a map of directions: the two axes along which this image's vectors differ most (their first two
# principal components). Each number is the token of that cell; the star is the pooled vector.

# %%
chosen = choose_images(test, samples, seed)
shown = chosen[:: max(1, len(chosen) // examples)][:examples]
images = [test[i][0] for i in shown]
labels = np.asarray([test[i][1] for i in shown])


def pixels_for(encoder, images):
    return torch.stack([encoder.preprocess(image) for image in images])


# %% tags=["hide-input"]
one = encoder.encode_image(pixels_for(encoder, images[:1]))
spread = torch.cat([one.pooled, one.spatial[0]])
axes = torch.linalg.svd(spread - spread.mean(0), full_matrices=False).Vh[:2]
plane = ((spread - spread.mean(0)) @ axes.T).cpu().numpy()
to_pooled = (one.spatial[0] @ one.pooled[0]).cpu()
between = one.spatial[0] @ one.spatial[0].T
n_tokens = one.spatial.shape[1]
mean_between = float((between.sum() - n_tokens) / (n_tokens * (n_tokens - 1)))

figure = tokens_in_plane(
    picture_seen(images[0], encoder.preprocess), one.grid, plane[1:], plane[0]
)
show(
    figure,
    alt=(
        f"Left: an image of class {task.classnames[labels[0]]} under a grid of "
        f"{one.grid[0]} by {one.grid[1]} numbered "
        "tokens. Right: the same tokens as points in a plane, spread around one "
        "star, the pooled vector. "
        f"Two tokens have a mean cosine of {mean_between:.2f}."
    ),
    caption=f"One image for {encoder.name}: {n_tokens} spatial tokens (numbers) and "
    "the one pooled vector (star).",
)
prose(
    f"The pooled vector has {one.pooled.shape[1]} numbers, the tokens together "
    f"{one.spatial[0].numel():,}. "
    "Are they copies of it? A copy would have a cosine of 1.00 with the pooled "
    "vector; the tokens of this image have "
    f"{to_pooled.min():.3f} to {to_pooled.max():.3f}. Two tokens have "
    f"{mean_between:.3f} with one another on average. "
    + (
        "**These tokens are nearly copies: this network gives every place almost the "
        "same answer.** The right panel magnifies what little they differ in."
        if to_pooled.mean() > COPIES
        else "So they are no copies."
    )
)

# %% [markdown]
# ## How two families make one vector
#
# ### ResNets: the pooled vector is one query out of $M + 1$
#
# OpenAI's ResNets {cite:p}`radford2021clip,he2016resnet` end in a feature map with one column $x_m$ a place. Where
# other ResNets take the mean, CLIP's has an **attention pool** {cite:p}`vaswani2017attention`. It puts the mean in
# front, $x_0 = \tfrac{1}{M} \sum_m x_m$, adds a learned vector for each position, and lets every token ask all
# tokens. For each attention head, with the head's matrices $P_q, P_k, P_v$ and the width $d_k$ of its keys:
#
# $$
# z_i = P_c \sum_{j=0}^{M} a_{ij}\, P_v x_j, \qquad
# a_{ij} = \operatorname{softmax}_j \frac{(P_q x_i)^\top P_k x_j}{\sqrt{d_k}}, \qquad i = 0, \dots, M
# $$ (eq-attention-pool)
#
# (the heads' results stand side by side before $P_c$; biases are left out). CLIP keeps $z_0$, the answer to the mean's
# question, as $F_v = z_0 / \lVert z_0 \rVert$. The answers $z_1, \dots, z_M$ are not even computed. They are CALIP's
# $F_s$: same keys, same values, same last matrix, so they land in the same space as the text.


# %%
def output_of(module, run):
    """What a module gives out while ``run()`` runs."""
    seen = []
    handle = module.register_forward_hook(
        lambda module, inputs, output: seen.append(output)
    )
    run()
    handle.remove()
    return seen[0]


def attention_pool(pool, feature_map):
    """Every answer z_i of CLIP's attention pool, and the weights a_ij of each head."""
    x = feature_map.flatten(2).transpose(1, 2)  # n, M, width: one row a place
    x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1) + pool.positional_embedding

    def heads(y):  # n, heads, M + 1, d_k
        return y.unflatten(2, (pool.num_heads, -1)).transpose(1, 2)

    q, k, v = heads(pool.q_proj(x)), heads(pool.k_proj(x)), heads(pool.v_proj(x))
    a = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(dim=-1)
    z = pool.c_proj((a @ v).transpose(1, 2).flatten(2))
    return z, a


def resnet_by_hand(images):
    visual = resnet.model.visual
    feature_map = output_of(visual.layer4, lambda: resnet.model.encode_image(images))
    z, weights = attention_pool(visual.attnpool, feature_map)
    z = normalize(z, dim=-1)
    return z[:, 0], z[:, 1:], weights


# %% [markdown]
# ### Vision transformers: the pooled vector is token 0
#
# A vision transformer {cite:p}`dosovitskiy2021vit` carries an extra **class token** $t_0$ beside the $M$ patch tokens
# $t_1, \dots, t_M$ through all layers. At the end CLIP applies a layer norm and a projection $P$ to $t_0$ alone:
#
# $$
# F_v \propto \operatorname{LN}(t_0)\, P, \qquad\text{and CALIP adds}\qquad
# F_{s,m} \propto \operatorname{LN}(t_m)\, P, \quad m = 1, \dots, M
# $$ (eq-vit-tokens)
#
# where $\propto$ means "made unit length". Here the patch tokens are computed, and then dropped.


# %%
def vit_by_hand(images):
    visual = vit.model.visual
    # N, M + 1, width
    t = output_of(
        visual.transformer, lambda: vit.model.encode_image(images)
    ).transpose(0, 1)
    z = normalize(visual.ln_post(t) @ visual.proj, dim=-1)
    return z[:, 0], z[:, 1:], t


# %% [markdown]
# Three computations must now agree: the lines above, the library's `encode_image`, and the `encode_image` of the
# `clip` package's own class, which only knows the pooled vector. (The library folds batch norms into the convolutions
# when it loads a model. Its tests compare it with the weights as they were.)


# %%
def largest_gap(a, b):
    return float((a - b).abs().max())


rows = []
for net, by_hand in ((resnet, resnet_by_hand), (vit, vit_by_hand)):
    batch = pixels_for(net, images).to(next(net.model.parameters()).device)
    pooled, spatial, _ = by_hand(batch)
    tokens = net.encode_image(batch)
    package = normalize(net.model.encode_image(batch).float(), dim=-1)
    gaps = [
        largest_gap(tokens.pooled, package),
        largest_gap(pooled, package),
        largest_gap(spatial, tokens.spatial),
    ]
    assert max(gaps) < 1e-5, gaps
    rows.append(
        [net.name, f"{net.grid[0]} × {net.grid[1]}", *(f"{gap:.1e}" for gap in gaps)]
    )
table(
    rows,
    headers=[
        "backbone",
        "grid",
        "pooled: library − clip",
        "pooled: by hand − clip",
        "spatial: by hand − library",
    ],
    caption="Largest absolute difference of any coordinate (vectors have unit "
    "length). All are below 0.00001.",
)

# %% [markdown]
# One warning before we use them. Training rewarded $F_v$ and nothing else: no loss ever asked a spatial token to match
# a text. Whatever the tokens can say, they say by accident of sharing their last layers with $F_v$.

# %% [markdown]
# ## A sentence becomes a heat-map
#
# Tokens and text are in one space, so the cosine of every token with a class's text vector can be taken. All of them
# together are the **affinity matrix** that chapter 3 starts from:
#
# $$
# A = F_s F_t^\top \in \mathbb{R}^{M \times K}
# $$ (eq-affinity-map)
#
# A column of $A$ holds one number a cell: a heat-map for that class, drawn over the image by interpolation between
# the cells' centres. The cross marks the hottest cell.
#
# Each row below shows one image with the map of its **true** class and of the **wrong** class that this backbone's
# pooled vector likes best. The third map of each family is the true class *less the mean over all classes*. The tokens
# of all measured images are computed once, for both backbones.

# %%
features, affinity, texts, wrong = {}, {}, {}, {}
for net in (resnet, vit):
    name = net.name
    texts[name] = zero_shot_classifier(net, task.classnames, task.templates)
    features[name], targets = encode_split(
        net, test, limit=samples, seed=seed, progress=False
    )
    # A of every image: n, M, K
    affinity[name] = features[name].spatial @ texts[name].T
    logits = features[name].pooled @ texts[name].T
    logits[np.arange(len(targets)), targets] = -torch.inf
    wrong[name] = logits.argmax(dim=1).cpu().numpy()


def map_of(affinity, classes):
    """The column of each image's class in its affinity matrix: n, M."""
    return affinity[np.arange(len(classes)), :, classes]


def three_maps(affinity, true, wrong):
    """Heat of the true class, of a wrong one, and of the true one less the mean over classes: n, 3, M."""
    right = map_of(affinity, true)
    return torch.stack(
        [right, map_of(affinity, wrong), right - affinity.mean(dim=2)], dim=1
    )


def likeness(maps):
    """Mean correlation, over images, between the map of the true class and that of the wrong one."""
    centred = normalize(maps[:, :2] - maps[:, :2].mean(dim=2, keepdim=True), dim=2)
    return float((centred[:, 0] * centred[:, 1]).sum(dim=1).mean())


maps = {
    net.name: three_maps(affinity[net.name], targets, wrong[net.name])
    for net in (resnet, vit)
}
alike = {name: likeness(heat) for name, heat in maps.items()}
known = {
    net.name: correct_predictions(
        features[net.name].pooled @ texts[net.name].T, targets
    )
    for net in (resnet, vit)
}
guess = 1 / len(task.classnames)
prose(
    "First a caution. Tokens can hardly know what their network has not learnt. The "
    "pooled vectors are right on "
    + " and on ".join(
        f"**{100 * right.mean():.0f} %** ({name})" for name, right in known.items()
    )
    + f" of {len(targets)} images, where guessing gives {100 * guess:.0f} %. "
    + "".join(
        f"{name} is nearer to guessing than to knowing: its maps below show what an "
        "ill-trained network does, not what "
        "the architecture can do. "
        for name, right in known.items()
        if right.mean() < (1 + guess) / 2
    )
)

# %% tags=["hide-input"]
positions = [list(chosen).index(i) for i in shown]
heat_rows = []
for position, image in zip(positions, images, strict=True):
    heats = [
        maps[net.name][position].unflatten(1, net.grid).cpu().numpy()
        for net in (resnet, vit)
    ]
    classes = (
        targets[position],
        *(wrong[net.name][position] for net in (resnet, vit)),
    )
    names = [shorten(task.classnames[k], 18, placeholder=" …") for k in classes]
    title = f"{names[0]}\n(wrong: {names[1]},\n{names[2]})"
    heat_rows.append(
        HeatRow(
            picture_seen(image, encoder.preprocess), [*heats[0], *heats[1]], title
        )
    )

kinds = ["true", "wrong", "true − mean"]
figure = heat_map_table(
    heat_rows,
    columns=[f"{net.name}\n{kind}" for net in (resnet, vit) for kind in kinds],
    scales=[
        f"{net.name}{kind}"
        for net in (resnet, vit)
        for kind in ("", "", " less mean")
    ],
)
show(
    figure,
    alt=(
        f"Heat-maps of {len(images)} images for {resnet.name} ({resnet.grid[0]} by "
        f"{resnet.grid[1]} tokens) and "
        f"{vit.name} ({vit.grid[0]} by {vit.grid[1]}). Over {len(targets)} images the "
        "maps of the true and of a wrong class "
        f"have a mean correlation of {alike[resnet.name]:.2f} and "
        f"{alike[vit.name]:.2f}."
    ),
    caption="Cosine of each token with a class's text, dark to bright; under each map "
    "the two ends of its scale. In a row, "
    "the maps of the true and the wrong class of one backbone share a scale.",
)
prose(
    "How much of a map's shape belongs to its class? If nothing did, the maps of the "
    "true and of the wrong class would "
    f"correlate with 1. Over {len(targets)} images they correlate with "
    f"{alike[resnet.name]:.2f} ({resnet.name}) and "
    f"{alike[vit.name]:.2f} ({vit.name}) on average. "
    + "".join(
        f"What the two maps of {name} share says *something is here*, and not *what*. "
        if value > 0.3
        else f"The two maps of {name} are nearly opposites: one is hot where the other "
        "is cold. "
        if value < -0.3
        else f"The two maps of {name} hardly share anything. "
        for name, value in alike.items()
    )
    + "Taking away the mean over classes removes what all classes share. It cannot "
    "change which class a token likes best, "
    "because the same number is taken from every class."
)

# %% [markdown]
# That heat-maps of CLIP share a large part that no class owns has been reported for OpenAI's weights too, together
# with surgery on the last layers as a remedy {cite:p}`li2023clipsurgery`. CALIP changes no layer: it takes the tokens as they are.
#
# ## Does the map point at the object?
#
# Pretty maps convince too easily. The **pointing game** {cite:p}`zhang2018excitation` asks for a number instead: is
# the hottest point of the map on the object? That needs to be known where the object is. The miniature world knows,
# since it drew them. So this section uses its scenes whatever the chapter's dataset is, with the shapes as classes.
#
# A token points at the centre of its cell, and a miss of up to a sixteenth of the picture's side is forgiven. Two
# guessers who never look set the scale:
#
# - **any cell**: a cell drawn at random;
# - **best fixed cell**: always the one cell that is most often right. It is chosen with hindsight on these very scenes,
#   so it cannot be worse than the first.

# %%
from PIL import Image

from calip_core.world import (
    SHAPES,
    object_masks,
    render_scenes,
    sample_scenes,
)
from calip_core.datasets.task import Split
from calip_core.analysis.localization import (
    mean_on_and_off,
    pointing_hits,
    points_on_object,
    token_cover,
)

# Far from the seeds of training
scenes = sample_scenes(samples, 1_000_000_000 + seed, pairs="seen")
drawn = render_scenes(scenes)
masks = object_masks(scenes)
tolerance = masks.shape[1] // 16  # pixels
shape_prompts = load_task("mini-shapes").templates
world_split = Split(lambda i: Image.fromarray(drawn[i]), scenes.shape)
world_tokens, world_text, world_affinity, world_maps = {}, {}, {}, {}
for net in (resnet, vit):
    name = net.name
    world_text[name] = zero_shot_classifier(net, SHAPES, shape_prompts)
    world_tokens[name], _ = encode_split(net, world_split, progress=False)
    world_affinity[name] = world_tokens[name].spatial @ world_text[name].T
    logits = world_tokens[name].pooled @ world_text[name].T
    logits[np.arange(samples), scenes.shape] = -torch.inf
    world_maps[name] = three_maps(
        world_affinity[name], scenes.shape, logits.argmax(dim=1).cpu().numpy()
    )


# %%
def with_interval(label, hits):
    """A share of hits, drawn with its 95 % Wilson interval."""
    return Estimate(
        label, float(np.mean(hits)), wilson_interval(int(np.sum(hits)), len(hits))
    )


hits, pointing = {}, {}
for net in (resnet, vit):
    on_object = points_on_object(masks, net.grid, tolerance)
    hits[net.name] = {
        kind: pointing_hits(world_maps[net.name][:, i], on_object)
        for i, kind in enumerate(kinds)
    }
    fixed = on_object[:, on_object.mean(axis=0).argmax()]
    pointing[net.name] = [
        *(with_interval(f"map: {kind}", hit) for kind, hit in hits[net.name].items()),
        Estimate("best fixed cell", float(fixed.mean())),
        Estimate("any cell", float(on_object.mean())),
    ]
    hits[net.name]["fixed"] = fixed

# %% tags=["hide-input"]
figure = estimates_chart(pointing, axis="hottest cell on the object (%)")
pointing_scores = {
    name: {e.label: 100 * e.share for e in estimates}
    for name, estimates in pointing.items()
}
summary = "; ".join(
    f"{name}: true class {s['map: true']:.0f} %, wrong class {s['map: wrong']:.0f} %, "
    "true less mean "
    f"{s['map: true − mean']:.0f} %, best fixed cell {s['best fixed cell']:.0f} %, "
    f"any cell {s['any cell']:.0f} %"
    for name, s in pointing_scores.items()
)
show(
    figure,
    alt=f"Shares of {samples} scenes in which the hottest cell lies on the main "
    f"object. {summary}.",
    caption=f"The pointing game on {samples} scenes, with 95 % Wilson intervals. Grey "
    "diamonds: guessers who never look.",
)


def verdict(name):
    """What the pointing game says of one backbone, in words that depend on its numbers."""
    played, chance = hits[name], pointing_scores[name]["any cell"]
    words = []
    for kind in ("true", "true − mean"):
        interval, paired = (
            wilson_interval(int(played[kind].sum()), samples),
            mcnemar(played[kind], played["fixed"]),
        )
        level = (
            "worse than"
            if 100 * interval.high < chance
            else "better than"
            if 100 * interval.low > chance
            else "no better than"
        )
        if paired.p_value > 0.05:
            rival = "cannot be told from"
        else:
            rival = "beats" if paired.only_a > paired.only_b else "loses to"
        words.append(
            f"the map *{kind}* is {level} a random cell and {rival} the best fixed "
            f"cell (paired p = {paired.p_value:.2g})"
        )
    return f"**{name}**: " + "; ".join(words) + "."


prose(verdict(resnet.name) + " " + verdict(vit.name))

# %% [markdown]
# A map can do *worse* than chance: it then systematically points at the background. That is no slip of the code. CLIP
# Surgery {cite:p}`li2023clipsurgery` calls it *opposite visualisation* and finds it in OpenAI's models. Nothing in training
# forbids it, since only the pooled answer was ever judged.
#
# Two of these scenes, one hit and one miss of the true class's map (of the backbone this chapter was given). The white
# line is the outline of the object, the cross is what the game looks at.

# %% tags=["hide-input"]
own_hits = hits[encoder.name]["true"]
picked = [
    int(np.flatnonzero(own_hits == outcome)[0])
    for outcome in (True, False)
    if (own_hits == outcome).any()
]
game_rows = [
    HeatRow(
        drawn[i] / 255,
        [
            world_maps[net.name][i, j].unflatten(0, net.grid).cpu().numpy()
            for net in (resnet, vit)
            for j in (0, 2)
        ],
        f"{SHAPES[scenes.shape[i]]}\n({'hit' if own_hits[i] else 'miss'})",
        outline=masks[i],
    )
    for i in picked
]
figure = heat_map_table(
    game_rows,
    columns=[
        f"{net.name}\n{kind}"
        for net in (resnet, vit)
        for kind in ("true", "true − mean")
    ],
    scales=[
        f"{net.name}{kind}" for net in (resnet, vit) for kind in ("", " less mean")
    ],
)
show(
    figure,
    alt=f"{len(picked)} scenes with the outline of their object over heat-maps of the "
    "true class. "
    + " ".join(
        f"The {SHAPES[scenes.shape[i]]} is {'hit' if own_hits[i] else 'missed'} by "
        f"{encoder.name}."
        for i in picked
    ),
    caption=f"The pointing game as played by {encoder.name}'s map of the true class, "
    "and the other maps of the same scenes.",
)

# %% [markdown]
# The hottest cell is one point. The whole map can be asked too: how much larger is the mean cosine *on* the object than
# *off* it, in the same image? Every cell counts by the share of its area that the object covers.

# %% tags=["hide-input"]
contrast_rows = []
for net in (resnet, vit):
    cover = token_cover(masks, net.grid)
    for i, kind in enumerate(kinds):
        on, off = mean_on_and_off(world_maps[net.name][:, i], cover)
        gap = bootstrap_interval(on - off, seed=seed)
        cells = [
            net.name,
            kind,
            f"{on.mean():.3f}",
            f"{off.mean():.3f}",
            f"{(on - off).mean():+.3f}",
        ]
        contrast_rows.append(
            [
                *cells,
                f"{gap.low:+.3f} to {gap.high:+.3f}",
                f"{100 * (on > off).mean():.0f} %",
            ]
        )
table(
    contrast_rows,
    headers=[
        "backbone",
        "map",
        "on",
        "off",
        "on − off",
        "95 % interval",
        "images with on > off",
    ],
    caption="Mean cosine on and off the main object; intervals from a bootstrap over "
    "images.",
)

# %% [markdown]
# ## How different are the tokens of one image?
#
# A user of OpenAI's RN50x4 drew the weights $a_{ij}$ of its attention pool and found that nearly all tokens attend to
# the same place ([openai/CLIP #237](https://github.com/openai/CLIP/issues/237), open to this day). The value of
# {eq}`eq-attention-pool` depends on $i$ only through the query. If all queries look at the same places, all answers
# $z_i$ are alike, and the grid carries little more than the pooled vector does.
#
# Here is what this chapter's ResNet does, averaged over heads and images. Row $i$ says where token $i$ looks; token 0 is
# the mean. Rows that resemble one another mean queries that do not matter.

# %%
probe = pixels_for(resnet, [test[i][0] for i in chosen[:100]]).to(
    next(resnet.model.parameters()).device
)
pool_weights = resnet_by_hand(probe)[2]  # n, heads, M + 1, M + 1
looks = pool_weights.mean(dim=(0, 1)).cpu().numpy()
# What two queries share, head by head: heads with equal averages need not be equal
overlap = torch.minimum(pool_weights[:, :, :1], pool_weights[:, :, 1:])
overlap = overlap.sum(dim=-1).mean().item()

# %% tags=["hide-input"]
received = looks.mean(axis=0)
favourite = int(received.argmax())
favourite_name = (
    "token 0, the mean of all places" if favourite == 0 else f"token {favourite}"
)
figure = token_matrices(
    {f"{resnet.name}: attention pool": looks},
    unit="weight $a_{ij}$",
    x_label="attended token $j$ (0: the mean)",
    y_label="asking token $i$",
)
show(
    figure,
    alt=(
        f"Matrix of attention weights with {len(looks)} rows and columns. A spatial "
        f"query shares {100 * overlap:.0f} % "
        f"of its attention with the pooled query; {favourite_name} receives most, "
        f"{100 * received[favourite]:.0f} %."
    ),
    caption=f"Mean attention weights of {resnet.name}'s pool over {len(probe)} images "
    "and all heads.",
)
prose(
    f"Where do the questions go? A spatial query spends **{100 * overlap:.0f} %** of "
    "its attention exactly as the pooled query does, on average over heads; at 100 % "
    "all tokens would be the pooled vector. "
    f"Most of all is received by {favourite_name}: {100 * received[favourite]:.1f} %, "
    "where an even spread would give "
    f"{100 / len(looks):.1f} %."
)

# %% [markdown]
# The outputs can be compared directly. Left and right below are the mean cosines between the tokens at two places of
# one image. The table then splits the variance of all tokens into three parts that add up to 100 %:
#
# - **place**: what a cell always says, whatever the image;
# - **image**: what all cells of an image say, wherever they are. This part survives a mean over places;
# - **rest**: what one place says in one image only. A mean over places loses it. It is all that a heat-map can be made
#   of once its fixed pattern is set aside. (The network's own pool is no mean, so it may keep some of this.)

# %%
from calip_core.analysis.token_geometry import (
    mean_cosine_across_images,
    mean_token_cosines,
    off_diagonal_mean,
    variance_shares,
)

cosines = {
    net.name: mean_token_cosines(features[net.name].spatial) for net in (resnet, vit)
}
within = {name: off_diagonal_mean(matrix) for name, matrix in cosines.items()}
across = {
    net.name: mean_cosine_across_images(features[net.name].spatial)
    for net in (resnet, vit)
}
shares = {
    net.name: variance_shares(features[net.name].spatial) for net in (resnet, vit)
}
# %% tags=["hide-input"]
figure = token_matrices(
    {name: matrix.cpu().numpy() for name, matrix in cosines.items()},
    unit="mean cosine", x_label="token", y_label="token",
)  # fmt: skip
show(
    figure,
    alt=(
        "Matrices of cosines between the tokens of one image, averaged over images. "
        "Mean off the diagonal: "
        + "; ".join(f"{name} {value:.2f}" for name, value in within.items())
        + "."
    ),
    caption="Mean cosine between the tokens at two places of one image, over "
    f"{len(targets)} images of {task.title}.",
)
table(
    [
        [
            name,
            f"{within[name]:.2f}",
            f"{across[name]:.2f}",
            *(f"{100 * part:.0f} %" for part in (s.place, s.image, s.rest)),
        ]
        for name, s in shares.items()
    ],
    headers=[
        "backbone",
        "cosine, same image",
        "cosine, same place, other image",
        "place",
        "image",
        "rest",
    ],
    caption="How alike tokens are, and where their variance lies.",
)
prose(
    f"The part that a mean over places loses, *rest*, is **{100 * shares[resnet.name].rest:.0f} "
    "%** of the variance of "
    f"{resnet.name}'s tokens and **{100 * shares[vit.name].rest:.0f} %** of "
    f"{vit.name}'s."
)

# %% [markdown]
# Transformers have an oddity of their own. In large ones a few patch tokens, often on empty background, grow to many
# times the length of the others and store something about the whole image {cite:p}`darcet2024registers`. A heat-map
# shows them as hot spots where nothing is. Whether this chapter's transformer does it can be read off the lengths of
# its patch tokens before the last layer norm.

# %%
probe = pixels_for(vit, [test[i][0] for i in chosen[:100]]).to(
    next(vit.model.parameters()).device
)
lengths = vit_by_hand(probe)[2][:, 1:].norm(dim=-1).cpu().numpy()  # n, M
relative = lengths / np.median(lengths, axis=1, keepdims=True)
outliers = float((relative > 3).mean())
# %% tags=["hide-input"]
figure, ax = plt.subplots(figsize=(6, 2.8))
ax.hist(relative.ravel(), bins=60)
ax.set(
    xlabel="length, relative to the median token of its image",
    ylabel="patch tokens",
    yscale="log",
)
show(
    figure,
    alt=(
        "Histogram of token lengths relative to each image's median: "
        f"{100 * outliers:.2f} % of the tokens are more "
        f"than three times as long; the longest has {relative.max():.1f} times the "
        "median length."
    ),
    caption=f"Lengths of {vit.name}'s patch tokens before the last layer norm, over "
    f"{len(probe)} images.",
)
prose(
    f"**{100 * outliers:.2f} %** of {vit.name}'s patch tokens are more than three "
    "times as long as their image's median "
    f"token; the longest has {relative.max():.1f} times that length. "
    + (
        "So there are no such outliers here: they are reported for large models, and "
        "this one is not large."
        if outliers < 0.001
        else "So there are outliers here too. Their heat deserves suspicion."
    )
)

# %% [markdown]
# ## Classifying with tokens alone
#
# If tokens know the class, they must be able to name it without the pooled vector. Three ways to make one row of
# logits from the affinity matrix $A$ of {eq}`eq-affinity-map`, none with a parameter:
#
# - **mean**: the mean over tokens of each column, which is the logit of the mean token;
# - **max**: each class takes its own best token, as CALIP's max-pooling will;
# - **best token**: the one token that is surest of itself (largest gap between its first and second class) decides alone.


# %%
def token_logits(affinity):
    top2 = affinity.topk(2, dim=2).values
    surest = (top2[..., 0] - top2[..., 1]).argmax(dim=1)
    return {
        "mean": affinity.mean(dim=1),
        "max": affinity.amax(dim=1),
        "best token": affinity[torch.arange(len(affinity)), surest],
    }


# %% tags=["hide-input"]
accuracy_rows, accuracies, comparisons = [], {}, {resnet.name: [], vit.name: []}
for net in (resnet, vit):
    pooled_logits = features[net.name].pooled @ texts[net.name].T
    pooled_hits = correct_predictions(pooled_logits, targets)
    alternatives = {"pooled": pooled_logits, **token_logits(affinity[net.name])}
    for rule, logits in alternatives.items():
        right = correct_predictions(logits, targets)
        accuracies[net.name, rule] = float(right.mean())
        interval, gain = (
            wilson_interval(int(right.sum()), len(right)),
            right.astype(int) - pooled_hits,
        )
        paired = mcnemar(right, pooled_hits)
        if rule != "pooled":
            comparisons[net.name].append(
                (rule, paired.only_a > paired.only_b, paired.p_value)
            )
        against = "" if rule == "pooled" else f"{100 * gain.mean():+.1f}"
        counts = "" if rule == "pooled" else f"{paired.only_a} : {paired.only_b}"
        p_value = "" if rule == "pooled" else f"{paired.p_value:.2g}"
        ends = f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"
        accuracy_rows.append(
            [
                net.name,
                rule,
                f"{100 * right.mean():.1f}",
                ends,
                against,
                counts,
                p_value,
            ]
        )
table(
    accuracy_rows,
    headers=[
        "backbone",
        "rule",
        "accuracy (%)",
        "95 % interval",
        "points against pooled",
        "only it : only pooled",
        "McNemar p",
    ],
    caption=f"Zero-shot accuracy on {len(targets)} images of {task.title}, by pooled "
    "vector and by spatial tokens alone.",
)

# %% [markdown]
# No rule has to win. The pooled vector was trained for this very question; the tokens were not. A paired test
# {cite:p}`mcnemar1947` compares two rules on the same images: it looks only at the images where exactly one is right. The
# last column says how often a split this uneven would occur by chance if the two rules were equally good.

# %% tags=["hide-input"]
sentences = []
for net in (resnet, vit):
    better = [rule for rule, won, p in comparisons[net.name] if p < 0.05 and won]
    worse = [rule for rule, won, p in comparisons[net.name] if p < 0.05 and not won]
    even = [rule for rule, _, p in comparisons[net.name] if p >= 0.05]
    groups = {
        "better than it": better,
        "worse": worse,
        "not to be told from it": even,
    }
    parts = [
        f"{what}: {', '.join(f'*{rule}*' for rule in rules)}"
        for what, rules in groups.items()
        if rules
    ]
    sentences.append(
        f"**{net.name}** (pooled vector: {100 * accuracies[net.name, 'pooled']:.1f} "
        "%), " + "; ".join(parts) + "."
    )
prose(" ".join(sentences))

# %% [markdown]
# ## What the pooled vector has lost: the small things
#
# Captions in the miniature world speak of the main object. Its scenes also hold up to three **distractors**, small objects
# that no caption ever mentioned. A good pooled vector should ignore them. Do the tokens see them?
#
# To ask fairly, take the first distractor of a scene and a **foil**: a class that is nowhere in the scene, drawn as often
# as it occurs among first distractors. Then whoever knows nothing of the distractor prefers it to the foil in about half
# of the scenes, whatever their taste for classes. The question is asked of shapes and of colours. No caption names a colour without a shape, so the text vector of a
# colour is the mean over all shapes.

# %%
from calip_core.world import COLOURS
from calip_core.analysis.localization import disc_masks

small = scenes.distractors[:, 0]
discs = disc_masks(small.x, small.y, small.radius, masks.shape[1])
free = discs & ~masks  # the main object is drawn over its distractors
in_view = (scenes.n_distractors > 0) & (
    free.sum(axis=(1, 2)) > 0.8 * discs.sum(axis=(1, 2))
)
everyone = np.arange(samples)


def target_and_foil(attribute, classes):
    """Class of the first distractor, a class that is nowhere in the scene, and the scenes where both make sense."""
    main, others = (
        getattr(scenes.main, attribute),
        getattr(scenes.distractors, attribute),
    )
    # The class with the largest log frequency plus Gumbel noise is a draw by frequency
    common = np.bincount(others[in_view, 0], minlength=len(classes)) + 1
    absent = np.log(common) + np.random.default_rng(seed).gumbel(
        size=(samples, len(classes))
    )
    absent[everyone, main] = -np.inf
    for slot in range(others.shape[1]):
        drawn_here = scenes.n_distractors > slot
        absent[everyone[drawn_here], others[drawn_here, slot]] = -np.inf
    return others[:, 0], absent.argmax(axis=1), in_view & (others[:, 0] != main)


def views(net, text):
    """Scores of every class, by what is asked: the pooled vector, all tokens, the distractor's own token."""
    tokens = world_tokens[net.name]
    affinity = tokens.spatial @ text.T
    own = token_cover(free, net.grid).argmax(axis=1)
    return {
        "pooled vector": tokens.pooled @ text.T,
        "best of all tokens": affinity.amax(dim=1),
        "the distractor's token": affinity[everyone, own],
    }


# A colour: the mean over all shapes
colour_prompts = tuple(f"a picture of a {{}} {shape}." for shape in SHAPES)
QUESTIONS = {"shape": (SHAPES, shape_prompts), "colour": (COLOURS, colour_prompts)}
preferences = {}
for net in (resnet, vit):
    for attribute, (classes, templates) in QUESTIONS.items():
        target, foil, valid = target_and_foil(attribute, classes)
        for view, scores in views(
            net, zero_shot_classifier(net, classes, templates)
        ).items():
            prefers = (
                (scores[everyone, target] > scores[everyone, foil])
                .cpu()
                .numpy()[valid]
            )
            preferences.setdefault(net.name, []).append(
                with_interval(f"{attribute}: {view}", prefers)
            )
# %% tags=["hide-input"]
figure = estimates_chart(
    {
        name: [*estimates, Estimate("knows nothing", 0.5)]
        for name, estimates in preferences.items()
    },
    axis="distractor preferred to foil (%)",
)
summary = "; ".join(
    f"{name}: " + ", ".join(f"{e.label} {100 * e.share:.0f} %" for e in estimates)
    for name, estimates in preferences.items()
)
show(
    figure,
    alt="How often a distractor's class is preferred to that of an absent foil; "
    f"ignorance is 50 %. {summary}.",
    caption="Shares of scenes in which the distractor's class scores above a foil's, "
    "with 95 % Wilson intervals.",
)


def beyond_luck(estimates):
    """Labels of the views whose whole interval lies above one half."""
    found = [
        f"{e.label} ({100 * e.share:.0f} %)"
        for e in estimates
        if e.interval.low > 0.5
    ]
    return ", ".join(found) or "none"


prose(
    "Views that know of the distractor, in that their whole interval lies above 50 %: "
    + "; ".join(
        f"**{name}**: {beyond_luck(estimates)}"
        for name, estimates in preferences.items()
    )
    + "."
)

# %% [markdown]
# A sharper question: does any token *name* the distractor outright, so that its class is that token's first choice
# among all? The foil tells how often that happens by luck.

# %%
target, foil, valid = target_and_foil("shape", SHAPES)

# %% tags=["hide-input"]
naming_rows, named_beyond_foil = [], []
for net in (resnet, vit):
    first_choices = world_affinity[net.name].argmax(dim=2).cpu().numpy()  # n, M
    pooled_choice = (
        (world_tokens[net.name].pooled @ world_text[net.name].T)
        .argmax(dim=1)
        .cpu()
        .numpy()
    )
    for what, choices in (
        ("pooled vector", pooled_choice[:, None]),
        ("any token", first_choices),
    ):
        named = [
            (choices == classes[:, None]).any(axis=1)[valid]
            for classes in (scenes.shape, target, foil)
        ]
        paired = mcnemar(named[1], named[2])
        if paired.p_value < 0.05 and paired.only_a > paired.only_b:
            named_beyond_foil.append(f"{what} of {net.name}")
        shares_named = [f"{100 * hit.mean():.1f} %" for hit in named]
        naming_rows.append([net.name, what, *shares_named, f"{paired.p_value:.2g}"])
table(
    naming_rows,
    headers=[
        "backbone",
        "who names it",
        "main object",
        "distractor",
        "foil",
        "distractor against foil: p",
    ],
    caption="How often a shape is the first choice of the pooled vector or of at "
    f"least one token ({valid.sum()} scenes).",
)

# %% [markdown]
# ## What this leads to

# %% tags=["hide-input"]
seeing = {
    name: beyond_luck(estimates[1:3] + estimates[4:6])
    for name, estimates in preferences.items()
}
blind = [name for name, found in seeing.items() if found == "none"]
sharp = [name for name in seeing if name not in blind]
prose(
    "- Both families compute a vector for every place, in the same space as the text, "
    "and CLIP throws them away.\n"
    "- How much those vectors differ within an image depends on the network: *rest* is "
    + " and ".join(
        f"{100 * part.rest:.0f} % ({name})" for name, part in shares.items()
    )
    + " here. Look that number up before you hope for a gain.\n"
    "- A raw heat-map mixes *something is here* with *what it is*, and whether it "
    "points at the object has to be measured: the hottest cell of the true class's map "
    "is on it in "
    + " and ".join(
        f"{s['map: true']:.0f} % ({name})" for name, s in pointing_scores.items()
    )
    + " of the scenes, the best fixed cell in "
    + " and ".join(f"{s['best fixed cell']:.0f} %" for s in pointing_scores.values())
    + ".\n- The small things: "
    + (
        f"**the tokens of {' and '.join(blind)} do not see the distractors** beyond "
        "luck, neither their shape nor their colour, as far as these scenes can tell"
        if blind
        else ""
    )
    + ("; " if blind and sharp else "")
    + "; ".join(f"the tokens of {name} do: {seeing[name]}" for name in sharp)
    + ". "
    + (
        "The grid is no guarantee that small things are kept."
        if blind
        else "Here the grid keeps something of them."
    )
    + (
        f" Named outright, more often than a foil: by {', '.join(named_beyond_foil)}."
        if named_beyond_foil
        else ""
    )
    + "\n- As classifiers on their own the tokens have to be measured, not trusted: "
    "nobody trained them for it."
)

# %% [markdown]
# So the sensible use is not to replace $F_v$ but to *add* to it, and to let each class decide which tokens it looks at.
# A softmax over the column of $A$ that belongs to a class does just that, without a single parameter. This is one half
# of CALIP's attention {cite:p}`guo2023calip`, and [chapter 3](03_calip_attention) derives both.
#
# ## Exercises
#
# ### Exercise 1: let a class choose its tokens
#
# Write `pool_by_text(spatial, class_text, temperature)`. It takes one image's tokens (M × C) and one class's text vector
# (C), both of unit length. It weights the tokens by a softmax over the M cosines divided by `temperature`, and returns
# the weighted mean (C). Do not make the result unit length.


# %% tags=["exercise"]
def pool_by_text(spatial, class_text, temperature): ...


# %% tags=["exercise-check"]
two_tokens, first_axis = torch.eye(2), torch.tensor([1.0, 0.0])
e = float(np.e)
text_pool_cases = [
    ((two_tokens, first_axis, 1.0), torch.tensor([e / (e + 1), 1 / (e + 1)])),
    ((two_tokens, first_axis, 1e9), torch.tensor([0.5, 0.5])),
    ((two_tokens, first_axis, 0.01), torch.tensor([1.0, 0.0])),
]
grade(pool_by_text, text_pool_cases)


# %% tags=["solution", "hide-input"]
def pool_by_text(spatial, class_text, temperature):
    weights = (spatial @ class_text / temperature).softmax(dim=0)
    return weights @ spatial


assert grade(pool_by_text, text_pool_cases) == "correct"
sharpness = {}
for temperature in (2.0, 0.5, 0.05):
    weights = (map_of(affinity[encoder.name], targets) / temperature).softmax(dim=1)
    sharpness[temperature] = float(weights.amax(dim=1).mean() * weights.shape[1])
prose(
    "How much more than an even share does the true class's favourite token get? "
    + "; ".join(
        f"at temperature {t:g} **{ratio:.2f} times**"
        for t, ratio in sharpness.items()
    )
    + ". A ratio near 1 means that the softmax chooses next to nothing, because the "
    "cosines of one image's tokens lie close together. "
    "Chapter 3 comes back to this."
)

# %% [markdown]
# ### Exercise 2: between the mean and the maximum
#
# The mean listens to all tokens, the maximum to one. Write `top_mean(affinity, t)`: for affinities of shape N × M × K it
# returns N × K, the mean of each class's $t$ largest tokens. Then look at the accuracy for every $t$.


# %% tags=["exercise"]
def top_mean(affinity, t): ...


# %% tags=["exercise-check"]
ramp = torch.tensor([[[0.0, 3.0], [1.0, 2.0], [5.0, -2.0]]])
top_mean_cases = [
    ((ramp, 1), torch.tensor([[5.0, 3.0]])),
    ((ramp, 2), torch.tensor([[3.0, 2.5]])),
    ((ramp, 3), torch.tensor([[2.0, 1.0]])),
]
grade(top_mean, top_mean_cases)


# %% tags=["solution", "hide-input"]
def top_mean(affinity, t):
    return affinity.topk(t, dim=1).values.mean(dim=1)


assert grade(top_mean, top_mean_cases) == "correct"
figure, ax = plt.subplots(figsize=(6, 3))
for net, line in ((resnet, "o-"), (vit, "s--")):
    counts = range(1, affinity[net.name].shape[1] + 1)
    curve = [
        100 * correct_predictions(top_mean(affinity[net.name], t), targets).mean()
        for t in counts
    ]
    ax.plot(
        np.asarray(counts) / len(counts), curve, line, markersize=4, label=net.name
    )
    accuracies[net.name, "curve"] = f"{min(curve):.1f} to {max(curve):.1f} %"
ax.set(xlabel="share of the tokens that each class listens to", ylabel="accuracy (%)")
ax.legend()
show(
    figure,
    alt="Accuracy against the share of tokens averaged: "
    + "; ".join(
        f"{net.name} from {accuracies[net.name, 'curve']}" for net in (resnet, vit)
    )
    + ".",
    caption="From the maximum (left end) to the mean of all tokens (right end). These "
    "curves look at test labels: they show, "
    "they do not choose.",
)

# %% [markdown]
# ## Further reading
#
# - {cite:t}`zhou2022maskclip` take dense predictions from CLIP with another cut: they drop queries and keys of the last
#   attention layer and use its values alone.
# - {cite:t}`li2023clipsurgery` explain why CLIP's similarity maps are noisy and often point at the background.
# - {cite:t}`darcet2024registers` find the long tokens of large transformers, and a cure.
# - {cite:t}`zhang2018excitation` introduce the pointing game.
