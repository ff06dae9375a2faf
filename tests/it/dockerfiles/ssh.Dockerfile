# syntax=docker/dockerfile:1
FROM localhost/base:1
RUN --mount=type=ssh echo "[$SSH_AUTH_SOCK]" > /optional
