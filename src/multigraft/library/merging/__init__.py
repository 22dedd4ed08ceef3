"""Merging: one expert, or one full model, made of several. One file per merge method."""
