FROM localhost/base:1 AS checked
HEALTHCHECK CMD check || exit 1
FROM checked
HEALTHCHECK NONE
