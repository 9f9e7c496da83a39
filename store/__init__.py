"""The only SQL in the project: what happened, what was learned, what is in force.

Every function takes a Session and never commits: the edge that opened the transaction decides when
it holds. What comes back is a frozen record. The rooms have a module per kind of record, `tables`
what it is stored in. `files` and `shards` read and write files, and know no SQL.
"""
