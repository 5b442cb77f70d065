#!/usr/bin/env bash
# Loads the example's two tables into BigQuery, so that a build with _SOURCE=bigquery finds them: the dataset
# PROJECT.churn in the location US, and in it `account` and `usage`, which are replaced where they are there.
#
#   bash cloudbuild/churn/load.sh                          # into my-project
#   PROJECT=other-project bash cloudbuild/churn/load.sh    # serin.yaml then has to name that project
#
# It asks BigQuery's REST interface with curl, as whom gcloud is logged in, or the server that BIGQUERY_EMULATOR_HOST
# names, without credentials.
set -euo pipefail
data=$(cd "$(dirname "${BASH_SOURCE[0]}")/data" && pwd)
project=${PROJECT:-my-project}
dataset=churn
location=US

fail() {
    echo "load.sh: $*" >&2
    exit 1
}

command -v curl >/dev/null || fail "curl is missing"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A file, so that no list of processes shows the token.
: >"$work/headers"
if [[ -n ${BIGQUERY_EMULATOR_HOST:-} ]]; then
    base=${BIGQUERY_EMULATOR_HOST%/}
    [[ $base == *://* ]] || base=http://$base
else
    base=https://bigquery.googleapis.com
    token=$(gcloud auth print-access-token) ||
        fail "there is no access token; run \`gcloud auth login\`, or set BIGQUERY_EMULATOR_HOST"
    printf 'Authorization: Bearer %s\n' "$token" >"$work/headers"
fi

# Sends a request, and leaves the answer, on one line, in $answer and its code in $code.
ask() {
    code=$(curl --silent --show-error --max-time 300 --header @"$work/headers" \
        --output "$work/answer" --write-out '%{http_code}' "$@") ||
        fail "$base cannot be reached"
    answer=$(tr '\n' ' ' <"$work/answer")
}

# The first text that a field of the answer has, as JSON writes it.
field() {
    { grep -oE "\"$1\": *\"([^\"\\\\]|\\\\.)*\"" <<<"$answer" || true; } |
        sed -nE '1s/^"[^"]*": *"(.*)"$/\1/p'
}

# A table's load: its name, then its columns as NAME:TYPE.
load() {
    local table=$1 fields="" column job rows
    shift
    for column in "$@"; do
        fields+="${fields:+,}{\"name\":\"${column%%:*}\",\"type\":\"${column##*:}\"}"
    done
    local boundary=serin-load-$$
    {
        printf -- '--%s\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n' "$boundary"
        printf '{"jobReference":{"projectId":"%s","location":"%s"},' "$project" "$location"
        printf '"configuration":{"load":{"destinationTable":{"projectId":"%s","datasetId":"%s","tableId":"%s"},' \
            "$project" "$dataset" "$table"
        printf '"sourceFormat":"CSV","skipLeadingRows":1,"schema":{"fields":[%s]},' "$fields"
        printf '"createDisposition":"CREATE_IF_NEEDED","writeDisposition":"WRITE_TRUNCATE"}}}\r\n'
        printf -- '--%s\r\nContent-Type: text/csv\r\n\r\n' "$boundary"
        cat "$data/$table.csv"
        printf -- '\r\n--%s--\r\n' "$boundary"
    } >"$work/body"
    ask --header "Content-Type: multipart/related; boundary=$boundary" --data-binary @"$work/body" \
        "$base/upload/bigquery/v2/projects/$project/jobs?uploadType=multipart"
    [[ $code == 200 ]] || fail "$project.$dataset.$table cannot be loaded: HTTP $code: $(field message)"
    job=$(field jobId)
    until [[ $(field state) == DONE ]]; do
        sleep 1
        ask "$base/bigquery/v2/projects/$project/jobs/$job?location=$location"
        [[ $code == 200 ]] || fail "the job $job cannot be asked for: HTTP $code: $(field message)"
    done
    [[ $answer != *'"errorResult"'* ]] ||
        fail "$project.$dataset.$table cannot be loaded: $(field message)"
    rows=$(field outputRows)
    echo "$project.$dataset.$table: $rows rows"
}

ask --header 'Content-Type: application/json' \
    --data "{\"datasetReference\":{\"projectId\":\"$project\",\"datasetId\":\"$dataset\"},\"location\":\"$location\"}" \
    "$base/bigquery/v2/projects/$project/datasets"
case $code in
    200 | 409) ;; # made, or there already
    *) fail "the dataset $project.$dataset cannot be made: HTTP $code: $(field message)" ;;
esac

load account customer_id:STRING state:STRING account_length:INT64 area_code:STRING \
    international_plan:STRING voice_mail_plan:STRING churn:STRING
load usage customer_id:STRING number_vmail_messages:INT64 \
    total_day_minutes:FLOAT64 total_day_calls:INT64 total_day_charge:FLOAT64 \
    total_eve_minutes:FLOAT64 total_eve_calls:INT64 total_eve_charge:FLOAT64 \
    total_night_minutes:FLOAT64 total_night_calls:INT64 total_night_charge:FLOAT64 \
    total_intl_minutes:FLOAT64 total_intl_calls:INT64 total_intl_charge:FLOAT64 \
    number_customer_service_calls:INT64
