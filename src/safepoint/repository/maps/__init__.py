"""Maps: which blob holds each page of each file of a backup. Persistent trees: a backup shares what did not change."""
