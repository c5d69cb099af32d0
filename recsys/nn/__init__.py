"""Parts of networks: losses, distances, graph propagation."""
