"""Parts of networks: losses, samplers of hardness, graphs, embedding tables, denoising.

    losses             Losses per observed pair.
    loss_settings      Settings of the loss.
    terms              Losses per pair, and the logits behind a loss by labels.
    hardness           Hard negative sampling among drawn candidates.
    partial_auc        Partial AUC as a loss.
    infonce            InfoNCE in blocks of rows.
    diversity          Diversity of a user's vectors (DCRS).

    distance           Similarities, and the spaces of vectors.
    scores             Scores of the pairs of a batch and of their negatives.
    negative_pool      Items from which negatives are drawn.
    tables             Embedding tables.
    distinct           Distinct rows of a batch, without a wait for the device.
    row_optimizer      Optimisers that update only the touched rows.

    graph              Propagation on the user-item graph.
    noisy_layers       Propagation with noise, for contrasts between views.
    item_graph         Graphs between similar items.
    item_pairs         Pairs of items that were bought together.
    singular_vectors  Singular vectors of a sparse matrix on a device.
    sparse_product     Products of sparse matrices and tables.
    histories          Training items of every user, for encoders.

    transformer        The self-attention encoder of packed histories.
    recurrent          The recurrent encoder of packed histories.
    hstu               The HSTU encoder of packed histories.
    next_item          Losses of the next item of a history.
    session_losses     Losses of GRU4Rec: TOP1, TOP1-max, BPR-max.
    packed             Attention within packed histories.
    dropout            Dropout with a fast mask.
    pool_softmax       Cross-entropy over a pool of items, or over all, in blocks of rows.
    own_scores         Scores of negatives that each row has for itself.

    feature_layers     Item features in a network.
    modality_shares    The share of each modality in a graph.
    pretrained         Vectors from pretrained networks on disk.
    towers             Towers that reproduce the scores of a factor model.
    als                Alternating least squares for methods that build on factors.

    denoise            Denoising by the loss of each pair.
    denoise_settings   Settings of the denoiser.
    denoise_selection  Pairs to drop or relabel.

Import names from the modules; they are internal and may change.
"""
