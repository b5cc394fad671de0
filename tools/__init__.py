"""Tools of the book's makers: build, normal form, lint, links. Run each as `python -m tools.NAME` from the root."""
