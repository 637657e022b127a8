"""How a task is scored; one file each. A protocol names its `data_sets` and turns a `Subject` into scores."""
