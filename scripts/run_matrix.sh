#!/usr/bin/env bash
# Run the tests with every Python, Paddle and end of the version ranges, and print a table; arguments go to pytest.
#
#     bash scripts/run_matrix.sh                          # the whole suite 12 times: hours
#     bash scripts/run_matrix.sh tests/test_parity.py tests/test_commands.py
#     TSN_PYTHONS="/opt/python3.10 /opt/python3.12" TSN_PADDLES=3.3.1 bash scripts/run_matrix.sh
#
# A Python that is not on the PATH is left out by name. Each environment is deleted after its run.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

report=$(mktemp)
worst=0
for python in ${TSN_PYTHONS:-python3.10 python3.11 python3.12}; do
    if ! command -v "$python" > /dev/null; then
        echo "$python: not on this machine, left out" >> "$report"
        continue
    fi
    for paddle in ${TSN_PADDLES:-2.6.2 3.3.1}; do
        for pins in lowest highest; do
            row="$("$python" --version), Paddle $paddle, $pins"
            echo "== $row"
            started_sec=$SECONDS
            log=$(mktemp)
            TSN_PYTHON=$python TSN_PADDLE=$paddle TSN_PINS=$pins bash scripts/run_tests.sh "$@" 2>&1 | tee "$log"
            code=${PIPESTATUS[0]}
            [ "$code" -eq 0 ] || worst=1
            closing=$(grep -E '^=+ .*(passed|failed|error).* =+$' "$log" | tail -1 | tr -d '=')
            echo "$row | exit code $code |${closing:- no test was run }| $(((SECONDS - started_sec) / 60)) min" >> "$report"
            rm -rf "$log" ".venv-paddle-$paddle-$pins"
        done
    done
done
echo "== the matrix"
cat "$report"
rm "$report"
exit "$worst"
