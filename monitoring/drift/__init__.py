"""Drift: does the live window still look like the window the model was trained on?"""
