#: --build-arg VERSION=2.0 --build-arg BASE=localhost/base --build-arg http_proxy=http://proxy.invalid --build-arg ALSO
ARG BASE=localhost/nothing
ARG TAG=1
ARG VERSION=1.0
FROM ${BASE}:${TAG} AS one
RUN echo "[$VERSION]" > /undeclared
ARG VERSION
ARG ALSO=default
RUN echo "[$VERSION] [$ALSO] [$http_proxy]" > /declared
ENV VERSION=3.0
RUN echo "[$VERSION]" > /overridden
ARG VERSION=4.0
RUN echo "[$VERSION]" > /still
FROM one
ARG TAG
RUN echo "[$TAG] [$VERSION] [$ALSO]" > /second
LABEL tag=$TAG
