#!/usr/bin/env python3
"""Records what XGBoost's Python package makes of a fixed matrix.

    pip install xgboost-cpu==3.4.1 scipy (Python 3.12 or newer), then: python3 make.py

Writes parity.json beside itself: rows, labels, weights, and for each objective the model and its margins.
"""
import json
from pathlib import Path

import numpy
import scipy.sparse
import xgboost

COLUMNS, ROWS = 6, 80
random = numpy.random.default_rng(7)
dense = random.random((ROWS, COLUMNS)).astype(numpy.float32)
absent = random.random((ROWS, COLUMNS)) < 0.3
labels = numpy.where(dense[:, 0] + dense[:, 1] > 1, 1, 0) + numpy.where(dense[:, 2] > 0.8, 1, 0)
weights = (1 + random.integers(0, 3, ROWS)).astype(numpy.float32)
costs = (dense[:, 0] * 3 + random.random(ROWS)).astype(numpy.float32)
at = [numpy.flatnonzero(~absent[row]) for row in range(ROWS)]
begins = numpy.cumsum([0] + [len(columns) for columns in at])
columns = numpy.concatenate(at)
values = numpy.concatenate([dense[row, where] for row, where in enumerate(at)])
matrix = scipy.sparse.csr_matrix((values, columns, begins), shape=(ROWS, COLUMNS))

shared = dict(booster="gbtree", tree_method="hist", max_depth=3, eta=0.3, colsample_bytree=1.0, colsample_bynode=1.0,
              min_child_weight=1.0, base_score=0.5, seed=7, nthread=1)
recorded = {}
for name, label, parameters in [
    ("classes", labels, dict(objective="multi:softprob", num_class=3)),
    ("quantiles", costs, dict(objective="reg:quantileerror", quantile_alpha=[0.5, 0.9])),
]:
    data = xgboost.DMatrix(matrix, label=label, weight=weights)
    booster = xgboost.train({**shared, **parameters}, data, num_boost_round=5)
    margins = booster.predict(data, output_margin=True).reshape(ROWS, -1)
    recorded[name] = {
        "labels": [float(value) for value in label],
        "model": booster.save_raw("json").decode(),
        "margins": [[float(value) for value in row] for row in margins],
    }
rows = [[[int(column), float(dense[row, column])] for column in at[row]] for row in range(ROWS)]
document = {"xgboost": xgboost.__version__, "columns": COLUMNS, "rows": rows,
            "weights": [float(value) for value in weights], **recorded}
Path(__file__).with_name("parity.json").write_text(json.dumps(document, indent=None) + "\n")
