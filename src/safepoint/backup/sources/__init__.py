"""Where the files of a physical backup come from: read in the data directory, or sent by the server. One port."""
