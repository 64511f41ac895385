"""A run: its folder, its life from start to finish, and reading it back."""
