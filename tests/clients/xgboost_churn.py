"""Makes tests/data/xgboost/VERSION/churn.ubj, a classifier of the churn example as a person might train it.

    python tests/clients/xgboost_churn.py tests/data/xgboost

Needs the packages of xgboost_models.py.
"""

import pathlib
import sys

import pandas
import xgboost

example = pathlib.Path(__file__).parents[2] / "cloudbuild/churn/data"
table = pandas.read_csv(example / "account.csv").merge(pandas.read_csv(example / "usage.csv"), on="customer_id")
label = (table.pop("churn") == "yes").astype(int)
table = table.drop(columns="customer_id")
for name in table.columns:
    if not pandas.api.types.is_numeric_dtype(table[name]):
        table[name] = table[name].astype("category")

model = xgboost.XGBClassifier(
    n_estimators=30, max_depth=5, learning_rate=0.4, tree_method="hist", enable_categorical=True,
    early_stopping_rounds=2, n_jobs=1, random_state=1,
)
model.fit(table[:4000], label[:4000], eval_set=[(table[4000:], label[4000:])], verbose=False)
print(xgboost.__version__, model.best_iteration + 1, "of", model.get_booster().num_boosted_rounds())
model.save_model(pathlib.Path(sys.argv[1]) / xgboost.__version__ / "churn.ubj")
