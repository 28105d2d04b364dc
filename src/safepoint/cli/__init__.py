"""The command line: parses, shows, asks; decides nothing."""
