"""Prompts to CLIP tokens: cleaning, byte pairs, weights, embeddings, rows of 77. No torch, no models."""
