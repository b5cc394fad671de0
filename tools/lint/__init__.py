"""The structure lint of the book: one module a subject, each with a `check(book)` that yields findings."""
