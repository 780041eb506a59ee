# %% [markdown]
# # 4 When is free attention worth it?
#
# **Question.** When does CALIP's free attention help CLIP, and why does it so often not?
#
# **Time**: two minutes; large backbones need a GPU. **You need**: chapters [2](02_spatial_tokens) and
# [3](03_calip_attention).

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
backbone: str = "mini-rn"  # mini-rn, mini-vit, an OpenAI name like RN50, or a path
dataset: str = "mini-pairs"  # a name from available_tasks(), or folder:PATH
tokens: str = "value"  # spatial tokens: joint, value or pre_pool
alpha: float = 0.5  # both temperatures of the attention; the released code has 0.5
seed: int = 0  # draws images, and the synthetic tokens
samples: int = 2000  # at most so many test images per task, 100 or more

# %% tags=["imports", "hide-input"]
import torch

from calip_core import CalipConfig, load_backbone, load_task
from calip_core import exhibits, metrics
from calip_core.analysis import pool, synthetic, training_gains, window
from calip_core.exhibits import window as show
from calip_core.methods import make_method
from calip_core.teaching import AtLeast, BackboneName, Choice, Positive, Seed
from calip_core.teaching import TaskName, check_parameters, grade

check_parameters(
    globals(),
    backbone=BackboneName,
    dataset=TaskName,
    tokens=Choice("joint", "value", "pre_pool"),
    alpha=Positive,
    seed=Seed,
    samples=AtLeast(100),
)
exhibits.style()

# %%
kinds = list(dict.fromkeys(["joint", "value", tokens]))
models = {kind: load_backbone(backbone, tokens=kind) for kind in kinds}
names = [dataset, "mini-shapes", "mini-pairs", "mini-textures", "digits"]
tasks = [load_task(name) for name in dict.fromkeys(names)]
config = CalipConfig(alpha_t=alpha, alpha_s=alpha)
sweep = window.pool_sweep(tasks, models, config=config, limit=samples, seed=seed)
show.pool_curves(sweep, tokens)

# %% [markdown]
# **In short.** CLIP's pool is already an attention. A second, free one pays in a window: where the tokens differ from the
# pooled vector, where the pool is imperfect but not broken, and where the temperature matches the spread of the
# affinities. A well-trained pool that is left as it is stands at the edge of that window.
#
# At small $\lambda$ there is little to repair. Near $\lambda = 1$ the pool no longer knows what to look for, and CLIP is
# close to guessing. This chapter takes the three conditions one by one, derives them in a small model, and looks for the
# same window in a network that nobody spoiled. There we find none.
#
# ## Condition 1: tokens that differ
#
# [Chapter 2](02_spatial_tokens) found two kinds of spatial tokens. *Joint* tokens, CALIP's own, are the pool's output for
# every query. In the miniature ResNet they are nearly copies of the pooled vector. *Value* tokens are what each place
# would contribute if the pool looked at that place alone.

# %%
show.tokens_table(sweep)

# %% [markdown]
# For copies the affinities of a class hardly vary over the image. Then a softmax over places is uniform, the attended text
# is the same vector for all classes, and the text-attended term alone knows nothing. With the value tokens of `mini-rn`
# it is far above chance.
#
# ## Condition 2: an imperfect pool
#
# We make the pool worse by mixing it with the mean value token, which is what a pool without any preference would return:
#
# $$ F_v \leftarrow \operatorname{unit}\bigl((1 - \lambda)\, F_v + \lambda\, \operatorname{mean}_m z_m\bigr). $$ (eq-spoiled-pool)
#
# Here is one point of the first figure by hand. The blend weights are chosen on validation images with the same spoiled
# pool, from a grid that contains (0, 0), which is CLIP. Then the two classifiers meet on the same test images.

# %%
amount = 0.5  # lambda: the knob, one of those of the figure
task = tasks[0]
sample = window.encode_sample(task, models[tokens], limit=samples, seed=seed)
values = window.encode_sample(task, models["value"], limit=samples, seed=seed)
val = pool.spoil_pool(sample.val, values.val.spatial, amount)
test = pool.spoil_pool(sample.test, values.test.spatial, amount)

head = make_method("calip", beta2=None, beta3=None, config=config)
head.grid = window.wide_grid()
head.fit(None, None, sample.text, (val, sample.val_labels))
calip = metrics.correct_predictions(head.logits(test), sample.test_labels)
clip = metrics.correct_predictions(test.pooled @ sample.text.T, sample.test_labels)
paired = metrics.mcnemar(calip, clip)

row = sweep.query("task == @task.name and tokens == @tokens and amount == @amount")
row = row[row["protocol"] == "validation"].iloc[0]
assert (paired.only_a, paired.only_b) == (row.only_calip, row.only_clip)

# %% [markdown]
# All tasks and both kinds of tokens at the same $\lambda$ (turn the knob `amount` and run both cells again):

# %%
show.pool_table(sweep, amount)

# %% [markdown]
# $\lambda$ is an intervention and not a network: nothing was trained to pool like this. Joint tokens also recover accuracy,
# on textures even more than value tokens do. That is no window but a leak. They are copies of the *good* pooled vector,
# and with a large enough $\beta_3$ CALIP puts it back in through the visual term. Value tokens have no such way in: their
# gain must come from the places.
#
# :::{live} window
# Spoil the pool yourself: move λ and see on which tasks CALIP gains, with either kind of tokens.
# :::
#
# ## A model on one page
#
# Take an image of class $y$ whose $M$ tokens share a background direction $b$. A share $\rho$ of them shows the object
# ($x_m = 1$) and adds the class vector:
#
# $$
# \begin{aligned}
# z_m &= b + x_m\, a\, t_y + \text{noise}, & t_k^\top t_y &= \kappa \quad (k \ne y), \\
# F_v &\propto \operatorname{mean}_m z_m \approx b + \rho\, a\, t_y.
# \end{aligned}
# $$ (eq-token-model)
#
# **CLIP.** The right class leads another one by $\rho\, a (1 - \kappa) + b^\top (t_y - t_k)$. The second part is the
# background's say. It has nothing to do with the object. For small $\rho$ it wins, and the pool is broken. For large $\rho$
# it hardly ever does, and the pool is perfect.
#
# **The text-attended term.** The affinity of a token with class $k$ is $b^\top t_k + x_m\, a\, t_y^\top t_k$. The
# background is the same at every place, so *a softmax over places cancels it*. What remains is the object's total weight,
# a logistic curve $\sigma$ of its share and its affinity:
#
# $$ w_k = \sigma\Bigl(\ln \tfrac{\rho}{1 - \rho} + \tfrac{a\, t_y^\top t_k}{\alpha}\Bigr). $$ (eq-weight-on-object)
#
# The attended text is $b + w_k\, a\, t_y$, so the right class leads by
#
# $$ F_v^\top (F^a_{t,y} - F^a_{t,k}) = \underbrace{a}_{\text{tokens differ}}\;
#    \underbrace{F_v^\top t_y}_{\text{the pool knows the object}}\;
#    \underbrace{(w_y - w_k)}_{\text{the temperature fits}}. $$ (eq-lead)
#
# Each condition of this chapter is a factor of {eq}`eq-lead`. Copies have $a = 0$. The second factor is
# $b^\top t_y + \rho\, a$: in a broken pool the background decides its sign. The third is zero at both ends of the
# temperature. Their product, averaged over backgrounds:

# %%
model = synthetic.TokenModel(strength=1.0, common=0.5)  # a and kappa: the knobs
show.lead_curves([0.05, 0.2, 0.5, 0.9], model)

# %% [markdown]
# The lead needs $\rho$ in the middle: a small object hardly shows in the query $F_v$, and where the object fills the image
# there is nowhere else to look. And it needs $\alpha$ in the middle: the weight of a class leaves $\rho$ where its affinity
# $a\, t_y^\top t_k$ is about $\alpha$, so the best temperature is of the size of the affinities' own differences.
#
# **The visual term** needs no knowledgeable pool, because every place votes for itself by a softmax over classes. If the
# temperature lies between the scatter of the background's affinities and the object's contrast, the object votes and the
# background abstains. This works for small objects too.
#
# ## The map of the window
#
# Now measure. We draw images from the model, with noise, and treat them as any other images: CLIP, CALIP, blend weights
# from validation images, a paired test. `spread` moves every token towards the mean of its image: 1 leaves it alone, and
# 0 would make copies.

# %%
model = synthetic.TokenModel(distractors=0.0)  # the knob: see exercise 4.2
diagram = synthetic.phase_diagram(model, spreads=(0.1, 0.3, 1.0), seed=seed)
show.phase_diagram(diagram)

# %% [markdown]
# The window is an island. At the bottom there is no object to find, at the top CLIP makes no errors, and to the left and
# right the temperature does not fit. With less spread the island moves to lower temperatures and shrinks. The columns
# `beta2` and `beta3` of `diagram` hold the chosen weights. They tell two parts of the island apart: for objects of middle
# size and temperatures from 0.2 on, the text term carries the weight, as {eq}`eq-lead` says; for small objects and low
# temperatures it is the visual term, which needs none of these factors.
#
# :::{live} phase
# Move the point, or click on the map: what does CALIP gain there, and which factor of the lead is missing?
# :::
#
# ## Condition 3: a fitting temperature
#
# The model predicts that the best temperature on *real* tokens is of the size of the spread of their affinities. Sweep it
# with the spoiled pool:

# %%
swept, spreads = {}, {}
for kind in dict.fromkeys(["joint", tokens]):
    images = window.encode_sample(task, models[kind], limit=samples, seed=seed)
    swept[kind] = window.temperature_sweep(images.spoiled(values, amount))
    spreads[kind] = window.token_facts(images)["affinity_spread"]
show.temperature_curves(swept, spreads)

# %% [markdown]
# Compare the dotted lines with the released temperature, 0.5. The line of value tokens is of that size. The line of copies
# lies far to the left, and what copies gain at low temperatures is the leak again.
#
# ## The natural experiment
#
# Early in its training a network pools badly, later well. Is training time a $\lambda$ that nobody set? We saved the weights
# of `mini-vit` at checkpoints of its training and ran `evaluate()` on each: CALIP against CLIP, on the same images, with
# CALIP's own joint tokens, which in this transformer are no copies.

# %%
gains = training_gains.shipped_gains("mini-vit")
show.training_table(gains)

# %% [markdown]
# No gain is clear at any checkpoint. A small one can hide: with at most 2,000 test images and so many tests, a gain of a
# point may not count as clear, and on the 599 digits one of three points. $\lambda$ spoils only the pool and keeps good
# tokens. Early in training the tokens are poor as well, and what no place knows no attention can collect.
#
# To repeat it (an hour or more, then some minutes): `python -m calip_core.miniature.train --arch vit --snapshots snapshots`,
# then `python -m calip_core.analysis.training_gains snapshots`.
#
# ## What we found

# %%
show.conclusion(sweep, tokens, swept[tokens], spreads[tokens], gains)

# %% [markdown]
# A gain is called clear if it is positive and McNemar's p stays below 0.05 after Bonferroni's correction for the tests in
# its list.
#
# **The counterexample.** On digits, value tokens have nothing to give until CLIP is down to guessing, although the tokens
# differ. The likely reason is that no single place knows the digit, as a
# stroke may belong to a 3 or to an 8: "tokens that differ" is short for *tokens that differ
# by the class*. We have no number that says so in advance: the hottest place is poor on textures too, where the gain is
# largest.
#
# ## Open: real weights
#
# All of this was measured on miniatures. Whether value tokens make CALIP worth more with OpenAI's weights is open. We found
# no publication of CALIP with value tokens. Two recent methods gain from CLIP's local features in other ways: attention-based
# selection {cite:p}`cai2025abs`, without training, and microCLIP {cite:p}`silva2025microclip`, with unsupervised training.
# If you have a GPU and a dataset, one command measures it:
#
# ```bash
# papermill notebooks/04_when_it_pays.ipynb out.ipynb \
#     -p backbone RN50 -p dataset folder:/my/images -p tokens value
# ```
#
# ## Exercises
#
# **Exercise 4.1 (the weight on the object).** Write {eq}`eq-weight-on-object` without a logistic function: as the share of
# the softmax that falls on the object's tokens.


# %% tags=["exercise"]
def object_weight(share, advantage, alpha): ...


# %% tags=["exercise-check"]
weight_cases = [
    (case, synthetic.weight_on_object(*case))
    for case in [(0.3, 0.5, 1e6), (0.1, 0.35, 0.1), (0.5, -0.2, 0.5)]
]
grade(object_weight, weight_cases)

# %% [markdown]
# :::{admonition} Hint
# :class: dropdown
# In a softmax each background token has the weight $1$, each object token $e^{a/\alpha}$, before both are divided by the
# sum over all tokens.
# :::


# %% tags=["solution", "hide-input"]
def object_weight(share, advantage, alpha):
    on_object = share * torch.tensor(advantage / alpha, dtype=torch.float64).exp()
    return on_object / (on_object + 1 - share)


assert grade(object_weight, weight_cases) == "correct"

# %% [markdown]
# **Exercise 4.2 (predict: distractors).** Set `distractors=0.1` in the cell of the map: a tenth of each image now shows an
# object of another class. Where does the island shrink, at small $\rho$ or at large? Does it grow anywhere? Predict, then
# run.
#
# :::{admonition} Hint
# :class: dropdown
# Which of the two terms pays at small $\rho$, and whose votes does it count? Which pays at large $\rho$, and what is its
# query?
# :::
#
# :::{admonition} Solution
# :class: dropdown
# It shrinks at small $\rho$, where the visual term makes the gain: places vote for the distractor as firmly as for the
# object. It *grows* at larger $\rho$. There the distractor costs CLIP some accuracy, and the query $F_v$ leans towards the
# larger of the two, so the text term can win it back.
# :::
#
# **Exercise 4.3 (open: a test without labels).** Could you tell before any labelled image whether a network and a dataset
# stand inside the window?
#
# :::{admonition} Hint
# :class: dropdown
# Which of the three factors of {eq}`eq-lead` can be measured without labels?
# :::
#
# :::{admonition} Solution
# :class: dropdown
# The spread of the tokens and the temperature can be measured. Whether the pool is imperfect cannot, or not directly; how
# often the hottest place and the pool disagree is a candidate. To find out, one would compute such numbers for many
# networks and datasets and correlate them with the gains that [chapter 6](06_benchmarks_2d) records.
# :::
#
# ## Further reading
#
# - Value tokens come from {cite:t}`zhou2022maskclip`, who use them to segment.
# - Tango's interval {cite:p}`tango1998` and McNemar's test {cite:p}`mcnemar1947` are explained in
#   [appendix D](D_statistics).
