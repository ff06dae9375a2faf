# syntax=docker/dockerfile:1
FROM localhost/base:1
ARG FILE=release-1.2.3.tar.gz
ARG WHERE=/usr/local/lib/one
ENV SHORT=${FILE#*.} LONG=${FILE##*.} END=${FILE%.*} ENDS=${FILE%%.*}
ENV FIRST=${WHERE/l/L} EVERY=${WHERE//l/L} GONE=${WHERE//\/} QUESTION=${FILE#release-?}
COPY app/README.md /${FILE%.tar.gz}/
