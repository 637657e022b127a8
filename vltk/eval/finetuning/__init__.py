"""Fine-tuning on a task: a recipe for the one training loop, made of a trained model, a data set and a plan."""
