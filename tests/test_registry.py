"""Names: every built-in component keeps its promises, and plug-ins harm nobody."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from importlib import import_module, invalidate_caches

import pytest

from cotasp.__main__ import main
from cotasp.agents.on_policy_settings import OnPolicy
from cotasp.agents.settings import OffPolicy
from cotasp.errors import PluginError, UnknownNameError
from cotasp.methods.protection import CAPABILITIES
from cotasp.registry import KINDS, Registry, nearest, registry_for, suggest
from cotasp.schema import build, plain

BUILTIN = [
    (kind, name)
    for kind, registry in KINDS.items()
    for name in registry.names()
    if registry.location(name).startswith("cotasp.")
]
NEEDED = {  # the fields that have no default
    "metaworld": {"tasks": ["reach-v3"]},
    "gymnasium": {"tasks": [{"env": "Pendulum-v1", "text": "Swing the pole up."}]},
}


def protocol_of(kind: str) -> type:
    module, _, name = KINDS[kind].protocol.partition(":")
    return getattr(import_module(module), name)


# -- built-in components ------------------------------------------------------------------


def test_the_kinds():
    assert list(KINDS) == [
        "encoder", "recall", "solver", "update", "mask", "protection", "memory", "renewal",
        "stream", "critic", "agent", "launcher",
    ]  # fmt: skip
    for kind, registry in KINDS.items():
        assert registry.kind == kind
        assert registry_for(protocol_of(kind)) is registry


@pytest.mark.parametrize(("kind", "name"), BUILTIN)
def test_a_built_in_component_is_what_the_house_asks_for(kind, name):
    registry = KINDS[kind]
    cls = registry.get(name)
    assert dataclasses.is_dataclass(cls)
    assert cls.__dataclass_params__.frozen
    bases = (
        {OffPolicy, OnPolicy} if kind == "agent" else set()
    )  # which has their common fields, no hook
    assert set(cls.__mro__[1:-1]) <= bases, "components inherit nothing"
    instance = build(protocol_of(kind), {"name": name, **NEEDED.get(name, {})}, "here")
    assert type(instance) is cls
    assert registry.name_of(instance) == name
    node = plain(instance, protocol_of(kind))
    assert node["name"] == name
    assert build(protocol_of(kind), node, "again") == instance
    if name not in NEEDED:
        assert cls() == instance, "a recipe's default is the constructor's"


@pytest.mark.parametrize(("kind", "name"), BUILTIN)
def test_a_built_in_component_has_its_protocol_s_members(kind, name):
    protocol = protocol_of(kind)
    members = {k for k in vars(protocol) if k == "__call__" or k[0] != "_"}
    members |= set(protocol.__annotations__)
    if kind == "protection":  # any of its capabilities will do
        members = set(CAPABILITIES) & set(vars(KINDS[kind].get(name)))
    cls = KINDS[kind].get(name)
    # through the bases: any class can be called, whether or not its instances can
    has = {m for base in cls.__mro__ for m in vars(base)} | set(cls.__dataclass_fields__)
    assert members
    assert members <= has


@pytest.mark.parametrize(("kind", "name"), BUILTIN)
def test_the_description_is_the_docstring_s_first_line(kind, name):
    line = KINDS[kind].describe(name)
    assert line == KINDS[kind].get(name).__doc__.strip().split("\n")[0]
    assert 20 < len(line) <= 100
    assert line.endswith((".", "!", "…")) or ":" in line


@pytest.mark.parametrize(("kind", "name"), BUILTIN)
def test_a_misspelt_name_finds_its_way_home(kind, name):
    wrong = name[:-1] + "_"
    with pytest.raises(UnknownNameError) as caught:
        KINDS[kind].get(wrong)
    told = f"unknown {kind} {wrong!r}. " + suggest(wrong, KINDS[kind].names())
    assert str(caught.value).startswith(told)
    if len(name) > 3:
        assert str(caught.value).endswith(f"Did you mean {name!r}?")


def test_a_name_near_to_nothing_lists_all():
    assert nearest("zzz", ["lars", "cd"]) is None
    assert suggest("zzz", ["lars", "cd"]) == "Known: cd, lars."
    assert suggest("zzz", []) == "Known: none."
    assert suggest("zzz", ["mask=step,seed=1", "all"]) == "Known: all, 'mask=step,seed=1'."
    with pytest.raises(
        UnknownNameError, match=r"Known: .*\. One of your own: install its package\."
    ):
        KINDS["mask"].get("zzz")


def test_a_kind_that_is_none_is_refused():
    with pytest.raises(UnknownNameError, match=r"unknown kind 'masks'\. Did you mean 'mask'\?"):
        KINDS["masks"]


# -- registering --------------------------------------------------------------------------


@pytest.fixture
def registry():
    return Registry(
        "mask", "cotasp.modules.masks:MaskPolicy", {"dense": "cotasp.modules.masks:Dense"}
    )


def test_register_as_a_call_and_as_a_decorator(registry):
    @dataclass(frozen=True)
    class Half:
        """Every second neuron."""

    assert registry.register("half", Half) is Half

    @registry.register("third")
    @dataclass(frozen=True)
    class Third:
        pass

    assert registry.names() == ["dense", "half", "third"]
    assert registry.get("half") is Half
    assert registry.describe("half") == "Every second neuron."
    assert registry.describe("third") == "Third()"
    assert registry.name_of(Third()) == "third"
    assert isinstance(registry.make("half"), Half)


def test_what_is_no_frozen_dataclass_is_not_registered(registry):
    class Half:
        pass

    thawed = dataclass(type("Thawed", (), {}))
    inherits = type("Inherits", (dataclass(frozen=True)(type("Base", (), {})),), {})
    for cls in (Half, thawed, inherits):
        with pytest.raises(
            PluginError, match=f"mask 'half': expected a frozen .*{cls.__name__}, wh?"
        ):
            registry.register("half", cls)
    assert registry.names() == ["dense"]


@pytest.mark.parametrize("taken", ["dense", "half"])
def test_a_name_is_given_once(registry, taken):
    @dataclass(frozen=True)
    class Half:
        pass

    registry.register("half", Half)
    Other = dataclass(frozen=True)(type("Other", (), {}))
    with pytest.raises(ValueError, match=f"mask '{taken}' is already registered as .*choose"):
        registry.register(taken, Other)
    assert registry.names() == ["dense", "half"]


def test_an_instance_passes_through_but_takes_no_fields(registry):
    instance = registry.make("dense")
    assert registry.make(instance) is instance
    with pytest.raises(TypeError, match="name"):
        registry.make(instance, k=3)


def test_a_class_that_is_not_registered_has_no_name(registry):
    with pytest.raises(UnknownNameError, match=r"not a registered mask; register it with KINDS"):
        registry.name_of(object())


# -- plug-ins -----------------------------------------------------------------------------

WITHOUT = "class Stripes:\n def __call__(self, code, progress=1.0): return code"
THAWED = f"from dataclasses import dataclass\n@dataclass\n{WITHOUT}"
FROZEN = "from dataclasses import dataclass\n@dataclass(frozen=True)\n"
PLUGIN = '''
from dataclasses import dataclass

@dataclass(frozen=True)
class Stripes:
    """Every n-th neuron."""
    gradient = "none"
    local = True
    every: int = 2

    def __call__(self, code, progress=1.0):
        return (code * 0 + 1)
'''


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Makes `acme_masks` look installed: `install(entry_points, **{module: source})`."""

    def install_(points: str, dist: str = "acme_masks", **sources: str) -> None:
        for name, source in sources.items():
            (tmp_path / f"{name}.py").write_text(source)
        info = tmp_path / f"{dist}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[cotasp.mask]\n{points}\n")
        invalidate_caches()

    def forget():
        for registry in KINDS.values():
            vars(registry).pop("_plugins", None)
        for name in [name for name in sys.modules if name.startswith("acme_")]:
            del sys.modules[name]

    monkeypatch.syspath_prepend(tmp_path)
    forget()
    yield install_
    forget()


def test_a_plug_in_is_listed_without_being_imported_and_works_when_named(install, capsys):
    from cotasp.recipe import dump, loads

    install("stripes = acme_masks:Stripes", acme_masks=PLUGIN)
    assert "stripes" in KINDS["mask"].names()
    expected = "Every n-th neuron. (from acme_masks:Stripes)"
    assert KINDS["mask"].describe("stripes") == expected
    assert main(["list"]) == 0
    assert f"  {'stripes':<17} {expected}\n" in capsys.readouterr().out  # as progress_compress
    assert "acme_masks" not in sys.modules
    assert main(["list", "mask"]) == 0
    said = capsys.readouterr().out
    assert f"  {'stripes':<17} {expected}\n{'':<22}every: 2  # an integer\n" in said
    recipe = loads("mask: {name: stripes, every: 3}")
    assert recipe.mask.every == 3
    assert "mask: {name: stripes, every: 3}" in dump(recipe)
    assert loads(dump(recipe)) == recipe
    with pytest.raises(ValueError, match="already registered as acme_masks:Stripes"):
        KINDS["mask"].register("stripes", type(recipe.mask))


def test_a_plug_in_may_export_a_class_that_it_defines_elsewhere(install):
    from cotasp.recipe import dump, loads

    install(
        "stripes = acme_masks:Stripes",
        acme_masks="from acme_inner import Stripes",
        acme_inner=PLUGIN,
    )
    recipe = loads("mask: stripes")
    assert type(recipe.mask).__module__ == "acme_inner"
    assert loads(dump(recipe)) == recipe


@pytest.mark.parametrize(
    ("point", "source", "complaint"),
    [
        ("acme_masks:Stripes", "import no_such_module", "ModuleNotFoundError: No module named"),
        ("acme_masks:Stripes", "raise RuntimeError('boom')", "RuntimeError: boom"),
        ("acme_masks:Stripes", "raise SystemExit(3)", "SystemExit: 3"),
        ("acme_masks:Stripes", "def Stripes(: pass", "SyntaxError"),
        ("acme_masks:Absent", PLUGIN, "AttributeError"),
        ("no such thing", PLUGIN, "failed to import"),
        ("acme_masks:Stripes", "def Stripes(): pass", "expected a class, got <function"),
        ("acme_masks:Stripes", "class Stripes: pass", "got a class without __call__"),
        ("acme_masks:Stripes", WITHOUT, "got Stripes, without @dataclass; write @dataclass(frozen"),
        ("acme_masks:Stripes", THAWED, "got Stripes, whose @dataclass is not frozen; write @data"),
    ],
)
def test_a_broken_plug_in_is_named_and_harms_nobody_else(install, point, source, complaint):
    from cotasp.recipe import loads

    install(f"stripes = {point}", acme_masks=source)
    assert KINDS["mask"].describe("stripes") == f"from {point}"
    assert loads("mask: topk").mask.k == 128
    with pytest.raises(PluginError) as caught:
        loads("mask: stripes")
    message = str(caught.value)
    assert message.startswith(f"recipe.mask: mask 'stripes' (entry point {point!r})")
    assert complaint in message


def test_a_plug_in_whose_signature_cannot_be_read_is_named(install):
    from cotasp.recipe import loads

    source = "from __future__ import annotations\n" + PLUGIN.replace(": int", ": Missing")
    install("stripes = acme_masks:Stripes", acme_masks=source)
    with pytest.raises(PluginError, match=r"recipe\.mask: the signature of Stripes .*'Missing'"):
        loads("mask: stripes")


def test_a_plug_in_that_keeps_no_attribute_cannot_be_written(install):
    from cotasp.recipe import dump, loads

    source = f"{FROZEN.replace(')', ', init=False)')}class Stripes:\n"
    source += " gradient, local = 'identity', True\n n: int = 1\n"
    source += " def __init__(self, n=1, m=2): pass\n def __call__(self): pass\n"
    install("stripes = acme_masks:Stripes", acme_masks=source)
    with pytest.raises(PluginError, match="keeps no attribute 'm'; store every"):
        dump(loads("mask: stripes"))


def test_a_plug_in_that_lacks_an_attribute_is_named(install):
    """One of its protocol's, wherever it is set: on the class, by a field or on the instance."""
    from cotasp.recipe import loads

    source = f"{FROZEN}class Stripes:\n local = True\n def __call__(self): pass\n"
    install("stripes = acme_masks:Stripes", acme_masks=source)
    with pytest.raises(PluginError) as caught:
        loads("mask: stripes")
    assert str(caught.value).startswith(
        "recipe.mask: mask Stripes: expected the attributes of cotasp.modules.masks:MaskPolicy, "
        "got one without gradient; "
    )


def test_a_plug_in_s_own_error_gets_its_place(install):
    from cotasp.errors import RecipeError
    from cotasp.recipe import loads

    source = PLUGIN + "    def __post_init__(self):\n        raise ValueError('every: too many')\n"
    install("stripes = acme_masks:Stripes", acme_masks=source)
    with pytest.raises(RecipeError, match=r"^recipe\.mask\.every: too many$"):
        loads("mask: stripes")


def test_a_built_in_name_cannot_be_taken(install):
    from cotasp.continual.doctor import examine
    from cotasp.recipe import loads

    install("topk = acme_masks:Stripes", acme_masks=PLUGIN)
    with pytest.warns(
        match="mask 'topk': a plug-in of the same name is passed over: acme_masks:St"
    ):
        assert KINDS["mask"].get("topk").__module__ == "cotasp.modules.masks"
    with pytest.warns(match="mask 'topk': a plug-in of the same name"):  # as `show` and `run` do
        loads("mask: topk")
    assert KINDS["mask"].passed_over == ["topk"]
    finding = next(each for each in examine() if each.name == "plug-ins")
    assert finding.level == "warning"
    assert "mask 'topk': a plug-in of the same name" in finding.found
    assert (
        KINDS["mask"]
        .describe("topk")
        .endswith("(a plug-in of the same name is passed over: acme_masks:Stripes)")
    )
    assert "acme_masks" not in sys.modules


def test_two_plug_ins_of_one_name_are_refused_only_when_named(install):
    install("stripes = acme_masks:Stripes", acme_masks=PLUGIN)
    install("stripes = acme_other:Bands", dist="acme_other", acme_other=PLUGIN)
    both = "acme_masks:Stripes"
    assert KINDS["mask"].names().count("stripes") == 1
    assert KINDS["mask"].describe("stripes") == f"from {both}, acme_other:Bands"
    assert KINDS["mask"].get("topk")
    with pytest.raises(PluginError, match=f"claimed by {both} and acme_other:Bands; uninstall"):
        KINDS["mask"].get("stripes")


def test_damaged_metadata_leaves_the_built_in_names(install, monkeypatch):
    def damaged(**_):
        raise ValueError("not an entry point")

    monkeypatch.setattr("cotasp.registry.entry_points", damaged)
    with pytest.warns(UserWarning, match="cannot read entry points.*not an entry point"):
        assert "topk" in KINDS["mask"].names()
    assert KINDS["mask"].get("topk")
