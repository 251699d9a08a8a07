//! Online forecasting of workload demand: calibrated quantile paths and window maxima.
