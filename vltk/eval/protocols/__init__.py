"""How a task is scored, one file each. A protocol names its `data_sets` and `metrics`; a call scores a `Subject`."""
