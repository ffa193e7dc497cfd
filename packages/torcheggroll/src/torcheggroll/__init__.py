"""EGGROLL: low-rank evolution strategies for any PyTorch module, with a factored forward."""
