"""Drills: prove on this machine that a killed trader loses nothing and sends nothing twice."""
