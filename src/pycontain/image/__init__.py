"""References, the image store, recipes and their build."""
