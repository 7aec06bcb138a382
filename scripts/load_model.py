#!/usr/bin/env python3
"""Loads a recurrent model of pacer into PyTorch and predicts heart rates with it.

    pacer export model pipelines/quickstart.toml lstm --out lstm.safetensors
    pacer show pipelines/quickstart.toml resample --export sequences.safetensors
    python3 scripts/load_model.py lstm.safetensors sequences.safetensors > predictions.csv

A file of pacer is plain safetensors; the library of that name reads it too. What the arrays do not say of themselves
stands as JSON under the metadata key `pacer`: for a model its architecture, its features in their order, and the scaler
by which features are standardised and the output becomes BPM.

Needs PyTorch alone. Models that are told about the user (`about`) or have a `start` or a `backbone` of their own hold
further arrays, which this example does not use: it refuses them.
"""

import json
import struct
import sys
from typing import Dict, Tuple

import torch

DTYPES = {"F32": torch.float32, "F64": torch.float64, "I64": torch.int64, "U8": torch.uint8}


def read(path: str) -> Tuple[dict, Dict[str, torch.Tensor]]:
    """The header of pacer and the arrays of a safetensors file."""
    with open(path, "rb") as file:
        content = bytearray(file.read())
    (length,) = struct.unpack("<Q", content[:8])
    infos = json.loads(content[8 : 8 + length])
    header = json.loads(infos.pop("__metadata__")["pacer"])
    body = memoryview(content)[8 + length :]
    arrays = {}
    for name, info in infos.items():
        start, end = info["data_offsets"]
        shape, dtype = info["shape"], DTYPES[info["dtype"]]
        data = torch.frombuffer(body[start:end], dtype=dtype) if end > start else torch.empty(0, dtype=dtype)
        arrays[name] = data.reshape(shape)
    return header, arrays


class Recurrent(torch.nn.Module):
    """The module whose state dict the file is."""

    def __init__(self, cell: str, features: int, hidden: int, layers: int, bidirectional: bool, outputs: int):
        super().__init__()
        kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell]
        self.rnn = kind(features, hidden, layers, batch_first=True, bidirectional=bidirectional)
        self.head = torch.nn.Linear(hidden * (2 if bidirectional else 1), outputs)

    def forward(self, steps: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(steps)[0])


def load(path: str) -> Tuple[dict, Recurrent]:
    """A model with the header that says how to use it."""
    header, weights = read(path)
    sort = header["architecture"]
    if sort["name"] != "recurrent":
        sys.exit(f"`{path}` holds a model `{sort['name']}`, not a recurrent network")
    outputs = weights["head.bias"].shape[0]
    model = Recurrent(
        sort["cell"], len(header["features"]), sort["hidden"], sort["layers"], sort["bidirectional"], outputs
    )
    if set(weights) != set(model.state_dict()):
        sys.exit(f"`{path}` holds arrays that this example does not know: {set(weights) ^ set(model.state_dict())}")
    model.load_state_dict(weights)
    return header, model.eval()


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    header, model = load(sys.argv[1])
    known, sequences = read(sys.argv[2])
    columns = [known["features"].index(name) for name in header["features"]]
    scaler = header["scaler"]
    mean, sd = (torch.tensor(scaler[key], dtype=torch.float32) for key in ("mean", "sd"))
    steps = (sequences["features"][:, columns] - mean) / sd
    offsets = sequences["offsets"].tolist()
    # What a network says at each step: one value, or several of which one is the prediction.
    head = header.get("head", "point")
    point = 0 if head == "point" else 1 if head == "student_t" else head["quantiles"].index(0.5)
    print("workout,time_s,prediction")
    with torch.no_grad():
        for place, workout in enumerate(sequences["workout"].tolist()):
            span = slice(offsets[place], offsets[place + 1])
            said = model(steps[span].unsqueeze(0))[0, :, point] * scaler["target_sd"] + scaler["target_mean"]
            for step, time, rate in zip(range(span.start, span.stop), sequences["time"][span].tolist(), said.tolist()):
                if sequences["real"][step] == 1:
                    print(f"{workout},{time!r},{rate!r}")


if __name__ == "__main__":
    main()
