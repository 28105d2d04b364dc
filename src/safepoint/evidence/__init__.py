"""What was found, when, and how it is shown: records and reports. Deciding and measuring happen elsewhere."""
