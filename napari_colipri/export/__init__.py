"""What leaves the house: masks, whole analyses and pictures. Every file appears whole or not at all."""
