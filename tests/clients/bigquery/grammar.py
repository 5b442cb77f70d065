"""Checks the grammar of BigQuery's SQL in files, without BigQuery: `python grammar.py FILE...`.

A file holds statements, each after a line `-- query: PURPOSE` and with a `;` at its end. sqlglot parses each in its
dialect of BigQuery. It takes more than BigQuery does, the functions and operators of other databases too, so those are
held against a list. Every problem is a line `FILE:LINE: PURPOSE: PROBLEM`; the exit code is 1 where there is one.
"""

import pathlib
import re
import sys

import sqlglot
from sqlglot import exp
from sqlglot.errors import ErrorLevel, ParseError, TokenError
from sqlglot.tokens import TokenType

PURPOSE = re.compile(r"^-- query:\s*(.*?)\s*$")

# GoogleSQL's functions for BigQuery, without those for geography, encryption and machine learning:
# https://cloud.google.com/bigquery/docs/reference/standard-sql/functions-all
FUNCTIONS = set("""
ANY_VALUE ARRAY_AGG ARRAY_CONCAT_AGG AVG BIT_AND BIT_OR BIT_XOR COUNT COUNTIF GROUPING LOGICAL_AND LOGICAL_OR MAX
MAX_BY MIN MIN_BY STRING_AGG SUM

APPROX_COUNT_DISTINCT APPROX_QUANTILES APPROX_TOP_COUNT APPROX_TOP_SUM
HLL_COUNT.EXTRACT HLL_COUNT.INIT HLL_COUNT.MERGE HLL_COUNT.MERGE_PARTIAL
KLL_QUANTILES.INIT_INT64 KLL_QUANTILES.INIT_FLOAT64 KLL_QUANTILES.MERGE_PARTIAL KLL_QUANTILES.MERGE_INT64
KLL_QUANTILES.MERGE_FLOAT64 KLL_QUANTILES.MERGE_POINT_INT64 KLL_QUANTILES.MERGE_POINT_FLOAT64
KLL_QUANTILES.EXTRACT_INT64 KLL_QUANTILES.EXTRACT_FLOAT64 KLL_QUANTILES.EXTRACT_POINT_INT64
KLL_QUANTILES.EXTRACT_POINT_FLOAT64

CORR COVAR_POP COVAR_SAMP STDDEV STDDEV_POP STDDEV_SAMP VARIANCE VAR_POP VAR_SAMP

CUME_DIST DENSE_RANK FIRST_VALUE LAG LAST_VALUE LEAD NTH_VALUE NTILE PERCENTILE_CONT PERCENTILE_DISC PERCENT_RANK RANK
ROW_NUMBER

ABS ACOS ACOSH ASIN ASINH ATAN ATAN2 ATANH CBRT CEIL CEILING COS COSH COSINE_DISTANCE COT COTH CSC CSCH DIV EXP
EUCLIDEAN_DISTANCE FLOOR GREATEST IEEE_DIVIDE IS_INF IS_NAN LEAST LN LOG LOG10 MOD POW POWER RAND RANGE_BUCKET ROUND
SAFE_ADD SAFE_DIVIDE SAFE_MULTIPLY SAFE_NEGATE SAFE_SUBTRACT SEC SECH SIGN SIN SINH SQRT TAN TANH TRUNC
BIT_COUNT

ASCII BYTE_LENGTH CHARACTER_LENGTH CHAR_LENGTH CHR CODE_POINTS_TO_BYTES CODE_POINTS_TO_STRING COLLATE CONCAT
CONTAINS_SUBSTR EDIT_DISTANCE ENDS_WITH FORMAT FROM_BASE32 FROM_BASE64 FROM_HEX INITCAP INSTR LEFT LENGTH LOWER LPAD
LTRIM NORMALIZE NORMALIZE_AND_CASEFOLD OCTET_LENGTH REGEXP_CONTAINS REGEXP_EXTRACT REGEXP_EXTRACT_ALL REGEXP_INSTR
REGEXP_REPLACE REGEXP_SUBSTR REPEAT REPLACE REVERSE RIGHT RPAD RTRIM SAFE_CONVERT_BYTES_TO_STRING SOUNDEX SPLIT
STARTS_WITH STRPOS SUBSTR SUBSTRING TO_BASE32 TO_BASE64 TO_CODE_POINTS TO_HEX TRANSLATE TRIM UNICODE UPPER

FARM_FINGERPRINT MD5 SHA1 SHA256 SHA512

CAST SAFE_CAST PARSE_BIGNUMERIC PARSE_NUMERIC

ARRAY ARRAY_CONCAT ARRAY_FIRST ARRAY_LAST ARRAY_LENGTH ARRAY_REVERSE ARRAY_SLICE ARRAY_TO_STRING FLATTEN
GENERATE_ARRAY GENERATE_DATE_ARRAY GENERATE_RANGE_ARRAY GENERATE_TIMESTAMP_ARRAY
OFFSET ORDINAL SAFE_OFFSET SAFE_ORDINAL

CURRENT_DATE CURRENT_DATETIME CURRENT_TIME CURRENT_TIMESTAMP DATE DATETIME DATETIME_ADD DATETIME_BUCKET DATETIME_DIFF
DATETIME_SUB DATETIME_TRUNC DATE_ADD DATE_BUCKET DATE_DIFF DATE_FROM_UNIX_DATE DATE_SUB DATE_TRUNC EXTRACT FORMAT_DATE
FORMAT_DATETIME FORMAT_TIME FORMAT_TIMESTAMP JUSTIFY_DAYS JUSTIFY_HOURS JUSTIFY_INTERVAL LAST_DAY MAKE_INTERVAL
PARSE_DATE PARSE_DATETIME PARSE_TIME PARSE_TIMESTAMP STRING TIME TIMESTAMP TIMESTAMP_ADD TIMESTAMP_BUCKET
TIMESTAMP_DIFF TIMESTAMP_MICROS TIMESTAMP_MILLIS TIMESTAMP_SECONDS TIMESTAMP_SUB TIMESTAMP_TRUNC TIME_ADD TIME_DIFF
TIME_SUB TIME_TRUNC UNIX_DATE UNIX_MICROS UNIX_MILLIS UNIX_SECONDS
RANGE RANGE_CONTAINS RANGE_END RANGE_INTERSECT RANGE_OVERLAPS RANGE_SESSIONIZE RANGE_START

BOOL FLOAT64 INT64 JSON_ARRAY JSON_ARRAY_APPEND JSON_ARRAY_INSERT JSON_EXTRACT JSON_EXTRACT_ARRAY JSON_EXTRACT_SCALAR
JSON_EXTRACT_STRING_ARRAY JSON_FLATTEN JSON_KEYS JSON_OBJECT JSON_QUERY JSON_QUERY_ARRAY JSON_REMOVE JSON_SET
JSON_STRIP_NULLS JSON_SUBSCRIPT JSON_TYPE JSON_VALUE JSON_VALUE_ARRAY LAX_BOOL LAX_FLOAT64 LAX_INT64 LAX_STRING
PARSE_JSON TO_JSON TO_JSON_STRING BOOL_ARRAY FLOAT64_ARRAY INT64_ARRAY STRING_ARRAY

COALESCE IF IFNULL NULLIF NULLIFZERO ZEROIFNULL
ERROR GENERATE_UUID SESSION_USER
NET.HOST NET.IP_FROM_STRING NET.IP_NET_MASK NET.IP_TO_STRING NET.IP_TRUNC NET.IPV4_FROM_INT64 NET.IPV4_TO_INT64
NET.PUBLIC_SUFFIX NET.REG_DOMAIN NET.SAFE_IP_FROM_STRING
S2_CELLIDFROMPOINT S2_COVERINGCELLIDS
APPENDS CHANGES EXTERNAL_QUERY
""".split())

# Functions that a `SAFE.` before them is not for.
NEVER_SAFE = set("CAST SAFE_CAST IF COALESCE IFNULL NULLIF COUNT SUM AVG MIN MAX ARRAY_AGG STRING_AGG ARRAY EXTRACT".split())

# Words that may stand before a parenthesis and call nothing.
WORDS = set("""
ALL AND ANY AS BETWEEN BY CASE CLUSTER CUBE DISTINCT ELSE END EXCEPT EXISTS FOR FROM GROUPING_SETS HAVING IN INNER
INTERSECT INTERVAL INTO IS JOIN LIKE LIMIT NOT ON OPTIONS OR ORDER OVER OFFSET PARTITION PIVOT QUALIFY RETURN ROLLUP
SELECT SET SETS SOME STRUCT SYSTEM THEN TABLESAMPLE UNION UNNEST UNPIVOT USING VALUES WHEN WHERE WINDOW WITH
DATA VIEW TABLE IGNORE RESPECT
BIGNUMERIC BYTES DECIMAL BIGDECIMAL NUMERIC
""".split())

# What sqlglot takes and BigQuery does not have.
FOREIGN = {"::": "CAST(x AS type)", "%": "MOD(x, y)", "ILIKE": "LOWER(x) LIKE y", "//": "DIV(x, y)",
           "->": "JSON_QUERY", "->>": "JSON_VALUE", "RLIKE": "REGEXP_CONTAINS", "GLOB": "LIKE", "==": "="}


def statements(text):
    """The statements of a file, each with its purpose and the number of its first line."""
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        heading = PURPOSE.match(line)
        if heading:
            found.append((heading.group(1), number + 1, []))
        elif found:
            found[-1][2].append(line)
        elif line.strip() and not line.startswith("--"):
            yield "", number, None
    for purpose, number, lines in found:
        yield purpose, number, "\n".join(lines)


def foreign(tokens):
    """Functions and operators that BigQuery has not, with their lines."""
    for at, token in enumerate(tokens):
        text = token.text.upper()
        literal = token.token_type in (TokenType.STRING, TokenType.RAW_STRING, TokenType.BYTE_STRING,
                                       TokenType.IDENTIFIER, TokenType.NUMBER)
        if text in FOREIGN and not literal:
            yield token.line, f"BigQuery has no {text}; it has {FOREIGN[text]}"
        called = at + 1 < len(tokens) and tokens[at + 1].token_type == TokenType.L_PAREN
        if literal or not called or not re.fullmatch(r"[A-Z_][A-Z0-9_]*", text):
            continue
        parts = [text]
        while at >= 2 and tokens[at - 1].token_type == TokenType.DOT:
            at -= 2
            parts.insert(0, tokens[at].text.upper())
        name = ".".join(parts)
        if parts[0] == "SAFE" and len(parts) > 1:
            name = ".".join(parts[1:])
            if name in NEVER_SAFE:
                yield token.line, f"{name} cannot stand after SAFE."
        # The columns of INSERT INTO and of a table that is made.
        if any(before.text.upper() in ("INTO", "TABLE", "EXISTS") for before in tokens[max(0, at - 1):at]):
            continue
        if name not in FUNCTIONS and (len(parts) > 1 or text not in WORDS):
            yield token.line, f"BigQuery has no function {name}"


def parsed(sql):
    """Parses one statement; of EXPORT DATA the query, which sqlglot leaves alone."""
    trees = sqlglot.parse(sql, read="bigquery", error_level=ErrorLevel.RAISE)
    trees = [tree for tree in trees if tree is not None and not isinstance(tree, exp.Semicolon)]
    if len(trees) != 1:
        return f"{len(trees)} statements where one is expected"
    if any(tree.find(exp.Command) for tree in trees):
        return f"sqlglot knows no such statement: {sql.split(maxsplit=1)[0]}"
    return None


def problems(purpose, first, sql):
    """What is wrong with one statement, as lines and texts."""
    if sql is None:
        yield first, "text before the first `-- query: PURPOSE`"
        return
    if not purpose:
        yield first - 1, "the query has no purpose"
    if not sql.rstrip().endswith(";"):
        yield first, "the statement does not end with `;`"
    # Its lines stay where they are: what is taken out is replaced by as many.
    export = re.match(r"\s*EXPORT\s+DATA\s+OPTIONS\s*\((?:'[^']*'|\"[^\"]*\"|[^)'\"])*\)\s*AS\b", sql, re.IGNORECASE)
    rest = sql
    if export:
        rest = "\n" * export.group(0).count("\n") + sql[export.end():]
    try:
        problem = parsed(rest)
        if problem:
            yield first, problem
    except ParseError as error:
        for each in error.errors:
            yield first + (each["line"] or 1) - 1, each["description"]
        return
    except TokenError as error:
        yield first, str(error)
        return
    for line, problem in foreign(sqlglot.tokenize(rest, read="bigquery")):
        yield first + line - 1, problem


def main(paths):
    if not paths:
        sys.exit(__doc__)
    found, count = 0, 0
    for path in paths:
        for statement in statements(pathlib.Path(path).read_text(encoding="utf-8")):
            count += 1
            for line, problem in problems(*statement):
                found += 1
                print(f"{path}:{line}: {statement[0]}: {problem}")
    print(f"{count} statements, {found} problems")
    sys.exit(1 if found or not count else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
