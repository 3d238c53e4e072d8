"""Exercises that check themselves, one file a lesson. `base` holds what all of them share."""
