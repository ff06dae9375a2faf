# syntax=docker/dockerfile:1
FROM localhost/base:1
ARG FILE=release-1.2.3.tar.gz
ARG WHERE=/usr/local/lib/one
ARG EMPTY=
ARG NEVER
ENV SHORT=${FILE#*.} LONG=${FILE##*.} END=${FILE%.*} ENDS=${FILE%%.*}
ENV FIRST=${WHERE/l/L} EVERY=${WHERE//l/L} GONE=${WHERE//\//} QUESTION=${FILE#release-?}
ENV W=${FILE-unset} X=${NEVER-unset} Y=${EMPTY-unset} Z=${EMPTY+set}
COPY app/README.md /${FILE%.tar.gz}/
