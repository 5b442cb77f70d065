"""Writes metrics_reference.json: what scikit-learn says of fixed vectors.

    pip install scikit-learn==1.7.2 && python metrics_reference.py
"""

import json
import pathlib

import numpy as np
from sklearn import metrics as m

random = np.random.default_rng(20240217)


def f32(values):
    return np.asarray(values, dtype=np.float32).astype(np.float64)


def calibration_error(probability, right, w):
    """The binned gap of Guo et al. 2017, 15 bins of equal width."""
    bins = np.minimum((probability * 15).astype(int), 14)
    gaps = [abs(np.sum(w[bins == b] * (probability - right)[bins == b])) for b in range(15)]
    return sum(gaps) / np.sum(w)


def averages(truth, said, kw):
    figures = {"f1": m.f1_score, "precision": m.precision_score, "recall": m.recall_score}
    return {
        f"{name}_{average}": figure(truth, said, average=average, zero_division=0, **kw)
        for name, figure in figures.items() for average in ("macro", "weighted")
    }


def binary(name, n, counts=None, decimals=None):
    truth = (random.random(n) < 0.3).astype(int)
    p = np.clip(0.25 + 0.3 * truth + 0.25 * random.standard_normal(n), 0.0, 1.0)
    p = f32(p if decimals is None else np.round(p, decimals))
    w = np.ones(n, dtype=int) if counts is None else counts
    said = (p > 0.5).astype(int)
    kw = {"sample_weight": w}
    return {
        "name": name, "task": "binary", "truth": truth.tolist(), "counts": w.tolist(),
        "scores": np.stack([1 - p, p], axis=1).ravel().tolist(),
        "metrics": {
            "roc_auc": m.roc_auc_score(truth, p, **kw),
            "average_precision": m.average_precision_score(truth, p, **kw),
            "log_loss": m.log_loss(truth, np.stack([1 - p, p], axis=1), **kw),
            "brier_score": m.brier_score_loss(truth, p, **kw),
            "accuracy": m.accuracy_score(truth, said, **kw),
            "balanced_accuracy": m.balanced_accuracy_score(truth, said, **kw),
            "f1": m.f1_score(truth, said, **kw),
            "precision": m.precision_score(truth, said, **kw),
            "recall": m.recall_score(truth, said, **kw),
            "matthews_corrcoef": m.matthews_corrcoef(truth, said, **kw),
            "expected_calibration_error": calibration_error(p, truth, w),
            **averages(truth, said, kw),
        },
    }


def multiclass(name, n, k, counts=None):
    truth = random.integers(0, k, n)
    margins = random.standard_normal((n, k))
    margins[np.arange(n), truth] += 1.0
    p = np.exp(margins)
    # Quarters of a unit in 2^10 are exact in float32 and sum to one exactly.
    p = np.floor(p / p.sum(axis=1, keepdims=True) * 1024) / 1024
    p[:, 0] += 1 - p.sum(axis=1)
    w = np.ones(n, dtype=int) if counts is None else counts
    said = p.argmax(axis=1)
    kw = {"sample_weight": w}
    return {
        "name": name, "task": "multiclass", "truth": truth.tolist(), "counts": w.tolist(),
        "scores": p.ravel().tolist(),
        "metrics": {
            "roc_auc": m.roc_auc_score(truth, p, multi_class="ovr", average="macro", **kw),
            "log_loss": m.log_loss(truth, p, labels=range(k), **kw),
            "accuracy": m.accuracy_score(truth, said, **kw),
            "balanced_accuracy": m.balanced_accuracy_score(truth, said, **kw),
            "f1": m.f1_score(truth, said, average="macro", **kw),
            "matthews_corrcoef": m.matthews_corrcoef(truth, said, **kw),
            "expected_calibration_error": calibration_error(p.max(axis=1), said == truth, w),
            **{
                f"top_{n}_accuracy": m.top_k_accuracy_score(truth, p, k=n, labels=range(k), **kw)
                if n < k else 1.0
                for n in (2, 3, 5)
            },
            **averages(truth, said, kw),
        },
    }


def regression(name, n, counts=None):
    truth = np.round(100 + 40 * random.standard_normal(n), 2)
    said = f32(truth + 15 * random.standard_normal(n))
    w = np.ones(n, dtype=int) if counts is None else counts
    kw = {"sample_weight": w}
    return {
        "name": name, "task": "regression", "truth": truth.tolist(), "counts": w.tolist(),
        "scores": said.tolist(),
        "metrics": {
            "r2": m.r2_score(truth, said, **kw),
            "rmse": m.root_mean_squared_error(truth, said, **kw),
            "mae": m.mean_absolute_error(truth, said, **kw),
            "median_absolute_error": float(np.median(np.repeat(np.abs(truth - said), w))),
            "mape": m.mean_absolute_percentage_error(truth, said, **kw),
            "bias": float(np.average(said - truth, weights=w)),
            **{f"pinball_loss_{q}": m.mean_pinball_loss(truth, said, alpha=q / 100, **kw) for q in (10, 50, 90)},
        },
    }


references = [
    binary("two classes", 60),
    binary("two classes with many ties", 60, decimals=1),
    binary("two classes, rows counted", 40, counts=random.integers(0, 4, 40)),
    binary("two classes, a tenth of them one score", 200, decimals=0),
    multiclass("three classes", 60, 3),
    multiclass("five classes, rows counted", 60, 5, counts=random.integers(0, 4, 60)),
    multiclass("eight classes, of which some are never said", 40, 8),
    regression("numbers", 40),
    regression("numbers, rows counted", 40, counts=random.integers(0, 4, 40)),
]
path = pathlib.Path(__file__).with_name("metrics_reference.json")
lines = ",\n".join(json.dumps(reference) for reference in references)
path.write_text(f"[\n{lines}\n]\n")
