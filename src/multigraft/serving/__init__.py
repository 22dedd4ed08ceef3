"""Answers over HTTP: a model folder or a library of experts behind one server, and a page to try it on."""
