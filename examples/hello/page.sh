#!/bin/sh
# The page: httpd runs this for every visitor.
number=$(cat /visits/number 2>/dev/null || echo 0)
number=$((number + 1))
echo $number >/visits/number
printf 'Content-Type: text/plain\r\n\r\n'
echo "Hello from setpoint, visitor $number."
echo "The clock says: $(nc -w 5 clock 13 </dev/null)"
