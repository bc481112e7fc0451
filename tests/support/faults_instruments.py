"""Planted faults in the instruments: networks, noise, segment gradients, tangent kernels, training and its recorder."""

from __future__ import annotations

from tests.support.planting import Fault, Replacement, edited

__all__ = ["INSTRUMENT_FAULTS"]


def _fault(name: str, target: str, replacement: Replacement, description: str, *caught_by: str) -> Fault:
    return Fault(name, description, "instrument", f"empirical.{target}", replacement, caught_by)


_UNIFORM = "12**0.5 * (torch.rand(fan_out, fan_in, dtype=torch.float64, generator=generator) - 0.5)"

INSTRUMENT_FAULTS: tuple[Fault, ...] = (
    # Networks
    _fault(
        "√2 dropped on the first layer only",
        "networks:layer_scales",
        edited(
            "return (math.sqrt(2 / width),) * depth + (1.0,)",
            "return (math.sqrt(1 / width),) + (math.sqrt(2 / width),) * (depth - 1) + (1.0,)",
        ),
        "Eq. (2) [B] with √(1/m) on the first layer",
        "S4 means",
        "Eq. (2) written out",
    ),
    _fault(
        "√2 dropped on every layer",
        "networks:layer_scales",
        edited("math.sqrt(2 / width)", "math.sqrt(1 / width)"),
        "Eq. (2) [B] with √(1/m) throughout",
        "S5",
    ),
    _fault(
        "last layer scaled too",
        "networks:layer_scales",
        edited("* depth + (1.0,)", "* (depth + 1)"),
        "√(2/m) on the output layer of Eq. (2) [B]",
        "S5",
        "I5 random",
    ),
    _fault(
        "one seed repeated",
        "batched:NetworkBatch.draw",
        edited("convention=convention, seed=seed)", "convention=convention, seed=seeds[0])"),
        "all networks of a batch are the first one",
        "I5 random",
    ),
    _fault(
        "uniform for normal weights",
        "networks:draw_parameters",
        edited("torch.randn(fan_out, fan_in, dtype=torch.float64, generator=generator)", _UNIFORM),
        "weights uniform with variance 1",
        "laws of the parameters",
    ),
    # Noise
    _fault(
        "0.36 sold as 0.40",
        "noise:noisy_counts",
        edited("round(exact * int(count))", "round(exact * int(count) * 9 / 10)"),
        "nine tenths of the noise asked for",
        "S2",
    ),
    _fault(
        "noise in one class only",
        "noise:_corrupt",
        edited("for c in range(n_classes):", "for c in range(n_classes - 1):"),
        "the last class stays clean",
        "S2",
    ),
    _fault(
        "wrong labels go to the next class",
        "noise:_corrupt",
        edited("wrong += wrong >= c", "wrong[:] = (c + 1) % n_classes"),
        "noise that is not uniform over the wrong labels",
        "S2",
    ),
    _fault(
        "labels drawn from all classes",
        "noise:_corrupt",
        edited("wrong += wrong >= c", "wrong = generator.integers(0, n_classes, size=len(members))"),
        "the true label may be drawn again: the noise level is δ(C−1)/C",
        "S2",
    ),
    _fault(
        "the same noise for every seed",
        "noise:_corrupt",
        edited("[_STREAM, seed, c]", "[_STREAM, 0, c]"),
        "label noise does not depend on its seed",
        "noise by seed",
    ),
    # Segment gradients of one network
    _fault(
        "masks shifted by one",
        "gradients:_Chunk.add_to",
        edited("(observed == truth, observed != truth)", "(np.roll(observed == truth, 1), np.roll(observed != truth, 1))"),
        "clean and noisy masks of the neighbouring sample",
        "gradients",
    ),
    _fault(
        "clean and noise swapped in one class",
        "gradients:_Chunk.add_to",
        edited("layer_sum.add(kind * n_classes + c,", "layer_sum.add((1 - kind if c == 1 else kind) * n_classes + c,"),
        "the segments of class 1 exchanged",
        "gradients",
    ),
    _fault(
        "classes by observed label, measured",
        "gradients:_Chunk.add_to",
        edited("members & (truth == c)", "members & (observed == c)"),
        "noisy samples sorted by their wrong label",
        "gradients",
    ),
    _fault(
        "mean for sum",
        "layer_gradients:_LinearSums.add_signals",
        edited("alpha=self.scale", "alpha=self.scale / len(signal)"),
        "segment gradients divided by the size of the segment",
        "gradients",
    ),
    _fault(
        "sigmoid left out of the residual",
        "gradients:_Task.residual",
        edited("torch.sigmoid(output)", "output"),
        "r = h − y",
        "gradients",
    ),
    _fault(
        "residual left out of the sample norm",
        "gradients:_Chunk.measure",
        edited("self.weight.abs()[:, 0] * norm", "norm"),
        "‖∇h‖ for ‖∇l‖",
        "gradients",
    ),
    _fault(
        "pooled for class-wise α, measured",
        "segment_gram:summarize_gram",
        edited(
            "alpha=_norm_ratio(noise_norm, clean_norm)",
            "alpha=_norm_ratio(noise_norm, clean_norm) * 0 + _norm_ratio(pooled_noise_norm, pooled_clean_norm)[..., None]",
        ),
        "‖G_n‖/‖G_c‖ in the place of each α^(c)",
        "gradients",
    ),
    _fault(
        "ρ without its sign",
        "segment_gram:summarize_gram",
        edited("        rho=-_cosine", "        rho=_cosine"),
        "cos for −cos",
        "gradients",
    ),
    _fault(
        "sums in float32",
        "layer_gradients:_gram",
        edited("torch.float64", "torch.float32"),
        "float32 where float64 is claimed",
        "gradients",
    ),
    _fault(
        "biases forgotten",
        "layer_gradients:_LinearSums.add_signals",
        edited("self.bias[row] += signal.sum(0)", "pass"),
        "no gradient with respect to biases",
        "gradients PyTorch",
    ),
    _fault(
        "normalisation in training mode",
        "layer_signals:trainable_layers",
        edited("module.training", "False"),
        "BatchNorm in training mode, where a sample's gradient depends on the others, is measured all the same",
        "BatchNorm refused",
    ),
    # Tangent kernels
    _fault(
        "last layer left out of the tangent kernel",
        "tangent_kernel:_paired_kernels",
        edited("zip(values[:-1], signals, batch.scales, strict=True)", "list(zip(values[:-1], signals, batch.scales, strict=True))[:-1]"),
        "the output weights are not trained",
        "G2",
        "sampled kernels",
    ),
    _fault(
        "last layer left out, one network",
        "tangent_kernel:_Factors.block",
        edited("enumerate(self.layers)", "enumerate(self.layers[:-1])"),
        "the output weights are not trained",
        "tangent kernel",
    ),
    _fault(
        "scale of a layer forgotten",
        "tangent_kernel:_paired_kernels",
        edited(" * scale**2", " * scale"),
        "scale for scale² in the kernel",
        "sampled kernels",
    ),
    _fault(
        "kernel sums in float32",
        "tangent_kernel:_paired_kernels",
        edited(
            "(value[..., first, :].double() * value[..., second, :].double())",
            "(value[..., first, :].float() * value[..., second, :].float())",
        ),
        "float32 where float64 is claimed",
        "sampled kernels",
    ),
    _fault(
        "ReLU gate left out of the batch",
        "batched:NetworkBatch.signals",
        edited('if self.activation == "relu":', 'if self.activation == "gate":'),
        "the derivative of ReLU taken as 1",
        "sampled kernels",
    ),
    # Training and recorder
    _fault(
        "batched training without 1/n",
        "training:_Run._descend",
        edited(" / labels.shape[1]", ""),
        "a step on the summed loss",
        "training",
    ),
    _fault(
        "descent uphill",
        "training:_Run._descend",
        edited("factor = -self", "factor = self"),
        "the sign of the step",
        "training",
    ),
    _fault(
        "trained on the true labels",
        "training:_Run.records",
        edited(
            "self._descend(self.inputs, self.observed, self.initial, evaluation)",
            "self._descend(self.inputs, self.truth.expand_as(self.observed), self.initial, evaluation)",
        ),
        "no noise in training at all",
        "training",
    ),
    _fault(
        "labels of the wrong class in the recorder",
        "recorder:Segmentation.from_labels",
        edited("(truth == c)", "(observed == c)"),
        "segments by observed label",
        "training",
    ),
    _fault(
        "recorder's masks shifted by one",
        "recorder:Segmentation.from_labels",
        edited("noisy = observed != truth", "noisy = torch.roll(observed != truth, 1, dims=1)"),
        "the noisy mask of the neighbouring sample",
        "training",
    ),
    _fault(
        "relabelled with the wrong labels",
        "recorder:SegmentGrams.measure",
        edited("true_residual = label_residuals(logits, self.truth.expand_as(self.observed))", "true_residual = residual"),
        "ĝ built with the observed labels",
        "training",
    ),
    _fault(
        "sum for mean in the losses",
        "losses:_mean",
        edited(" / mask.sum(1)", ""),
        "summed losses and errors",
        "training",
    ),
    _fault(
        "clean loss over all samples",
        "losses:measure_labels",
        edited('"clean": ~noisy', '"clean": torch.ones_like(noisy)'),
        "noisy samples counted among the clean ones",
        "training",
    ),
    _fault(
        "errors against the true label",
        "losses:measure_labels",
        edited("sample_errors(logits, observed)", "sample_errors(logits, true_labels)"),
        "the noisy error counts agreement with the truth",
        "training",
    ),
    _fault(
        "every batch of an epoch the same",
        "training:_Run._batches",
        edited("order[:, start : start + size]", "order[:, :size]"),
        "most samples are never seen",
        "epochs",
    ),
    _fault(
        "biases not trained",
        "batched:NetworkBatch.step",
        edited("self.biases[index].add_(signals[index].sum(1), alpha=factor)", "pass"),
        "PyTorch networks keep their initial biases",
        "training PyTorch",
    ),
    _fault(
        "output not centred",
        "training:_Run._logits",
        edited("output if self.initial is None else output - self.initial", "output"),
        "the initial output is left in the changes of the losses",
        "changes of the losses",
    ),
    # Networks for pictures
    _fault(
        "one picture network repeated",
        "module_batch:ModuleBatch.draw",
        edited("network.build(dataset, seed=seed, dtype=dtype)", "network.build(dataset, seed=seeds[0], dtype=dtype)"),
        "all networks of a batch are the first one",
        "picture networks",
    ),
    _fault(
        "batch statistics while measuring",
        "module_batch:ModuleBatch._mode",
        edited("self.template.train(training)", "self.template.train()"),
        "networks with batch normalisation are evaluated in training mode",
        "picture networks, BatchNorm",
    ),
    _fault(
        "batch statistics frozen in training",
        "module_batch:ModuleBatch._mode",
        edited("self.template.train(training)", "self.template.eval()"),
        "networks with batch normalisation are trained in evaluation mode",
        "picture networks, BatchNorm",
    ),
    _fault(
        "single-logit gradients of the next logit",
        "recorder:SegmentGrams.measure",
        edited("one_hot(self.truth,", "one_hot((self.truth + 1) % logits.shape[-1],"),
        "class c measured at logit c + 1",
        "training, several classes",
    ),
    # Data
    _fault(
        "rows divided by their largest entry",
        "datasets:_unit_rows",
        edited("scaled / np.sqrt(np.sum(scaled * scaled, axis=1, keepdims=True))", "scaled"),
        "inputs that are not unit vectors",
        "unit rows",
    ),
)
