# %% [markdown]
# # D Statistics
#
# **Question.** One classifier is right on a few images on which another is wrong. When is that more than luck?
#
# **Time**: seconds. **You need**: what a probability and a mean are.

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
only_a: int = 9  # images that only classifier A gets right
only_b: int = 2  # images that only classifier B gets right
images: int = 1000  # all images; on the others A and B agree
comparisons: int = 24  # comparisons in the section on many of them
seed: int = 0  # of everything that is drawn

# %% tags=["imports", "hide-input"]
from math import comb, sqrt

import numpy as np
import torch

from calip_core import CalipLogits, exhibits, metrics
from calip_core.blend.selection import oracle_control
from calip_core.exhibits import statistics
from calip_core.teaching import AtLeast, Count, Seed, check_parameters, grade

check_parameters(
    globals(),
    only_a=AtLeast(0),
    only_b=AtLeast(0),
    images=Count,
    comparisons=Count,
    seed=Seed,
)
exhibits.style()

# %% tags=["hide-input"]
statistics.false_alarms()

# %% [markdown]
# **In short.** Compare classifiers on the same images, and count only the images on which they differ. The book calls a
# difference real if the exact McNemar test has $p < 0.05$. It shows Tango's interval to say how large the difference
# may be. Near the border the two can disagree, because the exact test is the stricter one.
#
# ## One accuracy: Wilson's interval
#
# An accuracy on $n$ images is an estimate. The textbook interval, plus and minus 1.96 standard errors, fails near 0 and
# 100 %: with no mistake at all it has no width. Wilson's interval {cite:p}`wilson1927` contains every true accuracy
# that a test would not reject, and keeps its coverage:

# %%
wilson, normal = {}, {}
for correct in (60, 95, 99, 100):
    share = correct / 100
    error = 1.96 * sqrt(share * (1 - share) / 100)
    normal[correct] = metrics.Interval(share - error, share + error)
    wilson[correct] = metrics.wilson_interval(correct, 100)
statistics.two_intervals(wilson, normal, 100)

# %% [markdown]
# ## Two classifiers on the same images: McNemar's exact test
#
# The intervals of two accuracies often overlap although one classifier is clearly better. Most images are easy for both
# or hard for both, and say nothing about the difference. *McNemar's test* {cite:p}`mcnemar1947` uses the $d$ images on
# which exactly one is right. If both are equally good, each of them is a coin toss, so with $b$ wins for the loser
#
# $$ p = \min\Bigl(1,\; 2 \sum_{i=0}^{b} \binom{d}{i} 2^{-d} \Bigr). $$ (eq-mcnemar)

# %%
hits_a, hits_b = statistics.outcome(only_a, only_b, images)
test = metrics.mcnemar(hits_a, hits_b)
d, b = only_a + only_b, min(only_a, only_b)
by_hand = min(1.0, 2 * sum(comb(d, i) for i in range(b + 1)) / 2**d)
assert abs(by_hand - test.p_value) < 1e-9

# %% [markdown]
# ## How large is the difference? Tango's interval
#
# A small p-value says that there is a difference, not that it matters. *Tango's interval* {cite:p}`tango1998` holds
# every difference in accuracy that a score test does not reject. It keeps a width even if the two never disagree, where a
# bootstrap has nothing to resample.

# %%
difference = metrics.paired_interval(only_a, only_b, images)
statistics.verdict(test, difference)

# %% [markdown]
# ### Why an interval may exclude 0 beside a verdict "no difference at 5 %"
#
# Counts are whole numbers, so an exact test cannot have exactly 5 % false alarms. It stays at or below 5 % for *every*
# number of differing images, and therefore far below it for most: it is *conservative*. Tango's interval does not
# promise this. Its false alarms scatter around 5 %, and with four differing images they reach 12.5 % (first figure). So
# for some counts, such as 4 : 0 and 9 : 2, the interval excludes 0 while $p > 0.05$. Then the book goes by the test: "no difference at 5 %" means that the evidence falls short of the stricter rule, not that the classifiers are equal.
# Turn the knob: which is the smallest `only_a` beside `only_b = 2` that satisfies both?
#
# ## A few seeds: the t-interval
#
# Few-shot methods vary with the draw of their support set. Repeat the whole experiment with $r$ seeds and take the mean.
# With three or five repetitions the spread itself is a rough estimate, and the t-interval accounts for that: for three
# seeds its factor is 4.3, not 1.96.

# %%
rng = np.random.default_rng(seed)
accuracies = 0.85 + 0.01 * rng.standard_normal(3)  # three seeds
mean, half = metrics.mean_interval(accuracies)
naive = 1.96 * accuracies.std(ddof=1) / sqrt(3)
assert half > 2 * naive

# %% [markdown]
# This interval is about the seeds. It says nothing about other test images: all seeds share them. And two methods
# are compared per seed, by the t-interval of their differences on the same draws.
#
# ## Many comparisons
#
# [Chapter 6](06_benchmarks_2d) makes 24 tests. If there is no difference anywhere, the
# chance that one of 24 independent tests has $p < 0.05$ is up to $1 - 0.95^{24} = 71\,\%$. The *Bonferroni correction* divides the
# level by the number of tests. Here are comparisons of classifiers that are equally good:

# %%
wins = rng.binomial(40, 0.5, size=comparisons)  # of 40 differing images
p_values = [metrics.mcnemar(*statistics.outcome(w, 40 - w, 40)).p_value for w in wins]
statistics.many_p_values(p_values)

# %% [markdown]
# ## A search needs a control: shuffled terms
#
# The best of many blend weights, chosen on test labels, is better than CLIP even if the blended terms are noise. No p-value
# of the winner corrects for the search. The control repeats the *same search* after the attended terms
# have been shuffled between images: they keep their size and spread, and lose what they knew about the image. What the
# search still gains is selection.

# %%
torch.manual_seed(seed)
labels = torch.randint(5, (300,))
clip = torch.randn(300, 5) + 2 * torch.eye(5)[labels]
noise = CalipLogits(clip, torch.randn(300, 5), torch.randn(300, 5))  # nothing to find
found = oracle_control(noise, labels.numpy(), seed=seed)
statistics.control(found.gain, found.by_selection, found.p_value)

# %% [markdown]
# The $p$ of this *permutation test* is the share of all searches, the real one included, that gain at least as much. With 20
# permutations it cannot be smaller than $1/21$.
#
# ## What we found
#
# - One accuracy: Wilson's interval. Two on the same images: McNemar's exact test for the verdict, Tango's interval for
#   the size. The exact test is stricter, so an interval may exclude 0 without a verdict.
# - Seeds: the t-interval of the mean. Many tests: divide the level. A search: the same search on shuffled terms.

# %% [markdown]
# ## Exercises
#
# **Exercise D.1 (the exact test).** Write McNemar's exact p-value for the counts $a$ and $b$, equation {eq}`eq-mcnemar`.


# %% tags=["exercise"]
def exact_p(a, b): ...


# %% tags=["exercise-check"]
pairs = [(9, 2), (1, 7), (4, 4), (30, 12)]
exact_cases = [
    (pair, metrics.mcnemar(*statistics.outcome(*pair, 100)).p_value) for pair in pairs
]
grade(exact_p, exact_cases)


# %% [markdown]
# :::{admonition} Hint
# :class: dropdown
# `math.comb(d, i)` counts the ways to win $i$ of $d$. The sum runs to the smaller count; a probability is at most 1.
# :::


# %% tags=["solution", "hide-input"]
def exact_p(a, b):
    d = a + b
    return min(1.0, 2 * sum(comb(d, i) for i in range(min(a, b) + 1)) / 2**d)


assert grade(exact_p, exact_cases) == "correct"

# %% [markdown]
# **Exercise D.2 (predict: more images that agree).** Ten times as many images, and still 9 : 2. Does $p$ change? Does the
# interval? Predict, then set `images = 10000`.
#
# :::{admonition} Hint
# :class: dropdown
# Where does $n$ enter equation {eq}`eq-mcnemar`? In which unit is the interval?
# :::
#
# :::{admonition} Solution
# :class: dropdown
# $p$ stays: only differing images count. The difference and its interval shrink about ten times, because they are shares
# of all images. Whether 0 lies inside does not change.
# :::
#
# **Exercise D.3 (open: one verdict for eleven datasets).** A method gains a little on most of eleven datasets, and no
# single gain is significant. Is it better? How would you test that, and what would you have to assume?
#
# :::{admonition} Hint
# :class: dropdown
# What is your population: images, or datasets that somebody might choose?
# :::
#
# :::{admonition} Solution
# :class: dropdown
# There is no single answer. Pooling all disagreements into one McNemar test treats all images as one population, and
# lets the largest dataset decide. A sign test over eleven gains treats the datasets as a sample of tasks, needs at least
# ten wins for $p < 0.05$, and the datasets were not drawn at random. State the population first, then choose the test.
# :::

# %% [markdown]
# ## Further reading
#
# - The interval of one share: {cite:t}`wilson1927`. The paired test: {cite:t}`mcnemar1947`. The interval of a paired
#   difference: {cite:t}`tango1998`.
