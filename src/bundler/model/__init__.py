"""Values: frozen, parsed once at the boundary, standard library only."""
