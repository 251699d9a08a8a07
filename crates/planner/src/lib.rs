//! The sans-IO decision core: turns forecasts and observations into plans and actions.
