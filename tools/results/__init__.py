"""Measure the recipes: train them with several seeds, and write the table and picture of docs/results.md."""
