"""Muon: momentum whose step for each matrix is orthogonalised.

Method: Keller Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024. The Newton-Schulz
iteration's coefficients are the ones published there.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from training.stages.run import HAS_BFLOAT16

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
ROUNDS = 5


class Muon(torch.optim.Optimizer):
    """For matrices and kernels; a kernel of out x in x height x width counts as a matrix of out rows."""

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(list(parameters), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            alike: dict[tuple[int, int], list[nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike[(parameter.shape[0], parameter[0].numel())].append(parameter)
            for shape, parameters in alike.items():
                moves = torch.stack([self._momentum(one, group["momentum"]).reshape(shape) for one in parameters])
                scale = max(1.0, shape[0] / shape[1]) ** 0.5
                for parameter, move in zip(parameters, orthogonalise(moves), strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(move.reshape(parameter.shape).to(parameter.dtype), alpha=-group["lr"] * scale)

    def _momentum(self, parameter: nn.Parameter, momentum: float) -> torch.Tensor:
        """Nesterov's: the gradient, moved on along its running mean."""
        gradient = parameter.grad
        if gradient is None:
            raise ValueError("a parameter without a gradient")
        state = self.state[parameter]
        if "mean" not in state:
            state["mean"] = torch.zeros_like(gradient)
        mean: torch.Tensor = state["mean"]
        mean.lerp_(gradient, 1 - momentum)
        return gradient.lerp(mean, momentum)


def orthogonalise(matrices: torch.Tensor) -> torch.Tensor:
    """Return roughly the nearest matrices with orthogonal rows or columns: singular values near 1. (n x a x b)"""
    a, b, c = NEWTON_SCHULZ
    x = matrices.to(torch.bfloat16 if HAS_BFLOAT16 else torch.float32)
    wide = x.shape[1] > x.shape[2]
    if wide:
        x = x.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(ROUNDS):
        squared = x @ x.mT
        x = a * x + (b * squared + c * squared @ squared) @ x
    orthogonal: torch.Tensor = x.mT if wide else x
    return orthogonal
