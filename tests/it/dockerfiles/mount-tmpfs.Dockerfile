# syntax=docker/dockerfile:1
FROM localhost/base:1
RUN --mount=type=tmpfs,target=/scratch echo lost > /scratch/file && grep -c ' /scratch tmpfs ' /proc/mounts > /one
RUN --mount=type=tmpfs,target=/tmp echo lost > /tmp/file; ls /tmp > /two
