#!/bin/sh
# Runs test programs of this bundle, one after the other, and prints a line for each:
#   run-tests.sh           all that need a GPU, and a few of every other kind (about 3 minutes)
#   run-tests.sh all       every one (about 10 minutes)
#   run-tests.sh NAME ...  these
# What they print goes to a file each in $LOGS (default: ./logs). Exits with 1 when one failed.
cd "$(dirname "$0")" || exit 1
logs=${LOGS:-$PWD/logs}
mkdir -p "$logs" || exit 1

smoke="core_arena_test core_structures_test contract_sim_test transport_contract_test client_test e2e_test"
list=tests/test_programs.txt  # label, seconds for one test, name, environment
case ${1:-} in
  '') wanted="$(awk '$1 == "gpu" {print $3}' $list) $smoke sidecar-demo" ;;
  all) wanted="$(awk '{print $3}' $list) sidecar-demo" ;;
  *) wanted=$* ;;
esac

count() {  # of tests that ended so: count WORD FILE
  grep -c "^\[ *$1 *\] [^ ]*\.[^ ]*\( (.*\)\?$" "$2"
}

failed=0
for name in $wanted; do
  program=tests/$name
  [ -x "$program" ] || program=bin/$name
  if [ ! -x "$program" ]; then
    [ $# -gt 0 ] && [ "$1" != all ] && { echo "FAILED  $name: there is no such program"; failed=1; }
    continue  # some need the build that this came from
  fi
  seconds=$(awk -v name="$name" '$3 == name {print $2}' $list)
  environment=$(awk -v name="$name" '$3 == name {$1 = $2 = $3 = ""; print}' $list)
  # A program's tests together get ten times what one may take.
  env $environment timeout -k 10 $((10 * ${seconds:-30})) "$program" > "$logs/$name.log" 2>&1 < /dev/null
  code=$?
  said="$(count OK "$logs/$name.log") ok, $(count SKIPPED "$logs/$name.log") skipped"
  [ "$name" = sidecar-demo ] && said="$(tail -n 1 "$logs/$name.log")"
  if [ $code = 0 ]; then
    echo "passed  $name: $said"
  else
    echo "FAILED  $name: $said, exit code $code; see $logs/$name.log"
    grep '^\[  FAILED  \] [^ ]*\.' "$logs/$name.log" | sort -u
    failed=1
  fi
done
[ $failed = 0 ] && echo "all passed" || echo "some failed"
exit $failed
