# syntax=docker/dockerfile:1
FROM localhost/base:1 AS made
RUN mkdir /made && echo made > /made/file
FROM localhost/base:1
WORKDIR /work
RUN --mount=type=bind,target=/context cat /context/app/README.md > /one
RUN --mount=type=bind,source=app,target=/app,readwrite echo lost > /app/lost; cp /app/main.c /two
RUN --mount=type=bind,from=made,source=/made,target=/from ls /from > /three
RUN --mount=type=bind,from=localhost/base:1,source=/etc,target=/base-etc cat /base-etc/passwd > /four
RUN --mount=type=bind,source=conf/site.conf,target=/etc/site.conf cat /etc/site.conf > /five
