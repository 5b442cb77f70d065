"""Hold `serin fit` against XGBoost and LightGBM on many tables and seeds.

    cargo build --release
    python3 benches/learner/run.py [--tables FOLDER] [--seeds 5] [--only WORD ...] [--serin FILE] [--rounds N]
    python3 benches/learner/run.py --million [ROWS]

Each learner has the same rows, the same seed, depth, rate and shares, and its defaults otherwise. As users run it,
each stops early by a fifth of the training rows; with --rounds N all boost N rounds on all of them. `FOLDER` holds
`mlc_churn.csv`, `ames.csv` and `hpc_data.csv` of R's package modeldata. Prints for each table the metric of serin's
model, as `serin serve` answers, and by how much it is better than each other's: the mean over the seeds and its
standard error. What the peers reach is kept for the next time. They come from PyPI into target/learner-bench. With --million one large table: seconds of the
whole process, memory, AUC.
"""

import argparse
import hashlib
import json
import os
import pathlib
import resource
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
import venv

HERE = pathlib.Path(__file__).parent
FOLDER = HERE.parent.parent / "target" / "learner-bench"
PACKAGES = [
    "lightgbm==4.7.0",
    "numpy==2.4.6",
    "pandas==3.1.1",
    "pyarrow==26.0.1",
    "scikit-learn==1.9.1",
    "xgboost-cpu==3.2.0",
]


def python():
    """The interpreter that has the peers."""
    folder = FOLDER / "venv"
    found = folder / "bin" / "python"
    done = folder / "packages"
    if not done.exists() or done.read_text().split("\n") != PACKAGES:
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([found, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        done.write_text("\n".join(PACKAGES))
    return found


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", help="the folder with the shared tables")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--serin", default=str(HERE.parent.parent / "target" / "release" / "serin"))
    parser.add_argument("--rounds", type=int, help="so many rounds for all, without early stopping")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="parameters of serin's alone")
    parser.add_argument("--million", type=int, nargs="?", const=1_000_000, metavar="ROWS")
    parser.add_argument("--alone", choices=["xgboost", "lightgbm"], help=argparse.SUPPRESS)
    return parser.parse_args()


# ---- serin -----------------------------------------------------------------------------------


def specification(table, digest, seed, parameters):
    import pandas as pd

    features = []
    for column in table.frame.columns:
        if column == "label":
            continue
        kind = "number" if pd.api.types.is_numeric_dtype(table.frame[column]) else "category"
        features.append({"name": column, "type": "time" if column in table.times else kind})
    label = {"column": "label", "task": table.task}
    if table.task != "regression":
        # For two classes the positive one is last.
        label["classes"] = sorted(pd.unique(table.frame.label))
        if table.task == "binary":
            label["positive"] = label["classes"][-1]
    return {
        "train_sha256": digest,
        "label": label,
        "features": features,
        "dropped": [],
        "times": "parts" if table.parts else "number",
        "parameters": parameters,
        "seed": seed,
    }


def write(frame, file):
    """Parquet as a snapshot has it: doubles and texts."""
    import pandas as pd
    import pyarrow
    from pyarrow import parquet

    kinds = [(c, pyarrow.float64() if pd.api.types.is_numeric_dtype(frame[c]) else pyarrow.string()) for c in frame]
    rows = pyarrow.Table.from_pandas(frame, schema=pyarrow.schema(kinds), preserve_index=False)
    parquet.write_table(rows.replace_schema_metadata(None), file)


def fit(serin, table, folder, seed, parameters):
    """Fits, and gives the seconds and the log's lines."""
    train = folder / "train.parquet"
    write(table.frame[~table.test], train)
    digest = hashlib.sha256(train.read_bytes()).hexdigest()
    (folder / "fit.json").write_text(json.dumps(specification(table, digest, seed, parameters)))
    began = time.monotonic()
    done = subprocess.run(
        [serin, "fit", f"--spec={folder}/fit.json", f"--training-data={train}", f"--model-dir={folder}/model"],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{table.name}: {done.stderr}")
    return time.monotonic() - began, done.stderr


def served(serin, table, folder):
    """What `serin serve` answers to the test rows: a number, or the classes' probabilities, a row."""
    rows = table.frame[table.test].drop(columns="label")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [serin, "serve", f"--model={folder}/model", f"--port={port}"], stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(200):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health").read()
                break
            except OSError:
                time.sleep(0.02)
        answers = []
        for start in range(0, len(rows), 1000):
            part = json.loads(rows.iloc[start : start + 1000].to_json(orient="records", double_precision=15))
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/predict",
                json.dumps({"instances": part}).encode(),
                {"content-type": "application/json"},
            )
            answers += json.loads(urllib.request.urlopen(request).read())["predictions"]
    finally:
        server.terminate()
        server.wait()
    if table.task == "regression":
        return answers
    classes = json.loads((folder / "model" / "model.json").read_text())["label"]["classes"]
    return [[answer["scores"][name] for name in classes] for answer in answers]


def read_by_python(table, folder):
    """What Python's XGBoost says with serin's model, a row."""
    import numpy as np
    import pandas as pd
    import xgboost

    manifest = json.loads((folder / "model" / "model.json").read_text())
    rows = table.frame[table.test]
    columns, types = [], []
    for feature in manifest["features"]:
        values = rows[feature["name"]]
        if feature["type"] == "category":
            codes = {level: float(code) for code, level in enumerate(feature["levels"])}
            columns.append(values.map(codes).astype(float))
            types.append("c")
        elif feature["type"] == "time":
            moment = pd.to_datetime(values, utc=True)
            columns.append((moment - pd.Timestamp(feature["origin"])).dt.total_seconds())
            types.append("q")
            for part in feature.get("parts", []):
                columns.append(getattr(moment.dt, {"weekday": "day_of_week"}.get(part, part)))
                types.append("q")
        else:
            columns.append(values)
            types.append("q")
    booster = xgboost.Booster(model_file=str(folder / "model" / "model.bst"))
    matrix = np.column_stack([np.asarray(c, dtype="float32") for c in columns])
    data = xgboost.DMatrix(matrix, feature_types=types, enable_categorical=True)
    scores = booster.predict(data)
    return np.column_stack([1 - scores, scores]) if table.task == "binary" else scores


# ---- the others ------------------------------------------------------------------------------


def frames(table):
    """Rows as others take them: categories with the levels of the training rows, times as numbers with parts."""
    import pandas as pd

    features = table.frame.drop(columns="label").copy()
    for column in table.times:
        moment = pd.to_datetime(features[column], utc=True)
        features[column] = moment.astype("int64") / 1e9
        if table.parts:
            features[f"{column}_weekday"] = moment.dt.day_of_week.astype(float)
            features[f"{column}_month"] = moment.dt.month.astype(float)
            features[f"{column}_hour"] = moment.dt.hour.astype(float)
    for column in features.columns:
        if not pd.api.types.is_numeric_dtype(features[column]):
            levels = sorted(features[column][~table.test].dropna().unique())
            known = features[column].where(features[column].isin(levels))
            features[column] = pd.Categorical(known, categories=levels)
    label = table.frame.label
    if table.task != "regression":
        label = label.map({name: code for code, name in enumerate(sorted(label.unique()))})
    return features[~table.test], label[~table.test], features[table.test], label[table.test]


def watched(label, task, seed):
    import numpy as np
    from sklearn.model_selection import train_test_split

    rows = np.arange(len(label))
    return train_test_split(rows, test_size=0.2, random_state=seed, stratify=None if task == "regression" else label)


def fit_xgboost(x, y, task, seed, rounds):
    """Fits, and gives what scores rows."""
    import xgboost

    objective = {"binary": "binary:logistic", "multiclass": "multi:softprob", "regression": "reg:squarederror"}
    parameters = {
        "objective": objective[task],
        "eta": 0.1,
        "max_depth": 6,
        "subsample": 0.8,
        "colsample_bytree": 0.8,
        "seed": seed,
    }
    if task == "multiclass":
        parameters["num_class"] = y.nunique()
    data = lambda x, y=None: xgboost.DMatrix(x, y, enable_categorical=True)
    if rounds:
        booster = xgboost.train(parameters, data(x, y), rounds)
        return lambda test: booster.predict(data(test))
    grow, watch = watched(y, task, seed)
    booster = xgboost.train(
        parameters,
        data(x.iloc[grow], y.iloc[grow]),
        500,
        evals=[(data(x.iloc[watch], y.iloc[watch]), "watched")],
        early_stopping_rounds=30,
        verbose_eval=False,
    )
    best = booster.best_iteration + 1
    return lambda test: booster.predict(data(test), iteration_range=(0, best))


def fit_lightgbm(x, y, task, seed, rounds):
    """Fits, and gives what scores rows."""
    import lightgbm

    objective = {"binary": "binary", "multiclass": "multiclass", "regression": "regression"}
    parameters = {
        "objective": objective[task],
        "learning_rate": 0.1,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "feature_fraction": 0.8,
        "seed": seed,
        "verbosity": -1,
    }
    if task == "multiclass":
        parameters["num_class"] = y.nunique()
    if rounds:
        return lightgbm.train(parameters, lightgbm.Dataset(x, y), rounds).predict
    grow, watch = watched(y, task, seed)
    data = lightgbm.Dataset(x.iloc[grow], y.iloc[grow])
    booster = lightgbm.train(
        parameters,
        data,
        500,
        [data.create_valid(x.iloc[watch], y.iloc[watch])],
        callbacks=[lightgbm.early_stopping(30, verbose=False)],
    )
    return lambda test: booster.predict(test, num_iteration=booster.best_iteration)


# ---- what comes out --------------------------------------------------------------------------


def metrics(table, scores):
    """By name; each is better where it is higher."""
    import numpy as np
    from sklearn.metrics import log_loss, roc_auc_score

    truth = table.frame.label[table.test].to_numpy()
    scores = np.asarray(scores, dtype="float64")
    if table.task == "regression":
        error = ((truth - scores) / truth.std()) ** 2
        return {"r2": 1 - error.mean()}
    names = sorted(table.frame.label.unique())
    if table.task == "binary":
        positive = scores[:, -1] if scores.ndim > 1 else scores
        positive = np.clip(positive, 1e-7, 1 - 1e-7)
        return {
            "auc": roc_auc_score(truth == names[-1], positive),
            "-log loss": -log_loss(truth == names[-1], positive),
        }
    scores = np.clip(scores, 1e-7, 1)
    return {"-log loss": -log_loss(truth, scores / scores.sum(axis=1, keepdims=True), labels=names)}


def difference(values):
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return f"{statistics.mean(values):+.5f} ± {error:.5f}"


def peers(table, seed, rounds):
    """The metrics of the others, which are kept: they change with the table, the seed and their own versions only."""
    import pandas as pd

    digest = hashlib.sha256(pd.util.hash_pandas_object(table.frame).to_numpy().tobytes())
    digest.update(table.test.tobytes())
    digest.update(json.dumps([PACKAGES, seed, rounds, table.task, table.parts]).encode())
    file = FOLDER / "peers" / f"{digest.hexdigest()[:24]}.json"
    if not file.exists():
        x, y, test, _ = frames(table)
        found = []
        for peer in (fit_xgboost, fit_lightgbm):
            predict = peer(x, y, table.task, seed, rounds)
            found.append(metrics(table, predict(test)))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found))
    return json.loads(file.read_text())


def compare(options):
    import numpy as np

    import tables

    print(f"| table | metric | serin | − xgboost | − lightgbm |\n|---|---|---|---|---|")
    farthest = 0.0
    for make in tables.all_tables(options.tables):
        found = {}
        name = None
        for seed in range(1, options.seeds + 1):
            table = make(np.random.default_rng(seed))
            name = table.name
            if options.only and not any(word in name for word in options.only):
                break
            folder = FOLDER / "work"
            folder.mkdir(parents=True, exist_ok=True)
            fit(options.serin, table, folder, seed, own_parameters(options))
            ours = served(options.serin, table, folder)
            python = read_by_python(table, folder)
            scale = np.abs(np.asarray(ours)).max()
            farthest = max(farthest, float(np.abs(np.asarray(ours) - python).max() / max(scale, 1e-300)))
            ours = metrics(table, ours)
            others = peers(table, seed, options.rounds)
            for metric, value in ours.items():
                row = found.setdefault(metric, ([], [], []))
                row[0].append(value)
                for at, other in enumerate(others):
                    row[1 + at].append(value - other[metric])
        for metric, (values, *differences) in found.items():
            told = " | ".join(difference(values) for values in differences)
            print(f"| {name} | {metric} | {statistics.mean(values):.5f} | {told} |", flush=True)
    print(f"\nserin serve and Python's XGBoost with serin's model differ by {farthest:.1e} of the largest answer at most")


def million(options):
    import numpy as np
    import pandas as pd

    import tables

    folder = FOLDER / "work"
    folder.mkdir(parents=True, exist_ok=True)
    if options.alone:
        began = time.monotonic()
        frame = pd.read_parquet(folder / "train.parquet")
        table = tables.Table("million", frame, "binary", np.zeros(len(frame), dtype=bool))
        peer = {"xgboost": fit_xgboost, "lightgbm": fit_lightgbm}[options.alone]
        x, y, _, _ = frames(table)
        predict = peer(x, y, "binary", 1, options.rounds)
        seconds = time.monotonic() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        test = pd.read_parquet(folder / "test.parquet")
        whole = pd.concat([frame, test], ignore_index=True)
        table = tables.Table("million", whole, "binary", np.arange(len(whole)) >= len(frame))
        print(f"{options.alone}: {shown(metrics(table, predict(frames(table)[2])))}, {seconds:.1f} s, {peak:.0f} MB at its peak")
        return
    table = tables.million(np.random.default_rng(1), options.million)
    write(table.frame[table.test], folder / "test.parquet")
    seconds, log = fit(options.serin, table, folder, 1, own_parameters(options))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(log.strip())
    print(f"serin: {shown(metrics(table, read_by_python(table, folder)))}, {seconds:.1f} s, {peak:.0f} MB at its peak")
    del table
    for peer in ["xgboost", "lightgbm"]:
        rounds = [f"--rounds={options.rounds}"] if options.rounds else []
        subprocess.run([sys.executable, __file__, f"--million={options.million}", f"--alone={peer}", *rounds], check=True)


def shown(found):
    return ", ".join(f"{name} {value:.5f}" for name, value in found.items())


def own_parameters(options):
    parameters = {"rounds": options.rounds, "validation": 0.0} if options.rounds else {}
    for pair in options.set:
        key, value = pair.split("=")
        parameters[key] = json.loads(value)
    return parameters


def main():
    options = arguments()
    if os.environ.get("SERIN_BENCH") != "inside":
        environment = {**os.environ, "SERIN_BENCH": "inside"}
        if not options.million:
            # Small tables on a busy machine: threads that wait for each other take longer than one alone.
            environment["OMP_NUM_THREADS"] = "1"
        sys.exit(subprocess.run([python(), __file__, *sys.argv[1:]], env=environment).returncode)
    sys.path.insert(0, str(HERE))
    if options.million:
        million(options)
    else:
        compare(options)


main()
