"""Scoring by serin beside XGBoost and LightGBM, on models that it trains: 20 columns, 200 trees, with categories and without.

    python benches/predict/run.py [FOLDER]

Needs xgboost (3.1 or later, for the names of categories), lightgbm, pandas and cargo; prints the least time of several.
"""

import pathlib
import subprocess
import sys
import tempfile
import time

import lightgbm
import numpy
import pandas
import xgboost

ROWS, COLUMNS, TREES = 200_000, 20, 200
random = numpy.random.default_rng(1)


def least(call):
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return min(times)


def table_with(categories):
    table = pandas.DataFrame(random.uniform(size=(ROWS, COLUMNS)).astype(numpy.float32))
    table.columns = [f"f{i}" for i in range(COLUMNS)]
    effect = 0
    for i in range(categories):
        codes = random.integers(0, 30, ROWS)
        table[f"f{i}"] = pandas.Categorical.from_codes(codes, [f"level {code:02}" for code in range(30)])
        effect = effect + (codes * (i + 3) % 7) / 7
    label = table.f10 + table.f11 * table.f12 + effect + random.normal(size=ROWS) / 3
    return table, (label > label.median()).astype(int)


folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
models = []
for name, categories in [("numbers", 0), ("categories", 8)]:
    table, label = table_with(categories)
    # Few rows to learn from keep the trees full, which is what scoring costs.
    shown = slice(0, 50_000)
    ours = xgboost.XGBClassifier(n_estimators=TREES, max_depth=6, tree_method="hist", enable_categorical=True)
    ours.fit(table[shown], label[shown])
    models.append(str(folder / f"{name}.ubj"))
    ours.save_model(models[-1])
    theirs = lightgbm.LGBMClassifier(n_estimators=TREES, num_leaves=63, verbosity=-1)
    theirs.fit(table[shown], label[shown])
    print(f"{name}: {ROWS} rows, XGBoost {least(lambda: ours.predict_proba(table)):.3f} s, "
          f"LightGBM {least(lambda: theirs.predict_proba(table)):.3f} s", flush=True)
subprocess.run(["cargo", "bench", "--bench", "predict", "--", *models], check=True)
