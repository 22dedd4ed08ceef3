"""One optimizer for a model of many experts: the tuned backbone as a whole, each expert by itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from multigraft.methods.shared import SharedModel
from multigraft.training.row_optimizers import ROW_OPTIMIZERS, RowOptimizer, adafactor_direction
from multigraft.training.settings import TrainingSettings


class DenseAdafactor(torch.optim.Optimizer):
    """`RowAdafactor` for the parameters of a backbone: each is a stack of one."""

    def __init__(self, groups: list[dict[str, object]], lr: float) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step along the gradients; parameters without one stay."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    factored = p.dim() > 1
                    state["step"] = torch.zeros((), device=p.device)
                    state["rows"] = p.new_zeros(p.shape[:-1] if factored else p.shape)
                    if factored:
                        state["columns"] = p.new_zeros(*p.shape[:-2], p.shape[-1])
                state["step"] += 1
                moments = [state[key][None] for key in ("rows", "columns") if key in state]
                direction = adafactor_direction(p.grad[None], moments, state["step"].view(1, 1), 1e-30, p.numel())[0]
                p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(direction, alpha=group["lr"])


class Optimizers:
    """Steps a model of N experts.

    Where all learn together, as with a tuned backbone, all gradients are clipped together; independent experts, each
    one's module and head, are clipped by themselves.
    """

    def __init__(self, model: SharedModel, settings: TrainingSettings) -> None:
        self.model, self.settings = model, settings
        make = ROW_OPTIMIZERS[settings.optimizer]
        self.rows: dict[str, RowOptimizer] = {
            name: make(stack, settings.weight_decay) for name, stack in model.stacks.items() if stack.width
        }
        self.named = {name: p for name, p in model.shared() if p.requires_grad}
        self.dense = self._dense() if self.named else None

    def _dense(self) -> torch.optim.Optimizer:
        groups: list[dict[str, object]] = [
            {"params": [p for p in self.named.values() if p.dim() > 1], "weight_decay": self.settings.weight_decay},
            {"params": [p for p in self.named.values() if p.dim() <= 1], "weight_decay": 0.0},
        ]
        if self.settings.optimizer == "adafactor":
            return DenseAdafactor(groups, self.settings.learning_rate)
        return torch.optim.AdamW(groups, lr=self.settings.learning_rate, fused=True)

    @torch.no_grad()
    def step(self, experts: Sequence[int], factor: float) -> None:
        """Clip, step the shared parameters and the rows of the `experts` that were drawn, and clear the gradients.

        `factor` scales all learning rates.
        """
        if self.settings.clip is not None:
            self._clip(experts, self.settings.clip)
        if self.dense is not None:
            for group in self.dense.param_groups:
                group["lr"] = self.settings.learning_rate * factor
            self.dense.step()
        rates = {"heads": self.settings.head_learning_rate}
        for name, optimizer in self.rows.items():
            rate = rates.get(name) or self.settings.module_learning_rate
            optimizer.step(self.model.drawn(name, experts), rate * factor)
        self.zero_grad()

    def zero_grad(self) -> None:
        """Clear the gradients."""
        for parameter in [*self.named.values(), *(optimizer.stack.values for optimizer in self.rows.values())]:
            parameter.grad = None

    def _clip(self, experts: Sequence[int], limit: float) -> None:
        grads = [optimizer.stack.values.grad for optimizer in self.rows.values()]
        rows = [grad for grad in grads if grad is not None]
        if self.model.whole:
            parameters = [*self.named.values(), *(optimizer.stack.values for optimizer in self.rows.values())]
            nn.utils.clip_grad_norm_([p for p in parameters if p.grad is not None], limit)
            return
        index = torch.tensor(experts, device=rows[0].device)
        norms = torch.stack([grad.index_select(0, index).norm(dim=1) for grad in rows]).norm(dim=0)
        scale = (limit / (norms + 1e-6)).clamp(max=1.0)
        for grad in rows:
            grad.index_copy_(0, index, grad.index_select(0, index) * scale[:, None])

    def state(self) -> dict[str, Tensor]:
        """All state as named tensors, for a checkpoint."""
        tensors: dict[str, Tensor] = {}
        for name, optimizer in self.rows.items():
            tensors[f"{name}/count"] = optimizer.count
            tensors |= {f"{name}/{key}": value for key, value in optimizer.state().items()}
        if self.dense is not None:
            for name, parameter in self.named.items():
                tensors |= {f"shared/{name}/{key}": value for key, value in self.dense.state[parameter].items()}
        return tensors

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Continue from a `state` of an optimizer of the same model."""
        for name, optimizer in self.rows.items():
            optimizer.count.copy_(tensors[f"{name}/count"])
            for key, value in optimizer.state().items():
                value.copy_(tensors[f"{name}/{key}"])
        if self.dense is not None:
            for name, parameter in self.named.items():
                prefix = f"shared/{name}/"
                state = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
                self.dense.state[parameter] = {key: value.to(parameter.device) for key, value in state.items()}
