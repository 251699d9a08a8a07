"""Prophet with its defaults: daily and weekly seasons, quantiles from its own samples."""

import logging

import numpy
import pandas
from prophet import Prophet

import common

logging.getLogger("cmdstanpy").setLevel(logging.ERROR)


def forecast(frame, horizon, quantiles):
    model = Prophet(daily_seasonality=True, weekly_seasonality=True, yearly_seasonality=False)
    model.fit(frame.rename(columns={"timestamp": "ds", "value": "y"}))
    step = frame["timestamp"].diff().median()
    ahead = [frame["timestamp"].iloc[-1] + step * (h + 1) for h in range(horizon)]
    samples = model.predictive_samples(pandas.DataFrame({"ds": ahead}))["yhat"]
    return numpy.maximum(numpy.quantile(samples, quantiles, axis=1).T, 0.0)


common.run(forecast)
