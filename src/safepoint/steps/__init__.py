"""Plans, steps, gates, journals and the one executor: resumable, timed, printable work.

Knows neither PostgreSQL nor recovery. A plan is a value; what its steps do is given to the executor by name.
"""
