"""The command `seqtwin`: one entry to the programs in `tasks`."""
