"""Grading programs: what they print and return crosses a process boundary and is compared here."""
