# %% [markdown]
# # 11 When not to answer
#
# **Question.** The list of classes never contains everything. What does a score mean, and when should a zero-shot
# classifier say nothing?
#
# **Time**: one minute on a laptop's processor with the miniatures; large backbones need a GPU. **You need**: chapters
# [1](01_clip_baseline) and [3](03_calip_attention).

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
dataset: str = "mini-shapes"  # a name from available_tasks(), or folder:PATH
backbone: str = "mini-rn"  # mini-rn, mini-vit, an OpenAI name such as RN50, or a path
tokens: str = "value"  # spatial tokens: joint, value or pre_pool
left_off: int = 3  # classes taken off the list
risk: float = 0.05  # the wish: at most this share of wrong answers
seed: int = 0  # draws images, the classes taken off, and the bootstrap
samples: int = 2000  # at most so many test and validation images, 200 or more

# %% tags=["imports", "hide-input"]
import numpy as np
import torch

from calip_core import encode_split, exhibits
from calip_core import load_backbone, load_task, make_method, world
from calip_core.analysis.window import encode_sample
from calip_core.datasets.builtin.several import several_objects
from calip_core.decisions import abstention, calibration, labels
from calip_core.decisions.vocabulary import ShortList
from calip_core.exhibits import decisions as show
from calip_core.features import choose_images, text_features
from calip_core.metrics import mcnemar, paired_interval
from calip_core.teaching import AtLeast, BackboneName, Choice, Count
from calip_core.teaching import Seed, Share, TaskName, check_parameters, grade

check_parameters(
    globals(),
    dataset=TaskName,
    backbone=BackboneName,
    tokens=Choice("joint", "value", "pre_pool"),
    left_off=Count,
    risk=Share,
    seed=Seed,
    samples=AtLeast(200),
)
exhibits.style()

# %%
clip_model = load_backbone(backbone, tokens=tokens)
task = load_task(dataset)
images = encode_sample(task, clip_model, limit=samples, seed=seed)
short = ShortList.draw(len(task.classnames), left_off, seed=seed)
names = [task.classnames[k] for k in short.listed]
off = [task.classnames[k] for k in short.off]

text, s = images.text[short.listed.tolist()], clip_model.logit_scale
places = short.places(images.test_labels)  # -1: not on the list
listed = places >= 0
logits = s * images.test.pooled @ text.T
about = f"{task.title}, {clip_model.name}"

few = np.flatnonzero(~listed)[:8]
test = task.splits["test"]
rows = choose_images(test, samples, seed)
pictures = [test[rows[i]][0] for i in few]
truths = [task.classnames[k] for k in images.test_labels[few]]
display(
    show.named_anyway(pictures, truths, logits[few.tolist()], names),
    show.in_short(logits, listed, off, about),
)

# %% [markdown]
# Users of CLIP ask for this again and again: for "none of these" (CLIP's issue 44), for what the score of a single class
# means (open_clip's 193), and for several labels at once (CLIP's 224, open_clip's 334). Here we took classes off the list.
# In use, they were never on it.
#
# ## What a softmax forgets
#
# Add the same number $c$ to all logits of an image. The probabilities stay as they are:
#
# $$ p_k = \frac{e^{\ell_k + c}}{\sum_j e^{\ell_j + c}} = \frac{e^{\ell_k}}{\sum_j e^{\ell_j}}. $$ (eq-softmax-forgets)
#
# So a softmax compares the classes with each other, and forgets how well any of them fits. The *largest cosine* does not
# forget. The table has both, for images whose class is on the list ("on the list", for short), for those off it, and for
# images of another task.

# %%
torch.testing.assert_close((logits - 20).softmax(dim=1), logits.softmax(dim=1))

elsewhere = "digits" if dataset != "digits" else "mini-shapes"
others, _ = encode_split(clip_model, load_task(elsewhere).splits["test"], limit=500)
kinds = {
    "on the list": logits[torch.from_numpy(listed)],
    "off the list": logits[torch.from_numpy(~listed)],
    elsewhere: s * others.pooled.to(text) @ text.T,
}
show.levels(kinds, s, about)

# %% [markdown]
# ## What a probability means
#
# A classifier is *calibrated* if, of the answers with probability 80 %, 80 % are right. [Chapter 1](01_clip_baseline)
# introduced the expected calibration error (ECE), and fitted CLIP's scale. To divide the logits by a temperature $T$ is the
# same. The best $T$ has the smallest cross-entropy, which is convex in $1/T$:
#
# $$ \hat T = \arg\min_T\; -\tfrac{1}{N} \sum_{i \le N} \log \operatorname{softmax}(\ell_i / T)_{y_i}. $$ (eq-temperature)
#
# CALIP adds terms to CLIP's logits, so its probabilities are those of another scale. A fair comparison fits $T$ for each,
# on validation images whose class is on the list.

# %%
heads = {
    "CLIP": make_method("zero_shot", logit_scale=s),
    "CALIP": make_method("calip", logit_scale=s),  # its published weights
}
val_places = short.places(images.val_labels)
val_listed = val_places >= 0
T, errors, val, tested, far = {}, {}, {}, {}, {}
for name, head in heads.items():
    head.fit(None, None, text)
    parts = (images.val, images.test, others)
    val[name], tested[name], far[name] = (head.logits(x) for x in parts)
    T[name] = calibration.fit_temperature(
        val[name][val_listed], val_places[val_listed]
    )
    own, truth = tested[name][listed], places[listed]
    errors[name] = (
        calibration.expected_calibration_error(own, truth, seed=seed),
        calibration.expected_calibration_error(own / T[name], truth, seed=seed),
        calibration.error_by_chance(own / T[name], seed=seed),
    )
show.calibration(T, errors, f"{about}, {listed.sum()} images on the list")

# %% [markdown]
# The estimate of this error is biased: accuracy scatters in every bin, and a gap in either direction counts. So even a
# perfectly calibrated classifier shows an error. The column "chance explains" says how large it may be.
#
# All of this is about images on the list. An answer to any other image is wrong, whatever its probability.
#
# ## When to say nothing
#
# Answer where a score of confidence $g$ reaches a threshold $\tau$. Then the *coverage* is the share of images that are
# answered, and the *risk* the share of wrong answers among them:
#
# $$ \operatorname{coverage}(\tau) = \frac{1}{N} \sum_i [g_i \ge \tau], \qquad
#    \operatorname{risk}(\tau) = \frac{\sum_i [g_i \ge \tau]\,[\hat y_i \ne y_i]}{\sum_i [g_i \ge \tau]}. $$ (eq-risk)
#
# We choose $\tau$ on validation images: the largest coverage for which an exact 95 % upper bound of the risk (Clopper and
# Pearson) is at most `risk`. It matters what these images are. In the panel "on the list", all are. In the panel "as they
# come", some have no right answer.

# %%
streams = {
    "on the list": (val_listed, listed),
    "as they come": (np.full(len(val_listed), True), np.full(len(listed), True)),
}
thresholds = {stream: {} for stream in streams}
curves = {stream: {} for stream in streams}
answered = {stream: {} for stream in streams}
for name in heads:
    # A place off the list is -1, so that no answer is right.
    right_before = val[name].argmax(dim=1).cpu().numpy() == val_places
    right = tested[name].argmax(dim=1).cpu().numpy() == places
    for score in ("probability", "logit"):
        rule, parts = f"{name}, {score}", (val[name], tested[name], far[name])
        before, now, there = (
            abstention.confidence(x / T[name], score) for x in parts
        )
        for stream, (chosen, judged) in streams.items():
            tau = abstention.choose_threshold(
                before[chosen], right_before[chosen], risk=risk
            )
            thresholds[stream][rule] = tau
            curves[stream][rule] = abstention.risk_coverage(
                now[judged], right[judged]
            )
            answered[stream][rule] = now >= tau, right, there >= tau
show.coverage_risk(curves, thresholds, risk, about)

# %% [markdown]
# Where a curve is flat, the score hardly tells right answers from wrong ones, and no threshold helps. The bound is exact for
# one threshold that is fixed beforehand. We take the best of many, so it is a little too optimistic, and test images have
# to confirm it.
#
# The next two tables judge all test images, on the list and off it: first with thresholds that were chosen on listed
# images alone, then with those chosen on images as they come.

# %%
for stream, rules in answered.items():
    display(show.outcomes(rules, listed, elsewhere, stream, risk))

# %% [markdown]
# A promise holds for the kind of images that it was made on. If all validation images are on the list, "at most so many
# wrong" says nothing about a stream that has others. A rule may keep it all the same, if its score separates well, but
# nothing promised that. No threshold was chosen with the other task in view.
#
# ## Which score separates?
#
# A number without a threshold is the area under the ROC curve (AUROC): the chance that an image on the list has a larger
# score than one off it. The *margin* is the difference of the two largest logits.

# %%
scores = ("probability", "margin", "logit")
areas = {
    name: {
        score: abstention.separation(confidence[listed], confidence[~listed])
        for score in scores
        for confidence in [abstention.confidence(tested[name] / T[name], score)]
    }
    for name in heads
}
display(
    show.separations(areas, about),
    show.which_score(areas["CLIP"]["probability"], areas["CLIP"]["logit"]),
)

# %% [markdown]
# What do CALIP's terms add to the level of the logits? Each of them by itself:

# %%
calip = heads["CALIP"].terms(images.test)
parts = {
    "CLIP": calip.clip,
    "text-attended": calip.text_attended,
    "visual-attended": calip.visual_attended,
}
show.terms(parts, listed, s, about)

# %% [markdown]
# The text-attended term is $F_v F_t^{a\top}$: the pooled feature against a mixture of *the image's own* tokens. Its level
# follows from how well these tokens agree with the pooled feature, and hardly from any text. It varies from image to image,
# and the blend adds it to CLIP's level, which says more.
#
# With OpenAI's weights, this may be different, and we have not measured it. {cite:t}`ming2022mcm` argue for a softmax over
# plain cosines, with a temperature of 1. The first answer in CLIP's issue 44 suggests a threshold on the cosine, or more
# words on the list.
#
# ## Several labels at once
#
# If an image shows two things, a softmax lets them compete for one unit of probability. *Independent labels* ask for each
# class by itself: does its score reach its own threshold $\tau_k$? The threshold with the best $F_1$ on labelled images is
# found exactly, because only the scores themselves have to be tried.
#
# These scenes of the miniature's world show two or three shapes. We compare the one answer of the softmax with thresholds
# on its probabilities, on CLIP's logit, on CALIP's, on its visual term alone, and on the hottest place,
# $\max_m A_{mk}$, which needs no softmax at all.

# %%
count = min(samples, 500)
shapes = text_features(clip_model, world.SHAPES, load_task("mini-shapes").templates)
head = make_method("calip", logit_scale=s).fit(None, None, shapes)
scored, shown = {}, {}
for split in ("val", "test"):
    scenes, shown[split] = several_objects(split, count, seed=seed)
    seen, _ = encode_split(clip_model, scenes)
    terms = head.terms(seen)
    scored[split] = {
        "probability": terms.clip.softmax(dim=1),
        "CLIP": terms.clip,
        "CALIP": head.logits(seen),
        "visual term": terms.visual_attended,
        "hottest place": (seen.spatial.to(shapes) @ shapes.T).amax(dim=1),
    }

one = np.eye(len(shapes), dtype=bool)[scored["test"]["CLIP"].argmax(dim=1).cpu()]
given = {"one label": (one, scored["test"]["CLIP"])}
for name, own in scored["val"].items():
    tau = labels.choose_thresholds(own, shown["val"], world.SHAPES)
    given[name] = labels.predict(scored["test"][name], tau), scored["test"][name]
measures = {
    name: (
        labels.f1(answer, shown["test"], "micro", seed=seed),
        labels.f1(answer, shown["test"], "macro", seed=seed),
        labels.mean_average_precision(score, shown["test"]),
    )
    for name, (answer, score) in given.items()
}
display(
    show.several_labels(measures, "CLIP", f"{count} scenes of two or three shapes"),
    show.labels_in_short(
        {name: micro for name, (micro, *_) in measures.items()},
        *("one label", "CLIP", "probability"),
    ),
)

# %% [markdown]
# ## What we found

# %%
kept = {n: answered["on the list"][f"{n}, probability"][0][listed] for n in heads}
more = mcnemar(kept["CALIP"], kept["CLIP"])
gains = {
    "calibration as they come": (errors["CLIP"][0] - errors["CALIP"][0]).interval,
    "calibration with fitted temperatures": (
        errors["CLIP"][1] - errors["CALIP"][1]
    ).interval,
    "coverage at the same promise": paired_interval(
        more.only_a, more.only_b, int(listed.sum())
    ),
    "separating images off the list by probability": (
        areas["CALIP"]["probability"] - areas["CLIP"]["probability"]
    ).interval,
    "separating them by the largest logit": (
        areas["CALIP"]["logit"] - areas["CLIP"]["logit"]
    ).interval,
    "several labels at once": (measures["CALIP"][0] - measures["CLIP"][0]).interval,
}
show.terms_help(gains)

# %% [markdown]
# - A probability compares the classes of a list. It cannot say that none of them fits.
# - A temperature makes probabilities honest for images on the list, and for no others.
# - A threshold needs labelled images of the kind that will come, and keeps its promise for these.
# - A threshold for each class can name several things. Whether that beats one answer depends on the scores.
#
# ## Exercises
#
# **Exercise 11.1 (risk at a coverage).** Given the confidences of $n$ images, and whether each answer is `right`, return
# the risk if the `answered` surest images get an answer. No two confidences are equal.


# %% tags=["exercise"]
def risk_at(confidences, right, answered): ...


# %% tags=["exercise-check"]
sure = np.array([0.9, 0.2, 0.7, 0.4])
risk_cases = [
    ((sure, np.array([True, False, True, True]), 4), 0.25),
    ((sure, np.array([False, True, True, True]), 1), 1.0),
    ((sure, np.array([True, True, False, True]), 3), 1 / 3),
]
grade(risk_at, risk_cases)

# %% [markdown]
# :::{admonition} Hint
# :class: dropdown
# `np.argsort(-confidences)` lists the images, the surest first.
# :::


# %% tags=["solution", "hide-input"]
def risk_at(confidences, right, answered):
    return float(np.mean(~right[np.argsort(-confidences)[:answered]]))


assert grade(risk_at, risk_cases) == "correct"

# %% [markdown]
# **Exercise 11.2 (predict: more words).** Put names on the list that are none of the task's classes, such as "cloud",
# "letter" and "wheel", and count an answer with one of them as a refusal. Will this refuse the images off the list? What
# will it cost the others? Predict, then encode the words with `text_features` and append them to `text`.
#
# :::{admonition} Hint
# :class: dropdown
# An image takes the word that is nearest. What has to hold for a decoy to be nearer to an image off the list than all the
# classes on it are, and yet not to be nearer to the others? The logits are
# `s * images.test.pooled @ torch.cat([text, extra]).T`.
# :::
#
# :::{admonition} Solution
# :class: dropdown
# A decoy works where it is near to what comes unexpectedly. For images off the list, the best decoys are their own
# names, which nobody knows beforehand. Where the features of other words lie is a matter of luck, above all for words that
# the miniature has never read. A word that is near to many images also takes answers that were right: look at the accuracy
# on listed images.
# :::
#
# **Exercise 11.3 (open: unexpected images).** You have a thousand labelled images of the classes on your list, and none of
# what else may come. How would you choose a threshold, and what could you promise?
#
# :::{admonition} Hint
# :class: dropdown
# Which of the two axes of the figure needs no images off the list? And what can play the part of an unexpected image?
# :::
#
# :::{admonition} Solution
# :class: dropdown
# The coverage on listed images can be promised: take the threshold that 95 % of them pass. About unexpected images it
# promises nothing. One can rehearse, as this chapter does: take classes off the list, one group at a time, and look at
# the worst group. That measures how it would go with classes that are like those on the list. Other changes of the world
# stay unmeasured.
# :::
#
# ## Further reading
#
# - Temperature, and the calibration error: {cite:t}`guo2017calibration`. Which networks are calibrated:
#   {cite:t}`minderer2021calibration`.
# - The largest probability as a score: {cite:t}`hendrycks2017baseline`. Thresholds with a guarantee:
#   {cite:t}`geifman2017selective`.
# - Images off the list, with CLIP: {cite:t}`ming2022mcm`. With CLIP's local features, as CALIP's:
#   {cite:t}`miyai2025glmcm`.
