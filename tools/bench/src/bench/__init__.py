"""The main job: train real models on real data with all five methods beside tuned baselines."""
