"""A method for recsys, in a package of its own."""
