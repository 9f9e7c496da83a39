"""The only SQL in the project: what happened, what was learned, what is in force.

Every function takes a Session and never commits: the edge that opened the transaction decides when
it holds. What comes back is a frozen record. One file per aggregate, of the same name here and in
`store.tables`.
"""
