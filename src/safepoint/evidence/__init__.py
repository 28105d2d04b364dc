"""How what was found is shown: reports and their picture. Measuring and deciding happen elsewhere."""
