"""A smallest chapter that has every part."""

CHAPTER = """# %% [markdown]
# # 0 A title
#
# **Question.** What is it?
#
# **Time**: a second. **You need** nothing.

# %% tags=["setup", "hide-input"]
# setup

# %% tags=["parameters"]
seed: int = 0  # draws

# %% tags=["imports", "hide-input"]
check_parameters(globals(), seed=Seed)

# %% [markdown]
# **In short.** It is a text.

# %%
1 + seed

# %%
1 + seed

# %% [markdown]
# ## What we found
#
# Something.
#
# ## Exercises
#
# **Exercise 0.1 (by hand).** Do it.

# %% tags=["exercise"]
...

# %% tags=["exercise-check"]
1

# %% [markdown]
# :::{admonition} Hint
# :class: dropdown
# Think.
# :::

# %% tags=["solution", "hide-input"]
1

# %% [markdown]
# **Exercise 0.2 (predict: what happens).** Say it.
#
# :::{admonition} Hint
# :class: dropdown
# Think.
# :::
#
# :::{admonition} Solution
# :class: dropdown
# It happens.
# :::
#
# **Exercise 0.3 (open: why).** Ask it.
#
# :::{admonition} Hint
# :class: dropdown
# Think.
# :::
#
# :::{admonition} Solution
# :class: dropdown
# Nobody knows.
# :::
#
# ## Further reading
"""
