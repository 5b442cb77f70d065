"""Write the tables of the bench: the same bytes for the same seed and versions of NumPy and PyArrow.

    generate.py FOLDER [--rows 5000000] [--seed 7]

`main`: 10 numbers, 6 categories of up to 10,000 levels, 2 timestamps, 2 texts; about 1 GB of CSV at 5 million rows.
`wide`: 1,500 columns. `tiny`: 100 rows of `main`. Each as CSV and as Parquet with zstd. A table is made in pieces of
250,000 rows, so that 50 million need no more memory than 5.
"""

import argparse
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

PIECE = 250_000
LEVELS = {"sex": 2, "plan": 5, "country": 50, "device": 300, "city": 2_000, "product": 10_000}
SYLLABLES = ["ka", "lo", "mi", "ne", "ru", "ta", "vi", "so", "pe", "zu", "hä", "fin", "gor", "bel", "tam", "qui"]
DAY = 86_400
EPOCH = 1_700_000_000  # in seconds


def words(rng, count, syllables):
    """So many different words, of so many syllables or up to two more."""
    found = {}
    while len(found) < count:
        parts = rng.integers(0, len(SYLLABLES), size=syllables + rng.integers(0, 3))
        found["".join(SYLLABLES[part] for part in parts)] = None
    return pa.array(list(found))


def with_nulls(rng, values, share):
    """Leave out a share of the cells."""
    return pa.array(values, mask=rng.random(len(values)) < share)


def some(rng, among, rows):
    """Each with the same chance."""
    return among.take(pa.array(rng.integers(0, len(among), rows)))


def skewed(rng, levels, rows):
    """Codes of which the first are frequent and the last are rare."""
    return (levels * rng.random(rows) ** 3).astype(np.int32)


class Main:
    """The table of the issue."""

    def __init__(self, seed):
        rng = np.random.default_rng([seed, 0])
        self.seed = seed
        self.levels = {name: words(rng, count, 3) for name, count in LEVELS.items()}
        self.names = words(rng, 3_000, 4)
        self.words = words(rng, 5_000, 2)

    def piece(self, number, rows):
        """The rows from `number` * PIECE on."""
        rng = np.random.default_rng([self.seed, 1, number])
        first = number * PIECE
        amount = np.round(rng.lognormal(3, 1.2, rows), 2)
        age = rng.normal(44, 15, rows).clip(18, 99).astype(np.int64)
        columns = {
            "id": pa.array(np.arange(first, first + rows)),
            "amount": pa.array(amount),
            "age": with_nulls(rng, age, 0.02),
            "balance": pa.array(np.round(rng.normal(0, 5_000, rows), 2)),
            "clicks": pa.array(rng.poisson(3, rows)),
            "score": pa.array(np.round(rng.random(rows), 6)),
            "latency": with_nulls(rng, np.round(rng.gamma(2, 30, rows), 3), 0.05),
            "account": pa.array(rng.integers(1, 2_000_000_000, rows)),
            "rate": pa.array(rng.integers(0, 200, rows) / 8),
            "weight": pa.array(np.round(amount * 0.3 + rng.normal(0, 2, rows), 4)),
        }
        for name, levels in self.levels.items():
            codes = with_nulls(rng, skewed(rng, len(levels), rows), 0.01 if len(levels) > 5 else 0)
            columns[name] = levels.take(codes)
        created = EPOCH + (first + np.arange(rows)) * 3 + rng.integers(0, 60, rows)
        updated = (created + rng.integers(0, 90 * DAY, rows)) * 1000 + rng.integers(0, 1000, rows)
        columns["created"] = pa.array(created, pa.timestamp("s"))
        columns["updated"] = pa.array(updated, pa.timestamp("ms"))
        columns["name"] = pc.binary_join_element_wise(*(some(rng, self.names, rows) for _ in range(2)), " ")
        comment = [some(rng, self.words, rows) for _ in range(3)]
        columns["comment"] = pc.binary_join_element_wise(*comment, " ")
        return pa.table(columns)


class Wide:
    """Many columns: two thirds numbers, a third categories of 20 levels."""

    def __init__(self, seed, columns=1_500):
        self.seed = seed
        self.columns = columns
        self.levels = words(np.random.default_rng([seed, 2]), 20, 3)

    def piece(self, number, rows):
        rng = np.random.default_rng([self.seed, 3, number])
        columns = {}
        for at in range(self.columns):
            if at % 3 == 2:
                columns[f"c{at}"] = self.levels.take(pa.array(skewed(rng, len(self.levels), rows)))
            else:
                columns[f"n{at}"] = pa.array(np.round(rng.normal(at, 10, rows), 3))
        return pa.table(columns)


def write(folder, name, table, rows, piece):
    """Write a table as CSV and Parquet, unless both are there."""
    csv, parquet = folder / f"{name}.csv", folder / f"{name}.parquet"
    if csv.exists() and parquet.exists():
        return
    new_csv, new_parquet = csv.with_suffix(".new"), parquet.with_suffix(".newp")
    to_csv = to_parquet = None
    for start in range(0, rows, piece):
        part = table.piece(start // piece, min(piece, rows - start))
        if to_csv is None:
            options = pa.csv.WriteOptions(quoting_style="needed")
            to_csv = pa.csv.CSVWriter(new_csv, part.schema, write_options=options)
            to_parquet = pa.parquet.ParquetWriter(new_parquet, part.schema, compression="zstd")
        to_csv.write_table(part)
        to_parquet.write_table(part)
    to_csv.close()
    to_parquet.close()
    new_csv.rename(csv)
    new_parquet.rename(parquet)
    print(f"{name}: {rows} rows, CSV {csv.stat().st_size} bytes, Parquet {parquet.stat().st_size} bytes", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    write(given.folder, f"main-{given.rows}", Main(given.seed), given.rows, PIECE)
    write(given.folder, "wide", Wide(given.seed), 20_000, 10_000)
    write(given.folder, "tiny", Main(given.seed), 100, PIECE)


if __name__ == "__main__":
    main()
