#!/bin/bash
# test.sh: all tests. These use the real kernel and real servers, beside each other; on a machine that is busy enough one of
# them may fail for want of time or room. So up to three that failed are asked once more, each alone, and named at the end:
# what fails alone fails, and what passes only alone is a defect that is to be found, of the test or of the program.
set -uo pipefail
cd "$(dirname "$0")/.."
MANY=3
log=$(mktemp)
trap 'rm -f "$log"' EXIT

cargo test --no-fail-fast 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
[ "$status" -ne 0 ] || exit 0

mapfile -t failed < <(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$log" | sort -u)
begun=$(grep -c '^ *Running ' "$log")
ended=$(grep -c '^test result: ' "$log")
# A build that fails names no test, and a runner that dies gives no result.
if [ "${#failed[@]}" -eq 0 ] || [ "${#failed[@]}" -gt "$MANY" ] || [ "$ended" -lt "$begun" ]; then
    exit "$status"
fi
for name in "${failed[@]}"; do
    echo "== once more, alone: $name"
    cargo test --no-fail-fast -- --exact "$name" --test-threads=1 >"$log" 2>&1
    again=$?
    grep -v '^running 0 tests\|0 passed; 0 failed' "$log"
    if [ "$again" -ne 0 ] || ! grep -q '^test result: ok\. [1-9]' "$log"; then
        echo "failed twice: $name"
        exit "$status"
    fi
done
echo "UNSTEADY: failed beside the others and passed alone: ${failed[*]}"
