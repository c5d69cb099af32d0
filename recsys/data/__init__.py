"""Data: from a file to a `Split`. Nothing here imports torch.

    load          A name, path, frame or array to a `LoadedData`; reads, prepares and numbers.
    reading       Files, frames and arrays to interactions with external ids.
    prepare       Which interactions are kept.
    sessions      Which events of a user belong together.
    event_log     Every event, also those that the pairs leave out.
    auxiliary     Events of other behaviours than the target.
    numbering     External ids to row numbers.
    splitting     A data set to train, valid and test.
    catalog       Data sets by name.
    features      Features of items and users, relations, titles.
    audit         Checks of a split.
    summary       Figures of a data set.
    log_figures   Figures of its log.

    types         Dataset, Split, FeatureTable, Sealed.
    interactions  Interactions.
    histories     Items in the order of their interactions.
    query         What a scorer is asked.
    relations     Graphs around the items or users.
    held_out      Queries with their answers.
    answers       Events that know a held-out answer.
    vocab         External ids and their rows.
    raw_parts     Interactions with external ids.
    ids           Types of ids.
    pair_numbers  One number per pair.
    id_files      Ids of a request, from a file.
    times         Points in time.
    hashing       Orders that depend neither on row numbers nor on the spelling of ids.
    finding       The result of a check.
    plausible     Times that are probably wrong.
    unmatched     Rows of a table that belong to no item.
    row_errors    Errors that name a row of a table.

Import names from the modules. `recsys.Dataset` and `recsys.Interactions` are public.
"""
