"""Words: findings, prompts, sentences, sides and sizes. No torch, no napari."""
