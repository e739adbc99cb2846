"""Inference: predictor, Ray Serve application, traffic policy, Bento; release."""
