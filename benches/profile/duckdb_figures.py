"""What `serin profile` tells, as far as DuckDB tells it: SUMMARIZE, and the 20 most frequent values of each column.

A CSV file is read into memory once, as each column's query would parse it again; Parquet is read column by column.
"""

import sys

import duckdb

path = sys.argv[1]
database = duckdb.connect(config={"threads": 2})
if path.endswith(".csv"):
    database.execute("create temp table t as from read_csv($1)", [path])
else:
    database.execute(f"create view t as from read_parquet('{path}')")
figures = database.execute("summarize t").fetchall()
for name, *figures in figures:
    column = '"' + name.replace('"', '""') + '"'
    top = database.execute(f"select {column}, count(*) as n from t group by 1 order by n desc limit 20").fetchall()
    print(name, figures, top)
