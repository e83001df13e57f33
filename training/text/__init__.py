"""Text for training: variation of reports, short captions, opposite sentences, a vocabulary of our own."""
