"""Networks over a window of one instrument's features: LSTM, GRU and a transformer encoder, fitted the same way."""

from training.models.networks.forecaster import NetworkForecaster as NetworkForecaster
