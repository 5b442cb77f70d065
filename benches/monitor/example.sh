#!/usr/bin/env bash
# The example after its rollout, in a folder of its own: drift is made, seen, answered by a build, and gone.
#
#   bash benches/monitor/example.sh [SERIN]
#
# SERIN is the program, target/release/serin unless told. It needs git and curl, and no cloud: the emulator is one.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
here=$top/cloudbuild/churn
serin=$(realpath "${1:-$top/target/release/serin}")
world=$(mktemp -d)
trap 'kill "$emulator" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$world"' EXIT
emulator=
say() { printf '$ %s\n' "$*"; }
# The emulator's clock goes by faster, at its own pace: each command is told where it is.
clock() { eval "$("$serin" emulate env --url "$url")"; }
serin() { clock; say serin "$@"; "$serin" "$@" || echo "(exit code $?)"; }

mkdir "$world/churn"
cp -r "$here/"{cloudbuild.yaml,serin.yaml,schema.yaml,data} "$world/churn"
cd "$world/churn"
cat >> serin.yaml <<'YAML'

triggers:
  commit: {source: csr, repo: churn, branch: ^main$}
  performance: {metric: roc_auc, below: 0.6, labels: {local: data/account.csv, key: customer_id}}
  drift: {psi: 0.2, min_rows: 500}
  limits: {cool_down: 1s}
YAML
git init -q -b main && git add -A && git -c user.name=you -c user.email=you@example.com commit -qm 'The example'

say serin run .
"$serin" run . --workspace "$world/workspace" --state "$world/state" | tail -n 20 | grep -E '^ |SUCCESS' || true

"$serin" emulate --state "$world/state" --port 0 --time-scale 300 --builds=host --repository "churn=$world/churn" > "$world/emulator.log" &
emulator=$!
until url=$(grep -oE 'http://127[^ ]+' "$world/emulator.log" | head -n 1) && [ -n "$url" ]; do sleep 0.1; done
clock
endpoint=$url/v1/projects/local-project/locations/us-central1/endpoints/customer-churn
curl -fsS -X PATCH "$endpoint?updateMask=predictRequestResponseLoggingConfig" -H 'Content-Type: application/json' -o /dev/null \
    -d '{"predictRequestResponseLoggingConfig": {"enabled": true, "samplingRate": 1, "bigqueryDestination": {"outputUri": "bq://local-project.logs.predictions"}}}'

curl -fsS "$url/v1/projects/local-project/locations/global/triggers" -H 'Content-Type: application/json' -o /dev/null \
    -d '{"name": "serin-customer-churn-build", "filename": "cloudbuild.yaml", "triggerTemplate": {"repoName": "churn", "branchName": "^main$"}}'
serin replay --rate max
serin monitor
serin replay --rate max --requests 3000 --for 1h --shift total_day_minutes=+30%
serin monitor

# The world has moved, and so have the tables.
awk -F, -v OFS=, 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "total_day_minutes") at = i } NR > 1 && $at != "" { $at = sprintf("%.1f", $at * 1.3) } 1' \
    data/usage.csv > data/moved.csv && mv data/moved.csv data/usage.csv
git -c user.name=you -c user.email=you@example.com commit -qam 'New data'

checked=$(serin trigger check)
printf '%s\n' "$checked"
build=$(sed -n 's/.*started the build \([^ ]*\).*/\1/p' <<< "$checked")
say serin builds follow "$build"
"$serin" builds follow "$build" | tail -n 12
serin replay --rate max
serin monitor
serin trigger check
