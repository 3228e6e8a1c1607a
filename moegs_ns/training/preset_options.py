"""Options a preset names, held against the models' and the data manager's before any training is begun."""

from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

from tyro.conf import Suppress

from moegs_ns.experts.preset_tables import check_names, check_types
from moegs_ns.experts.recipes import TABLE_NUMBERS, expanded_layers, load_recipe, preset_file, read_preset


def check_preset_options(expert: str, preset: str) -> None:
    """Refuse options that the expert's model or the data manager does not have, or values they cannot take.

    Imports torch and nerfstudio, as far as the preset names such options at all. What needs neither,
    :func:`~moegs_ns.experts.recipes.load_recipe` checks.

    Args:
        expert: its name, or ``router``.
        preset: name or TOML file of a preset that `load_recipe` accepts for it, or several joined by ``+``.

    Raises:
        ValueError: the message names file, table, option and what is similar to it; or an option is out of range.
    """
    layers = expanded_layers(preset)
    for layer in layers:
        _check_layer(expert, layer)
    if expert != "router" and any(read_preset(layer).get(expert, {}).get("model") for layer in layers):
        from moegs_ns.experts.option_ranges import check_ranges
        from moegs_ns.experts.registry import expert_family

        check_ranges(expert_family(expert).config_from_plain(load_recipe(expert, preset).model))


def _check_layer(expert: str, preset: str) -> None:
    tables = read_preset(preset).get(expert, {})
    for kind in ("model", "datamanager"):
        values = tables.get(kind, {})
        if not values:
            continue
        options = _options(expert, kind)
        if not set(values) <= set(options):
            other = "datamanager" if kind == "model" else "model"
            belonging = {
                **dict.fromkeys(_options(expert, other), f"{expert}.{other}"),
                **dict.fromkeys(TABLE_NUMBERS, expert),
            }
            expected = f"options of {_IN_WORDS[kind]} (ns-train moegs-{expert} --help lists them)"
            check_names(values, options, expected, f"{expert}.{kind}", preset_file(preset), belonging)
        check_types(values, options, f"{expert}.{kind}", preset_file(preset))


_IN_WORDS = {"model": "the model", "datamanager": "the data manager"}


def _options(expert: str, kind: str) -> Mapping[str, Any]:
    """Names and types of what the command line offers of a config, without what a preset says in another table."""
    types = get_type_hints(_config(expert, kind), include_extras=True)
    elsewhere = TABLE_NUMBERS if kind == "datamanager" else ()
    return {
        name: annotation
        for name, annotation in types.items()
        if not (name.startswith("_") or name in elsewhere or Suppress in get_args(annotation))
    }


def _config(expert: str, kind: str) -> type:
    # Imported when asked for: plans without such options stay instant.
    if kind == "datamanager":
        from moegs_ns.scene.datamanager import DynamicDataManagerConfig

        return DynamicDataManagerConfig
    if expert == "router":
        from moegs_ns.router.mixture import MixtureModelConfig

        return MixtureModelConfig
    from moegs_ns.experts.registry import expert_family

    return expert_family(expert).config
