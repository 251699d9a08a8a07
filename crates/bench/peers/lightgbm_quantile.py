"""A peer to measure against: LightGBM quantile regression on lag features, one model for each quantile.

    lightgbm_quantile.py SERIES.csv ORIGINS HORIZON QUANTILES OUT.csv

SERIES.csv has the columns `timestamp` (ISO 8601, or seconds) and `value` on an even grid; empty values are missing. ORIGINS are
row numbers separated by commas: a forecast from origin `o` knows rows 0..o-1 and covers rows o..o+HORIZON-1. OUT.csv
receives rows `origin,h,<quantiles...>`, h from 1. Prints `cpu_seconds X`: process time of features, fits and predictions, of
one thread. Refitted at every origin on all that is known there.

The features are those a practitioner would choose, the same facts that our own trees are given: horizon, calendar, recent
levels, values and means at the daily and weekly lags that are known at the origin, all in units of the last week's mean.
"""

import csv
import sys
import time
import warnings
from datetime import datetime

import lightgbm
import numpy as np

ROWS = 6000
TREES = dict(
    n_estimators=150,
    num_leaves=31,
    learning_rate=0.05,
    min_child_samples=20,
    subsample=0.8,
    subsample_freq=1,
    colsample_bytree=0.8,
    n_jobs=1,
    verbose=-1,
    seed=1,
)


def read(path):
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    values = np.array([float(row["value"] or "nan") for row in rows])
    stamps = [row["timestamp"] for row in rows]
    try:
        times = np.array([float(stamp) for stamp in stamps])
    except ValueError:
        times = np.array([datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp() for stamp in stamps])
    return times, values


class Lags:
    """Features of (origin, horizon) pairs over the values before the origin."""

    def __init__(self, times, values):
        self.values, self.times = values, times
        step = float(np.median(np.diff(times)))
        self.day = max(2, round(86400 / step))
        self.week = 7 * self.day
        self.near = max(1, self.day // 24)
        present = ~np.isnan(values)
        self.sums = np.concatenate([[0.0], np.cumsum(np.where(present, values, 0.0))])
        self.counts = np.concatenate([[0], np.cumsum(present)])

    def mean(self, start, end):
        start, end = np.clip(start, 0, len(self.values)), np.clip(end, 0, len(self.values))
        counts = self.counts[end] - self.counts[start]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(counts > 0, (self.sums[end] - self.sums[start]) / counts, np.nan)

    def level(self, origins):
        level = np.abs(self.mean(origins - self.week, origins))
        return np.where(level > 1e-20, level, 1.0)

    def features(self, origins, ahead):
        target, level = origins + ahead - 1, self.level(origins)
        width = self.near // 4

        def lag(season, back):
            return target - (-(-ahead // season) + back) * season

        def around(at):
            return self.mean(at - width, np.minimum(at + width + 1, origins)) / level

        def recent(span, before=0):
            return self.mean(origins - before - span, origins - before) / level

        days = [around(lag(self.day, k)) for k in range(3)]
        weeks = [around(lag(self.week, k)) for k in range(4)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            weekly, spread = np.nanmean(weeks, axis=0), np.nanstd(weeks, axis=0)
            daily = np.nanmean(days, axis=0)
        moment = self.times[np.minimum(target, len(self.times) - 1)]
        past = np.minimum(target, len(self.times) - 1) < target
        moment = np.where(past, self.times[0] + target * (self.times[1] - self.times[0]), moment)
        columns = [
            ahead,
            moment % 86400 // 60,
            moment // 86400 % 7,
            recent(1),
            recent(3),
            recent(self.near),
            recent(self.day),
            recent(self.near) - recent(self.near, self.day),
            recent(self.near) - recent(self.near, self.week),
            recent(self.day) - recent(self.day, self.week),
            *days,
            daily,
            self.mean(lag(self.day, 0), lag(self.day, 0) + 1) / level,
            weeks[0],
            weeks[1],
            self.mean(lag(self.week, 0), lag(self.week, 0) + 1) / level,
            weekly,
            spread,
        ]
        return np.column_stack(columns)


def forecast(times, values, origin, horizon, quantiles, rng):
    lags = Lags(times[:origin], values[:origin])
    first = lags.week if origin > 2 * lags.week + lags.day else min(lags.day, origin // 2)
    ahead = np.where(
        rng.random(ROWS) < 0.5,
        np.clip((horizon + 1.0) ** rng.random(ROWS), 1, horizon).astype(int),
        rng.integers(1, horizon + 1, ROWS),
    )
    origins = first + (rng.random(ROWS) * np.maximum(origin - ahead - first + 1, 1)).astype(int)
    kept = origins + ahead <= origin
    kept[kept] &= ~np.isnan(values[origins[kept] + ahead[kept] - 1])
    origins, ahead = origins[kept], ahead[kept]
    features, level = lags.features(origins, ahead), lags.level(origins)
    targets = values[origins + ahead - 1] / level
    steps = np.arange(1, horizon + 1)
    asked = lags.features(np.full(horizon, origin), steps)
    unit = lags.level(np.array([origin]))[0]
    answers = []
    for quantile in quantiles:
        model = lightgbm.LGBMRegressor(objective="quantile", alpha=quantile, **TREES)
        model.fit(features, targets)
        answers.append(model.predict(asked) * unit)
    return np.sort(np.array(answers), axis=0).T


def main():
    series, origins, horizon, quantiles, out = sys.argv[1:6]
    times, values = read(series)
    quantiles = [float(quantile) for quantile in quantiles.split(",")]
    rng = np.random.default_rng(1)
    began = time.process_time()
    answers = []
    for origin in (int(origin) for origin in origins.split(",")):
        answers.append((origin, forecast(times, values, origin, int(horizon), quantiles, rng)))
    spent = time.process_time() - began
    with open(out, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["origin", "h", *quantiles])
        for origin, rows in answers:
            for h, row in enumerate(rows, 1):
                writer.writerow([origin, h, *(f"{value:.6g}" for value in row)])
    print(f"cpu_seconds {spent:.3f}")


if __name__ == "__main__":
    main()
