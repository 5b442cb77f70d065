"""What `serin profile` tells, as Polars tells it; distinct values are counted approximately, which is faster."""

import sys

import polars as pl
import polars.selectors as cs

path = sys.argv[1]
table = pl.read_csv(path, try_parse_dates=True) if path.endswith(".csv") else pl.read_parquet(path)
names = table.columns
figures = table.lazy().select(
    pl.all().count().name.suffix("|count"),
    pl.all().null_count().name.suffix("|null"),
    pl.all().approx_n_unique().name.suffix("|distinct"),
    pl.all().min().name.suffix("|min"),
    pl.all().max().name.suffix("|max"),
    cs.numeric().mean().name.suffix("|mean"),
    cs.numeric().std().name.suffix("|deviation"),
    *(cs.numeric().quantile(share).name.suffix(f"|{share}") for share in (0.25, 0.5, 0.75)),
    *(cs.temporal().quantile(share).name.suffix(f"|{share}") for share in (0.25, 0.5, 0.75)),
    cs.string().str.len_chars().mean().name.suffix("|length"),
)
for name, column in figures.collect().to_dict().items():
    print(name, column[0])
top = pl.collect_all([table.lazy().group_by(name).len().top_k(20, by="len") for name in names])
for name, values in zip(names, top):
    print(name, values.rows())
