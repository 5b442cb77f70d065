"""Write the Parquet files that the reader is held against, as three other writers make them, and what is in them.

    pip install pyarrow==26.0.1 polars==2.1.0 duckdb==2.0.0
    python tests/data/parquet/make.py

Next to each file `NAME.json` says for each column what its cells are: `["number", [1.5, null]]`, with NaN and the
infinities as words; `time`, in microseconds since 1970 in UTC; `boolean`; `text`.
"""

import datetime as dt
import decimal
import json
import math
import pathlib
import uuid

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

HERE = pathlib.Path(__file__).parent
UTC = dt.timezone.utc
EPOCH = dt.datetime(1970, 1, 1, tzinfo=UTC)
D = decimal.Decimal


def micros(time):
    """Microseconds since 1970."""
    if isinstance(time, dt.datetime):
        time = time if time.tzinfo else time.replace(tzinfo=UTC)
    else:
        time = dt.datetime(time.year, time.month, time.day, tzinfo=UTC)
    return (time - EPOCH) // dt.timedelta(microseconds=1)


def told(number):
    """A number as JSON can say it."""
    number = float(number)
    return str(number) if math.isnan(number) or math.isinf(number) else number


def expect(name, columns):
    """Write what a file holds."""
    how = {"number": told, "time": micros, "boolean": bool, "text": str}
    # The first three rows are numbers, and the last row group's are texts.
    how["numbers and texts"] = lambda cell: str(cell) if cell >= 2**53 else told(cell)
    cells = {
        column: [kind.split()[-1].removesuffix("s"), [None if cell is None else how[kind](cell) for cell in cells]]
        for column, (kind, cells) in columns.items()
    }
    lines = (f"  {json.dumps(name)}: {json.dumps(cell, ensure_ascii=False)}" for name, cell in cells.items())
    (HERE / f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def arrow():
    """Every flat type of Arrow, two row groups, one codec a file."""
    whole = {
        pa.int8(): [1, None, -128, 127],
        pa.int16(): [1, None, -32768, 32767],
        pa.int32(): [1, None, -(2**31), 2**31 - 1],
        pa.int64(): [1, None, -(2**63), 2**53 + 1],
        pa.uint8(): [1, None, 0, 255],
        pa.uint16(): [1, None, 0, 65535],
        pa.uint32(): [1, None, 0, 2**32 - 1],
        pa.uint64(): [1, None, 0, 2**64 - 1],
    }
    floats = [1.5, None, math.nan, -math.inf]
    columns = {str(kind): (kind, "number", cells) for kind, cells in whole.items()}
    # With a number beyond 2**53 all of a row group are texts.
    columns["int64"] = (pa.int64(), "text", whole[pa.int64()])
    columns["uint64"] = (pa.uint64(), "numbers and texts", whole[pa.uint64()])
    columns["float16"] = (pa.float16(), "number", floats)
    columns["float32"] = (pa.float32(), "number", floats)
    columns["float64"] = (pa.float64(), "number", [0.1, None, math.nan, math.inf])
    columns["required"] = (pa.float64(), "number", [0.1, -0.0, 5e-324, 1.7976931348623157e308])
    small = [D("1.10"), None, D("-99999.99"), D("0.00")]
    columns["decimal32"] = (pa.decimal32(7, 2), "number", small)
    columns["decimal64"] = (pa.decimal64(12, 2), "number", small)
    large = [D("0.1234567890123456789"), None, D("-9876543210987654321.0987654321098765432"), D("0.1")]
    columns["decimal128"] = (pa.decimal128(38, 19), "text", large)
    columns["decimal256"] = (pa.decimal256(70, 19), "text", [*large[:3], D(10**45)])
    columns["boolean"] = (pa.bool_(), "boolean", [True, None, False, True])
    texts = ["", None, "naïve\n\"😀\"", "x" * 40]
    columns["string"] = (pa.string(), "text", texts)
    columns["large string"] = (pa.large_string(), "text", texts)
    columns["string view"] = (pa.string_view(), "text", texts)
    columns["binary"] = (pa.binary(), "text", texts)
    columns["fixed"] = (pa.binary(3), "text", ["abc", None, "äb", "   "])
    columns["dictionary"] = (pa.dictionary(pa.int8(), pa.string()), "text", ["b", None, "a", "b"])
    columns["dictionary of numbers"] = (pa.dictionary(pa.int8(), pa.int64()), "number", [7, None, 9, 7])
    columns["null"] = (pa.null(), "text", [None] * 4)
    days = [dt.date(1970, 1, 2), None, dt.date(1, 1, 1), dt.date(9999, 12, 31)]
    columns["date32"] = (pa.date32(), "time", days)
    columns["date64"] = (pa.date64(), "time", days)
    times = [dt.datetime(2024, 2, 29, 23, 59, 59), None, dt.datetime(1969, 12, 31, 23, 59, 59), dt.datetime(1700, 1, 1)]
    exact = [time and time.replace(microsecond=250_000) for time in times]
    columns["seconds"] = (pa.timestamp("s"), "time", times)
    columns["millis"] = (pa.timestamp("ms"), "time", exact)
    columns["micros"] = (pa.timestamp("us", "UTC"), "time", exact)
    columns["nanos"] = (pa.timestamp("ns"), "time", exact)
    zone = dt.timezone(dt.timedelta(hours=-5))
    columns["zone"] = (pa.timestamp("us", "-05:00"), "time", [t and t.replace(tzinfo=zone) for t in exact])
    clock = ["00:00:00", None, "23:59:59.250", "12:00:00.001"]
    clocks = [c and dt.time.fromisoformat(c) for c in clock]
    columns["clock32"] = (pa.time32("ms"), "text", clock)
    columns["clock64"] = (pa.time64("us"), "text", [c and (c if len(c) == 8 else c + "000") for c in clock])
    columns["duration"] = (pa.duration("ms"), "number", [1500, None, -1, 0])

    def cells(kind, values, given):
        if given.startswith("clock"):
            values = clocks
        elif pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
            values = [v if v is None else v.encode() for v in values]
        elif pa.types.is_dictionary(kind):
            return pa.array(values, kind.value_type).dictionary_encode().cast(kind)
        return pa.array(values, kind)

    fields = [pa.field(name, kind, nullable=name != "required") for name, (kind, _, _) in columns.items()]
    arrays = [cells(kind, values, name) for name, (kind, _, values) in columns.items()]
    table = pa.table(arrays, schema=pa.schema(fields))
    for codec in ["none", "snappy", "gzip", "lz4", "zstd"]:
        pick = table if codec == "zstd" else table.select(["int32", "string", "micros"])
        pq.write_table(pick, HERE / f"arrow-{codec}.parquet", compression=codec, row_group_size=3)
    expect("arrow-zstd", {name: (kind, values) for name, (_, kind, values) in columns.items()})

    few = table.select(["int32", "string", "micros", "nanos"])
    pq.write_table(few, HERE / "int96.parquet", use_deprecated_int96_timestamps=True, data_page_version="2.0")
    expect("int96", {name: columns[name][1:] for name in few.column_names})

    pq.write_table(table.select(["string"]), HERE / "brotli.parquet", compression="brotli")
    lists = pa.table({"n": [1, 2], "tags": [["a"], []], "place": [{"x": 1}, None]})
    pq.write_table(lists, HERE / "nested.parquet")


def other_encodings():
    """Encodings that no writer takes by itself, in small pages: deltas, split bytes, dictionaries given up halfway."""
    count = 2_400
    numbers = [None if n % 7 == 3 else n * n % 1_009 - 500 for n in range(count)]
    floats = [n / 8 for n in range(count)]
    texts = [None if n % 11 == 5 else f"text {n % 13}" for n in range(count)]
    long_texts = [f"{n:060}" for n in range(count)]
    table = pa.table({"delta": numbers, "split": floats, "delta text": texts, "shared text": long_texts})
    columns = {"delta": "number", "split": "number", "delta text": "text", "shared text": "text"}
    encodings = {
        "delta": "DELTA_BINARY_PACKED",
        "split": "BYTE_STREAM_SPLIT",
        "delta text": "DELTA_LENGTH_BYTE_ARRAY",
        "shared text": "DELTA_BYTE_ARRAY",
    }
    options = {"compression": "zstd", "data_page_size": 2_000, "write_batch_size": 100}
    pq.write_table(table, HERE / "deltas.parquet", use_dictionary=False, column_encoding=encodings, **options)
    options["data_page_version"] = "2.0"
    options["dictionary_pagesize_limit"] = 4_000
    pq.write_table(table, HERE / "dictionaries.parquet", **options)
    cells = {name: (kind, table[name].to_pylist()) for name, kind in columns.items()}
    # What is the same for both is said once.
    expect("deltas", {name: (kind, values[:50] + values[-50:]) for name, (kind, values) in cells.items()})


def others():
    """Polars and DuckDB."""
    texts = ["b", None, "a", "b"]
    frame = pl.DataFrame(
        {
            "category": pl.Series(texts, dtype=pl.Categorical),
            "enum": pl.Series(texts, dtype=pl.Enum(["a", "b"])),
            "string": texts,
            "time": pl.Series([dt.time(1, 2, 3), None, dt.time(0, 0, 0, 7), dt.time(23, 0)]),
            "decimal": pl.Series([D("1.10"), None, D("-2.00"), D("0.01")], dtype=pl.Decimal(10, 2)),
        }
    )
    frame.write_parquet(HERE / "polars.parquet")
    clock = ["01:02:03", None, "00:00:00.000007000", "23:00:00"]
    expect(
        "polars",
        {
            "category": ("text", texts),
            "enum": ("text", texts),
            "string": ("text", texts),
            "time": ("text", clock),
            "decimal": ("number", frame["decimal"].to_list()),
        },
    )
    some = uuid.UUID("12345678-9abc-def0-1234-56789abcdef0")
    duckdb.sql(
        f"""
        copy (
            select * from (values
                (170141183460469231731687303715884105727::hugeint, uuid '{some}', 'k'::enum_, time '01:02:03.5',
                 timestamptz '2024-02-29 12:00:00+02', 1.5::decimal(4, 1), '{{"a": 1}}'::json, true),
                (null, null, null, null, null, null, null, null)
            ) as t(huge, id, enum, clock, moment, price, json, yes)
        ) to '{HERE}/duckdb.parquet' (format parquet)
        """.replace("::enum_", "::enum('k', 'l')")
    )
    moment = dt.datetime(2024, 2, 29, 10, tzinfo=UTC)
    expect(
        "duckdb",
        {
            "huge": ("number", [2**127 - 1, None]),
            "id": ("text", [some, None]),
            "enum": ("text", ["k", None]),
            "clock": ("text", ["01:02:03.500000", None]),
            "moment": ("time", [moment, None]),
            "price": ("number", [1.5, None]),
            "json": ("text", ['{"a": 1}', None]),
            "yes": ("boolean", [True, None]),
        },
    )


arrow()
other_encodings()
others()
