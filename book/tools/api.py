"""The book's API reference, generated: one page per room of the library, every public name with its docstring."""

import ast
import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path

import calip_core

_LIBRARY = Path(calip_core.__file__).parent
_BESIDE = "calip_core"  # the page of the modules that stand beside the rooms
_INDEX = """\
API reference
=============

Every public name of ``calip_core``, made from the docstrings. Shapes are in the signatures, in jaxtyping's notation:
``Float[Tensor, 'n k']`` holds n rows of k numbers. What most readers need can be imported from the package itself:
{names}.

I want to ...

- add a head: derive from :py:obj:`Head <calip_core.methods.base.Head>`;
  :py:obj:`ZeroShot <calip_core.methods.zero_shot.ZeroShot>` is the smallest example.
- measure my own checkpoint: :py:obj:`load_backbone <calip_core.backbones.loading.load_backbone>` takes its path, and
  :py:obj:`evaluate <calip_core.evaluation.evaluate.evaluate>` measures it.
- read features back: :py:obj:`FeatureStore.open <calip_core.features.store.FeatureStore.open>`.

One page per package:

{rooms}

.. toctree::
   :hidden:

   {pages}
"""

EQUATIONS = {
    "attention.CalipConfig": ["eq-pool"],
    "attention.calip_logits": ["eq-blend", "eq-identity"],
    "attention.parameter_free_attention": ["eq-affinity", "eq-text-attends", "eq-image-attends"],
    "backbones.dense.DenseViT": ["eq-vit-tokens"],
    "backbones.dense.attention_pool_outputs": ["eq-attention-pool"],
    "backbones.dense.attention_pool_values": ["eq-head-by-head", "eq-value-tokens"],
    "backbones.dense.attention_values": ["eq-vit-value-tokens"],
    "blend.landscape.beta_landscape": ["eq-two-weights"],
    "blend.polygon.winning_polygon": ["eq-half-planes"],
    "blend.view_weights.fuse": ["eq-views"],
    "decisions.abstention.risk_coverage": ["eq-risk"],
    "decisions.calibration.fit_temperature": ["eq-temperature"],
    "methods.calip.Calip": ["eq-blend"],
    "methods.calip_fs.CalipFs": ["eq-fs-roles-learnt", "eq-fs-text", "eq-fs-image", "eq-fs-logits"],
    "methods.clap.Clap": ["eq-fs-clap"],
    "methods.clip_adapter.ClipAdapter": ["eq-fs-adapter"],
    "methods.coop.CoOp": ["eq-fs-coop"],
    "methods.gda.Gda": ["eq-fs-gda"],
    "methods.inter_view_adapter.InterViewAdapter": ["eq-fs-inter-view"],
    "methods.linear_probe.LinearProbe": ["eq-fs-probe"],
    "methods.tip_adapter.TipAdapter": ["eq-fs-tip"],
    "methods.tip_adapter_f.TipAdapterF": ["eq-fs-tip-f"],
    "methods.zero_shot.ZeroShot": ["eq-zero-shot"],
    "miniature.objective.contrastive_loss": ["eq-contrastive", "eq-true-captions"],
    "pointclouds.projection.depth_maps": ["eq-pinhole", "eq-pixel-depth"],
    "prompts.zero_shot_classifier": ["eq-ensemble"],
    "tokens.CalipLogits": ["eq-blend", "eq-two-weights"],
}
"""Public name below ``calip_core`` -> labels of the numbered equations that it implements."""


def api_pages() -> dict[str, bytes]:
    """Path in the book -> reStructuredText: an index, a page per room, and one for the modules beside the rooms."""
    rooms = {_BESIDE: sorted(_LIBRARY.glob("[!_]*.py"))}
    for package in sorted(_LIBRARY.glob("*/__init__.py")):
        rooms[package.parent.name] = sorted(package.parent.rglob("*.py"))
    names = ", ".join(f":py:obj:`{name} <{place}.{name}>`" for name, place in calip_core._PLACES.items())
    lines = [f"- :doc:`{room}`: {_summary(modules)}" for room, modules in rooms.items()]
    pages = {"index": _INDEX.format(names=names, rooms="\n".join(lines), pages="\n   ".join(rooms))}
    pages |= {room: _page(room, modules) for room, modules in rooms.items()}
    return {f"api/{name}.rst": text.encode() for name, text in pages.items()}


def public_names(module: Path) -> dict[str, str]:
    """The public names that a module defines -> the directives that document them, but for ``{module}`` and ``{name}``.

    Type aliases are shown as written: autodoc would expand them.
    """
    found = {}
    body = ast.parse(module.read_text(encoding="utf-8")).body
    for node, after in zip(body, [*body[1:], ast.Pass()], strict=True):
        match node:
            case ast.FunctionDef(name=name):
                found[name] = ".. autofunction:: {module}.{name}"
            case ast.ClassDef(name=name):
                found[name] = ".. autoclass:: {module}.{name}\n   :members:"
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Subscript() as value) if not name.isupper():
                found[name] = _alias(value, after)
            case ast.Assign(targets=[ast.Name(id=name)], value=value) | ast.AnnAssign(ast.Name(id=name), value=value):
                # The values of other expressions can be long, or differ from machine to machine.
                short = isinstance(value, ast.Constant | ast.Subscript)
                found[name] = ".. autodata:: {module}.{name}" + "\n   :no-value:" * (not short)
    return {name: directive for name, directive in found.items() if not name.startswith("_")}


def _alias(value: ast.expr, after: ast.stmt) -> str:
    """The directive of a type alias, with the docstring that may follow it."""
    lines = [".. py:data:: {name}", "   :module: {module}", f"   :value: {_literal(ast.unparse(value))}", ""]
    match after:
        case ast.Expr(ast.Constant(str() as text)):
            lines += [f"   {_literal(line)}" for line in inspect.cleandoc(text).splitlines()]
    return "\n".join(lines)


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _summary(modules: Sequence[Path]) -> str:
    """The first line of a package's docstring; a fixed text for the page of the modules outside the packages."""
    package = modules[0].parent / "__init__.py"
    if package.parent == _LIBRARY:
        return "The modules outside the packages: attention, tokens, prompts, metrics, paths and the command."
    first, *_ = (ast.get_docstring(ast.parse(package.read_text(encoding="utf-8"))) or "").splitlines()
    return first


def _page(room: str, modules: Sequence[Path]) -> str:
    return "\n".join([room, "=" * len(room), "", *(line for module in modules for line in _module(module))])


def _module(path: Path) -> Iterator[str]:
    """A section with the docstring and the names of a module or package."""
    name = ".".join(part for part in path.relative_to(_LIBRARY).with_suffix("").parts if part != "__init__")
    if path.parent.parent != _LIBRARY or path.name != "__init__.py":  # a room's own heading is its page's
        yield from [name, "-" * len(name), ""]
    yield from [f".. automodule:: calip_core.{name}", ""]
    for public, directive in public_names(path).items():
        yield from [directive.format(module=f"calip_core.{name}", name=public), ""]
        if labels := EQUATIONS.get(f"{name}.{public}"):
            equations = ", ".join(f":eq:`{label}`" for label in labels)
            yield from [f"   Implements equation{'s' * (len(labels) > 1)} {equations}.", ""]
