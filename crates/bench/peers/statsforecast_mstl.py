"""statsforecast's MSTL with daily and weekly seasons and AutoETS for the trend; intervals as it gives them."""

import numpy
from statsforecast.models import MSTL, AutoETS

import common


def forecast(frame, horizon, quantiles):
    step = frame["timestamp"].diff().median().total_seconds()
    seasons = [int(span / step) for span in (86_400, 7 * 86_400) if 2 * span / step <= len(frame)]
    values = frame["value"].interpolate(limit_direction="both").to_numpy(float)
    model = MSTL(season_length=seasons, trend_forecaster=AutoETS(model="ZZN"))
    level_of = {q: round(abs(200 * q - 100)) for q in quantiles if q != 0.5}
    said = model.forecast(y=values, h=horizon, level=sorted(set(level_of.values())))
    columns = []
    for q in quantiles:
        if q == 0.5:
            columns.append(said["mean"])
        else:
            columns.append(said[f"{'hi' if q > 0.5 else 'lo'}-{level_of[q]}"])
    return numpy.maximum(numpy.column_stack(columns), 0.0)


common.run(forecast, warm_rows=1200)
