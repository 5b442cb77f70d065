"""Loads a model directory with the installed XGBoost and compares its predictions with serin's.

    python xgboost_reads.py MODEL_DIR EXPECTED.json

EXPECTED.json is {"instances": [{feature: value, ...}, ...], "scores": [[...], ...]}: for each instance a
probability for each class in the order of model.json, or the number in a list of one. Needs xgboost and
numpy. Exits with 1 and the largest difference where one is above 1e-5 (relative to numbers above 1).
"""

import json
import pathlib
import sys

import numpy as np
import xgboost

TOLERANCE = 1e-5


def encode(feature, value):
    """A feature's value as the booster wants it; NaN where missing."""
    if value is None or value == "NaN":
        return np.nan
    if feature["type"] == "number":
        return float(value)
    if feature["type"] == "boolean":
        return float(bool(value))
    text = value if isinstance(value, str) else np.format_float_positional(value, trim="-")
    levels = feature["levels"]
    return float(levels.index(text)) if text in levels else np.nan


def main(model_dir, expected_path):
    folder = pathlib.Path(model_dir)
    model = json.loads((folder / "model.json").read_text())
    expected = json.loads(pathlib.Path(expected_path).read_text())
    rows = [
        [encode(feature, instance.get(feature["name"])) for feature in model["features"]]
        for instance in expected["instances"]
    ]
    booster = xgboost.Booster()
    booster.load_model(folder / "model.bst")
    # As Vertex AI's prebuilt containers call it: a plain matrix, without names and types.
    rows = np.array(rows, dtype=np.float32)
    predictions = booster.predict(xgboost.DMatrix(rows))
    # Many rows and one row go different ways in XGBoost, and must meet.
    for row in range(min(len(rows), 50)):
        alone = booster.predict(xgboost.DMatrix(rows[row : row + 1]))
        if not np.allclose(alone[0], predictions[row], rtol=TOLERANCE, atol=TOLERANCE):
            sys.exit(f"row {row} alone is {alone[0]}, among others {predictions[row]}")
    if model["task"] == "binary":
        predictions = np.stack([1 - predictions, predictions], axis=1)
    predictions = predictions.reshape(len(rows), -1)
    scores = np.array(expected["scores"])
    if scores.shape != predictions.shape:
        sys.exit(f"XGBoost predicts {predictions.shape}, serin {scores.shape}")
    difference = (np.abs(predictions - scores) / np.maximum(np.abs(scores), 1)).max()
    print(f"xgboost {xgboost.__version__}: {len(rows)} rows differ by at most {difference:.2g}")
    return int(not difference <= TOLERANCE)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2]))
