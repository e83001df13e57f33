"""The recipe of the bundle that ships: phantoms at 5 mm, dense and label supervision, then alignment."""
