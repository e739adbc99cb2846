"""Out-of-sample judgement: scores with intervals, calibration, profit after cost, plots and the written verdict."""
