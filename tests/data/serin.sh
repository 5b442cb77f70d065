#!/bin/sh
# Stands in for the serin binary in unit tests, whose own executable is the test harness: a watchdog
# that does nothing, else a step that prints its arguments and environment and ends with $SHOW_EXIT.
case "$1" in
watchdog) exec /bin/cat > /dev/null ;;
esac
echo "args: $*"
/usr/bin/env | /usr/bin/sort
exit "${SHOW_EXIT:-0}"
