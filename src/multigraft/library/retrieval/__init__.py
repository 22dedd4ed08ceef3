"""Retrieval of Experts (arXiv 2302.03202): which expert of a library suits a target, by its texts or its answers."""
