"""Makes the models of tests/data/xgboost/VERSION, each with what Python's XGBoost says of the same rows.

    python tests/clients/xgboost_models.py tests/data/xgboost

Needs xgboost (1.7.6, 2.1.4 and 3.2.0 made what is kept), scikit-learn (below 1.6 for the first two) and pandas.
"""

import json
import pathlib
import sys
import warnings

import numpy
import pandas
import xgboost

warnings.filterwarnings("ignore")
folder = pathlib.Path(sys.argv[1]) / xgboost.__version__
folder.mkdir(parents=True, exist_ok=True)

random = numpy.random.default_rng(7)
ROWS, SHOWN = 400, 16
AREAS = ["408", "415", "510", "north", "south"]
minutes = random.uniform(0, 10, ROWS).astype(numpy.float32)
calls = random.integers(0, 9, ROWS).astype(numpy.float32)
area = random.integers(0, 5, ROWS)
signal = 0.5 * minutes + numpy.where(area == 1, 2.0, 0.0) + 0.3 * calls + random.uniform(0, 3, ROWS)
minutes[random.uniform(size=ROWS) < 0.08] = numpy.nan
binary = (signal > 4.8).astype(int)
three = (signal > 4.0).astype(int) + (signal > 6.0).astype(int)

numbers = numpy.column_stack([minutes, calls, area.astype(numpy.float32)])
named = pandas.DataFrame(numbers, columns=["minutes", "calls", "area"])
mixed = named.assign(area=pandas.Categorical.from_codes(area, AREAS))
mixed.loc[random.uniform(size=ROWS) < 0.08, "area"] = numpy.nan
GROWN, WATCHED = slice(0, 250), slice(250, ROWS)
SMALL = {"max_depth": 3, "learning_rate": 0.4, "tree_method": "hist", "seed": 1, "nthread": 1}

models = []


def cell(value):
    """A value of a row as an instance has it."""
    if isinstance(value, str):
        return value
    return None if value != value else float(value)


def keep(name, model, table, predictions, task):
    """Saves a model, and its predictions of the first rows."""
    model.save_model(folder / name)
    scores = numpy.asarray(predictions[:SHOWN], dtype=numpy.float32)
    # As texts they are the shortest that mean the same.
    scores = [[float(str(score)) for score in numpy.atleast_1d(row)] for row in scores]
    rows = "mixed" if table is mixed else "numbers"
    models.append({"file": name, "task": task, "rows": rows, "scores": scores})


def take(table, rows):
    return table.iloc[rows] if hasattr(table, "iloc") else table[rows]


def classifier(name, table, label, rounds=12, stop=3, **more):
    """A classifier of scikit-learn's kind, with early stopping."""
    stopping = {"early_stopping_rounds": stop} if stop else {}
    model = xgboost.XGBClassifier(
        n_estimators=rounds, max_depth=3, learning_rate=0.9, tree_method="hist", n_jobs=1, random_state=1, **stopping, **more
    )
    watched = [(take(table, WATCHED), label[WATCHED])] if stop else None
    model.fit(take(table, GROWN), label[GROWN], eval_set=watched, verbose=False)
    if stop:
        assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds(), name
    keep(name, model, table, model.predict_proba(table), "binary" if label is binary else "multiclass")


def booster(name, table, label, rounds=4, stop=None, **parameters):
    """A booster of XGBoost's own interface."""
    categories = hasattr(table, "iloc")
    def matrix(rows):
        return xgboost.DMatrix(take(table, rows), label[rows], enable_categorical=categories)

    watched = [(matrix(WATCHED), "watched")] if stop else []
    model = xgboost.train(
        {**SMALL, **parameters}, matrix(GROWN), rounds, evals=watched, early_stopping_rounds=stop, verbose_eval=False
    )
    all_rows = matrix(slice(0, ROWS))
    task = {"binary:logistic": "binary", "multi:softprob": "multiclass", "multi:softmax": "multiclass"}
    task = task.get(parameters["objective"], "regression")
    if parameters["objective"] == "multi:softmax":
        margins = model.predict(all_rows, output_margin=True)
        powers = numpy.exp(margins - margins.max(axis=1, keepdims=True))
        scores = powers / powers.sum(axis=1, keepdims=True)
    else:
        scores = model.predict(all_rows)
    if task == "binary":
        scores = numpy.column_stack([1 - scores, scores])
    keep(name, model, table, scores, task)


def refused(name, **parameters):
    model = xgboost.train({**SMALL, **parameters}, xgboost.DMatrix(numbers, binary, missing=numpy.nan), 2)
    model.save_model(folder / name)


classifier("stopped.json", numbers, binary)
classifier("stopped.ubj", numbers, binary)
classifier("stopped_mixed.ubj", mixed, binary, enable_categorical=True)
classifier("stopped_forest.ubj", named, binary, num_parallel_tree=3, subsample=0.6, colsample_bynode=0.8)
classifier("three.json", mixed, three, enable_categorical=True)
classifier("three_forest.ubj", mixed, three, rounds=3, stop=None, enable_categorical=True, num_parallel_tree=2, subsample=0.6)

forest = xgboost.XGBRFClassifier(n_estimators=6, max_depth=3, n_jobs=1, random_state=1, tree_method="hist")
forest.fit(named, binary)
keep("random_forest.json", forest, named, forest.predict_proba(named), "binary")

booster("booster_stopped.ubj", named, binary, rounds=12, stop=2, objective="binary:logistic", learning_rate=0.9)
booster("softmax.ubj", mixed, three, objective="multi:softmax", num_class=3)
booster("softprob.ubj", mixed, three, objective="multi:softprob", num_class=3)
booster("one_hot.ubj", mixed, binary, objective="binary:logistic", max_cat_to_onehot=100)
booster("lossguide.ubj", mixed, binary, objective="binary:logistic", grow_policy="lossguide", max_leaves=12, max_depth=0)
booster("empty.json", named, binary, rounds=0, objective="binary:logistic", base_score=0.2)

target = signal.astype(numpy.float32)
booster("squared.json", named, target, objective="reg:squarederror")
booster("squared_tiny.ubj", named, target * 1e-6, objective="reg:squarederror")
booster("squared_far.ubj", named, target + 1e7, objective="reg:squarederror", base_score=1.2345678e7)
booster("squared_huge.json", named, target * 1e19, objective="reg:squarederror", base_score=1e20)
booster("absolute.ubj", named, target, objective="reg:absoluteerror")
booster("logarithm.ubj", named, target, objective="reg:squaredlogerror")
booster("huber.ubj", named, target, objective="reg:pseudohubererror")
booster("logistic.ubj", named, target / 20, objective="reg:logistic", base_score=0.3)
booster("gamma.ubj", named, target, objective="reg:gamma")
booster("tweedie.json", mixed, target, objective="reg:tweedie")
booster("poisson.ubj", named, numpy.round(target), objective="count:poisson")
if xgboost.__version__ >= "2":
    booster("quantile.ubj", named, target, objective="reg:quantileerror", quantile_alpha=0.7)
    refused("quantiles.ubj", objective="reg:quantileerror", quantile_alpha=[0.2, 0.7])

refused("dart.json", objective="binary:logistic", booster="dart", rate_drop=0.5)
linear = xgboost.train({"booster": "gblinear", "nthread": 1}, xgboost.DMatrix(numpy.nan_to_num(numbers), binary), 2)
linear.save_model(folder / "linear.ubj")
refused("hinge.ubj", objective="binary:hinge")
refused("logitraw.ubj", objective="binary:logitraw")
refused("ranking.ubj", objective="rank:pairwise")
if xgboost.__version__ < "2":
    refused("binary_form.bst", objective="binary:logistic")

tables = {"numbers": numbers.tolist(), "mixed": mixed.values.tolist()}
rows = {name: [[cell(value) for value in row] for row in table[:SHOWN]] for name, table in tables.items()}
lines = [json.dumps(model) for model in models]
text = f'{{"areas": {json.dumps(AREAS)},\n"rows": {json.dumps(rows)},\n"models": [\n' + ",\n".join(lines) + "\n]}\n"
(folder / "expected.json").write_text(text)
