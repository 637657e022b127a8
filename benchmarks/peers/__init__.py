"""The models that the learning benchmark trains beside ours."""
