"""Turns the formula of a loss into a loss that kernels can use, and refuses one that is no loss."""

from __future__ import annotations

import warnings
from abc import abstractmethod

import torch
from torch import Tensor

from swarm.common.errors import ConfigError, of_the
from swarm.common.plugin import called, fault_of, is_plugin, place, returned, shape_of, where
from swarm.common.system.machine import ran_out_of_memory
from swarm.learning.kernels.losses import Loss, Regression, one_hot
from swarm.learning.losses.base import SampleLoss

KEY = "train.loss"
SURE = 100.0  # outputs that a model which is sure of its answers may have


class OwnLoss(Loss):
    """A loss by the formula of a :class:`SampleLoss`, with autograd's derivative."""

    compiles = False

    def __init__(self, formula: SampleLoss) -> None:
        self.formula = formula
        self.gives_probabilities = formula.gives_probabilities

    def value(self, out_BCb: Tensor, target_BCb: Tensor) -> Tensor:
        out_SC = out_BCb.movedim(-2, -1).reshape(-1, out_BCb.shape[-2])
        target_S, weight = self._plain(target_BCb, out_BCb)
        each_S = self.formula.values(out_SC, target_S)
        if not isinstance(each_S, Tensor) or each_S.shape != out_SC.shape[:1]:
            needed = f"one number for {of_the(len(out_SC), 'sample')} is needed"
            raise returned(KEY, self.formula, "values()", f"returns {shape_of(each_S)}", needed)
        each = each_S.reshape(out_BCb.shape[:-2] + out_BCb.shape[-1:])
        return each if weight is None else each * weight

    def grad_outputs(
        self, out_BCb: Tensor, target_BCb: Tensor, into: Tensor | None = None
    ) -> Tensor:
        # a run is in inference mode, whose tensors autograd does not take
        with torch.inference_mode(False), torch.enable_grad():
            leaf = out_BCb.clone().requires_grad_()
            total = self.value(leaf, target_BCb.clone()).sum()
            (found,) = torch.autograd.grad(total, leaf)
        return found if into is None else into.copy_(found)

    @abstractmethod
    def _plain(self, target_BCb: Tensor, out_BCb: Tensor) -> tuple[Tensor, Tensor | None]:
        """The targets as the formula takes them, ``[S, …]``, and how much each sample counts,
        ``[…, b]``; None: 1."""


class OwnLossOfClasses(OwnLoss):
    """A loss of labels. A target of Σ_c target_c = m counts m times, as in cross-entropy."""

    classification = True

    def encode(self, y: Tensor, outputs: int, dtype: torch.dtype) -> Tensor:
        return one_hot(y, outputs, dtype)

    def _plain(self, target_BCb: Tensor, out_BCb: Tensor) -> tuple[Tensor, Tensor | None]:
        shape = out_BCb.shape[:-2] + out_BCb.shape[-1:]
        return target_BCb.argmax(-2).expand(shape).reshape(-1), target_BCb.sum(-2)


class OwnLossOfNumbers(OwnLoss, Regression):
    """A loss of numeric targets, in the unit in which they are learned; scores are in their own
    unit."""

    def __init__(self, formula: SampleLoss, unit_T1: Tensor | None = None) -> None:
        OwnLoss.__init__(self, formula)
        Regression.__init__(self, unit_T1)

    def _plain(self, target_BCb: Tensor, out_BCb: Tensor) -> tuple[Tensor, Tensor | None]:
        outputs = out_BCb.shape[-2]
        return target_BCb.expand_as(out_BCb).movedim(-2, -1).reshape(-1, outputs), None


def own_loss(formula: SampleLoss, classes: int, unit_T1: Tensor | None = None) -> OwnLoss:
    """Return the loss by ``formula``; the other parameters are those of
    :func:`~swarm.learning.kernels.losses.loss_for`.

    Raises :class:`ConfigError` for a formula of the other kind of targets.
    """
    kind, needed = getattr(formula, "target_kind", None), "classes" if classes else "numbers"
    if kind not in ("classes", "numbers"):
        valid = f"has the target_kind {kind!r}; it must be 'classes' or 'numbers'"
        raise ConfigError(KEY, called(formula), valid + _at(formula))
    if kind != needed:
        valid = (
            "is a loss of labels and does not fit numeric targets; valid: mse, mae, huber"
            if kind == "classes"
            else "is a loss of numeric targets and does not fit labels; valid: cross_entropy,"
            " focal, label_smoothing"
        )
        raise ConfigError(KEY, called(formula), f"{valid}, or one of your own")
    return OwnLossOfClasses(formula) if classes else OwnLossOfNumbers(formula, unit_T1)


# --- its check ------------------------------------------------------------------------------------


def check_loss(loss: OwnLoss, outputs: int, dtype: torch.dtype, device: torch.device) -> None:
    """Refuse a formula that is not the loss of each sample, as a pure function of its outputs and
    its target that autograd can differentiate.

    A warning is given of one that is not finite for outputs as sure models have them. Raises
    :class:`ConfigError`, which names the loss.
    """
    formula, draw = loss.formula, torch.Generator().manual_seed(0)
    out_bC = torch.randn(7, outputs, generator=draw, dtype=torch.float64).to(device, dtype)
    if loss.classification:
        target_b = (torch.arange(7) % outputs).to(device)
    else:
        target_b = torch.randn(7, outputs, generator=draw, dtype=torch.float64).to(device, dtype)
    each_b, gradient_bC = _tried(formula, out_bC, target_b)
    if not torch.isfinite(each_b).all() or not torch.isfinite(gradient_bC).all():
        what = "is" if not torch.isfinite(each_b).all() else "has a gradient that is"
        raise _refused(formula, f"{what} not finite for outputs of about 1")
    if not torch.equal(_tried(formula, out_bC, target_b)[0], each_b):
        raise _refused(formula, "changes from call to call; it must be a function of its arguments")
    alone_b, _ = _tried(formula, out_bC[:1], target_b[:1])
    if not torch.allclose(alone_b, each_b[:1], rtol=1e-3, atol=1e-5):
        why = "gives a sample another loss if other samples are there; each counts for itself"
        raise _refused(formula, why)
    sure = _tried(formula, SURE * out_bC, target_b)
    if not all(torch.isfinite(part).all() for part in sure):
        warnings.warn(
            f"{KEY}={called(formula)}: is not finite for outputs of about {SURE:g}, as models have"
            " that are sure; log_softmax in the place of softmax and log may help",
            stacklevel=3,
        )


def _tried(formula: SampleLoss, out_bC: Tensor, target_b: Tensor) -> tuple[Tensor, Tensor]:
    """The loss ``[b]`` of each sample and its gradient ``[b, C]``; refused where there is none."""
    shapes = f"outputs {list(out_bC.shape)} and targets {list(target_b.shape)}"
    with torch.inference_mode(False), torch.enable_grad():
        leaf, given = out_bC.clone().requires_grad_(), target_b.clone()
        try:
            each_b = formula.values(leaf * 1, given)
        except (Exception, SystemExit) as error:
            if ran_out_of_memory(error):
                raise
            fault = fault_of(error)
            if fault is None and not is_plugin(formula):
                raise
            said = fault.valid if fault else f"{type(error).__name__}: {error}{where(error)}"
            raise ConfigError(KEY, called(formula), f"fails on {shapes}: {said}") from error
        if not isinstance(each_b, Tensor) or each_b.shape != out_bC.shape[:1]:
            hint = "; reduction='none' gives one each" if getattr(each_b, "ndim", 1) == 0 else ""
            why = f"returns {shape_of(each_b)} for {shapes}; it must be {[len(out_bC)]}, a number"
            raise _refused(formula, f"{why} for each sample{hint}")
        if not each_b.is_floating_point() or not each_b.requires_grad:
            raise _refused(
                formula,
                "has no gradient: it does not depend on the outputs, or something in it cuts the"
                " graph (detach, .data, .item(), NumPy, argmax or rounding)",
            )
        try:
            (gradient_bC,) = torch.autograd.grad(each_b.sum(), leaf)
        except RuntimeError as error:
            raise _refused(formula, f"cannot be differentiated: {error}") from error
    if not torch.equal(given, target_b):
        raise _refused(formula, "changes its targets in place, which others read too")
    return each_b.detach(), gradient_bC


def _refused(formula: SampleLoss, why: str) -> ConfigError:
    return ConfigError(KEY, called(formula), " ".join(why.split()) + _at(formula))


def _at(formula: SampleLoss) -> str:
    return f" ({place(formula, 'values')})" if is_plugin(formula) else ""
