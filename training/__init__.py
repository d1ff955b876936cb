"""Trains the starter models that Heliograph ships, from pictures drawn by code. Nothing that serves imports it."""
