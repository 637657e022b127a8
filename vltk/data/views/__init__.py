"""View makers: the folder is the registry; each makes tensors of one sample from its `Draft`."""
