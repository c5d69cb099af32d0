"""Data: from a file to a `Split`. Nothing here imports torch.

load            A name, path, frame or array to a `LoadedData`; reads, prepares and numbers.
reading         Files, frames and arrays to interactions with external ids.
prepare         Which interactions are kept.
sessions        Which events of a user belong together.
numbering       External ids to row numbers.
event_log       Every event, also those that the pairs leave out.
splitting       A data set to train, valid and test.
catalog         Data sets by name.
features        Item features and titles.
audit           Checks of a split.
summary         Figures of a data set.

types           Dataset, Split, Interactions, FeatureTable, Sealed, Vocab.
raw_parts       Interactions with external ids.
ids             Types of ids; `id_files` reads ids of a request.
times           Points in time.
hashing         Orders that depend neither on row numbers nor on the spelling of ids.
finding         The result of a check; `plausible` and `unmatched` make some.
row_errors      Errors that name a row of a table.
"""
