#!/usr/bin/env python3
"""The losses of the first steps of a recurrent network in PyTorch, and the data and weights that they come from.

  torch_losses.py FOLDER CELL BATCH STEPS

Writes `data` (all features [sequences, 500, 3], then all heart rates [sequences, 500]) and `weights` (in the order of the
state dict) into FOLDER as 32-bit floats and prints the losses as JSON. `benches/training.py` calls it with a Python that
has PyTorch and compares `stages/torch/benches/step.rs` on the same two files.
"""
import array
import json
import sys

import torch

folder, cell, batch, steps = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(1)
torch.manual_seed(0)
sequences, length = batch * steps, 500
features = torch.randn(sequences, length, 3)
features[..., -1] = (torch.rand(sequences, 1) < 0.5).float()
target = 140 + 15 * torch.tanh(torch.cumsum(features[..., :1], 1) / length**0.5)


def write(name, tensors):
    with open(f"{folder}/{name}", "wb") as file:
        for tensor in tensors:
            array.array("f", tensor.detach().flatten().tolist()).tofile(file)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell]
        self.rnn = kind(3, 64, 2, batch_first=True)
        self.head = torch.nn.Linear(64, 1)

    def forward(self, x):
        return self.head(self.rnn(x)[0])


net = Net()
write("data", [features, target])
write("weights", net.state_dict().values())
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
loss = torch.nn.L1Loss()
losses = []
for step in range(steps):
    part = slice(step * batch, (step + 1) * batch)
    optimizer.zero_grad(set_to_none=True)
    value = loss(net(features[part]), target[part])
    value.backward()
    optimizer.step()
    losses.append(float(value.detach()))
print(json.dumps(losses))
