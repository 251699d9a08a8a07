"""What every peer script does alike: read a series, forecast from each origin, write quantiles, tell its processor time.

Usage of each: SCRIPT SERIES.csv ORIGINS HORIZON QUANTILES OUT.csv
SERIES.csv has the columns timestamp,value on an even grid, an empty value being missing. ORIGINS and QUANTILES are
separated by commas; a forecast from origin o knows the rows before row o. OUT.csv gets the rows origin,h,<quantile>...
with h from 1. The last line on standard output is `cpu_seconds X`: fits and forecasts, children included, imports not.
"""

import csv
import resource
import sys

import pandas


def cpu_seconds():
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        total += usage.ru_utime + usage.ru_stime
    return total


def run(forecast, warm_rows=0):
    """`forecast(frame, horizon, quantiles)` gives a row of quantiles for each step ahead.

    A peer that compiles itself when first called is called once on `warm_rows` rows before time is counted.
    """
    series, origins, horizon, quantiles, out = sys.argv[1:6]
    frame = pandas.read_csv(series)
    frame["timestamp"] = pandas.to_datetime(frame["timestamp"], utc=True).dt.tz_localize(None)
    levels = [float(level) for level in quantiles.split(",")]
    if warm_rows:
        forecast(frame.iloc[:warm_rows], 1, levels)
    begin = cpu_seconds()
    rows = []
    for origin in (int(text) for text in origins.split(",")):
        for ahead, row in enumerate(forecast(frame.iloc[:origin], int(horizon), levels), start=1):
            rows.append([origin, ahead, *row])
    spent = cpu_seconds() - begin
    with open(out, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["origin", "h", *levels])
        writer.writerows(rows)
    print(f"cpu_seconds {spent}")
