"""Write tables that are hard to profile, and what a profile has to say of them and of three real ones.

    pip install pandas==3.1.1 numpy==2.4.6 scipy==1.17.1 duckdb==2.0.1 pyarrow==26.0.1
    python tests/data/reference/make.py [folder of ames.csv and hpc_data.csv]

The tables are made from a seed, and of each cell it is known what it means, so no reader of CSV stands between the truth and
what is expected. Most tables are written as CSV and as Parquet. `expected.json` has the figures, in the shape of docs/profile.md.

Who says what:

- NumPy: quantiles (`linear`, which is R's type 7), of times the values below and above (`lower`, `higher`), histograms.
- SciPy: entropies and Pearson's correlation.
- pandas: the cells of the real tables, most frequent values, lengths of texts, repeated rows.
- DuckDB: counts, distinct values, least and most, mean, deviation and quantiles once more, repeated rows once more.
- Rational numbers: mean, deviation and bins, for the numbers whose squares are no finite doubles, or 0. Where NumPy and DuckDB
  can do without those, `agree` sees to it that they say the same.

Where a definition could be another one, it is this:

- Figures of numbers and their most frequent values are of the finite ones. `infinite` counts the others, `count` and `distinct`
  count all. Where none is finite there are no such figures.
- Missing is told apart: null (`NA`, `N/A`, `null`, `NULL`, `None`), empty (spaces too) and NaN. In a column of texts only the empty
  cell is missing, and `NA` is a text like any other. A Parquet file has no empty numbers, booleans and times: they are null there.
- Numbers are equal as doubles. Whole numbers from 2^53 on are distinct by their digits in CSV, as doubles in Parquet.
- The deviation of a single number is 0. Both zeros are one value.
- The bins of a histogram cover the bulk, as docs/profile.md has it; what lies outside is counted below and above. Those of times
  begin and end with a whole microsecond, and are of the lower quantiles.
- The bins of a constant column are all without width: the last one, which has its upper end, holds everything.
- Times are cut to microseconds, and taken for UTC where no offset stands. A column is of dates where no cell has a time of day.
- A quantile of times is one of the two times that it lies between.
- A text reads as a number where a column of it would be one, or would but for zeros in front: decimal digits with a point and
  an exponent perhaps, or an infinity. It is padded where a space or a tab is at either end, which do not count for reading it.
- Lengths are of code points. A top value may be cut at the end of a letter from 250 bytes on.
- A double that is not a bin's edge, but within four units of its last place, belongs to either side of it. Times are counted
  exactly.
- Rows are equal where all cells are: a number however it is written, a moment at whatever offset, texts to the letter, missing
  cells of the same sort.
- Information: numbers and times in 32 bins from the values of ranks `len * k // 32`, those missing in one of their own; texts and
  booleans in fewer than five rows together, those missing as if that were a value. Entropies with Miller's correction, in bits.
- `forced_by` is the first cell that is not of the type of the first value.
"""

import collections
import csv
import datetime as dt
import decimal
import fractions
import gzip
import io
import json
import math
import pathlib
import re
import sys

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.stats

HERE = pathlib.Path(__file__).parent
CHURN = HERE.parents[2] / "cloudbuild" / "churn" / "data"
QUANTILES = [0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99]
BINS = 20
TOP = 20
# A column of numbers with more distinct values may be told from a sketch.
SURELY_EXACT = 2048

# Cells without a value.
NULL, EMPTY, NAN = "null", "empty", "nan"
# How they are written where numbers, booleans or times belong.
WORDS = {NULL: ["NA", "N/A", "null", "NULL", "None"], EMPTY: ["", "", "  "], NAN: ["NaN", "nan", "-nan"]}

Cell = collections.namedtuple("Cell", "text value missing", defaults=[None])
Column = collections.namedtuple("Column", "name type cells arrow")
Table = collections.namedtuple("Table", "file columns bad_rows labels", defaults=[0, ()])

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
# Its queries name the frames of the functions that they stand in.
duck = duckdb.connect()


# The figures.


def agree(ours, theirs, what, within=1e-9, zero=0.0):
    """That a reference implementation says the same, as far as its way to it allows. `zero`: what is next to nothing."""
    for a, b in zip(np.atleast_1d(ours), np.atleast_1d(theirs), strict=True):
        assert a == b or abs(a - b) <= max(within * abs(a), zero), (what, a, b)


def nearest(x, root=False):
    """The double nearest to a rational number, or to its square root."""
    with decimal.localcontext(prec=60, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN):
        x = decimal.Decimal(x.numerator) / decimal.Decimal(x.denominator)
        return float(x.sqrt() if root else x)


def bulk(values, first, last):
    """Where the bins begin and end: half the span of the quantiles at 1 % and 99 % beyond both, within all values; all of them,
    where they are no more than twice as wide."""
    least, most = min(values), max(values)
    if first == last:
        return least, most
    beyond = (last - first) / 2
    low, high = max(first - beyond, least), min(last + beyond, most)
    return (least, most) if most - least <= 2 * (high - low) else (low, high)


def histogram(values, low, high):
    """Counts between two ends, exact, and of what lies below and above. Bins of a width of 0 are all but the last empty."""
    counts, below, above = [0] * BINS, 0, 0
    for x in values:
        if x < low:
            below += 1
        elif x > high:
            above += 1
        else:
            counts[BINS - 1 if low == high else min((x - low) * BINS // (high - low), BINS - 1)] += 1
    return {"counts": counts, "below": below, "above": above}


def histogram_of_doubles(x, exact, quantiles):
    """The ends, counts, and for each edge how many doubles lie on it but for rounding, so that they belong to either side of it:
    the first one's below, the inner ones' and the last one's above."""
    low, high = bulk(exact, fractions.Fraction(quantiles[0]), fractions.Fraction(quantiles[-1]))
    # The ends are doubles too.
    low, high = (fractions.Fraction(nearest(end)) for end in (low, high))
    figures = histogram(exact, low, high)
    edges = [low + (high - low) * k / BINS for k in range(BINS + 1)]
    near = 4 * fractions.Fraction(float(np.spacing(np.abs(x).max()))) + BINS * fractions.Fraction(5e-324)
    clipped = [low == min(exact), *[False] * (BINS - 1), high == max(exact)]
    on_edges = [
        0 if low == high or all_in else sum((0 < abs(v - edge) or n in (0, BINS)) and abs(v - edge) <= near for v in exact)
        for n, (edge, all_in) in enumerate(zip(edges, clipped))
    ]
    if low < high and 1e-290 < float(np.abs(x).max()) < 1e300:
        theirs, _ = np.histogram(x, BINS, (float(low), float(high)))
        off = np.abs(np.cumsum(theirs) - np.cumsum(figures["counts"]))[:-1]
        assert (off <= on_edges[1:-1]).all(), (off, on_edges)
        outside = [int((x < float(low)).sum()), int((x > float(high)).sum())]
        assert outside == [figures["below"], figures["above"]], (outside, figures)
    return {"min": float(low), "max": float(high), **figures, "on_edges": on_edges}


def numbers(values, what):
    x = np.array([float(v) for v in values])
    infinite = int(np.isinf(x).sum())
    x = x[np.isfinite(x)]
    if not len(x):
        return None
    exact = [fractions.Fraction(v) for v in x.tolist()]
    middle = sum(exact) / len(exact)
    mean = nearest(middle)
    squares = sum((v - middle) ** 2 for v in exact)
    deviation = nearest(squares / (len(x) - 1), root=True) if len(x) > 1 else 0.0
    with np.errstate(all="ignore"):
        quantiles = np.quantile(x, QUANTILES, method="linear")
    for i, q in enumerate(quantiles):
        if not math.isfinite(q):
            place = QUANTILES[i] * (len(x) - 1)
            below, above = (sorted(exact)[f(place)] for f in (math.floor, math.ceil))
            quantiles[i] = nearest(below + (above - below) * fractions.Fraction(place % 1))
    figures = {
        "min": float(x.min()),
        "max": float(x.max()),
        "mean": mean,
        "standard_deviation": deviation,
        "quantiles": quantiles.tolist(),
        "histogram": histogram_of_doubles(x, exact, quantiles.tolist()),
        "zeros": int((x == 0).sum()),
        "negatives": int((x < 0).sum()),
        "infinite": infinite,
        "whole": bool((np.trunc(x) == x).all()),
    }
    most = float(np.abs(x).max())
    if most == 0 or 1e-140 < most < 1e150:
        zero = most * 1e-14
        series, frame = pd.Series(x), pd.DataFrame({"x": x})
        agree([mean] * 2, [np.mean(x), series.mean()], what, zero=zero)
        if len(x) > 1:
            agree([deviation] * 2, [np.std(x, ddof=1), series.std()], what)
        agree(figures["quantiles"], series.quantile(QUANTILES), what)
        exact = "min(x), max(x), count(*) filter (x = 0), count(*) filter (x < 0)"
        row = duck.execute(f"select {exact} from frame").fetchone()
        assert row == tuple(figures[name] for name in ("min", "max", "zeros", "negatives")), (what, row)
        (quantiles,) = duck.execute(f"select quantile_cont(x, {QUANTILES}) from frame").fetchone()
        agree(figures["quantiles"], quantiles, what, zero=zero)
        # One value after the other, so a little off where the mean is far from zero.
        row = duck.execute("select avg(x), coalesce(stddev_samp(x), 0) from frame").fetchone()
        agree([mean, deviation], row, what, within=1e-7, zero=zero)
    if len(np.unique(x)) > SURELY_EXACT:
        # What is sketched is held against the values at a thousand places.
        figures["values"] = np.quantile(x, np.arange(1001) / 1000, method="lower").tolist()
    return figures


def rfc3339(micros, dates):
    """A time in UTC with as many digits as needed."""
    time = EPOCH + dt.timedelta(microseconds=int(micros))
    if dates:
        return f"{time.year:04}-{time.month:02}-{time.day:02}"
    fraction = f".{time.microsecond:06}".rstrip("0") if time.microsecond else ""
    return f"{time.year:04}-{time.month:02}-{time.day:02}T{time.hour:02}:{time.minute:02}:{time.second:02}{fraction}Z"


def times(values, dates):
    x = np.array(values, dtype=np.int64)
    # The places alone, because a quantile of integers is worked out in doubles.
    places = np.arange(len(x)).astype(float)
    low, high = (np.quantile(places, QUANTILES, method=m).astype(int) for m in ("lower", "higher"))
    x.sort()
    # To the whole microsecond.
    first, last = int(x[low[0]]), int(x[low[-1]])
    ends = int(x[0]), int(x[-1])
    if first != last:
        ends = max((3 * first - last) // 2, ends[0]), min((3 * last - first) // 2, ends[1])
    return {
        "min": rfc3339(x[0], dates),
        "max": rfc3339(x[-1], dates),
        "quantiles": [sorted({rfc3339(x[a], dates), rfc3339(x[b], dates)}) for a, b in zip(low, high)],
        "histogram": {"min": ends[0] / 1e6, "max": ends[1] / 1e6, **histogram(x.tolist(), *ends)},
        "seconds": [int(x[0]) / 1e6, int(x[-1]) / 1e6],
        "dates": dates,
    }


def bare(text):
    """Without the spaces that do not count."""
    return text.strip("\t\n\f\r ") if text[:1] in (" ", "\t") or text[-1:] in (" ", "\t") else text


NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
INFINITY = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE | re.ASCII)
TIME = re.compile(r"(\d{4}-\d\d-\d\d)([Tt ](\d\d:\d\d)(:\d\d)?(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:?\d\d)?)?", re.ASCII)


def is_number(text):
    return bool(NUMBER.fullmatch(bare(text)) or INFINITY.fullmatch(bare(text)))


def is_boolean(text):
    return bare(text) in ("true", "True", "TRUE", "false", "False", "FALSE")


def is_time(text):
    found = TIME.fullmatch(bare(text))
    if not found or (found[5] and not found[4]):
        return False
    try:
        dt.date.fromisoformat(found[1])
        return not found[3] or bool(dt.time.fromisoformat(found[3] + (found[4] or "")))
    except ValueError:
        return False


def type_of(text):
    """What a column of this one text would be taken for."""
    padded = re.match(r"[+-]?0[0-9]", bare(text))
    if is_number(text) and not padded:
        return "number"
    return "boolean" if is_boolean(text) else "time" if is_time(text) else "text"


def texts(values):
    lengths = pd.Series(values, dtype=object).str.len()
    frame = pd.DataFrame({"t": values})
    duckdb_lengths = duck.execute("select min(length(t)), max(length(t)), avg(length(t)) from frame").fetchone()
    agree([lengths.min(), lengths.max(), lengths.mean()], duckdb_lengths, "lengths")
    return {
        "min_length": int(lengths.min()),
        "max_length": int(lengths.max()),
        "mean_length": float(lengths.mean()),
        "numbers": sum(map(is_number, values)),
        "booleans": sum(map(is_boolean, values)),
        "times": sum(map(is_time, values)),
        "padded": sum(v[0] in " \t" or v[-1] in " \t" for v in values),
    }


def shown(text):
    """As messages show a cell: control characters escaped, cut after 40 characters."""
    escapes = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
    cut = [escapes.get(c, c if c >= " " else f"\\u{{{ord(c):x}}}") for c in text[:40]]
    return "".join(cut) + ("…" if len(text) > 40 else "")


def forced_by(cells, places):
    """The first cell that is not of the type of the first value, where there is one."""
    words = [w for words in WORDS.values() for w in words]
    first = None
    for cell, place in zip(cells, places):
        if cell.missing or bare(cell.text) in words:
            continue
        kind = type_of(cell.text)
        first = first or kind
        if first != "text" and kind != first:
            return {"place": place, "value": shown(cell.text), "instead_of": first}
    return None


def key(kind, value):
    """What makes values equal."""
    if kind == "number":
        x = float(value)
        return x + 0.0 if math.isinf(x) or abs(x) < 2**53 else fractions.Fraction(decimal.Decimal(value))
    return value


def column_figures(column, cells, places):
    kind = column.type
    missing = collections.Counter(cell.missing for cell in cells)
    values = [cell.value for cell in cells if not cell.missing]
    figures = {
        "name": column.name,
        "type": kind,
        "count": len(values),
        "null": missing[NULL],
        "empty": missing[EMPTY],
        "nan": missing[NAN],
        "distinct": len({key(kind, v) for v in values}),
    }
    if not values:
        return figures
    frame = pd.DataFrame({"v": [str(key(kind, v)) for v in values]})
    counts = duck.execute("select count(*), count(distinct v) from frame").fetchone()
    assert counts == (figures["count"], figures["distinct"]), (column.name, counts)
    tellable = values
    if kind == "number":
        figures["numbers"] = numbers(values, column.name)
        if not figures["numbers"]:
            del figures["numbers"]
            return figures
        tellable = [float(v) + 0.0 for v in values if math.isfinite(float(v))]
    elif kind == "time":
        dates = all(cell.missing or "date" == cell.text or len(bare(cell.text)) == 10 for cell in cells)
        figures["times"] = times(values, dates)
    elif kind == "text":
        figures["texts"] = texts(values)
        figures["forced_by"] = forced_by(cells, places)
        if not figures["forced_by"]:
            del figures["forced_by"]
    if not (kind == "number" and "values" in figures["numbers"]):
        counts = pd.Series(tellable, dtype=object if kind != "number" else float).value_counts()
        top = sorted(counts.items(), key=lambda item: (-item[1], item[0].encode() if kind == "text" else item[0]))[:TOP]
        if kind == "boolean":
            top = [("true" if v else "false", n) for v, n in top]
        elif kind == "time":
            top = [(rfc3339(v, figures["times"]["dates"]), n) for v, n in top]
        figures["top"] = [[v if isinstance(v, str) else float(v), int(n)] for v, n in top]
    return figures


# What columns tell about a label.


def entropy(counts):
    """In bits, corrected for its bias by Miller and Madow."""
    counts = np.array(list(counts))
    return scipy.stats.entropy(counts, base=2) + (len(counts) - 1) / (2 * counts.sum() * math.log(2))


def levels(kind, cells):
    if kind in ("number", "time"):
        values = sorted(float(cell.value) for cell in cells if not cell.missing)
        edges = [values[len(values) * k // 32] for k in range(1, 32)] if values else []
        return [-1 if cell.missing else int(np.searchsorted(edges, float(cell.value), side="right")) for cell in cells]
    values = ["missing" if cell.missing else (cell.value,) for cell in cells]
    counts = collections.Counter(values)
    return [v if counts[v] >= 5 else "rare" for v in values]


def label_figures(kind, cells, label_kind, label_cells):
    x, y = levels(kind, cells), levels(label_kind, label_cells)
    of_x, of_y, of_both = (collections.Counter(levels).values() for levels in (x, y, zip(x, y)))
    if len(of_x) < 2 or len(of_y) < 2:
        return None
    information = max(entropy(of_x) + entropy(of_y) - entropy(of_both), 0.0)
    figures = {"information": information, "share": min(information / entropy(of_y), 1.0), "rows": len(cells)}
    if kind == label_kind == "number":
        pairs = [(float(a.value), float(b.value)) for a, b in zip(cells, label_cells) if not (a.missing or b.missing)]
        pairs = np.array([pair for pair in pairs if np.isfinite(pair).all()])
        if len(pairs) > 1 and (pairs != pairs[0]).any(axis=0).all():
            figures["correlation"] = float(scipy.stats.pearsonr(pairs[:, 0], pairs[:, 1]).statistic)
    return figures


def table_figures(table, size, places, cells_of):
    """The figures of a table, as the file at hand holds its cells."""
    columns = [(column, cells_of(column)) for column in table.columns]
    keys = pd.DataFrame(
        {c.name: [cell.missing or repr(key(c.type, cell.value)) for cell in cells] for c, cells in columns}, dtype=str
    )
    duplicates = int(keys.duplicated().sum())
    assert duck.execute(
        "select (select count(*) from keys) - (select count(*) from (select distinct * from keys))"
    ).fetchone() == (duplicates,)
    told = {
        "file": table.file,
        "rows": len(keys),
        "bytes": size,
        "bad_rows": table.bad_rows,
        "duplicate_rows": duplicates,
        "columns": [column_figures(column, cells, places) for column, cells in columns],
    }
    if table.labels:
        told["labels"] = {}
    for label in table.labels:
        label_kind, label_cells = next((c.type, cells) for c, cells in columns if c.name == label)
        told["labels"][label] = {
            c.name: label_figures(c.type, cells, label_kind, label_cells) for c, cells in columns if c.name != label
        }
    return told


# The tables.


def number(text, value=None):
    return Cell(text, text if value is None else value)


def moment(text):
    """A time as it is written, worked out by Python's own reader of ISO 8601."""
    iso = re.sub(r"(\.\d{6})\d+", r"\1", bare(text).upper())
    time = dt.datetime.fromisoformat(iso)
    time = time if time.tzinfo else time.replace(tzinfo=dt.timezone.utc)
    return Cell(text, (time - EPOCH) // dt.timedelta(microseconds=1))


def boolean(text):
    return Cell(text, {"true": True, "false": False}[text.lower()])


def text(text):
    return Cell(text, text, None if text else EMPTY)


def missing(random, sort=None):
    sort = sort or [NULL, EMPTY, NAN][random.integers(3)]
    return Cell(WORDS[sort][random.integers(len(WORDS[sort]))], None, sort)


def holes(random, cells, share=0.15):
    """The same with some cells missing, of every sort."""
    cells = [missing(random) if random.random() < share else cell for cell in cells]
    for i, sort in enumerate((NULL, EMPTY, NAN)):
        cells[10 + i] = missing(random, sort)
    return cells


def numbers_table():
    random, n = np.random.default_rng(11), 242
    of = lambda values: [number(v if isinstance(v, str) else repr(v)) for v in values]
    choose = lambda values: of([values[i] for i in random.integers(len(values), size=n)])
    decimals = [repr(round(float(x), 4)) for x in random.normal(3, 20, n)]
    powers = lambda low, high: [
        f"{s}{m:.3f}e{e}"
        for s, m, e in zip(random.choice(["", "-"], n), random.uniform(1, 1.7, n), random.integers(low, high, n))
    ]
    extremes = ["-1.7e308"] * (n // 2) + ["1.7e308"] * (n // 2)
    beyond = [str(2**53 + int(i)) for i in random.integers(-3, 6, n)]
    beyond[:6] = [str(2**63 - 1), str(-(2**63)), str(2**64), str(2**64 + 1), str(-(2**53) - 1), str(-(2**53))]
    longer = [
        str(s * (10**w + int(d)))
        for s, w, d in zip(random.choice([-1, 1], n), random.integers(20, 40, n), random.integers(0, 9, n))
    ]
    columns = {
        "id": of(range(n)),
        "whole": of(random.integers(-50, 50, n).tolist()),
        "decimals": of(decimals),
        "with_holes": holes(random, of([repr(round(float(x), 2)) for x in random.exponential(40, n)])),
        "few_left": [missing(random) if i % 40 else number(str(i)) for i in range(n)],
        "one_left": [number("-2.5") if i == 77 else missing(random) for i in range(n)],
        "constant": of(["7"] * n),
        "all_missing": [missing(random) for _ in range(n)],
        "all_empty": [Cell("", None, EMPTY) for _ in range(n)],
        "with_infinities": holes(random, choose(["inf", "-inf", "1.5", "-2", "0", "3e5"])),
        "zeros": choose(["0", "-0", "-0.0", "0.0", "0e0", "-0e5"]),
        "around_zero": choose(["-0.0", "0", "1", "-1", "1e-300", "-1e-300"]),
        "beyond_2_53": of(beyond),
        "beyond_64_bits": of(longer),
        "far_from_zero": of([repr(1e9 + round(float(x), 3)) for x in random.normal(0, 1, n)]),
        "spelled": choose(["1", "1.0", "1e0", "+1", " 1 ", "10e-1", "\t1", "100", "1e2", "1.E2", "+.5", "0.5", "5e-1"]),
        "many_digits": of([f"{x:.25f}" for x in random.normal(0, 1, n)]),
        "small": of(powers(-120, -100)),
        "wide": of(powers(-60, 60)),
        # What is hard for a sum of squares.
        "tiny": of(powers(-307, -200)),
        "subnormal": of([repr(float(x) * 5e-324) for x in random.integers(1, 90, n)]),
        "huge": of(powers(200, 308)),
        "extremes": of(extremes),
        # The same values in other spellings.
        "infinite_spelled": choose(["inf", "Infinity", "+inf", "INF", "1", "2"]),
        "huge_spelled": choose(
            ["1e300", "1E300", "1.0e+300", "9007199254740992", "9007199254740992.0", "9.007199254740992e15"]
        ),
        "only_infinite": choose(["inf", "-inf"]),
    }
    kinds = dict.fromkeys(columns, ("number", pa.float64()))
    kinds |= dict.fromkeys(["all_missing", "all_empty"], ("text", pa.string()))
    kinds |= {"id": ("number", pa.uint16()), "whole": ("number", pa.int8())}
    return Table("numbers", [Column(name, kinds[name][0], cells, kinds[name][1]) for name, cells in columns.items()])


def texts_table():
    random, n = np.random.default_rng(12), 213
    choose = lambda values: [text(values[i]) for i in random.integers(len(values), size=n)]
    first = lambda value, cells: [text(value), *cells[1:]]
    unicode = [
        "é", "e\u0301", "Ångström", "日本語", "한국어", "😀", "👩‍👩‍👧", "🇩🇪", "שלום", "مرحبا", "\u202eabc", "a\u200bb", "ﬁ", "\ufeffx", "𝔘𝔫𝔦", "z",
        "Z", "ß", "ẞ", "\u00a0nbsp\u00a0", "n\u0303o", "ño", "İ", "ı",
    ]  # fmt: skip
    broken = [
        "a,b", 'say "x"', '"', '""', "two\nlines", "win\r\nlines", "old\rmac", ",", ",,", "\n", "tab\tin", "semi;colon", "a|b", "'", "\\", "\\n",
        "ends\n", "\nbegins", 'mid"quote', "x",
    ]  # fmt: skip
    words = ["NA", "N/A", "null", "NULL", "None", "NaN", "nan", "", "", "x", "none", "na", "-", "?"]
    looks = [
        "1", "-2.5", "1e5", "+3", ".5", "5.", "01069", "007", "1,5", "1_000", "0x10", "1e", "-", ".", "--1", "٣", "１", "1 2", "1e999",
        "true", "True", "TRUE", "tRue", "t", "yes", "false", "False", "FALSE", "F",
        "2026-01-01", "2026-02-29", "2024-02-29", "2026-13-01", "2026-01-01T10:00", "2026-01-01 10:00:00.25Z", "2026-01-01T10:00+01:00",
        "2026-01-01T24:00", "2026-01-01T10", "20260101", "0000-01-01", "2026-01-01T10:00:60Z", "2026-1-1", "01/02/2026",
        "2026-01-01T10:00:00+0530", "2026-01-01T10:00:00.1234567891Z", "x",
    ]  # fmt: skip
    padded = [" x", "x ", " x ", "\tx", "x\t", "  ", " 12 ", " true", "2026-01-01 ", "x", "x y", "x\n", "\u3000x", " "]
    long = ["ab" * 127 + "é" * 10, "ab" * 127 + "x" + "é" * 9, "x" * 300, "日" * 100, "y" * 256, "short", "w" * 500]
    number_then = lambda late: [text(str(i % 9)) for i in range(n - 4)] + [text(late), text("3"), text("words"), text("4")]
    columns = {
        "id": [text(f"R{i:03}") for i in range(n)],
        "unicode": first("é", choose(unicode)),
        "broken": first("x", choose(broken)),
        "words": first("x", choose(words)),
        "looks": first("x", choose(looks)),
        "infinities": first("x", choose(["inf", "-inf", "Infinity", "+inf", "nan", "x"])),
        "padded": first("x", choose(padded)),
        "postal_codes": [text(f"{i:05}") for i in random.integers(0, 10_000, n)],
        "constant": [text("no")] * n,
        "half_empty": [text("" if i % 2 else "ja") for i in range(n)],
        "skewed": [text(f"w{i}") for i in random.zipf(1.5, n).clip(max=60)],
        # Longer than what is kept of a text.
        "long": first("short", choose(long)),
        # A late cell that does not fit.
        "late_text": number_then("n/k"),
        "late_zeros": number_then("007"),
        "late_escaped": number_then("a\nb\t" + "c" * 60),
        "late_boolean": [text(["true", "False"][i % 2]) for i in range(n - 1)] + [text("maybe")],
        "late_time": [text(f"2026-01-{1 + i % 28:02}") for i in range(n - 1)] + [text("2026-01-32")],
        "late_among_missing": [text("NA")] * 9 + [text("5")] + [text("NA")] * (n - 11) + [text("x")],
    }
    return Table("texts", [Column(name, "text", cells, pa.string()) for name, cells in columns.items()])


def times_table():
    random, n = np.random.default_rng(13), 222
    day = lambda low, high: str(dt.date.fromordinal(int(random.integers(low.toordinal(), high.toordinal()))))
    recent = lambda: day(dt.date(2019, 1, 1), dt.date(2027, 1, 1))
    clock = lambda: f"{random.integers(24):02}:{random.integers(60):02}"
    second = lambda: f"{clock()}:{random.integers(60):02}"
    fraction = lambda: f".{random.integers(10**9):09}"[: random.integers(2, 11)]
    zone = lambda: ["", "Z", "z", "+00:00", "-00:00", "+01:00", "-08:00", "+0530", "-0330", "+14:00", "+23:59", "-23:59"][
        random.integers(12)
    ]
    forms = [
        lambda: f"{recent()}T{second()}Z",
        lambda: f"{recent()} {second()}",
        lambda: f"{recent()}t{clock()}{zone()}",
        lambda: f"{recent()}T{second()}{fraction()}{zone()}",
        lambda: f" {recent()} {second()}{zone()} ",
    ]
    spelled = lambda: forms[random.integers(len(forms))]()
    far = lambda: f"{day(dt.date(1, 1, 2), dt.date(9999, 12, 30))}T{second()}.{random.integers(10**6):06}Z"
    last = ["9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999998Z", "9999-12-31T23:59:59.5Z"]
    columns = {
        "id": ("number", pa.int32(), [number(str(i)) for i in range(n)]),
        "day": ("time", pa.date32(), [moment(recent()) for _ in range(n)]),
        "few_days": ("time", pa.date32(), [moment(f"2026-03-{d:02}") for d in random.integers(1, 30, n)]),
        "day_with_holes": ("time", pa.date32(), holes(random, [moment(recent()) for _ in range(n)])),
        "one_day": ("time", pa.date32(), [moment("2024-02-29")] * n),
        "one_day_left": ("time", pa.date32(), [moment("1969-12-31") if i == 50 else missing(random) for i in range(n)]),
        "old_day": ("time", pa.date32(), [moment(day(dt.date(1, 1, 1), dt.date(1970, 1, 1))) for _ in range(n)]),
        "leap_days": ("time", pa.date32(), [moment(f"{y}-02-29") for y in random.choice([1600, 1904, 2000, 2024, 2400], n)]),
        "spelled": ("time", pa.timestamp("us", tz="UTC"), [moment(spelled()) for _ in range(n)]),
        "same_moment": (
            "time",
            pa.timestamp("us", tz="UTC"),
            [
                moment(["2026-01-01T00:30:00+01:00", "2025-12-31T23:30Z", "2025-12-31 18:30:00.000-05:00"][i % 3])
                for i in range(n)
            ],
        ),
        "days_and_moments": (
            "time",
            pa.timestamp("us"),
            holes(random, [moment(recent() if i % 2 else f"{recent()}T{second()}") for i in range(n)]),
        ),
        "before_1970": (
            "time",
            pa.timestamp("us"),
            [moment(f"{day(dt.date(1950, 1, 1), dt.date(1970, 1, 1))}T{second()}{fraction()}") for _ in range(n)],
        ),
        "microseconds": (
            "time",
            pa.timestamp("us"),
            [moment(f"2026-01-01T00:00:00.{i:06}Z") for i in random.integers(0, 99, n)],
        ),
        "far": ("time", pa.timestamp("us"), [moment(far()) for _ in range(n)]),
        "last": ("time", pa.timestamp("us"), [moment(last[i]) for i in random.integers(3, size=n)]),
        "flag": (
            "boolean",
            pa.bool_(),
            [boolean(["true", "false", "True", "False", "TRUE", "FALSE"][i]) for i in random.integers(6, size=n)],
        ),
        "flag_with_holes": (
            "boolean",
            pa.bool_(),
            holes(random, [boolean(["true", "false"][i]) for i in random.integers(2, size=n)]),
        ),
        "always": ("boolean", pa.bool_(), [boolean("true")] * n),
        "never": ("boolean", pa.bool_(), [boolean("FALSE") if i % 3 else missing(random) for i in range(n)]),
        "even": ("boolean", pa.bool_(), [boolean(["true", "false"][i % 2]) for i in range(n)]),
    }
    return Table("times", [Column(name, kind, cells, arrow) for name, (kind, arrow, cells) in columns.items()])


def rows_table():
    """Rows that are equal, some of them written otherwise."""
    random, n = np.random.default_rng(14), 160
    pick = lambda values, make: [make(values[i]) for i in random.integers(len(values), size=n)]
    columns = [
        Column("a", "number", holes(random, pick(["1", "1.0", "1e0", "2", "-0", "0"], number), 0.3), pa.float64()),
        Column("b", "text", pick(["x", "X", "x ", "", "NA"], text), pa.string()),
        Column(
            "c",
            "time",
            pick(["2026-01-01", "2026-01-01T12:00Z", "2026-01-01T14:00+02:00", "2026-01-02"], moment),
            pa.timestamp("us"),
        ),
        Column("d", "boolean", pick(["true", "True", "FALSE"], boolean), pa.bool_()),
    ]
    return Table("rows", columns)


def label_table():
    random, n = np.random.default_rng(15), 411
    of = lambda values: [number(repr(round(float(v), 3))) for v in values]
    x = random.normal(0, 1, n)
    y = 3 * x + random.normal(0, 1, n)
    category = ["abcdefgh"[min(int(abs(v) * 3), 7)] for v in y]
    start = dt.datetime(2026, 1, 1)
    columns = [
        Column("x", "number", of(x), pa.float64()),
        Column("minus_x", "number", of(-x * 1e6), pa.float64()),
        Column("noise", "number", of(random.normal(0, 1, n)), pa.float64()),
        Column("with_holes", "number", holes(random, of(x + random.normal(0, 2, n))), pa.float64()),
        Column(
            "with_infinities", "number", [number("-inf") if i % 17 == 0 else c for i, c in enumerate(of(y * y))], pa.float64()
        ),
        Column("constant", "number", [number("1")] * n, pa.float64()),
        Column("all_missing", "text", [Cell("", None, EMPTY)] * n, pa.string()),
        Column("two", "number", [number("0" if v < 0 else "1") for v in x], pa.float64()),
        Column("category", "text", [text(v) for v in category], pa.string()),
        Column("names", "text", [text(f"n{i}") for i in range(n)], pa.string()),
        Column("half_names", "text", [text(f"n{i}" if i % 3 else "") for i in range(n)], pa.string()),
        Column("flag", "boolean", holes(random, [boolean(["false", "true"][int(v > 0.3)]) for v in y], 0.03), pa.bool_()),
        Column("seldom", "boolean", [boolean(["false", "true"][int(i in (5, 9))]) for i in range(n)], pa.bool_()),
        Column("when", "time", [moment(str(start + dt.timedelta(hours=round(float(v) * 10)))) for v in y], pa.timestamp("us")),
        Column("y", "number", [missing(random) if i % 41 == 3 else c for i, c in enumerate(of(y))], pa.float64()),
    ]
    return Table("label", columns, 0, ("y", "category", "flag", "when"))


def as_parquet(column):
    """The cells as a Parquet file holds them."""
    cells = []
    for cell in column.cells:
        if cell.missing == EMPTY and column.type != "text" or cell.missing == NAN and not pa.types.is_floating(column.arrow):
            cell = Cell("", None, NULL)
        elif column.type == "text" and cell.text in WORDS[NULL] + WORDS[NAN] and cell.missing:
            cell = Cell("", None, NULL)
        elif column.type == "number" and not cell.missing:
            cell = Cell(cell.text, float(cell.value))
        elif column.type == "time" and not cell.missing:
            # What has no time of day is a date.
            cell = Cell("date" if cell.value % 86_400_000_000 == 0 else cell.text, cell.value)
        cells.append(cell)
    return cells


def arrow(column, cells):
    values = [math.nan if cell.missing == NAN else "" if cell.missing == EMPTY else cell.value for cell in cells]
    if pa.types.is_date(column.arrow):
        values = [None if v is None else v // 86_400_000_000 for v in values]
        return pa.array(values, pa.int32()).cast(column.arrow)
    if pa.types.is_timestamp(column.arrow):
        return pa.array(values, pa.int64()).cast(column.arrow)
    if pa.types.is_integer(column.arrow):
        values = [None if v is None else int(v) for v in values]
    return pa.array(values, column.arrow)


def write_csv(table, ending="\n", bad_rows=()):
    """The lines that the rows stand on. `bad_rows` are written behind the row of their number."""
    out, lines = io.StringIO(), []
    writer = csv.writer(out, lineterminator=ending)
    writer.writerow([column.name for column in table.columns])
    for i, row in enumerate(zip(*(column.cells for column in table.columns))):
        lines.append(out.getvalue().count("\n") + 1)
        writer.writerow([cell.text for cell in row])
        out.writelines(bad + ending for at, bad in bad_rows if at == i)
    (HERE / f"{table.file}.csv").write_text(out.getvalue(), encoding="utf-8", newline="")
    return lines


def generated():
    """Every table that is made here, as CSV and as Parquet."""
    bad = [(3, "1,x"), (50, "1,x,2026-01-01,true,5"), (51, '1,"x"y,2026-01-01,true'), (159, ",")]
    for table, how in [
        (numbers_table(), {}),
        (texts_table(), {"ending": "\r\n"}),
        (times_table(), {}),
        (rows_table(), {"bad_rows": bad}),
        (label_table(), {}),
    ]:
        lines = write_csv(table, **how)
        file = HERE / f"{table.file}.csv"
        if table.file == "texts":
            # pandas reads the cells that were meant.
            read = pd.read_csv(file, dtype=str, keep_default_na=False)
            assert all(read[c.name].tolist() == [cell.text for cell in c.cells] for c in table.columns)
        named = table._replace(file=file.name, bad_rows=len(how.get("bad_rows", ())))
        yield table_figures(named, file.stat().st_size, [f"{file.name}:{line}" for line in lines], lambda c: c.cells)
        file = HERE / f"{table.file}.parquet"
        cells = {column.name: as_parquet(column) for column in table.columns}
        arrays = {column.name: arrow(column, cells[column.name]) for column in table.columns}
        pq.write_table(pa.table(arrays), file, row_group_size=100, compression="zstd")
        places = [f"{file.name}:{row + 1}" for row in range(len(lines))]
        yield table_figures(table._replace(file=file.name), file.stat().st_size, places, lambda c: cells[c.name])


def real(path, labels=()):
    """A real table as pandas reads it."""
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    columns = []
    for name in frame:
        cells = frame[name].tolist()
        # None of them has a column of numbers with missing cells, nor one of booleans or times.
        kinds = {type_of(cell) for cell in cells if cell not in sum(WORDS.values(), [])}
        assert "text" in kinds or {type_of(cell) for cell in cells} == {"number"}, name
        kind, cell = ("number", number) if kinds == {"number"} else ("text", text)
        columns.append(Column(name, kind, [cell(c) for c in cells], None))
    places = [f"{path.name}:{row + 2}" for row in range(len(frame))]
    return table_figures(Table(path.name, columns, 0, labels), path.stat().st_size, places, lambda c: c.cells)


def pretty(value, indent=0, width=128):
    """JSON in which what fits on a line is on one."""
    line = json.dumps(value, sort_keys=True, allow_nan=False)
    if len(line) + indent <= width or not isinstance(value, (dict, list)):
        return line
    pad = "\n" + " " * (indent + 1)
    if isinstance(value, dict):
        parts = [f"{json.dumps(k)}: {pretty(v, indent + 1, width)}" for k, v in sorted(value.items())]
        return "{" + pad + f",{pad}".join(parts) + pad[:-1] + "}"
    if all(isinstance(v, (int, float)) for v in value):
        lines = [""]
        for part in (json.dumps(v) for v in value):
            if len(lines[-1]) + len(part) + indent > width:
                lines.append("")
            lines[-1] += (", " if lines[-1] else "") + part
        return "[" + pad + f",{pad}".join(lines) + pad[:-1] + "]"
    return "[" + pad + f",{pad}".join(pretty(v, indent + 1, width) for v in value) + pad[:-1] + "]"


def main():
    tables = list(generated())
    tables.append(real(CHURN / "account.csv", ("churn",)))
    tables.append(real(CHURN / "usage.csv"))
    for name, label in [("hpc_data.csv", "class"), ("ames.csv", "Sale_Price")]:
        packed = HERE / f"{name}.gz"
        if len(sys.argv) > 1:
            packed.write_bytes(gzip.compress((pathlib.Path(sys.argv[1]) / name).read_bytes(), 9, mtime=0))
        tables.append(real(packed, (label,)))
    (HERE / "expected.json").write_text(pretty({"tables": tables}) + "\n")


if __name__ == "__main__":
    main()
