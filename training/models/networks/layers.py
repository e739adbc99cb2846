"""The networks themselves: logits [N, 3] from raw windows [N, L, F].

Standardisation and the replacement of missing values are layers of the network, so that the exported graph takes raw
features.
"""

import math

import torch
from torch import Tensor, nn

from training.model_parameters import GruParameters, LstmParameters, NetworkParameters, TransformerParameters

CLIP = 6.0  # standard deviations: a feature's outlier must not saturate every gate
CLASS_COUNT = 3


class Network(nn.Module):
    """Missing values to the mean, standardise, clip; what follows is the subclass's."""

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)

    def standardised(self, windows: Tensor) -> Tensor:
        """Return windows with mean 0 and deviation 1 per feature, without missing values."""
        filled = torch.where(torch.isnan(windows), self.mean, windows)
        return torch.clamp((filled - self.mean) * self.scale, -CLIP, CLIP)


class Recurrent(Network):
    """A recurrent layer, dropout, and a linear layer on the last state.

    LSTM: Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 9, 1997. GRU: Cho et al., "Learning
    Phrase Representations using RNN Encoder-Decoder", EMNLP 2014, section 2.3.
    """

    def __init__(self, mean: Tensor, scale: Tensor, parameters: LstmParameters | GruParameters) -> None:
        super().__init__(mean, scale)
        kind = nn.GRU if isinstance(parameters, GruParameters) else nn.LSTM
        self.recurrent = kind(len(mean), parameters.hidden, parameters.layers, batch_first=True)
        self.dropout = nn.Dropout(parameters.dropout)
        self.head = nn.Linear(parameters.hidden, CLASS_COUNT)

    def forward(self, windows: Tensor) -> Tensor:
        states, _ = self.recurrent(self.standardised(windows))
        return self.head(self.dropout(states[:, -1]))


class EncoderLayer(nn.Module):
    """Multi-head self-attention and a feed-forward layer of four times the width, each on normalised input.

    Vaswani et al., "Attention Is All You Need", NeurIPS 2017, section 3; normalisation before each part as in Xiong
    et al., "On Layer Normalization in the Transformer Architecture", ICML 2020, which needs no warm-up. Written out:
    torch's own layer answers by a fused kernel that has no ONNX form.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.attended = nn.Linear(width, width)
        self.before_feed_forward = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor) -> Tensor:
        states = states + self.dropout(self.attention(self.before_attention(states)))
        return states + self.dropout(self.feed_forward(self.before_feed_forward(states)))

    def attention(self, states: Tensor) -> Tensor:
        """Return what each position takes from all others; [N, L, W]."""
        length, width = states.shape[1], states.shape[2]
        size = width // self.heads
        # The batch is the one size an exported graph leaves open.
        parts = self.queries_keys_values(states).view(-1, length, 3, self.heads, size).permute(2, 0, 3, 1, 4)
        queries, keys, values = parts[0], parts[1], parts[2]
        attention = torch.softmax(queries @ keys.transpose(2, 3) / math.sqrt(size), dim=3)
        return self.attended((attention @ values).transpose(1, 2).reshape(-1, length, width))


class Transformer(Network):
    """Encoder layers over the window with learnt positions; the state of the last row decides.

    No mask: every row of a window lies in the past of its decision.
    """

    def __init__(self, mean: Tensor, scale: Tensor, parameters: TransformerParameters) -> None:
        super().__init__(mean, scale)
        p = parameters
        self.embedding = nn.Linear(len(mean), p.hidden)
        self.position = nn.Parameter(torch.randn(p.lookback, p.hidden) * 0.02)
        self.layers = nn.Sequential(*(EncoderLayer(p.hidden, p.heads, p.dropout) for _ in range(p.layers)))
        self.normalise = nn.LayerNorm(p.hidden)
        self.head = nn.Linear(p.hidden, CLASS_COUNT)

    def forward(self, windows: Tensor) -> Tensor:
        states = self.layers(self.embedding(self.standardised(windows)) + self.position)
        return self.head(self.normalise(states[:, -1]))


class Answering(nn.Module):
    """The network with probabilities as its output: what is exported."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor) -> Tensor:
        return torch.softmax(self.network(features), dim=1)


def build(parameters: NetworkParameters, mean: Tensor, scale: Tensor) -> Network:
    """Return a network of the kind that the parameters are for, with fresh weights from torch's generator."""
    if isinstance(parameters, TransformerParameters):
        return Transformer(mean, scale, parameters)
    if isinstance(parameters, LstmParameters | GruParameters):
        return Recurrent(mean, scale, parameters)
    raise TypeError(f"no network for {type(parameters).__name__}")
