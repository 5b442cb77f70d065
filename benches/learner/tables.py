"""The tables of the learner's bench: three that are shared, if their folder is named, and kinds that are generated.

A table is a pandas frame with the label in `label`, its task, and which rows are for testing. Numbers are float64,
categories are texts, times are texts in ISO 8601.
"""

import pathlib

import numpy as np
import pandas as pd


class Table:
    def __init__(self, name, frame, task, test, times=(), parts=False):
        self.name, self.frame, self.task, self.test = name, frame, task, test
        self.times, self.parts = times, parts


def random_test(rows, generator, share=0.3):
    return generator.random(rows) < share


def named(frame, generator, task, name):
    return Table(name, frame, task, random_test(len(frame), generator))


def shared(folder, file, label, task, drop=()):
    def make(generator):
        frame = pd.read_csv(pathlib.Path(folder) / file).drop(columns=list(drop))
        frame = frame.rename(columns={label: "label"})
        for column in frame.columns:
            if frame[column].dtype.kind in "iuf":
                frame[column] = frame[column].astype("float64")
            else:
                frame[column] = frame[column].astype(object)
        if task != "regression":
            frame["label"] = frame["label"].astype(str)
        return named(frame, generator, task, file.removesuffix(".csv"))

    return make


def numbers(generator, rows, columns):
    return pd.DataFrame(
        generator.normal(size=(rows, columns)), columns=[f"x{n}" for n in range(columns)]
    )


def classes(generator, margin):
    return np.where(generator.random(len(margin)) < 1 / (1 + np.exp(-margin)), "yes", "no")


def friedman(frame):
    u = frame.rank(pct=True).to_numpy()
    return (
        10 * np.sin(np.pi * u[:, 0] * u[:, 1])
        + 20 * (u[:, 2] - 0.5) ** 2
        + 10 * u[:, 3]
        + 5 * u[:, 4]
    )


def plain_numbers(generator):
    frame = numbers(generator, 10_000, 10)
    frame["label"] = friedman(frame) + generator.normal(size=len(frame))
    return named(frame, generator, "regression", "numbers")


def rare_positives(generator):
    frame = numbers(generator, 40_000, 12)
    margin = -6.2 + 1.2 * frame.x0 + frame.x1 * frame.x2 + np.abs(frame.x3)
    frame["label"] = classes(generator, margin)
    return named(frame, generator, "binary", "rare positives")


def many_levels(generator):
    """400 levels, of which many are rare, and some are in the test rows only."""
    rows = 20_000
    frame = numbers(generator, rows, 5)
    level = np.minimum(generator.zipf(1.3, rows) - 1, 399)
    effect = generator.normal(size=400) * 1.5
    other = generator.integers(0, 12, rows)
    frame["shop"] = [f"shop {n}" for n in level]
    frame["kind"] = [f"kind {n}" for n in other]
    margin = effect[level] + frame.x0 + (other % 3 == 1) * frame.x1
    frame["label"] = classes(generator, margin)
    table = named(frame, generator, "binary", "400 levels")
    frame.loc[~table.test & (level % 20 == 7), "shop"] = None
    return table


def even_levels(generator):
    """300 levels that are all as frequent, with a number to predict."""
    rows = 20_000
    frame = numbers(generator, rows, 4)
    level = generator.integers(0, 300, rows)
    effect = generator.normal(size=300)
    frame["place"] = [f"p{n}" for n in level]
    frame["label"] = effect[level] * (1 + (frame.x0 > 0)) + frame.x1 + generator.normal(size=rows)
    return named(frame, generator, "regression", "300 even levels")


def missing(generator):
    frame = numbers(generator, 15_000, 10)
    margin = frame.x0 + frame.x1 * frame.x2 - 0.5
    hidden = generator.random(frame.shape) < 0.3
    margin = margin + 1.5 * hidden[:, 3]
    frame = frame.mask(hidden)
    frame["word"] = np.where(generator.random(len(frame)) < 0.4, None, generator.choice(list("abcdef"), len(frame)))
    frame["label"] = classes(generator, margin)
    return named(frame, generator, "binary", "missing")


def tiny_label(generator):
    frame = numbers(generator, 8_000, 8)
    frame["label"] = 1e-6 * (friedman(frame) + generator.normal(size=len(frame)))
    return named(frame, generator, "regression", "label of 1e-6")


def offset_label(generator):
    frame = numbers(generator, 8_000, 8)
    frame["label"] = 1e7 + 100 * (friedman(frame) + generator.normal(size=len(frame)))
    return named(frame, generator, "regression", "label at 1e7")


def huge_label(generator):
    frame = numbers(generator, 8_000, 8)
    frame["label"] = 1e20 * (friedman(frame) + generator.normal(size=len(frame)))
    return named(frame, generator, "regression", "label of 1e20")


def times(generator):
    """A label that depends on the time and on the day of the week, tested on the last months."""
    rows = 12_000
    day = np.sort(generator.integers(0, 720, rows))
    moment = pd.Timestamp("2024-01-01") + pd.to_timedelta(day, unit="D")
    moment += pd.to_timedelta(generator.integers(0, 86_400, rows), unit="s")
    frame = numbers(generator, rows, 4)
    frame["at"] = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    weekend = moment.dayofweek.to_numpy() >= 5
    evening = moment.hour.to_numpy() >= 18
    margin = frame.x0 + 1.5 * weekend + 1.2 * evening + np.where(day > 400, 1.0, -1.0) - 0.8
    frame["label"] = classes(generator, margin)
    return Table("times", frame, "binary", day >= 560, times=("at",), parts=True)


def two_features(generator):
    frame = numbers(generator, 6_000, 2)
    frame["label"] = np.sin(2 * frame.x0) + frame.x1 * frame.x0 + 0.3 * generator.normal(size=len(frame))
    return named(frame, generator, "regression", "two features")


def several_classes(generator):
    frame = numbers(generator, 12_000, 8)
    scores = np.stack(
        [frame.x0, frame.x1 * frame.x2, np.abs(frame.x3) - 0.5, frame.x4 - frame.x0, 0 * frame.x0], axis=1
    )
    noisy = scores + generator.gumbel(size=scores.shape) * 0.6
    frame["label"] = np.array(list("abcde"))[noisy.argmax(axis=1)]
    return named(frame, generator, "multiclass", "five classes")


GENERATED = [
    plain_numbers,
    rare_positives,
    many_levels,
    even_levels,
    missing,
    tiny_label,
    offset_label,
    huge_label,
    times,
    two_features,
    several_classes,
]


def all_tables(folder):
    known = [
        shared(folder, "mlc_churn.csv", "churn", "binary"),
        shared(folder, "ames.csv", "Sale_Price", "regression"),
        shared(folder, "hpc_data.csv", "class", "multiclass"),
    ]
    return (known if folder else []) + GENERATED


def million(generator, rows=1_000_000):
    """20 columns, of which 8 are categories of 5 to 60 levels."""
    frame = numbers(generator, rows, 12)
    margin = frame.x0 + frame.x1 * frame.x2 - 0.5 * np.abs(frame.x3)
    for n, levels in enumerate([5, 8, 12, 20, 30, 40, 50, 60]):
        level = generator.integers(0, levels, rows)
        frame[f"c{n}"] = np.array([f"v{n:02}" for n in range(levels)], dtype=object)[level]
        margin = margin + generator.normal(size=levels)[level] * (0.3 + 0.5 * (frame[f"x{n}"] > 0))
    frame["label"] = classes(generator, margin)
    return named(frame, generator, "binary", "million")
