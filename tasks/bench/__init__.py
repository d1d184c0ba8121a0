"""Train several models on one data set, over several seeds, and write the table that compares them."""
