"""Export a finished run as files that others read without seqtwin."""
