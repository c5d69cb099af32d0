"""recsys: implicit-feedback logs in; trained, honestly compared, deployable recommenders out."""
