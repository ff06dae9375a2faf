# syntax=docker/dockerfile:1
FROM localhost/base:1
COPY --parents app/lib/util.c app/README.md /one/
COPY --parents app/./lib/util.h /two/
COPY --parents app/**/*.c /three/
