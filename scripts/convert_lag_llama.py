#!/usr/bin/env python3
"""Turns the published checkpoint of Lag-Llama into a safetensors file that the kind `forecast` reads.

    python scripts/convert_lag_llama.py lag-llama.ckpt lag-llama.safetensors --run-its-code

Needs `torch` and `safetensors` in a Python of your own; pacer itself needs neither of them and never unpickles.

A CHECKPOINT IS A PROGRAM. It is a Python pickle, and reading a pickle runs whatever code it names. `torch` can refuse
that (`weights_only=True`), and this script asks for it first. The published checkpoint does not load that way, since it
holds objects of other packages beside the weights: then `--run-its-code` reads it in full. Give it only for a file
whose origin you trust, at best in a container without network. Packages that the file names and that are not installed
are stood in for by empty classes, so that none of them need be installed for their weights to be read.

The published checkpoint is `lag-llama.ckpt` at https://huggingface.co/time-series-foundation-models/Lag-Llama.
"""

import argparse
import pickle
import re
import sys
import types

HOW = "pip install torch safetensors"

# The names that `forecast` reads begin so; anything else in a checkpoint is left behind and named.
KEPT = ("model.transformer.", "model.param_proj.proj.")

# Settings of the published checkpoint that `forecast` takes for granted, by their names in `model_kwargs`.
EXPECTED = {"input_size": 1, "n_embd_per_head": 16, "scaling": "robust", "time_feat": True, "rope_scaling": None}


class StandIn:
    """Takes the place of a class that is not installed: it accepts anything and does nothing."""

    def __init__(self, *_args, **_kwargs):
        pass

    def __setstate__(self, _state):
        pass

    def __setitem__(self, _key, _value):
        pass

    def append(self, _value):
        pass


class Unpickler(pickle.Unpickler):
    """Unpickles with stand-ins for what cannot be imported."""

    def find_class(self, module, name):
        try:
            return super().find_class(module, name)
        except (ImportError, AttributeError):
            print(f"  stood in for: {module}.{name}")
            return type(name, (StandIn,), {"__module__": module})


def load(path, run_its_code):
    """The checkpoint as a dict; ends the program, with the reason, where it cannot be read safely."""
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        sys.exit(f"`{path}` cannot be read: {error.strerror}")
    except pickle.UnpicklingError as error:
        if not run_its_code:
            named = re.findall(r"GLOBAL ([\w.]+)", str(error))
            sys.exit(
                f"`{path}` is no file of weights alone: {'it names `' + named[0] + '`, and ' if named else ''}"
                "to read it in full runs code that it names. Nothing was run. If you trust where it comes from, give "
                "`--run-its-code`, at best in a container without network"
            )
    print(f"reading `{path}` in full: code that it names runs now")
    stand_in = types.ModuleType("stand_in")
    stand_in.Unpickler, stand_in.load, stand_in.loads = Unpickler, pickle.load, pickle.loads
    return torch.load(path, map_location="cpu", weights_only=False, pickle_module=stand_in)


def weights_of(checkpoint):
    """The weights under the names that `forecast` reads, as 32-bit floats, and the names left behind."""
    import torch

    state = checkpoint.get("state_dict", checkpoint)
    tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    kept = {name: value for name, value in tensors.items() if name.startswith(KEPT)}
    return {name: value.detach().float().contiguous() for name, value in kept.items()}, sorted(set(tensors) - set(kept))


def describe(weights, left_behind, settings):
    """Prints what was found, and what `forecast` would read otherwise than it was meant."""
    wte = weights["model.transformer.wte.weight"]
    layers = len({name.split(".")[3] for name in weights if name.startswith("model.transformer.h.")})
    numbers = sum(value.numel() for value in weights.values())
    print(f"{len(weights)} arrays, {numbers:,} numbers: {layers} blocks of {wte.shape[0]}, {wte.shape[1]} numbers a step")
    if numbers != 2_449_299 or tuple(wte.shape) != (144, 92):
        print("  the published checkpoint has 2,449,299 numbers, 8 blocks of 144 and 92 numbers a step: this is another")
    for name in left_behind:
        print(f"  left behind: {name}")
    for name, expected in EXPECTED.items():
        if name in settings and settings[name] != expected:
            print(f"  `{name}` is {settings[name]!r} where `forecast` takes {expected!r} for granted")
    if "context_length" in settings:
        print(f"  trained on a context of {settings['context_length']} steps (`context` of `forecast`)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="the published checkpoint, a pickle")
    parser.add_argument("safetensors", help="the file to write")
    parser.add_argument("--run-its-code", action="store_true", help="read it even if that runs code it names")
    arguments = parser.parse_args()
    try:
        from safetensors.torch import save_file
    except ImportError as error:
        sys.exit(f"{error}: `{HOW}`")
    checkpoint = load(arguments.checkpoint, arguments.run_its_code)
    weights, left_behind = weights_of(checkpoint)
    if "model.transformer.wte.weight" not in weights:
        sys.exit(f"`{arguments.checkpoint}` has no `model.transformer.wte.weight`: it is no checkpoint of Lag-Llama")
    settings = checkpoint.get("hyper_parameters", {})
    describe(weights, left_behind, settings.get("model_kwargs", {}) if isinstance(settings, dict) else {})
    save_file(weights, arguments.safetensors)
    print(f"wrote `{arguments.safetensors}`: `pacer run pipelines/forecast.toml --set data.weights={arguments.safetensors}`")


if __name__ == "__main__":
    main()
