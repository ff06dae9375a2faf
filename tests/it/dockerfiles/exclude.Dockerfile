# syntax=docker/dockerfile:1
FROM localhost/base:1
COPY --exclude=*.c --exclude=lib/*.h app /one
COPY --exclude=**/*.c app /two
ADD --exclude=private.conf conf /three/
