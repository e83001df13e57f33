"""From trained parts to a bundle that the viewer loads: written whole, rehearsed, and refused where it is worse."""
