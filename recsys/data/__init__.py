"""From a file to a Split: types, readers, preparation, splits, catalogue, audit. Never imports torch."""
